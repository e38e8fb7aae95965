"""The Triton programs of the scan; kernels/gpu/__init__.py launches them and documents their arguments.

A sequence is one direction (or group) k of one clip b. A program is one warp; it owns Q * LANES channels of a sequence
over one chunk of its steps, and its tile (Q, N, LANES) is the state of these channels: LANES channels and 32 / LANES
parts of the states lie across the lanes of the warp, everything else in registers, and nothing waits for another warp.
LANES balances the two sums that cross lanes: over states for y and the gradients of u and delta, over channels for the
gradients of B and C. Triton chooses the layout and would vectorise over channels. To prevent that, the distance of two
channels in memory is the argument `lane`, which is always 1 but never specialised.

ORDER says how step t finds the cell that it reads and writes: "natural" (cell t), "reversed", or "table" (order[k, t]).
LIMB is a bit mask of the directions with the limb term; neighbours[cell] is the cell that the term adds. Inputs are
contiguous over channels, or over the columns of rows (B, C, low-rank delta); their other strides are `<name>_b`,
`<name>_k` and `<name>_t`: clip, direction, cell. Outputs are (clips, cells, directions, channels or N); A is
(directions, N, channels), weight (directions, R, channels).
"""

import os

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
BACKWARD_CHANNELS = 16  # Q * LANES of `backward`; every such block writes its own share of dB and dC


def _tuned(*configurations, **options):
    """Tune a program per shape. The interpreter has no clock and takes the first configuration."""
    shape = ["channels", "length", "chunk", "N", "RANK"]
    choices = [triton.Config(c, num_warps=1) for c in configurations]
    return triton.autotune(choices[:1] if os.environ.get("TRITON_INTERPRET") == "1" else choices, shape, **options)


# Few LANES make many programs; many LANES share the loads of B and C among more states and channels.
_STEP = (
    {"Q": 1, "LANES": 8, "UNROLL": 4},
    {"Q": 1, "LANES": 16, "UNROLL": 4},
    {"Q": 2, "LANES": 16, "UNROLL": 2},
    {"Q": 1, "LANES": 32, "UNROLL": 2},
)
# Registers hold the states of one of the PARTS of an interval, so (PARTS - 1) / 2 of all steps are computed twice.
_TILE = (
    {"PARTS": 4, "Q": 1, "LANES": 16},
    {"PARTS": 4, "Q": 2, "LANES": 8},
)
_jit = triton.jit(do_not_specialize=["lane"])


@triton.jit
def _softplus(x):
    """max(x, 0) + log(1 + z), z = exp(-|x|). A minimax polynomial gives log(1 + z) / z; relative error 2.1e-7."""
    z = tl.exp2(tl.abs(x) * -LOG2_E)
    p = 0.00523268804 * z - 0.0295052137
    p = p * z + 0.0782259107
    p = p * z - 0.136632428
    p = p * z + 0.191060051
    p = p * z - 0.24842982
    p = p * z + 0.333190978
    p = p * z - 0.499994934
    p = p * z + 0.99999994
    return tl.maximum(x, 0) + p * z


@triton.jit
def _softplus_slope(step):
    """d softplus / dx = 1 - exp(-softplus); below 0.1, where the difference would cancel, five terms of its series."""
    series = step * (1 - step * (1 / 2 - step * (1 / 6 - step * (1 / 24 - step * (1 / 120)))))
    return tl.where(step < 0.1, series, 1 - tl.exp2(step * -LOG2_E))


@triton.jit
def _channels(channels, lane, Q: tl.constexpr, LANES: tl.constexpr):
    """Offsets (Q, LANES) of a program's channels, and which of them exist."""
    first = tl.program_id(1) * Q * LANES
    channel = first + tl.arange(0, Q)[:, None] * LANES + tl.arange(0, LANES)[None, :]
    return channel * lane, channel < channels


@triton.jit
def _tile(channel, mask, n, channels, N: tl.constexpr):
    """Offsets (Q, N, LANES) into an array (N, channels), and which of them exist."""
    return channel[:, None, :] + n[None, :, None] * channels, mask[:, None, :] & (n < N)[None, :, None]


@triton.jit
def _cell(order, k, t, length, ORDER: tl.constexpr):
    if ORDER == "table":
        return tl.load(order + k * length + t)
    elif ORDER == "reversed":
        return length - 1 - t
    else:
        return t


@triton.jit
def _row(rows, cell, rows_t, n, mask):
    """A row as (1, N, 1), float32."""
    return tl.load(rows + cell * rows_t + n, mask=mask, other=0).to(tl.float32)[None, :, None]


@triton.jit
def _input(u, u_t, neighbours, limb, cell, channel, mask, LIMB: tl.constexpr):
    """u of a cell, (Q, LANES), float32, plus u of the cell's neighbour where the mask `limb` is set.

    It uses a mask because a branch would keep the loads of several steps from overlapping.
    """
    value = tl.load(u + cell * u_t + channel, mask=mask, other=0).to(tl.float32)
    if LIMB:
        value += tl.load(u + tl.load(neighbours + cell) * u_t + channel, mask=limb, other=0).to(tl.float32)
    return value


@triton.jit
def _expansion(weight, k, channel, mask, channels, RANK: tl.constexpr):
    """weight of direction k as (Q, R, LANES), R a power of 2."""
    r = tl.arange(0, triton.next_power_of_2(RANK))
    offset, inside = _tile(channel, mask, r, channels, RANK)
    return tl.load(weight + k * RANK * channels + offset, mask=inside, other=0)


@triton.jit
def _raw_delta(delta, delta_t, expansion, bias, cell, channel, mask, RANK: tl.constexpr):
    """Return the argument of softplus, (Q, LANES) float32. With RANK, delta holds rows to expand to channels."""
    if RANK:
        r = tl.arange(0, triton.next_power_of_2(RANK))
        return tl.sum(expansion * _row(delta, cell, delta_t, r, r < RANK), axis=1) + bias
    else:
        return tl.load(delta + cell * delta_t + channel, mask=mask, other=0).to(tl.float32) + bias


@_tuned(*_STEP)
@_jit
def local(
    u, delta, weight, bias, A, rows, order, neighbours, ends, sums,
    directions, channels, length, chunk, lane,
    u_b, u_k, u_t, delta_b, delta_k, delta_t, rows_b, rows_k, rows_t,
    BACK: tl.constexpr, ORDER: tl.constexpr, LIMB: tl.constexpr, RANK: tl.constexpr, N: tl.constexpr,
    Q: tl.constexpr, LANES: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Scan a chunk from zero: `ends` gets its last state, (sequences, chunks, N, channels), `sums` its sum of delta.

    BACK runs the adjoint recurrence from the last step of the chunk; u then holds the gradient of y, and rows hold C.
    """
    sequence, index = tl.program_id(0).to(tl.int64), tl.program_id(2)
    b, k = sequence // directions, sequence % directions
    u += b * u_b + k * u_k
    delta += b * delta_b + k * delta_k
    rows += b * rows_b + k * rows_k
    channel, mask = _channels(channels, lane, Q, LANES)
    n = tl.arange(0, triton.next_power_of_2(N))
    tile, tile_mask = _tile(channel, mask, n, channels, N)
    a = tl.load(A + k * N * channels + tile, mask=tile_mask, other=0) * LOG2_E
    expansion = _expansion(weight, k, channel, mask, channels, RANK) if RANK else 0
    bias_k = tl.load(bias + k * channels + channel, mask=mask, other=0)
    limb = channel < tl.where((LIMB >> k) % 2 == 1, channels, 0)
    h = tl.zeros(a.shape, tl.float32)
    total = tl.zeros(channel.shape, tl.float32)
    first, last = index * chunk, tl.minimum(index * chunk + chunk, length)
    for i in tl.range(first, last, loop_unroll_factor=UNROLL):
        t = first + last - 1 - i if BACK else i
        cell = _cell(order, k, t, length, ORDER)
        u_now = _input(u, u_t, neighbours, limb, cell, channel, mask, LIMB)
        step = _softplus(_raw_delta(delta, delta_t, expansion, bias_k, cell, channel, mask, RANK))
        row = _row(rows, cell, rows_t, n, n < N)
        decay = tl.exp2(a * step[:, None, :])
        if BACK:
            h = decay * (h + u_now[:, None, :] * row)
        else:
            h = decay * h + (step * u_now)[:, None, :] * row
        total += step
    slot = sequence * tl.num_programs(2) + index
    tl.store(ends + slot * N * channels + tile, h, mask=tile_mask)
    tl.store(sums + slot * channels + channel, total, mask=mask)


@triton.jit
def _affine(a1, b1, a2, b2):
    return a2 * a1, a2 * b1 + b2


@_jit
def carry(
    ends, sums, A, starts, directions, channels, chunks, lane,
    BACK: tl.constexpr, N: tl.constexpr, CHUNKS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Scan over the chunks: from the last states in `ends`, write the state that enters every chunk to `starts`."""
    sequence, n = tl.program_id(0).to(tl.int64), tl.program_id(2)
    channel = tl.program_id(1) * LANES + tl.arange(0, LANES)
    mask = channel < channels
    channel *= lane
    a = tl.load(A + (sequence % directions * N + n) * channels + channel, mask=mask, other=0) * LOG2_E
    row = tl.arange(0, CHUNKS)[:, None]
    h = tl.zeros((LANES,), tl.float32)
    for first in range(0, chunks, CHUNKS):
        position = first + row
        index = chunks - 1 - position if BACK else position
        slot = sequence * chunks + index
        inside = (position < chunks) & mask[None, :]
        total = tl.load(sums + slot * channels + channel[None, :], mask=inside, other=0)
        end = tl.load(ends + (slot * N + n) * channels + channel[None, :], mask=inside, other=0)
        decay = tl.exp2(a[None, :] * total)
        end += tl.where(row == 0, decay * h[None, :], 0)
        _, end = tl.associative_scan((decay, end), 0, _affine)
        following = slot - 1 if BACK else slot + 1
        inside = (position + 1 < chunks) & mask[None, :]
        tl.store(starts + (following * N + n) * channels + channel[None, :], end, mask=inside)
        h = tl.sum(tl.where(row == CHUNKS - 1, end, 0), axis=0)
    edge = sequence * chunks + (chunks - 1 if BACK else 0)
    tl.store(starts + (edge * N + n) * channels + channel, tl.zeros((LANES,), tl.float32), mask=mask)


@_tuned(*_STEP, restore_value=["y"])
@_jit
def forward(
    u, delta, weight, bias, A, B, C, D, order, neighbours, starts, y, kept,
    directions, channels, length, chunk, lane,
    u_b, u_k, u_t, delta_b, delta_k, delta_t, B_b, B_k, B_t, C_b, C_k, C_t,
    ORDER: tl.constexpr, LIMB: tl.constexpr, RANK: tl.constexpr, CHUNKED: tl.constexpr, KEEP: tl.constexpr,
    ADD: tl.constexpr, INTERVAL: tl.constexpr, N: tl.constexpr,
    Q: tl.constexpr, LANES: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Compute y of a chunk. ADD adds it to y; KEEP stores the state before every interval for the backward pass."""
    sequence, index = tl.program_id(0).to(tl.int64), tl.program_id(2)
    b, k = sequence // directions, sequence % directions
    u += b * u_b + k * u_k
    delta += b * delta_b + k * delta_k
    B += b * B_b + k * B_k
    C += b * C_b + k * C_k
    y += (b * length * directions + k) * channels
    channel, mask = _channels(channels, lane, Q, LANES)
    n = tl.arange(0, triton.next_power_of_2(N))
    tile, tile_mask = _tile(channel, mask, n, channels, N)
    a = tl.load(A + k * N * channels + tile, mask=tile_mask, other=0) * LOG2_E
    expansion = _expansion(weight, k, channel, mask, channels, RANK) if RANK else 0
    bias_k = tl.load(bias + k * channels + channel, mask=mask, other=0)
    skip = tl.load(D + k * channels + channel, mask=mask, other=0)
    limb = channel < tl.where((LIMB >> k) % 2 == 1, channels, 0)
    if CHUNKED:
        slot = sequence * tl.num_programs(2) + index
        h = tl.load(starts + slot * N * channels + tile, mask=tile_mask, other=0)
    else:
        h = tl.zeros(a.shape, tl.float32)
    for begin in range(index * chunk, tl.minimum(index * chunk + chunk, length), INTERVAL):
        if KEEP:
            slot = sequence * tl.cdiv(length, INTERVAL) + begin // INTERVAL
            tl.store(kept + slot * N * channels + tile, h, mask=tile_mask)
        end = tl.minimum(begin + INTERVAL, length)
        for first in range(begin, end, UNROLL):
            outs = ()  # stored together, so that the loads of all these steps overlap
            for i in tl.static_range(UNROLL):
                t = tl.minimum(first + i, length - 1)
                inside = first + i < end
                cell = _cell(order, k, t, length, ORDER)
                u_now = _input(u, u_t, neighbours, limb, cell, channel, mask, LIMB)
                step = _softplus(_raw_delta(delta, delta_t, expansion, bias_k, cell, channel, mask, RANK))
                step = tl.where(inside, step, 0)
                row = _row(B, cell, B_t, n, n < N)
                h = tl.exp2(a * step[:, None, :]) * h + (step * u_now)[:, None, :] * row
                out = tl.sum(h * _row(C, cell, C_t, n, n < N), axis=1) + skip * u_now
                if ADD:
                    out += tl.load(y + cell * directions * channels + channel, mask=mask, other=0)
                outs = outs + (out,)
            for i in tl.static_range(UNROLL):
                cell = _cell(order, k, tl.minimum(first + i, length - 1), length, ORDER)
                live = channel < tl.where(first + i < end, channels, 0)
                tl.store(y + cell * directions * channels + channel, outs[i], mask=live)


@triton.jit
def _over_channels(tile):
    return tl.sum(tl.sum(tile, axis=0, keep_dims=True), axis=2, keep_dims=True)


@_tuned(*_TILE)
@_jit
def backward(
    u, delta, weight, bias, A, B, C, D, order, neighbours, dy, kept, starts,
    du, ddelta, dB, dC, dA, dD, dbias,
    directions, channels, length, chunk, lane,
    u_b, u_k, u_t, delta_b, delta_k, delta_t, B_b, B_k, B_t, C_b, C_k, C_t, dy_b, dy_k, dy_t,
    ORDER: tl.constexpr, LIMB: tl.constexpr, RANK: tl.constexpr, CHUNKED: tl.constexpr, INTERVAL: tl.constexpr,
    N: tl.constexpr,
    PARTS: tl.constexpr,
    Q: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Compute gradients of a chunk: du and ddelta (before softplus) per sequence and cell, shares of all others.

    Runs from the last interval to the first. It recomputes the states of one part of an interval from the kept state
    and holds them in registers while the adjoint g = dL/dh runs back over them.
    """
    sequence, index = tl.program_id(0).to(tl.int64), tl.program_id(2)
    b, k = sequence // directions, sequence % directions
    u += b * u_b + k * u_k
    delta += b * delta_b + k * delta_k
    B += b * B_b + k * B_k
    C += b * C_b + k * C_k
    dy += b * dy_b + k * dy_k
    du += (b * length * directions + k) * channels
    ddelta += (b * length * directions + k) * channels
    share = ((tl.program_id(1) * (tl.num_programs(0) // directions) + b) * length * directions + k) * N
    dB += share
    dC += share
    channel, mask = _channels(channels, lane, Q, LANES)
    n = tl.arange(0, triton.next_power_of_2(N))
    tile, tile_mask = _tile(channel, mask, n, channels, N)
    a = tl.load(A + k * N * channels + tile, mask=tile_mask, other=0) * LOG2_E
    expansion = _expansion(weight, k, channel, mask, channels, RANK) if RANK else 0
    bias_k = tl.load(bias + k * channels + channel, mask=mask, other=0)
    skip = tl.load(D + k * channels + channel, mask=mask, other=0)
    limb = channel < tl.where((LIMB >> k) % 2 == 1, channels, 0)
    slot = sequence * tl.num_programs(2) + index
    if CHUNKED:
        g = tl.load(starts + slot * N * channels + tile, mask=tile_mask, other=0)
    else:
        g = tl.zeros(a.shape, tl.float32)
    sum_A = tl.zeros(a.shape, tl.float32)
    sum_D = tl.zeros(channel.shape, tl.float32)
    sum_bias = tl.zeros(channel.shape, tl.float32)
    STEPS: tl.constexpr = (INTERVAL + PARTS - 1) // PARTS
    intervals = tl.cdiv(tl.minimum(chunk, length - index * chunk), INTERVAL)
    for i in range(intervals * PARTS):
        begin = index * chunk + (intervals - 1 - i // PARTS) * INTERVAL
        end = tl.minimum(begin + INTERVAL, length)
        slot_kept = sequence * tl.cdiv(length, INTERVAL) + begin // INTERVAL
        h = tl.load(kept + slot_kept * N * channels + tile, mask=tile_mask, other=0)
        first = begin + (PARTS - 1 - i % PARTS) * STEPS
        for t in range(begin, tl.minimum(first, end)):
            cell = _cell(order, k, t, length, ORDER)
            u_now = _input(u, u_t, neighbours, limb, cell, channel, mask, LIMB)
            step = _softplus(_raw_delta(delta, delta_t, expansion, bias_k, cell, channel, mask, RANK))
            row = _row(B, cell, B_t, n, n < N)
            h = tl.exp2(a * step[:, None, :]) * h + (step * u_now)[:, None, :] * row
        states, inputs, steps = (h,), (), ()
        for s in tl.static_range(STEPS):
            cell = _cell(order, k, tl.minimum(first + s, length - 1), length, ORDER)
            u_now = _input(u, u_t, neighbours, limb, cell, channel, mask, LIMB)
            step = _softplus(_raw_delta(delta, delta_t, expansion, bias_k, cell, channel, mask, RANK))
            step = tl.where(first + s < end, step, 0)
            row = _row(B, cell, B_t, n, n < N)
            h = tl.exp2(a * step[:, None, :]) * h + (step * u_now)[:, None, :] * row
            states, inputs, steps = states + (h,), inputs + (u_now,), steps + (step,)
        for s in tl.static_range(STEPS - 1, -1, -1):
            inside = first + s < end
            live, live_n = channel < tl.where(inside, channels, 0), n < tl.where(inside, N, 0)
            cell = _cell(order, k, tl.minimum(first + s, length - 1), length, ORDER)
            u_now, step = inputs[s], steps[s]
            dy_now = tl.load(dy + cell * dy_t + channel, mask=live, other=0).to(tl.float32)
            g += dy_now[:, None, :] * _row(C, cell, C_t, n, n < N)
            row, row_mask = cell * directions * N + n[None, :, None], live_n[None, :, None]
            tl.store(dB + row, _over_channels(g * (step * u_now)[:, None, :]), mask=row_mask)
            tl.store(dC + row, _over_channels(states[s + 1] * dy_now[:, None, :]), mask=row_mask)
            d_product = tl.sum(g * _row(B, cell, B_t, n, n < N), axis=1)  # of delta u
            g *= tl.exp2(a * step[:, None, :])
            d_exponent = g * states[s]  # of delta A
            sum_A += d_exponent * step[:, None, :]
            d_step = d_product * u_now + tl.sum(d_exponent * a, axis=1) / LOG2_E
            d_raw = d_step * _softplus_slope(step)
            sum_bias += d_raw
            sum_D += dy_now * u_now
            tl.store(du + cell * directions * channels + channel, d_product * step + skip * dy_now, mask=live)
            tl.store(ddelta + cell * directions * channels + channel, d_raw, mask=live)
    tl.store(dA + slot * N * channels + tile, sum_A, mask=tile_mask)
    tl.store(dD + slot * channels + channel, sum_D, mask=mask)
    tl.store(dbias + slot * channels + channel, sum_bias, mask=mask)
