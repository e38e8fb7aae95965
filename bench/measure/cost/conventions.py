"""Count with other counters, unchanged: thop, which the papers use, and fvcore. `bench.report.tables.cost_rules` has
the rules."""

import collections
import inspect
import warnings
from typing import Any

import thop
import torch
from thop.profile import register_hooks
from torch import nn

from liftbench.bench.measure.cost.plain import plain_graph, twin
from liftbench.bench.records import FvcoreCount, ThopCount
from liftbench.kernels import block


def _conv_silu(module: nn.Module, x: tuple, y: torch.Tensor):
    """Apply thop's rule for a convolution, which expects the channels before the grid."""
    module.total_ops += y.numel() * module.weight[0].numel()


# thop goes by the exact type: PyTorch's modules and those that stand for them.
_RULES = register_hooks | {
    block.Linear: register_hooks[nn.Linear],
    block.GatedNorm: register_hooks[nn.LayerNorm],
    block.ConvSilu: _conv_silu,
}


def count_by_thop(model: nn.Module, clip: torch.Tensor, device: str = "meta") -> ThopCount:
    """Count parameters and MACs with thop -> ThopCount. It names the modules with parameters that thop leaves out:
    those without a rule, and those that are never called."""
    model, called = twin(model, device), set()

    def note(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        called.add(module)
        given = inspect.signature(module.forward).bind(*args, **kwargs)
        return given.args, given.kwargs  # thop's rules see positional arguments only

    for module in model.modules():
        module.register_forward_pre_hook(note, with_kwargs=True)
    with plain_graph():
        macs, parameters = thop.profile(model, (clip.to(device),), custom_ops=_RULES, verbose=False)
    uncounted = collections.Counter(
        type(module).__name__
        for module in model.modules()
        if any(True for _ in module.parameters(recurse=False)) and not (type(module) in _RULES and module in called)
    )
    return ThopCount(parameters=int(parameters), macs=int(macs), uncounted_modules=dict(sorted(uncounted.items())))


def count_by_fvcore(model: nn.Module, clip: torch.Tensor) -> FvcoreCount:
    """Count MACs with fvcore's FlopCountAnalysis on a trace of the plain graph -> FvcoreCount.

    The trace runs on the CPU, because PyTorch cannot trace convolutions without data.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated parts of PyTorch, and of numbers that a trace takes as fixed
        from fvcore.nn import FlopCountAnalysis

        with plain_graph(traced=True), torch.no_grad():
            analysis = FlopCountAnalysis(twin(model, "cpu"), (clip.cpu(),))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
            by_operator, uncounted = analysis.by_operator(), analysis.unsupported_ops()
    return FvcoreCount(
        macs=int(by_operator.total()),
        macs_by_operator={name: int(macs) for name, macs in sorted(by_operator.items())},
        uncounted_operator_calls={_short(name): calls for name, calls in sorted(uncounted.items())},
    )


def _short(name: str) -> str:
    """aten::silu is silu, and prim::PythonOp.SelectiveScan is SelectiveScan."""
    return name.removeprefix("aten::").removeprefix("prim::PythonOp.")
