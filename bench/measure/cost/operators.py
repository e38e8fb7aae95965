"""Our own count: every operator that PyTorch runs is a contraction, a scan, elementwise, a move, or named as uncounted.

The rules stand in `bench.report.tables.cost_rules`.
"""

import collections
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from liftbench import kernels
from liftbench.bench.measure.cost.plain import plain_graph, twin

# Functions whose contractions are not what their operator's name says. A module says so by an attribute `counted_as`,
# for what it computes itself.
_CALLERS = {
    F.linear: "linear",
    torch.einsum: "einsum",
    torch.lstm: "LSTM",
    torch.gru: "GRU",
    F.multi_head_attention_forward: "attention",
    F.scaled_dot_product_attention: "attention",
}
_PRODUCTS_OF_WEIGHTS = {"mm": "linear", "addmm": "linear", "convolution": "convolution"}

# Operators that copy, allocate or index and compute nothing; views know it of themselves, unless they are in place.
_MOVES = {
    "_local_scalar_dense", "_to_copy", "_unsafe_view", "arange", "cat", "clone", "constant_pad_nd", "copy_",
    "embedding", "empty", "empty_like", "fill_", "flip", "full", "full_like", "gather", "index", "index_select",
    "lift_fresh", "new_empty", "new_zeros", "ones", "ones_like", "promote_types", "repeat", "scalar_tensor", "set_",
    "squeeze_", "stack", "t_", "transpose_", "tril", "triu", "unsafe_split", "unsqueeze_", "zeros", "zeros_like",
}  # fmt: skip


def _norm(weight: torch.Tensor | None, bias: torch.Tensor | None) -> int:
    """Mean, deviation, its square, their mean, scaling; and weight and bias where there are any."""
    return 5 + (weight is not None) + (bias is not None)


def _batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor,
    variance: torch.Tensor,
    training: bool,
    *_,
) -> int:
    return _norm(weight, bias) if training else 2


def _softmax(*_) -> int:
    """Maximum, difference, exponential, sum, quotient."""
    return 5


# Operations for each element of the input; a pointwise operator takes one for each of the output.
_PER_INPUT_ELEMENT = {
    "native_layer_norm": lambda x, shape, weight, bias, *_: _norm(weight, bias),
    "native_group_norm": lambda x, weight, bias, *_: _norm(weight, bias),
    "native_batch_norm": _batch_norm,
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(
        ("amax", "amin", "argmax", "argmin", "linalg_vector_norm", "max", "mean", "min", "prod", "sum"), lambda *_: 1
    ),
}


@dataclass
class Count:
    """The counts of one forward pass."""

    contraction_macs: collections.Counter = field(default_factory=collections.Counter)  # by operator
    scans: collections.Counter = field(default_factory=collections.Counter)  # calls by (channels, length, states, skip)
    macs_by_module: collections.Counter = field(default_factory=collections.Counter)  # contractions and scans
    elementwise: collections.Counter = field(default_factory=collections.Counter)  # operations by operator
    uncounted: collections.Counter = field(default_factory=collections.Counter)  # calls by operator
    output: object = None  # on the device where it was counted


def count(model: nn.Module, clip: torch.Tensor, device: str = "meta") -> Count:
    """Count any module on a batch of one clip, (1, T, ...) -> Count. The model itself is not touched.

    device: "meta" needs no memory and computes nothing; "cpu" is for modules that look at values.
    """
    seen, model = Count(), twin(model, device)
    operators = _Operators(seen)

    def on_scan(clips: int, channels: int, length: int, states: int, skip: bool):
        seen.scans[channels, length, states, skip] += clips
        seen.macs_by_module[operators.path] += kernels.scan_macs(clips, channels, length, states, skip)

    operators.follow(model)
    with plain_graph(on_scan), torch.no_grad(), operators, _Callers(operators):
        seen.output = model(clip.to(device))
    return seen


class _Operators(TorchDispatchMode):
    """Sorts every operator that runs, and knows the module and function that it runs for."""

    def __init__(self, seen: Count):
        super().__init__()
        self.seen, self.function = seen, None
        self.running = []  # (path, module), the innermost last

    @property
    def path(self) -> str:
        return self.running[-1][0] if self.running else ""

    def follow(self, model: nn.Module):
        """Note which module of a model runs."""
        for module, path in _paths(model).items():
            module.register_forward_pre_hook(lambda module, _, path=path: self.running.append((path, module)))
            module.register_forward_hook(self._leave, always_call=True)

    def _leave(self, *_):
        self.running.pop()

    def __torch_dispatch__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.overloadpacket in flop_registry:
            macs = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=output) // 2
            self.seen.contraction_macs[self._label(name)] += macs
            self.seen.macs_by_module[self.path] += macs
        elif func.is_view or name in _MOVES:
            pass
        elif torch.Tag.pointwise in func.tags:
            self.seen.elementwise[name.strip("_")] += output.numel()
        elif name in _PER_INPUT_ELEMENT:
            self.seen.elementwise[name.strip("_")] += args[0].numel() * _PER_INPUT_ELEMENT[name](*args)
        else:
            self.seen.uncounted[name.strip("_")] += 1
        return output

    def _label(self, name: str) -> str:
        if self.function and self.function != "attention":  # whose projections are linear
            return self.function
        module = getattr(self.running[-1][1], "counted_as", None) if self.running else None
        return _PRODUCTS_OF_WEIGHTS.get(name) or self.function or module or "matrix product"


class _Callers(TorchFunctionMode):
    """Tells `_Operators` which of the functions in _CALLERS is running."""

    def __init__(self, operators: "_Operators"):
        super().__init__()
        self.operators = operators

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outer = self.operators.function
        self.operators.function = outer or _CALLERS.get(func)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.operators.function = outer


def _paths(model: nn.Module, path: tuple[str, ...] = ()) -> dict[nn.Module, str]:
    """{module: its dotted path}, where `*` stands for all modules of a list."""
    paths = {model: ".".join(path)}
    for name, child in model.named_children():
        part = "*" if isinstance(model, nn.ModuleList) else name
        paths = _paths(child, (*path, part)) | paths
    return paths
