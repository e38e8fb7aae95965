"""Make the copy of a model that is counted: its fused operators take their plain form, and its scans do not run."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from liftbench import kernels


class SelectiveScan(torch.autograd.Function):
    """Stands for a scan: computes nothing, keeps its inputs for the backward pass, and has its name in a trace."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, *others) -> torch.Tensor:
        ctx.save_for_backward(u, *others)
        return torch.zeros_like(u)


def twin(model: nn.Module, device: str) -> nn.Module:
    """Copy the modules to a device, in eval mode: counting leaves traces in them."""
    own = (*model.parameters(), *model.buffers()) if device == "meta" else ()  # which has no values to copy
    return copy.deepcopy(model, {id(tensor): _on_meta(tensor) for tensor in own}).to(device).eval()


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    moved = tensor.detach().to("meta")
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


class _Repeated(TorchDispatchMode):
    """Answers an operator on meta tensors that ran before, on tensors of the same kind, with a new one like its answer.

    A network repeats its blocks, and PyTorch takes up to milliseconds to find out what an operator on the meta device
    answers.
    """

    def __init__(self):
        super().__init__()
        self.known = {}  # the kind of the answer by operator and arguments

    def __torch_dispatch__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        leaves, structure = tree_flatten((args, kwargs or {}))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if func.is_view or func._schema.is_mutable or not tensors or not all(tensor.is_meta for tensor in tensors):
            return func(*args, **(kwargs or {}))
        key = func, structure, *map(_kind, leaves)
        if key in self.known:
            kinds, form = self.known[key]
            return tree_unflatten([_like(*kind) for kind in kinds], form)
        output = func(*args, **(kwargs or {}))
        made, form = tree_flatten(output)
        if all(isinstance(tensor, torch.Tensor) for tensor in made):
            if len(_storages(tensors + made)) == len(_storages(tensors)) + len(made):  # it returns no part of another
                self.known[key] = list(map(_kind, made)), form
        return output


def _like(size: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device="meta")


def _storages(tensors: list[torch.Tensor]) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in tensors}


def _kind(leaf: Any) -> tuple:
    return (leaf.shape, leaf.stride(), leaf.dtype) if isinstance(leaf, torch.Tensor) else (type(leaf), leaf, None)


@contextlib.contextmanager
def plain_graph(
    on_scan: Callable[[int, int, int, int, bool], None] | None = None, traced: bool = False
) -> Iterator[None]:
    """Let every model inside consist of PyTorch's own operators, whatever runs fastest here.

    Each scan calls on_scan(clips, channels, length, states, whether there is a skip) instead of running. traced: a
    trace takes every operator, and oneDNN for its speed: nobody looks inside its LSTM, which is one operator.
    """

    def scan(
        u: torch.Tensor,
        delta: torch.Tensor,
        A: torch.Tensor,
        B: torch.Tensor,
        C: torch.Tensor,
        D: torch.Tensor | None = None,
        delta_bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if on_scan:
            on_scan(*u.shape, A.shape[1], D is not None)
        return SelectiveScan.apply(u, delta, A, B, C, D, delta_bias)

    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    with (
        kernels.using("chunked"),
        mock.patch.object(kernels.chunked, "selective_scan", scan),
        mock.patch.object(kernels.choice, "refuse_trace", lambda: None),  # fvcore traces to count
        sdpa_kernel(SDPBackend.MATH),
        contextlib.nullcontext() if traced else _Repeated(),
    ):
        torch.backends.mha.set_fastpath_enabled(False)
        torch.backends.mkldnn.enabled = before[1] and traced
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before[0])
            torch.backends.mkldnn.enabled = before[1]
