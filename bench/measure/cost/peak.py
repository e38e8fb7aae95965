"""Measure the activations that are alive at once in a forward pass without a backward pass."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from liftbench.bench.measure.cost.plain import plain_graph, twin


def peak_bytes(model: nn.Module, clip: torch.Tensor, device: str = "meta") -> int:
    """Return the most bytes that activations take at the end of any operator of a forward pass of a clip in evaluation
    mode.

    Each storage that is alive counts once and as a whole, the clip's and the answer's too; what was there before the
    pass does not (parameters, buffers, cached tables of indices). A scan adds its output.
    """
    model, clip = twin(model, device), clip.to(device)
    with plain_graph(), torch.random.fork_rng(devices=[]), torch.no_grad():
        model(clip)  # fills the caches
        with _Alive(clip) as alive:
            model(clip)
    return alive.peak


class _Alive(TorchDispatchMode):
    """Holds weak references to the storages that operators make, and adds up those alive after each operator."""

    def __init__(self, clip: torch.Tensor):
        super().__init__()
        self.storages, self.peak = weakref.WeakValueDictionary(_storages(clip)), 0

    def __torch_dispatch__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        given = _storages((args, kwargs))
        self.storages.update({key: storage for key, storage in _storages(output).items() if key not in given})
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self.storages.values()))
        return output


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
    return {storage._cdata: storage for storage in (tensor.untyped_storage() for tensor in tensors)}
