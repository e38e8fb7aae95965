"""PoseMamba's scan over the (T, J) grid as a torch operator, projections included; see src/grid.h."""

import ctypes
import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from liftbench.kernels.cpu.library import addresses, call, checked, single, stored_dtype, structure
from liftbench.kernels.cpu.product import add_gradients, compute_linear
from liftbench.kernels.cpu.stream import CHECKPOINT_STEPS
from liftbench.kernels.operators import operator, register_grid_scan, traced
from liftbench.kernels.orders import LIMB_ORDER

# The structures of src/scan.h, field by field.
Grid = structure(
    "Grid",
    ("batch directions channels states rank cells bfloat16", ctypes.c_int64),
    ("x projected dt_weight dt_bias A D orders neighbours limb y checkpoints", ctypes.c_void_p),
)
_GridGradients = structure(
    "GridGradients",
    ("grid", Grid),
    ("x dt_weight dt_bias A D projected projected_with_limb", ctypes.c_void_p),
    ("published", ctypes.c_int64),
)


def grid_scan(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    limb: Sequence[bool],
    limb_gradient: str = "exact",
) -> Tensor:
    """Do what `kernels.grid_scan` does, in float32: one product for all projections, one kernel for the rest.

    If x is bfloat16, the kernel reads it and writes y as they are, and rounds y only.

    Raises ValueError for tensors off the CPU, for float64, for shapes that do not fit, and for wrong order tables.
    """
    parameters = [single(tensor) for tensor in (x_proj_weight, dt_weight, dt_bias, A, D)]
    tensors = [x if x.dtype == torch.bfloat16 else single(x), *parameters]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    published = limb_gradient == "published"
    y, *_ = _run(*tensors, orders, list(map(bool, limb)), published, keep)
    return y.to(x.dtype)


def checked_grid(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    limb: Sequence[bool],
) -> list[Tensor]:
    """Return all seven tensors, checked and contiguous."""
    if x.dim() != 4 or dt_weight.dim() != 3 or A.dim() != 2:
        raise ValueError("x must be (B, T, J, channels), dt_weight (K, channels, R) and A (K * channels, N)")
    _, frames, joints, channels = x.shape
    (directions, _, rank), states, total = dt_weight.shape, A.shape[1], dt_weight.shape[0] * channels
    parameters = {
        "x_proj_weight": (x_proj_weight, (directions, rank + 2 * states, channels)),
        "dt_weight": (dt_weight, (directions, channels, rank)),
        "dt_bias": (dt_bias, (directions, channels)),
        "A": (A, (total, states)),
        "D": (D, (total,)),
    }
    wide = torch.int32 if orders.dtype == torch.int32 else torch.int64
    tensors = [*checked({"x": (x, x.shape)}, stored_dtype(x)), *checked(parameters)]
    tensors += checked({"orders": (orders, (directions, frames * joints))}, wide)
    if len(limb) != directions:
        raise ValueError(f"limb must have {directions} flags, one per direction, got {len(limb)}")
    if any(limb) and joints != len(LIMB_ORDER):
        raise ValueError(f"x has {joints} joints, but the limb term is defined for {len(LIMB_ORDER)}")
    return tensors


def tables(orders: Tensor, limb: Sequence[bool], frames: int, joints: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the order table in int32, the cell that the limb term adds to each cell, and the direction flags.

    Raises ValueError for orders that do not fit int32.
    """
    narrow = orders.to(torch.int32)
    if narrow is not orders and not torch.equal(narrow, orders):
        raise wrong_orders()
    return narrow, *_limb_tables(tuple(limb), frames, joints)


@functools.lru_cache(maxsize=64)
def _limb_tables(limb: tuple[bool, ...], frames: int, joints: int) -> tuple[Tensor, Tensor]:
    with torch.device("cpu"):  # kept for later calls, whatever the default device is in this one
        neighbours = torch.tensor(LIMB_ORDER) if any(limb) else torch.arange(joints)
        neighbours = torch.arange(frames)[:, None] * joints + neighbours
        return neighbours.flatten().to(torch.int32), torch.tensor(limb, dtype=torch.uint8)


def wrong_orders() -> ValueError:
    return ValueError("orders must be permutations of the grid cells, one per direction")


def _outputs(
    x: Tensor, x_proj_weight: Tensor, dt_weight: Tensor, A: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate y, and with `keep` what a backward pass needs: projected and checkpoints."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    projected, checkpoints = kept_shapes(x.shape, x_proj_weight, dt_weight, A) if keep else (0, 0)
    return y, A.new_empty(projected), A.new_empty(checkpoints)


def kept_shapes(
    x: tuple[int, ...], x_proj_weight: Tensor, dt_weight: Tensor, A: Tensor
) -> tuple[tuple[int, int], tuple[int]]:
    """Return the shapes of projected and checkpoints for x of a shape (B, T, J, channels)."""
    batch, frames, joints, channels = x
    directions, cells, states = len(dt_weight), frames * joints, A.shape[-1]
    intervals, blocks = -(-cells // CHECKPOINT_STEPS), -(-channels // 16)
    projected = batch * cells, directions * x_proj_weight.shape[1]
    return projected, (batch * directions * intervals * blocks * 16 * states,)


def grid_of(tensors: Sequence[Tensor], checkpoints: Tensor) -> Grid:
    """Build the argument of the C functions. The last tensor is the output y, or its gradient."""
    x, _, dt_weight, _, A = tensors[:5]
    batch, frames, joints, channels = x.shape
    directions, _, rank = dt_weight.shape
    kept = checkpoints.data_ptr() if checkpoints.numel() else None
    sizes = batch, directions, channels, A.shape[-1], rank, frames * joints
    return Grid(*sizes, x.dtype == torch.bfloat16, *addresses(*tensors), kept)


@operator("grid_scan_cpu")
def _grid_scan_cpu(
    x: torch.Tensor,
    x_proj_weight: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    orders: torch.Tensor,
    limb: list[bool],
    published: bool,
    keep: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (y, projected, checkpoints); `keep` makes the last two for a backward pass."""
    x, x_proj_weight, *rest, orders = checked_grid(x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb)
    y, projected, checkpoints = _outputs(x, x_proj_weight, dt_weight, A, keep)
    rows = compute_linear(x.float(), x_proj_weight.flatten(0, 1), None)
    tensors = [x, rows, *rest, *tables(orders, limb, *x.shape[1:3]), y]
    if not call("grid_forward", grid_of(tensors, checkpoints)):
        raise wrong_orders()
    return y, rows.view_as(projected) if keep else projected, checkpoints


@traced("grid_scan_cpu")
def _grid_scan_cpu_fake(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    limb: Sequence[bool],
    published: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    checked_grid(x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb)
    return _outputs(x, x_proj_weight, dt_weight, A, keep)


@operator("grid_scan_cpu_backward")
def _grid_scan_cpu_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    x_proj_weight: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    orders: torch.Tensor,
    projected: torch.Tensor,
    checkpoints: torch.Tensor,
    limb: list[bool],
    published: bool,
) -> list[torch.Tensor]:
    """Return gradients of x, x_proj_weight, dt_weight, dt_bias, A and D."""
    x, x_proj_weight, *rest, orders = checked_grid(x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb)
    shapes = kept_shapes(x.shape, x_proj_weight, dt_weight, A)
    (dy,) = checked({"the gradient of y": (dy, x.shape)}, stored_dtype(x))
    projected, checkpoints = checked({"projected": (projected, shapes[0]), "checkpoints": (checkpoints, shapes[1])})
    dtype, x, dy = x.dtype, x.float(), dy.float()
    tensors = [x, projected, *rest, *tables(orders, limb, *x.shape[1:3]), dy]
    gradients = [torch.empty_like(tensor) for tensor in (x, x_proj_weight, *rest)]
    dx, _, ddt_weight, ddt_bias, dA, dD = gradients
    # The published code drops the gradient of x through the limb term and keeps that of the weights.
    d_projected = torch.empty_like(projected)
    for_weight = torch.empty_like(projected) if published else d_projected
    pointers = addresses(dx, ddt_weight, ddt_bias, dA, dD, d_projected, for_weight)
    if not call("grid_backward", _GridGradients(grid_of(tensors, checkpoints), *pointers, published)):
        raise wrong_orders()
    flat_x, flat_dx = x.view(-1, x.shape[-1]), dx.view(-1, x.shape[-1])
    weights = x_proj_weight.flatten(0, 1), gradients[1].flatten(0, 1)
    add_gradients(d_projected, flat_x, weights[0], flat_dx, weights[1], for_weight)
    gradients[0] = dx.to(dtype)
    return gradients


@traced("grid_scan_cpu_backward")
def _grid_scan_cpu_backward_fake(
    dy: Tensor,
    x: Tensor,
    x_proj_weight: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    projected: Tensor,
    checkpoints: Tensor,
    limb: Sequence[bool],
    published: bool,
) -> list[Tensor]:
    tensors = (x, x_proj_weight, dt_weight, dt_bias, A, D)
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]


_run = register_grid_scan("grid_scan_cpu", projects=True)
