"""Common parts of the scans' torch operators: gradients, counts of operations, and a mark for tracing.

FlopCounterMode counts two operations per MAC and sees a fused kernel as one operator. The formula of such an operator
adds the scan (`scan_macs`) and the projections inside it. A backward pass counts twice, as PyTorch's own products do.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd.forward_ad import unpack_dual
from torch.utils.flop_counter import register_flop_formula


def scan_macs(batch: int, channels: int, length: int, states: int, skip: bool = True) -> int:
    """Return the operations of one scan, 9 B L D N plus B D L for the skip; D counts the channels of all directions.

    Source: `flops_selective_scan_fn` of the VMamba and PoseMamba code. The rule counts operations of the associative
    (parallel) form; a sequential scan needs fewer.
    """
    return 9 * batch * length * channels * states + (batch * channels * length if skip else 0)


def constant_when_traced(function: Callable) -> Callable:
    """Replace `torch.compiler.assume_constant_result`, which imports torch._dynamo for more than a second."""
    function._dynamo_marked_constant = True
    return function


def has_tangents(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether any tensor takes part in forward-mode differentiation (`torch.func.jvp`, dual numbers)."""
    return any(unpack_dual(tensor).tangent is not None for tensor in tensors)


def register_scan(name: str) -> None:
    """Register gradients and counts of liftbench::NAME(tensors, keep) -> (y, kept).

    Its backward operator is liftbench::NAME_backward(dy, tensors, kept) -> gradients. tensors: [u, delta, A, B, C, D,
    delta_bias] of one stream or two.
    """
    scan, scan_backward = _both(name)

    def save(ctx: Any, inputs: tuple, output: tuple):
        ctx.save_for_backward(*inputs[0], output[1])

    def differentiate(ctx: Any, dy: torch.Tensor, _: Any) -> tuple:
        *tensors, kept = ctx.saved_tensors
        if not kept.numel():  # traced without gradients, for example by torch.export, but run with them
            _, kept = scan(tensors, True)
        return scan_backward(dy, tensors, kept), None

    def operations(tensors: list[tuple[int, ...]], *_, **__) -> int:
        batch, channels, length = tensors[0]
        return 2 * len(tensors) // 7 * scan_macs(batch, channels, length, states=tensors[2][1])

    torch.library.register_autograd(f"liftbench::{name}", differentiate, setup_context=save)
    register_flop_formula(scan)(operations)
    register_flop_formula(scan_backward)(lambda dy, *arguments, **__: 2 * operations(*arguments))


def register_grid_scan(name: str, projects: bool) -> None:
    """Register gradients and counts of liftbench::NAME(x, projection, dt_weight, dt_bias, A, ..., keep).

    It returns (y, kept...) for x: (B, T, J, C). Its backward operator is liftbench::NAME_backward(dy, tensors...,
    kept..., settings...) and returns the gradients of the first tensors. Settings follow the tensors in the arguments.
    projects: whether the operator itself multiplies by the projection's weight (K, R + 2N, C).
    """
    scan, scan_backward = _both(name)

    def save(ctx: Any, inputs: tuple, output: tuple):
        *inputs, _ = inputs
        tensors = [value for value in inputs if isinstance(value, torch.Tensor)]
        ctx.tensors, ctx.settings = len(tensors), inputs[len(tensors) :]
        ctx.save_for_backward(*tensors, *output[1:])

    def differentiate(ctx: Any, dy: torch.Tensor, *_) -> tuple:
        saved = ctx.saved_tensors  # read once: gradient checkpointing gives them once
        tensors, kept = saved[: ctx.tensors], saved[ctx.tensors :]
        if not kept[-1].numel():  # as above
            _, *kept = scan(*tensors, *ctx.settings, True)
        gradients = scan_backward(dy, *tensors, *kept, *ctx.settings)
        return *gradients, *[None] * (len(tensors) - len(gradients) + len(ctx.settings) + 1)

    def operations(
        x: tuple[int, ...],
        projection: tuple[int, ...],
        dt_weight: tuple[int, ...],
        dt_bias: tuple[int, ...],
        A: tuple[int, ...],
        *_,
        **__,
    ) -> int:
        (batch, *grid, channels), (directions, _, rank), states = x, dt_weight, A[1]
        length = math.prod(grid)
        products = rank + (rank + 2 * states if projects else 0)
        scans = scan_macs(batch, directions * channels, length, states)
        return 2 * (scans + batch * length * directions * channels * products)

    torch.library.register_autograd(f"liftbench::{name}", differentiate, setup_context=save)
    register_flop_formula(scan)(operations)
    register_flop_formula(scan_backward)(lambda dy, *arguments, **__: 2 * operations(*arguments))


def _both(name: str) -> tuple[Any, Any]:
    return getattr(torch.ops.liftbench, name), getattr(torch.ops.liftbench, f"{name}_backward")
