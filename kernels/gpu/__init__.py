"""The selective scan in Triton, for NVIDIA and AMD GPUs; on the CPU only through Triton's interpreter, for tests.

If the sequences fill the device, one pass runs over all steps. Otherwise the steps are cut into chunks: one launch
scans every chunk from zero, a second carries the states across the chunks, and the pass starts every chunk from its own
state. The backward pass starts from states that the forward pass keeps. Results are deterministic: there are no
atomics; programs write their share of a sum and torch adds the shares. kernels/README.md explains the design.
"""

import functools
import math
import os
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from liftbench.kernels.grid import without_autocast
from liftbench.kernels.operators import constant_when_traced, operator, register_grid_scan, register_scan, traced
from liftbench.kernels.orders import LIMB_ORDER, check_orders

KEPT_STEPS = 16  # most steps between two states kept for the backward pass
FULL_WARPS = 8  # per multiprocessor, with 4 states of a channel per lane: enough for one pass
CHUNKED_WARPS = 32  # per multiprocessor; with fewer, the steps are cut into chunks for so many
MOST_CHUNKS = 65535  # CUDA's limit of the grid's third axis
MOST_ELEMENTS = 2**31  # in one clip: offsets inside a clip have 32 bits, offsets between clips 64
CARRY_TILE = {"CHUNKS": 32, "LANES": 32}  # chunks and channels that a program of `carry` holds at a time
FUSED = {"enable_fp_fusion": True}  # a product and a sum in one instruction, off by default in Triton 3.10


@functools.cache
def _programs() -> ModuleType:
    from liftbench.kernels.gpu import programs

    return programs


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _has_triton() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def unusable(device_type: str = "cpu") -> str | None:
    """Return why this implementation cannot run on a device type, or None if it can.

    On a GPU this checks the values first, once per process and device (`selfcheck`).
    """
    if reason := _missing(device_type):
        return reason
    if device_type == "cpu":
        return None
    with _one_check_at_a_time:
        return _found_by_selfcheck(torch.device(device_type, torch.cuda.current_device()))


_one_check_at_a_time = threading.Lock()


@functools.cache
def _found_by_selfcheck(device: torch.device) -> str | None:
    from liftbench.kernels.gpu.selfcheck import difference

    return difference(device)


@constant_when_traced
def _missing(device_type: str) -> str | None:
    if not _has_triton():
        return "triton is not installed; install it, or a torch for CUDA or ROCm, which brings it along"
    if _interpreted():
        return None
    if device_type == "cpu":
        return "the Triton scan needs a GPU; on the cpu it runs only for tests, under TRITON_INTERPRET=1"
    if device_type != "cuda":
        return f"the Triton scan runs on cuda (NVIDIA and AMD GPUs), not on {device_type}"
    if not torch.cuda.is_available():
        return "torch finds no CUDA or HIP device"
    return None


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, delta_bias: Tensor | None = None
) -> Tensor:
    """Do what `kernels.reference.selective_scan` does, in float32; channels-last u and delta without a copy.

    Raises ValueError for float64 tensors and for devices without Triton.
    """
    return _scan_streams([_prepare(u, delta, A, B, C, D, delta_bias)])


def bidirectional_scan(forward_stream: Sequence[Tensor | None], reversed_stream: Sequence[Tensor | None]) -> Tensor:
    """Do what `kernels.bidirectional_scan` does, in float32 and without a flipped copy.

    Raises what `selective_scan` raises.
    """
    return _scan_streams([_prepare(*stream) for stream in (forward_stream, reversed_stream)])


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
    """Do what `kernels.grid_scan` does, in float32: one product for all projections, then one scan of all orders.

    Raises ValueError for float64 tensors, for devices without Triton, and for tables that do not fit.
    """
    named = {"x": x, "x_proj_weight": x_proj_weight, "dt_weight": dt_weight, "dt_bias": dt_bias, "A": A, "D": D}
    for name, tensor in named.items():
        _check(name, tensor)
    frames, joints = x.shape[1:3]
    directions, limb = len(dt_weight), tuple(map(bool, limb))
    if orders.shape != (directions, frames * joints) or len(limb) != directions:
        raise ValueError(f"orders and limb need {directions} directions over {frames} x {joints} cells")
    published = limb_gradient == "published"
    parameters = [tensor.float() for tensor in (dt_weight, dt_bias, A, D)]
    with without_autocast(x.device.type):
        rows = _project(x.float(), x_proj_weight.float(), limb, published)
        keep = _needs_gradient([x, rows, *parameters])
        mask = sum(flag << k for k, flag in enumerate(limb))
        return _run_grid(x, rows, *parameters, orders, mask, published, keep)[0]


def _project(x: Tensor, weight: Tensor, limb: Sequence[bool], published: bool) -> Tensor:
    """Project every cell to low-rank delta, B and C of every direction, (B, T, J, K, R + 2N), with the limb term.

    The limb term is linear, so the projections of the joint that it adds are added to those of each joint.
    """
    directions, columns = weight.shape[:2]

    def product(x: Tensor) -> Tensor:
        return (x @ weight.flatten(0, 1).T).unflatten(-1, (directions, columns))

    rows = product(x)
    if any(limb):
        of_neighbour = _neighbours(x) * torch.tensor(limb, device=x.device)[:, None, None]  # (K, J, J)
        neighbour = product(x.detach()) if published else rows
        rows = rows + torch.einsum("kpj,btjkc->btpkc", of_neighbour, neighbour)
    return rows


def _neighbours(x: Tensor) -> Tensor:
    """Return the limb term as a matrix (J, J) of 0 and 1; the gradient of a gather would need atomics."""
    return torch.eye(len(LIMB_ORDER), dtype=x.dtype, device=x.device)[list(LIMB_ORDER)]


def _needs_gradient(tensors: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _scan_streams(streams: Sequence[Sequence[Tensor]]) -> Tensor:
    tensors = [tensor for stream in streams for tensor in stream]
    return _run(tensors, _needs_gradient(tensors))[0]


def _prepare(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, delta_bias: Tensor | None = None
) -> list[Tensor]:
    """Return the seven tensors, with parameters in float32 and zeros for absent ones."""
    zeros = torch.zeros(u.shape[1], device=u.device)
    named = {"u": u, "delta": delta, "A": A, "B": B, "C": C}
    named |= {"D": zeros if D is None else D, "delta_bias": zeros if delta_bias is None else delta_bias}
    for name, tensor in named.items():
        _check(name, tensor)
    return [tensor.float() if name in ("A", "D", "delta_bias") else tensor for name, tensor in named.items()]


def _check(name: str, tensor: Tensor):
    if reason := _missing(tensor.device.type):
        raise ValueError(f"{name} is on {tensor.device}: {reason}")
    if tensor.dtype == torch.float64:
        raise ValueError(f"{name} is float64, but the Triton scan computes in float32; use 'reference' or 'chunked'")


class _Sequences:
    """The arguments of one scan, as views (B, K, L, channels or columns), and its launches; see `programs`."""

    def __init__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        bias: Tensor,
        weight: Tensor | None = None,
        limb: int = 0,
        tables: tuple[Tensor | None, Tensor | None] = (None, None),
        order: str = "natural",
    ):
        self.clips, self.directions, self.length, self.channels = u.shape
        self.states = A.shape[1]
        _refuse_too_large(self.length * self.directions * max(self.channels, self.states))
        self.u, self.delta, self.B, self.C = (_unit_stride(tensor) for tensor in (u, delta, B, C))
        self.A = A.unflatten(0, (self.directions, -1)).mT.contiguous()
        self.D, self.bias = D.contiguous(), bias.contiguous()
        self.weight = None if weight is None else weight.mT.contiguous()
        self.limb, self.tables, self.order = limb, tables, order
        self.intervals = -(-self.length // KEPT_STEPS)
        self.interval = -(-self.length // self.intervals)  # the shortest that suffices: 17 steps are 9 + 8, not 16 + 1

    def chunk(self) -> int:
        """Return the steps per chunk: all if the sequences fill the device, else a multiple of the interval."""
        quarters = self.clips * self.directions * self.channels * self.states / 4
        warps = quarters / 32 / _multiprocessors(self.u.device)
        if warps >= FULL_WARPS:
            return self.intervals * self.interval
        chunks = min(self.intervals, math.ceil(CHUNKED_WARPS / warps), MOST_CHUNKS)
        return -(-self.intervals // chunks) * self.interval

    def kept(self, streams: int = 1) -> Tensor:
        """Allocate the states before every interval, for one stream or more."""
        return self._new(streams, self.clips * self.directions, self.intervals, self.states, self.channels)

    def forward(self, y: Tensor, kept: Tensor | None = None, add: bool = False):
        """Write y, (B, L, K, channels), or add to it; `kept` receives the states that `backward` starts from."""
        chunk = self.chunk()
        starts = self._starts(chunk)
        tensors = self.u, self.delta, self.B, self.C
        with torch.cuda.device_of(self.u):  # Triton launches on the current device and stream
            _programs().forward[self._grid(chunk)](
                self.u, self.delta, self.weight, self.bias, self.A, self.B, self.C, self.D, *self.tables, starts, y,
                kept, *self._sizes(chunk), *_strides(tensors),
                CHUNKED=starts is not None, KEEP=kept is not None, ADD=add, INTERVAL=self.interval, **self._options(),
            )  # fmt: skip

    def backward(self, dy: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        """Return gradients of u and delta before softplus (B, L, K, channels), A, B and C (B, L, K, N), D and bias."""
        chunk = self.chunk()
        chunks = -(-self.length // chunk)
        dy = _unit_stride(dy)
        starts = self._starts(chunk, dy)
        cells, blocks = (self.clips, self.length, self.directions), -(-self.channels // _programs().BACKWARD_CHANNELS)
        du, ddelta = self._new(*cells, self.channels), self._new(*cells, self.channels)
        dB, dC = self._new(blocks, *cells, self.states), self._new(blocks, *cells, self.states)
        dA = self._new(self.clips, self.directions, chunks, self.states, self.channels)
        dD, dbias = dA.new_empty(2, self.clips, self.directions, chunks, self.channels)
        tensors = self.u, self.delta, self.B, self.C, dy
        with torch.cuda.device_of(self.u):
            _programs().backward[self._grid(chunk)](
                self.u, self.delta, self.weight, self.bias, self.A, self.B, self.C, self.D, *self.tables, dy, kept,
                starts, du, ddelta, dB, dC, dA, dD, dbias, *self._sizes(chunk), *_strides(tensors),
                CHUNKED=starts is not None, INTERVAL=self.interval, **self._options(),
            )  # fmt: skip
        dA = dA.sum((0, 2)).mT.flatten(0, 1).contiguous()
        return du, ddelta, dA, dB.sum(0), dC.sum(0), dD.sum((0, 2)).flatten(), dbias.sum((0, 2)).flatten()

    def _starts(self, chunk: int, dy: Tensor | None = None) -> Tensor | None:
        """Return the states that enter the chunks, or with `dy` the adjoints that enter from the end; None for one."""
        chunks = -(-self.length // chunk)
        if chunks == 1:
            return None
        back = dy is not None
        u, rows = (dy, self.C) if back else (self.u, self.B)
        ends = self._new(self.clips * self.directions, chunks, self.states, self.channels)
        starts, sums = torch.empty_like(ends), self._new(self.clips * self.directions, chunks, self.channels)
        with torch.cuda.device_of(u):
            _programs().local[self._grid(chunk)](
                u, self.delta, self.weight, self.bias, self.A, rows, *self.tables, ends, sums,
                *self._sizes(chunk), *_strides((u, self.delta, rows)),
                BACK=back, **self._options() | ({"LIMB": 0} if back else {}),
            )  # fmt: skip
            _programs().carry[len(ends), -(-self.channels // CARRY_TILE["LANES"]), self.states](
                ends, sums, self.A, starts, self.directions, self.channels, chunks, 1,
                BACK=back, N=self.states, num_warps=1, **CARRY_TILE, **FUSED,
            )  # fmt: skip
        return starts

    def _new(self, *shape) -> Tensor:
        return self.u.new_empty(shape, dtype=torch.float32)

    def _grid(self, chunk: int) -> Callable[[dict[str, int]], tuple[int, int, int]]:
        sequences, chunks = self.clips * self.directions, -(-self.length // chunk)
        return lambda meta: (sequences, -(-self.channels // (meta["Q"] * meta["LANES"])), chunks)

    def _sizes(self, chunk: int) -> tuple[int, ...]:
        return self.directions, self.channels, self.length, chunk, 1

    def _options(self) -> dict[str, Any]:
        rank = 0 if self.weight is None else self.weight.shape[1]
        return {"ORDER": self.order, "LIMB": self.limb, "RANK": rank, "N": self.states, **FUSED}


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return 1 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count


def _unit_stride(tensor: Tensor) -> Tensor:
    tensor = tensor if tensor.stride(-1) == 1 else tensor.contiguous()
    _refuse_too_large(tensor.stride(2) * tensor.shape[2])
    return tensor


def _refuse_too_large(elements: int):
    if elements >= MOST_ELEMENTS:
        raise ValueError(
            f"Cannot scan a clip of {elements} elements: the Triton scan takes fewer than {MOST_ELEMENTS}. "
            "Use 'chunked' or shorter clips."
        )


def _strides(tensors: Sequence[Tensor]) -> list[int]:
    """List the strides of clip, direction and cell, tensor by tensor."""
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def _sequences(tensors: Sequence[Tensor]) -> list["_Sequences"]:
    """Split the flat list of an operator's tensors into streams; the second one runs from the end."""
    streams = []
    for i in range(0, len(tensors), 7):
        u, delta, A, B, C, D, bias = tensors[i : i + 7]
        u, delta = (tensor.unflatten(1, (B.shape[1], -1)).mT for tensor in (u, delta))
        streams.append(_Sequences(u, delta, A, B.mT, C.mT, D, bias, order="reversed" if i else "natural"))
    return streams


@operator("scan_gpu")
def _scan_gpu(tensors: list[torch.Tensor], keep: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (y, kept states) of one stream or of the sum of two; `keep` keeps states for a backward pass."""
    streams = _sequences(tensors)
    batch, channels, length = tensors[0].shape
    # The sum of two streams is rounded to the dtype of y once.
    y = tensors[0].new_empty(batch, length, channels, dtype=None if len(streams) == 1 else torch.float32)
    kept = streams[0].kept(len(streams)) if keep else y.new_empty(0)
    for i, stream in enumerate(streams):
        stream.forward(y, kept[i] if keep else None, add=i > 0)
    return y.to(tensors[0].dtype).mT, kept


@traced("scan_gpu")
def _scan_gpu_fake(tensors: Sequence[Tensor], keep: bool) -> tuple[Tensor, Tensor]:
    streams = _sequences(tensors)
    y = tensors[0].new_empty(tensors[0].mT.shape).mT
    return y, streams[0].kept(len(streams)) if keep else y.new_empty(0)


@operator("scan_gpu_backward")
def _scan_gpu_backward(dy: torch.Tensor, tensors: list[torch.Tensor], kept: torch.Tensor) -> list[torch.Tensor]:
    gradients = []
    for i, stream in enumerate(_sequences(tensors)):
        du, ddelta, dA, dB, dC, dD, dbias = stream.backward(dy.unflatten(1, (stream.directions, -1)).mT, kept[i])
        du, ddelta = du.flatten(2).mT, ddelta.flatten(2).mT
        gradients += [du, ddelta, dA, dB.permute(0, 2, 3, 1), dC.permute(0, 2, 3, 1), dD, dbias]
    return [gradient.to(tensor.dtype) for gradient, tensor in zip(gradients, tensors)]


@traced("scan_gpu_backward")
def _scan_gpu_backward_fake(dy: Tensor, tensors: Sequence[Tensor], kept: Tensor) -> list[Tensor]:
    """Channels last, as above: memory holds (B, channels, L) as (B, L, channels), (B, G, N, L) as (B, L, G, N)."""
    return [
        t.new_empty(t.movedim(-1, 1).shape).movedim(1, -1) if t.dim() > 2 else torch.empty_like(t).contiguous()
        for t in tensors
    ]


# {order table: {version, device, joints and limb: copies on the device}}
_copies = WeakIdKeyDictionary()


def _tables(orders: Tensor, x: Tensor, limb: int) -> tuple[Tensor, Tensor]:
    """Return the order table and every cell's neighbour, int32 on the device of x.

    Tables are checked and copied once, because both wait for the device.
    """
    frames, joints = x.shape[1:3]
    copies = _copies.setdefault(orders, {})
    key = orders._version, x.device, joints, limb > 0
    if key not in copies:
        check_orders(orders)
        neighbours = torch.arange(frames)[:, None] * joints + torch.tensor(LIMB_ORDER) if limb else orders
        copies[key] = [table.to(x.device, torch.int32).contiguous() for table in (orders, neighbours)]
    return copies[key]


def _grid_sequences(
    x: Tensor,
    rows: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    limb: int,
    tables: tuple[Tensor, Tensor],
) -> _Sequences:
    u = x.flatten(1, 2)[:, None].expand(-1, len(dt_weight), -1, -1)
    low, B, C = rows.flatten(1, 2).transpose(1, 2).split([dt_weight.shape[-1], A.shape[1], A.shape[1]], dim=-1)
    return _Sequences(u, low, A, B, C, D, dt_bias, dt_weight, limb, tables, "table")


@operator("grid_scan_gpu")
def _grid_scan_gpu(
    x: torch.Tensor,
    rows: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    orders: torch.Tensor,
    limb: int,
    published: bool,
    keep: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (y, kept states). Every direction writes its own output and torch adds them. limb is a bit mask."""
    sequences = _grid_sequences(x, rows, dt_weight, dt_bias, A, D, limb, _tables(orders, x, limb))
    y = rows.new_empty(*x.shape[:3], *dt_weight.shape[:2])
    kept = sequences.kept() if keep else rows.new_empty(0)
    sequences.forward(y, kept[0] if keep else None)
    return y.sum(3).to(x.dtype), kept


@traced("grid_scan_gpu")
def _grid_scan_gpu_fake(
    x: Tensor,
    rows: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    limb: int,
    published: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    sequences = _grid_sequences(x, rows, dt_weight, dt_bias, A, D, limb, tables=(orders, orders))
    return x.new_empty(x.shape), sequences.kept() if keep else rows.new_empty(0)


@operator("grid_scan_gpu_backward")
def _grid_scan_gpu_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    rows: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    orders: torch.Tensor,
    kept: torch.Tensor,
    limb: int,
    published: bool,
) -> list[torch.Tensor]:
    """Return gradients of x (not through rows), rows, dt_weight, dt_bias, A and D."""
    sequences = _grid_sequences(x, rows, dt_weight, dt_bias, A, D, limb, _tables(orders, x, limb))
    dy = dy.flatten(1, 2)[:, None].expand(-1, sequences.directions, -1, -1)
    du, ddelta, dA, dB, dC, dD, dbias = sequences.backward(dy, kept[0])
    du = du.unflatten(1, x.shape[1:3])
    dx = du.sum(3)
    low = rows.flatten(1, 2)[..., : dt_weight.shape[-1]]
    with without_autocast(x.device.type):  # autocast stays on inside an operator
        if limb and not published:
            through_limb = sum(du[..., k, :] for k in range(sequences.directions) if limb >> k & 1)
            dx += torch.einsum("pj,btpc->btjc", _neighbours(du), through_limb)
        drows = torch.cat([torch.einsum("blkd,kdr->blkr", ddelta, dt_weight), dB, dC], dim=-1).view_as(rows)
        ddt_weight = torch.einsum("blkd,blkr->kdr", ddelta, low).contiguous()
    return [dx.to(x.dtype), drows, ddt_weight, dbias.view_as(dt_bias), dA, dD]


@traced("grid_scan_gpu_backward")
def _grid_scan_gpu_backward_fake(
    dy: Tensor,
    x: Tensor,
    rows: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    kept: Tensor,
    limb: int,
    published: bool,
) -> list[Tensor]:
    return [tensor.new_empty(tensor.shape) for tensor in (x, rows, dt_weight, dt_bias, A, D)]


_run = register_scan("scan_gpu")
_run_grid = register_grid_scan("grid_scan_gpu", projects=False)
