"""The scan of (B, channels, L) tensors as a torch operator, for one stream or the sum of two; see src/stream.h."""

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from liftbench.kernels.cpu.library import addresses, call, checked, single, stored_dtype, structure
from liftbench.kernels.operators import operator, register_scan, traced

CHECKPOINT_STEPS = 32  # as in src/scan.h
NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias")
SEQUENCES = ("u", "delta", "B", "C")  # all in float32 or all in bfloat16; the others always in float32

# The structures of src/scan.h, field by field.
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
    ("batch groups channels states length streams bfloat16", ctypes.c_int64),
    ("stream", _Stream * 2),
    ("y", _Rows),
)
_StreamGradients = structure(
    "StreamGradients", ("u delta", _Rows), ("B C", _States), ("A D delta_bias", ctypes.c_void_p)
)
_ScanGradients = structure("ScanGradients", ("scan", _Scan), ("stream", _StreamGradients * 2))


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, delta_bias: Tensor | None = None
) -> Tensor:
    """Do what `kernels.reference.selective_scan` does, in float32, without copying channels-last inputs.

    If u, delta, B and C are all bfloat16, the kernel reads them and writes y as they are, and rounds y only.

    Raises ValueError for tensors off the CPU, for float64, and for shapes that do not fit.
    """
    return _scan_streams([(u, delta, A, B, C, D, delta_bias)])


def bidirectional_scan(forward_stream: Sequence[Tensor | None], reversed_stream: Sequence[Tensor | None]) -> Tensor:
    """Do what `kernels.bidirectional_scan` does, in float32 and without a flipped copy.

    Raises what `selective_scan` raises.
    """
    return _scan_streams([forward_stream, reversed_stream])


def _scan_streams(streams: Sequence[Sequence[Tensor | None]]) -> Tensor:
    sequences = [stream[NAMES.index(name)] for stream in streams for name in SEQUENCES]
    convert = torch.Tensor.bfloat16 if stored_dtype(*sequences) == torch.bfloat16 else single
    tensors = [tensor for stream in streams for tensor in _complete(convert, *stream)]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return _run(tensors, keep)[0].to(streams[0][0].dtype)


def _complete(
    convert: Callable[[Tensor], Tensor], u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None = None, delta_bias: Tensor | None = None,
) -> list[Tensor]:  # fmt: skip
    """Return the seven tensors, sequences converted, the others in float32, with zeros for absent ones."""
    zeros = torch.zeros(A.shape[:1])
    A, D, delta_bias = map(single, (A, zeros if D is None else D, zeros if delta_bias is None else delta_bias))
    return [convert(u), convert(delta), A, convert(B), convert(C), D, delta_bias]


def _checked_streams(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Split the flat list of an operator's tensors into streams of seven, checked and readable; u decides the dtype."""
    u, _, A, B = tensors[:4]
    if u.dim() != 3 or A.dim() != 2 or B.dim() != 4 or 0 in B.shape or u.shape[1] % B.shape[1]:
        raise ValueError(
            "u must be (B, channels, L), A (channels, N) and B (B, groups, N, L), groups dividing channels"
        )
    (batch, channels, length), states, groups = u.shape, A.shape[1], B.shape[1]
    rows, columns, per_channel = (batch, channels, length), (batch, groups, states, length), (channels,)
    shapes = rows, rows, (channels, states), columns, columns, per_channel, per_channel
    dtypes = {name: stored_dtype(u) if name in SEQUENCES else torch.float32 for name in NAMES}
    return [
        [
            checked({name: (tensor, shape)}, dtypes[name], _readable)[0]
            for name, tensor, shape in zip(NAMES, tensors[i : i + 7], shapes, strict=True)
        ]
        for i in range(0, len(tensors), 7)
    ]


def _readable(tensor: Tensor) -> Tensor:
    """Return the tensor if one of its last two axes is contiguous, which the kernel reads, or else a copy."""
    if tensor.dim() > 2 and (1 in tensor.stride()[-2:] or tensor.shape[-1] == 1):
        return tensor
    return tensor.contiguous()


def _scan(streams: Sequence[Sequence[Tensor]], checkpoints: Tensor, y: Tensor) -> _Scan:
    """Build the argument of the C functions; y is the output or its gradient."""
    u, _, A, B = streams[0][:4]
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    stream = (_Stream * 2)()
    for i, tensors in enumerate(streams):
        kept = checkpoints[i].data_ptr() if checkpoints.numel() else None
        stream[i] = _Stream(*_views(*tensors), kept, i)
    sizes = batch, groups, channels // groups, states, length, len(streams)
    return _Scan(*sizes, u.dtype == torch.bfloat16, stream, _view(_Rows, y))


def _views(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> tuple:
    """Order the tensors of one stream as the C structures do."""
    return _view(_Rows, u), _view(_Rows, delta), _view(_States, B), _view(_States, C), *addresses(A, D, delta_bias)


def _view(structure: type[ctypes.Structure], tensor: Tensor) -> ctypes.Structure:
    return structure(tensor.data_ptr(), *tensor.stride())


def _checkpoints_shape(tensors: Sequence[Tensor]) -> tuple[int, int]:
    """Return the shape that holds the state before every 32nd step: a row per stream, channels padded to 16."""
    u, B = tensors[0], tensors[3]
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    blocks = -(-channels // groups // 16)
    return len(tensors) // 7, batch * -(-length // CHECKPOINT_STEPS) * groups * blocks * 16 * states


@operator("scan_cpu")
def _scan_cpu(tensors: list[torch.Tensor], keep: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (y, checkpoints) of one stream or of the sum of two; `keep` makes checkpoints for a backward pass."""
    streams = _checked_streams(tensors)
    y, checkpoints = _outputs(tensors, keep)
    call("scan_forward", _scan(streams, checkpoints, y))
    return y, checkpoints


@traced("scan_cpu")
def _scan_cpu_fake(tensors: Sequence[Tensor], keep: bool) -> tuple[Tensor, Tensor]:
    _checked_streams(tensors)
    return _outputs(tensors, keep)


def _outputs(tensors: Sequence[Tensor], keep: bool) -> tuple[Tensor, Tensor]:
    u, A = tensors[0], tensors[2]
    return _readable(torch.empty_like(u)), A.new_empty(_checkpoints_shape(tensors) if keep else 0)


@operator("scan_cpu_backward")
def _scan_cpu_backward(dy: torch.Tensor, tensors: list[torch.Tensor], checkpoints: torch.Tensor) -> list[torch.Tensor]:
    """Return the gradients of all tensors, in their dtypes; the kernel reads and writes float32."""
    streams = [[tensor.float() for tensor in stream] for stream in _checked_streams(tensors)]
    (dy,) = checked({"the gradient of y": (dy, tensors[0].shape)}, stored_dtype(tensors[0]), _readable)
    (checkpoints,) = checked({"checkpoints": (checkpoints, _checkpoints_shape(tensors))})
    wide_dy = dy.float()
    flat = [_readable(torch.empty_like(tensor, dtype=torch.float32)) for tensor in tensors]
    gradients = (_StreamGradients * 2)()
    for i in range(len(streams)):
        gradients[i] = _StreamGradients(*_views(*flat[7 * i : 7 * i + 7]))
    call("scan_backward", _ScanGradients(_scan(streams, checkpoints, wide_dy), gradients))
    return [gradient.to(tensor.dtype) for gradient, tensor in zip(flat, tensors, strict=True)]


@traced("scan_cpu_backward")
def _scan_cpu_backward_fake(dy: Tensor, tensors: Sequence[Tensor], checkpoints: Tensor) -> list[Tensor]:
    return [_readable(torch.empty_like(tensor)) for tensor in tensors]


_run = register_scan("scan_cpu")
