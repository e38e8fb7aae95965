"""The portable scan: PyTorch only, any device, exact gradients; about 2 sqrt(L) vectorised steps instead of L.

The sequence is cut into n chunks of c steps that advance together. A first sweep starts every chunk from zero and gives
its own contribution. A short loop over the chunks carries the state across. A second sweep starts from the carried
states and reads the output. Decays multiply and never divide, so nothing overflows. Only the backward pass stores the
states of all L steps. The backward recurrence is the same scan, run from the end.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from liftbench.kernels import grid
from liftbench.kernels.operators import once


def unusable(device_type: str) -> None:
    """Return None: this implementation runs on every device type."""
    return None


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, delta_bias: Tensor | None = None
) -> Tensor:
    """Do what `kernels.reference.selective_scan` does."""
    dtype_in = u.dtype
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    with grid.without_autocast(u.device.type):
        u, delta, A, B, C = (tensor.to(dtype) for tensor in (u, delta, A, B, C))
        if delta_bias is not None:
            delta = delta + delta_bias.to(dtype)[:, None]
        delta = F.softplus(delta)
        length, groups = u.shape[-1], B.shape[1]
        steps = max(1, math.isqrt(length))
        x = _cut(delta * u, groups, steps)
        A_grouped = A.unflatten(0, (groups, -1))[..., None]  # (G, channels/G, N, 1)
        y = _Recurrence.apply(x, _cut(delta, groups, steps), A_grouped, _cut_states(B, steps), _cut_states(C, steps))
        y = y.permute(1, 2, 3, 4, 0).reshape(*u.shape[:2], -1)[..., :length]
        if D is not None:
            y = y + D.to(dtype)[:, None] * u
    return y.to(dtype_in)


def grid_scan(*arguments) -> Tensor:
    """Do what `kernels.grid_scan` does."""
    return grid.grid_scan(selective_scan, *arguments)


def bidirectional_scan(forward_stream: Sequence[Tensor | None], reversed_stream: Sequence[Tensor | None]) -> Tensor:
    """Do what `kernels.bidirectional_scan` does."""
    return grid.bidirectional_scan(selective_scan, forward_stream, reversed_stream)


def _cut(x: Tensor, groups: int, steps: int) -> Tensor:
    """(B, channels, L) -> (c, B, G, channels/G, n); zeros after the end leave the state unchanged."""
    x = F.pad(x, (0, -x.shape[-1] % steps))
    return x.unflatten(1, (groups, -1)).unflatten(-1, (-1, steps)).permute(4, 0, 1, 2, 3).contiguous()


def _cut_states(x: Tensor, steps: int) -> Tensor:
    """(B, G, N, L) -> (c, B, G, N, n)."""
    x = F.pad(x, (0, -x.shape[-1] % steps))
    return x.unflatten(-1, (-1, steps)).permute(4, 0, 1, 2, 3).contiguous()


class _Recurrence(torch.autograd.Function):
    """y_t = C_t . h_t with h_t = exp(delta_t A) h_(t-1) + x_t B_t, over chunks.

    x, delta, y: (c, B, G, channels/G, n); A: (G, channels/G, N, 1); B, C: (c, B, G, N, n); states (B, G, ch/G, N, n).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        starts = _carry(_sweep(x, delta, A, B)[0], delta, A)
        y = torch.empty_like(x)
        h = starts
        for t in range(x.shape[0]):
            h = _step(h, x[t], delta[t], A, B[t])
            torch.sum(h * C[t, :, :, None], dim=-2, out=y[t])
        ctx.save_for_backward(x, delta, A, B, C, starts)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        saved = ctx.saved_tensors
        with torch.no_grad():
            gradients = _gradients(dy, *saved)
        return once("the scan 'chunked'", (dy, *saved), gradients)


def _gradients(dy: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, starts: Tensor) -> tuple:
    steps = x.shape[0]
    states = _sweep(x, delta, A, B, starts)[1]  # h after each step

    # g_t = dy_t C_t + exp(delta_(t+1) A) g_(t+1): the same scan from the end, with the decay one step late
    late = torch.cat([delta[1:], F.pad(delta[:1], (0, 1))[..., 1:]])
    back_delta, back_dy, back_C = late.flip(0, -1), dy.flip(0, -1), C.flip(0, -1)
    g = _carry(_sweep(back_dy, back_delta, A, back_C)[0], back_delta, A)

    dx, ddelta, dB, dC = (torch.empty_like(tensor) for tensor in (x, delta, B, C))
    dA = torch.zeros_like(A)
    for t in reversed(range(steps)):
        g = _step(g, back_dy[steps - 1 - t], back_delta[steps - 1 - t], A, back_C[steps - 1 - t])
        g_t = g.flip(-1)
        torch.sum(g_t * B[t, :, :, None], dim=-2, out=dx[t])
        torch.sum(g_t * x[t, :, :, :, None], dim=2, out=dB[t])
        torch.sum(states[t] * dy[t, :, :, :, None], dim=2, out=dC[t])
        before = states[t - 1] if t else starts
        decay = torch.exp(delta[t, :, :, :, None] * A).mul_(before).mul_(g_t)
        torch.sum(decay * A, dim=-2, out=ddelta[t])
        dA += decay.mul_(delta[t, :, :, :, None]).sum((0, -1))[..., None]
    return dx, ddelta, dA, dB, dC


def _step(h: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> Tensor:
    return torch.addcmul(x[:, :, :, None] * B[:, :, None], torch.exp(delta[:, :, :, None] * A), h)


def _sweep(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Advance all chunks from the given states, or from zero: (states at the end, states after every step)."""
    keep = h is not None
    if h is None:
        h = x.new_zeros(*x.shape[1:4], A.shape[-2], x.shape[-1])
    states = []
    for t in range(x.shape[0]):
        h = _step(h, x[t], delta[t], A, B[t])
        if keep:
            states.append(h)
    return h, states


def _carry(ends: Tensor, delta: Tensor, A: Tensor) -> Tensor:
    """Return the state at the start of every chunk, from each chunk's own end state and total decay."""
    decay = torch.exp(delta.sum(0)[:, :, :, None] * A)
    starts = torch.zeros_like(ends)
    for k in range(1, ends.shape[-1]):
        starts[..., k] = decay[..., k - 1] * starts[..., k - 1] + ends[..., k - 1]
    return starts
