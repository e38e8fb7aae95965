"""The selective scan in C++, called through ctypes: channels across SIMD lanes, states in registers, no link to torch.

The library is built with the package (setup.py) and holds one kernel per instruction set; the best one of the processor
is used, or the one that the environment variable LIFTBENCH_SCAN_ISA names (avx512, avx2, portable). Threads are
torch's own, torch.get_num_threads() of them. kernels/README.md has the design.
"""

import ctypes
import functools
import os
from pathlib import Path

import torch

from liftbench.kernels.operators import register_grid_scan, register_scan
from liftbench.kernels.orders import LIMB_ORDER

CHECKPOINT_STEPS = 32  # as in scan.h


def structure(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": [(f, kind) for names, kind in fields for f in names.split()]})


# The structures of scan.h, field by field.
_Rows = structure("Rows", ("data", ctypes.c_void_p), ("batch channel time", ctypes.c_int64))
_States = structure("States", ("data", ctypes.c_void_p), ("batch group state time", ctypes.c_int64))
_Stream = structure(
    "Stream",
    ("u delta", _Rows),
    ("B C", _States),
    ("A D delta_bias checkpoints", ctypes.c_void_p),
    ("reverse", ctypes.c_int64),
)
_Scan = structure(
    "Scan",
    ("batch groups channels states length streams", ctypes.c_int64),
    ("stream", _Stream * 2),
    ("y", _Rows),
)
_StreamGradients = structure(
    "StreamGradients", ("u delta", _Rows), ("B C", _States), ("A D delta_bias", ctypes.c_void_p)
)
_ScanGradients = structure("ScanGradients", ("scan", _Scan), ("stream", _StreamGradients * 2))
_Grid = structure(
    "Grid",
    ("batch directions channels states rank cells", ctypes.c_int64),
    ("x projected dt_weight dt_bias A D orders parents limb y checkpoints", ctypes.c_void_p),
)
_GridGradients = structure(
    "GridGradients",
    ("grid", _Grid),
    ("x dt_weight dt_bias A D projected projected_with_limb", ctypes.c_void_p),
    ("published", ctypes.c_int64),
)


@functools.cache
def load_library():
    """The loaded library, or one sentence that says why there is none."""
    found = sorted(Path(__file__).parent.glob("_scan*.so"))
    if not found:
        return (
            "the C++ library was not built, because no working C++ compiler was found when liftbench was installed, so "
            "scans run in PyTorch, many times slower; install g++ 12 or newer, or clang, and reinstall"
        )
    try:
        library = ctypes.CDLL(str(found[0]))
    except OSError as error:
        return f"the C++ library cannot be loaded ({error}); reinstall liftbench"
    library.liftbench_instruction_set.restype = ctypes.c_char_p
    try:  # torch's own OpenMP, as a second set of threads would fight with torch's for the cores
        library.liftbench_use_openmp(ctypes.CDLL(torch._C.__file__).GOMP_parallel)
    except (AttributeError, OSError):
        pass  # threads of the standard library then
    wanted = os.environ.get("LIFTBENCH_SCAN_ISA", "auto")
    if library.liftbench_instruction_set(wanted.encode()) is None:
        return f"LIFTBENCH_SCAN_ISA={wanted} names no instruction set of this processor; unset it"
    return library


def unusable(device_type="cpu"):
    """Why this implementation cannot run on a device type, as one sentence; None if it can."""
    if device_type != "cpu":
        return f"the C++ scan runs on the cpu, not on {device_type}"
    library = load_library()
    return library if isinstance(library, str) else None


def use_instruction_set(name):
    """Chooses "avx512", "avx2", "portable", or the best of the processor with "auto"; returns the name of the choice.

    Raises ValueError for one that the processor does not have.
    """
    chosen = load_library().liftbench_instruction_set(name.encode())
    if chosen is None:
        raise ValueError(f"{name!r} is not an instruction set of this processor")
    return chosen.decode()


def selective_scan(u, delta, A, B, C, D=None, delta_bias=None):
    """Same contract as `kernels.reference.selective_scan`, in float32; any layout, channels-last ones without a copy.

    Raises ValueError for tensors that are not on the CPU, are float64 or do not fit.
    """
    return _scan_streams([_prepare(u, delta, A, B, C, D, delta_bias)]).to(u.dtype)


def bidirectional_scan(forward_stream, reversed_stream):
    """The sum of a scan from 0 to L - 1 and of another one from L - 1 to 0, without a flipped copy of anything.

    Both streams are (u, delta, A, B, C, D, delta_bias) as for `selective_scan`, in their natural order of time and of
    the same shapes. Returns y: (B, channels, L) in the dtype of the first u. Raises ValueError as `selective_scan`.
    """
    streams = [_prepare(*stream) for stream in (forward_stream, reversed_stream)]
    return _scan_streams(streams).to(forward_stream[0].dtype)


def grid_scan(x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb, limb_gradient="exact"):
    """Same contract as `kernels.grid_scan`, in float32: one product for all projections, one kernel for the rest.

    Raises ValueError for tensors that are not on the CPU, are float64 or do not fit, and for wrong order tables.
    """
    if x.dim() != 4 or dt_weight.dim() != 3 or A.dim() != 2:
        raise ValueError("x must be (B, T, J, channels), dt_weight (K, channels, R) and A (K * channels, N)")
    batch, frames, joints, channels = x.shape
    directions, _, rank = dt_weight.shape
    states, total = A.shape[1], directions * channels
    tensors = [
        _checked("x", x, (batch, frames, joints, channels)),
        _checked("x_proj_weight", x_proj_weight, (directions, rank + 2 * states, channels)),
        _checked("dt_weight", dt_weight, (directions, channels, rank)),
        _checked("dt_bias", dt_bias, (directions, channels)),
        _checked("A", A, (total, states)),
        _checked("D", D, (total,)),
    ]
    if orders.shape != (directions, frames * joints) or len(limb) != directions:
        raise ValueError(f"orders and limb must be for {directions} directions over {frames} x {joints} cells")
    if any(limb) and joints != len(LIMB_ORDER):
        raise ValueError(f"x has {joints} joints, but the limb term is defined for {len(LIMB_ORDER)}")
    orders, parents, limb = _tables(orders, tuple(map(bool, limb)), frames, joints)
    tensors = [tensor.float() for tensor in tensors]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    y, *_ = torch.ops.liftbench.grid_scan_cpu(*tensors, orders, parents, limb, limb_gradient == "published", keep)
    return y.to(x.dtype)


def _tables(orders, limb, frames, joints):
    """The order table in int32, the cell that the limb term adds to each cell, and the flags of the directions."""
    parents = torch.arange(frames)[:, None] * joints
    parents = parents + (torch.tensor(LIMB_ORDER) if any(limb) else torch.arange(joints))
    return orders.to(torch.int32), parents.flatten().to(torch.int32), torch.tensor(limb, dtype=torch.uint8)


def _scan_streams(streams):
    tensors = [tensor for stream in streams for tensor in stream]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return torch.ops.liftbench.scan_cpu(tensors, keep)[0]


def linear(x, weight, bias=None):
    """x: (..., C) -> (..., C'), as `torch.nn.functional.linear`, by oneDNN's 1 x 1 convolution.

    That is faster than the product by MKL that PyTorch's linear takes, most so on processors that are not Intel's.
    """
    cells = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    y = torch.nn.functional.conv2d(cells, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def _prepare(u, delta, A, B, C, D=None, delta_bias=None):
    """The seven tensors in float32, zeros for what is absent."""
    if u.dim() != 3 or A.dim() != 2 or B.dim() != 4 or u.shape[1] % max(B.shape[1], 1):
        raise ValueError(
            "u must be (B, channels, L), A (channels, N) and B (B, groups, N, L), groups dividing channels"
        )
    batch, channels, length = u.shape
    groups, states = B.shape[1], A.shape[1]
    zeros = None if D is not None and delta_bias is not None else torch.zeros(channels)
    D, delta_bias = zeros if D is None else D, zeros if delta_bias is None else delta_bias
    shapes = (batch, channels, length), (channels, states), (batch, groups, states, length), (channels,)
    return [
        _checked(name, tensor, shapes[i]).float()
        for name, tensor, i in (
            ("u", u, 0), ("delta", delta, 0), ("A", A, 1), ("B", B, 2), ("C", C, 2), ("D", D, 3),
            ("delta_bias", delta_bias, 3),
        )
    ]  # fmt: skip


def _checked(name, tensor, shape):
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} is on {tensor.device}, but the C++ scan runs on the cpu")
    if tensor.dtype == torch.float64:
        raise ValueError(f"{name} is float64, but the C++ scan computes in float32; use 'reference' or 'chunked'")
    if tuple(tensor.shape) != tuple(shape) or 0 in shape:
        raise ValueError(f"{name} must have shape {tuple(shape)} without zeros, got {tuple(tensor.shape)}")
    return tensor


def _readable(tensor):
    """The tensor itself if the kernel reads its layout, one of the last two axes contiguous, or else a copy."""
    if tensor.dim() > 2 and (1 in tensor.stride()[-2:] or tensor.shape[-1] == 1):
        return tensor
    return tensor.contiguous()


def _streams(tensors):
    """The flat list of an operator's tensors as readable streams of seven."""
    tensors = [_readable(tensor) for tensor in tensors]
    return [tensors[i : i + 7] for i in range(0, len(tensors), 7)]


def _scan(streams, checkpoints, y):
    """The argument of the C functions; y is the output, or its gradient."""
    u, _, A, B = streams[0][:4]
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    stream = (_Stream * 2)()
    for i, (u, delta, A, B, C, D, delta_bias) in enumerate(streams):
        kept = checkpoints[i].data_ptr() if checkpoints.numel() else None
        parameters = (tensor.data_ptr() for tensor in (A, D, delta_bias))
        views = _view(_Rows, u), _view(_Rows, delta), _view(_States, B), _view(_States, C)
        stream[i] = _Stream(*views, *parameters, kept, i)
    return _Scan(batch, groups, channels // groups, states, length, len(streams), stream, _view(_Rows, y))


def _view(structure, tensor):
    return structure(tensor.data_ptr(), *tensor.stride())


def _empty_checkpoints(tensors):
    """Room for the states before every 32nd step, one row per stream, channels padded to the widest block."""
    u, B = tensors[0], tensors[3]
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    blocks = -(-channels // groups // 16)
    return u.new_empty(len(tensors) // 7, batch * -(-length // CHECKPOINT_STEPS) * groups * blocks * 16 * states)


@torch.library.custom_op("liftbench::scan_cpu", mutates_args=())
def _scan_cpu(tensors: list[torch.Tensor], keep: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(y, checkpoints) of one stream, or of the sum of two; `keep` makes the checkpoints for a backward pass."""
    y, checkpoints = _scan_cpu_fake(tensors, keep)
    streams = _streams(tensors)  # kept until the call returns: the structures hold pointers only
    arguments = _scan(streams, checkpoints, y)
    load_library().liftbench_scan_forward(ctypes.byref(arguments), torch.get_num_threads())
    return y, checkpoints


@_scan_cpu.register_fake
def _scan_cpu_fake(tensors, keep):
    return _readable(torch.empty_like(tensors[0])), _empty_checkpoints(tensors) if keep else tensors[0].new_empty(0)


@torch.library.custom_op("liftbench::scan_cpu_backward", mutates_args=())
def _scan_cpu_backward(dy: torch.Tensor, tensors: list[torch.Tensor], checkpoints: torch.Tensor) -> list[torch.Tensor]:
    dy, streams = _readable(dy), _streams(tensors)
    flat = _scan_cpu_backward_fake(dy, tensors, checkpoints)
    gradients = (_StreamGradients * 2)()
    for i, (u, delta, A, B, C, D, delta_bias) in enumerate(_streams(flat)):
        parameters = (tensor.data_ptr() for tensor in (A, D, delta_bias))
        views = _view(_Rows, u), _view(_Rows, delta), _view(_States, B), _view(_States, C)
        gradients[i] = _StreamGradients(*views, *parameters)
    arguments = _ScanGradients(_scan(streams, checkpoints, dy), gradients)
    load_library().liftbench_scan_backward(ctypes.byref(arguments), torch.get_num_threads())
    return flat


@_scan_cpu_backward.register_fake
def _scan_cpu_backward_fake(dy, tensors, checkpoints):
    return [_readable(torch.empty_like(tensor)) for tensor in tensors]


@torch.library.custom_op("liftbench::grid_scan_cpu", mutates_args=())
def _grid_scan_cpu(
    x: torch.Tensor,
    x_proj_weight: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    orders: torch.Tensor,
    parents: torch.Tensor,
    limb: torch.Tensor,
    published: bool,
    keep: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(y, projected, checkpoints); `keep` makes the last two for a backward pass."""
    y, projected, checkpoints = _grid_scan_cpu_fake(
        x, x_proj_weight, dt_weight, dt_bias, A, D, orders, parents, limb, published, keep
    )
    x = x.contiguous()
    with torch.autocast("cpu", enabled=False):  # still on inside an operator, and the kernel reads float32
        rows = linear(x, x_proj_weight.flatten(0, 1))
    tensors = [tensor.contiguous() for tensor in (x, rows, dt_weight, dt_bias, A, D, orders, parents, limb, y)]
    arguments = _grid(tensors, checkpoints)
    if not load_library().liftbench_grid_forward(ctypes.byref(arguments), torch.get_num_threads()):
        raise ValueError("orders must be permutations of the grid cells, one per direction")
    return y, rows.view_as(projected) if keep else projected, checkpoints


@_grid_scan_cpu.register_fake
def _grid_scan_cpu_fake(x, x_proj_weight, dt_weight, dt_bias, A, D, orders, parents, limb, published, keep):
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    if not keep:
        return y, x.new_empty(0), x.new_empty(0)
    batch, frames, joints, channels = x.shape
    directions, cells, states = len(dt_weight), frames * joints, A.shape[-1]
    intervals, blocks = -(-cells // CHECKPOINT_STEPS), -(-channels // 16)
    projected = x.new_empty(batch * cells, directions * x_proj_weight.shape[1])
    return y, projected, x.new_empty(batch * directions * intervals * blocks * 16 * states)


def _grid(tensors, checkpoints):
    """The argument of the C functions; y, last of the tensors, is the output, or its gradient."""
    x, _, dt_weight, _, A = tensors[:5]
    batch, frames, joints, channels = x.shape
    directions, _, rank = dt_weight.shape
    kept = checkpoints.data_ptr() if checkpoints.numel() else None
    pointers = (tensor.data_ptr() for tensor in tensors)
    return _Grid(batch, directions, channels, A.shape[-1], rank, frames * joints, *pointers, kept)


@torch.library.custom_op("liftbench::grid_scan_cpu_backward", mutates_args=())
def _grid_scan_cpu_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    x_proj_weight: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    orders: torch.Tensor,
    parents: torch.Tensor,
    limb: torch.Tensor,
    projected: torch.Tensor,
    checkpoints: torch.Tensor,
    published: bool,
) -> list[torch.Tensor]:
    """Gradients of x, x_proj_weight, dt_weight, dt_bias, A and D."""
    x = x.contiguous()
    tensors = (x, projected, dt_weight, dt_bias, A, D, orders, parents, limb, dy)
    tensors = [tensor.contiguous() for tensor in tensors]
    dx, _, ddt_weight, ddt_bias, dA, dD = gradients = _grid_scan_cpu_backward_fake(
        dy, x, x_proj_weight, dt_weight, dt_bias, A, D, orders, parents, limb, projected, checkpoints, published
    )
    # The published code drops what reaches x through the limb term, but not what reaches the weights.
    d_projected = torch.empty_like(projected)
    for_weight = torch.empty_like(projected) if published else d_projected
    pointers = (tensor.data_ptr() for tensor in (dx, ddt_weight, ddt_bias, dA, dD, d_projected, for_weight))
    arguments = _GridGradients(_grid(tensors, checkpoints), *pointers, published)
    load_library().liftbench_grid_backward(ctypes.byref(arguments), torch.get_num_threads())
    flat_x, flat_dx, weight = x.view(-1, x.shape[-1]), dx.view(-1, x.shape[-1]), x_proj_weight.flatten(0, 1)
    with torch.autocast("cpu", enabled=False):
        flat_dx.addmm_(d_projected, weight)
        gradients[1] = torch.mm(for_weight.T, flat_x).view_as(x_proj_weight)
    return gradients


@_grid_scan_cpu_backward.register_fake
def _grid_scan_cpu_backward_fake(
    dy, x, x_proj_weight, dt_weight, dt_bias, A, D, orders, parents, limb, projected, checkpoints, published
):
    tensors = (x, x_proj_weight, dt_weight, dt_bias, A, D)
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]


register_scan("scan_cpu")
register_grid_scan("grid_scan_cpu", projects=True)
