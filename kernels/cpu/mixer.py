"""PoseMamba's mixer with the norm before it and the sum after it, in one call of C++ (src/layers/mixer.h)."""

import ctypes
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from liftbench.kernels.cpu.grid import Grid, checked_grid, grid_of, kept_shapes, tables, wrong_orders
from liftbench.kernels.cpu.library import addresses, call, checked, dense_like, structure
from liftbench.kernels.cpu.residual import Residual, ResidualGradients, checked_norm, surroundings
from liftbench.kernels.operators import (
    call_operator,
    operator,
    register_gradients,
    scan_macs,
    traced,
    without_gradients,
)

_Mixer = structure(
    "Mixer",
    ("grid", Grid),
    ("frames joints channels", ctypes.c_int64),
    ("x in_proj conv_weight conv_bias x_proj norm_weight norm_bias out_proj", ctypes.c_void_p),
    ("residual", Residual),
    ("norm_epsilon", ctypes.c_float),
    ("y inputs", ctypes.c_void_p),
)
_MixerGradients = structure(
    "MixerGradients",
    ("mixer", _Mixer),
    ("x in_proj conv_weight conv_bias x_proj dt_weight dt_bias A D norm_weight norm_bias out_proj", ctypes.c_void_p),
    ("residual", ResidualGradients),
    ("published", ctypes.c_int64),
)


class Parameters(NamedTuple):
    weight: Tensor  # (C,), of the norm before the mixer
    bias: Tensor
    in_proj: Tensor  # (2D, C)
    conv_weight: Tensor  # (D, 1, 3, 3)
    conv_bias: Tensor
    x_proj: Tensor  # (K, R + 2N, D)
    dt_weight: Tensor  # (K, D, R)
    dt_bias: Tensor  # (K, D)
    A_logs: Tensor  # (K * D, N), log(-A)
    D: Tensor  # (K * D,)
    norm_weight: Tensor  # (D,)
    norm_bias: Tensor
    out_proj: Tensor  # (C, D)


class _Kept(NamedTuple):
    inputs: Tensor  # (B, T, J, 2D), the output of in_proj
    v: Tensor  # (B, T, J, D), of the convolution
    scanned: Tensor  # (B, T, J, D), of the scan
    A: Tensor  # (K * D, N), -exp(A_logs)
    projected: Tensor
    checkpoints: Tensor


@operator("mixer_cpu")
def _mixer(
    x: torch.Tensor,
    scale: torch.Tensor | None,
    parameters: list[torch.Tensor],
    orders: torch.Tensor,
    limb: list[bool],
    published: bool,
    epsilon: float,
    norm_epsilon: float,
    keep: bool,
) -> tuple[(torch.Tensor,) * 7]:
    """Return y = x + scale mixer(layer_norm(x)), and with `keep` what a backward pass needs.

    x: (B, T, J, C) float32; scale: (B,), or None for 1; parameters: `Parameters`; orders, limb: as in
    `kernels.grid_scan`. Raises ValueError for other shapes, dtypes and devices, and for wrong orders.
    """
    x, scale, p = _checked(x, scale, parameters)
    kept = _allocate(x, p, keep)
    torch.exp(p.A_logs, out=kept.A).neg_()
    y = dense_like(x)
    arguments, _pointed_to = _arguments(x, scale, p, kept, y, orders, limb, epsilon, norm_epsilon)
    if not call("mixer", arguments):
        raise wrong_orders()
    return y, *(kept if keep else [x.new_empty(0) for _ in kept])


@traced("mixer_cpu")
def _mixer_fake(
    x: Tensor,
    scale: Tensor | None,
    parameters: list[Tensor],
    orders: Tensor,
    limb: list[bool],
    published: bool,
    epsilon: float,
    norm_epsilon: float,
    keep: bool,
) -> tuple[Tensor, ...]:
    x, p, kept = _checked_all(x, scale, parameters, orders, limb)
    return dense_like(x), *(kept if keep else [x.new_empty(0) for _ in kept])


@operator("mixer_cpu_backward")
def _mixer_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    scale: torch.Tensor | None,
    parameters: list[torch.Tensor],
    orders: torch.Tensor,
    kept: list[torch.Tensor],
    limb: list[bool],
    published: bool,
    epsilon: float,
    norm_epsilon: float,
) -> list[torch.Tensor]:
    """Return the gradients of x and of the parameters."""
    x, scale, p = _checked(x, scale, parameters)
    (dy,) = checked({"the gradient of y": (dy, x.shape)})
    kept = _Kept(*checked(dict(zip(_Kept._fields, zip(kept, _kept_shapes(x, p), strict=True), strict=True))))
    dx, d = dense_like(x), Parameters(*map(dense_like, p))
    arguments, _pointed_to = _arguments(x, scale, p, kept, dy, orders, limb, epsilon, norm_epsilon)
    dweight, dbias, *others = addresses(*d)
    if not call("mixer_backward", _MixerGradients(arguments, *addresses(dx), *others, (dweight, dbias), published)):
        raise wrong_orders()
    d.A_logs.mul_(kept.A)
    return [dx, *d]


@traced("mixer_cpu_backward")
def _mixer_backward_fake(
    dy: Tensor,
    x: Tensor,
    scale: Tensor | None,
    parameters: list[Tensor],
    orders: Tensor,
    kept: list[Tensor],
    limb: list[bool],
    *_: Any,
) -> list[Tensor]:
    x, p, _ = _checked_all(x, scale, parameters, orders, limb)
    checked({"the gradient of y": (dy, x.shape)})
    return [dense_like(tensor) for tensor in (x, *p)]


def _checked(x: Tensor, scale: Tensor | None, parameters: list[Tensor]) -> tuple[Tensor, Tensor | None, Parameters]:
    """Check and return all but what `checked_grid` checks."""
    p = Parameters(*parameters)
    if x.dim() != 4 or p.in_proj.dim() != 2:
        raise ValueError(f"x must be (B, T, J, C) and in_proj (2D, C), got {tuple(x.shape)}, {tuple(p.in_proj.shape)}")
    outer, inner = x.shape[-1], len(p.in_proj) // 2
    shapes = {
        "in_proj": (2 * inner, outer),
        "conv_weight": (inner, 1, 3, 3),
        "conv_bias": (inner,),
        "A_logs": p.A_logs.shape,
        "norm_weight": (inner,),
        "norm_bias": (inner,),
        "out_proj": (outer, inner),
    }
    x, *others = checked({"x": (x, x.shape), **{name: (getattr(p, name), shape) for name, shape in shapes.items()}})
    scale, weight, bias = checked_norm(x, scale, p.weight, p.bias)
    return x, scale, p._replace(weight=weight, bias=bias, **dict(zip(shapes, others, strict=True)))


def _checked_all(
    x: Tensor, scale: Tensor | None, parameters: list[Tensor], orders: Tensor, limb: list[bool]
) -> tuple[Tensor, Parameters, _Kept]:
    x, _, p = _checked(x, scale, parameters)
    kept = _allocate(x, p, True)
    checked_grid(kept.v, p.x_proj, p.dt_weight, p.dt_bias, p.A_logs, p.D, orders, limb)
    return x, p, kept


def _allocate(x: Tensor, p: Parameters, keep: bool) -> _Kept:
    *shapes, checkpoints = _kept_shapes(x, p)
    return _Kept(*map(x.new_empty, shapes), x.new_empty(checkpoints if keep else 0))


def _kept_shapes(x: Tensor, p: Parameters) -> tuple[tuple[int, ...], ...]:
    grid, inner = x.shape[:3], len(p.in_proj) // 2
    scanned = *grid, inner
    scan = kept_shapes(scanned, p.x_proj, p.dt_weight, p.A_logs)
    return (*grid, 2 * inner), scanned, scanned, p.A_logs.shape, *scan


def _arguments(
    x: Tensor,
    scale: Tensor | None,
    p: Parameters,
    kept: _Kept,
    y: Tensor,
    orders: Tensor,
    limb: list[bool],
    epsilon: float,
    norm_epsilon: float,
) -> tuple[ctypes.Structure, list[list[Tensor]]]:
    """Return the argument of the C functions, and the tensors that it points to, to be kept alive."""
    _, frames, joints, channels = x.shape
    v, x_proj, *rest, orders = checked_grid(kept.v, p.x_proj, p.dt_weight, p.dt_bias, kept.A, p.D, orders, limb)
    scan = [v, kept.projected, *rest, *tables(orders, limb, frames, joints), kept.scanned]
    weights = [x, p.in_proj, p.conv_weight, p.conv_bias, x_proj, p.norm_weight, p.norm_bias, p.out_proj]
    arguments = _Mixer(
        grid_of(scan, kept.checkpoints), frames, joints, channels, *addresses(*weights),
        surroundings(x, scale, p.weight, p.bias, epsilon), norm_epsilon, *addresses(y, kept.inputs),
    )  # fmt: skip
    return arguments, [scan, weights]


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    x, scale, parameters, orders, *ctx.settings, _ = inputs
    ctx.parameters = len(parameters)
    ctx.save_for_backward(x, scale, orders, *parameters, *output[1:])
    without_gradients(ctx, *output[1:])


def _differentiate(ctx: Any, saved: tuple, dy: Tensor, *_: Any) -> tuple:
    x, scale, orders, *rest = saved
    parameters, kept = rest[: ctx.parameters], rest[ctx.parameters :]
    if not kept[-1].numel():  # traced without gradients, for example by torch.export, but run with them
        _, *kept = torch.ops.liftbench.mixer_cpu(x, scale, parameters, orders, *ctx.settings, True)
    dx, *others = call_operator("mixer_cpu_backward", dy, x, scale, parameters, orders, list(kept), *ctx.settings)
    return dx, None, others, *[None] * (len(ctx.settings) + 2)


def _operations(x: tuple[int, ...], scale: Any, parameters: list[tuple[int, ...]], *_: Any, **__: Any) -> int:
    p, cells = Parameters(*parameters), math.prod(x[:-1])
    directions, inner, states = *p.dt_weight[:2], p.A_logs[1]
    products = math.prod(p.in_proj) + 9 * inner + math.prod(p.x_proj) + math.prod(p.dt_weight) + math.prod(p.out_proj)
    return 2 * (cells * products + scan_macs(x[0], directions * inner, math.prod(x[1:-1]), states))


register_flop_formula(torch.ops.liftbench.mixer_cpu)(_operations)
register_flop_formula(torch.ops.liftbench.mixer_cpu_backward)(lambda dy, *arguments, **__: 2 * _operations(*arguments))
_run = register_gradients("mixer_cpu", _save, _differentiate)


def mixer(
    x: Tensor,
    scale: Tensor | None,
    parameters: tuple[Tensor, ...],
    orders: Tensor,
    limb: tuple[bool, ...],
    limb_gradient: str,
    epsilon: float,
    norm_epsilon: float,
) -> Tensor:
    """Return x + scale mixer(layer_norm(x)); x: (B, T, J, C) float32; scale: (B,), or None for 1; parameters: those of
    `Parameters`.

    epsilon, norm_epsilon: of the norm before the mixer and of the mixer's own; orders, limb, limb_gradient: as in
    `kernels.grid_scan`. Raises ValueError for other shapes, dtypes and devices, and for wrong orders.
    """
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    settings = list(limb), limb_gradient == "published", epsilon, norm_epsilon, keep
    y, *_ = _run(x, scale, list(parameters), orders, *settings)
    return y
