"""The scan: the oracle by hand and by gradcheck, every other implementation against the oracle, by name."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import kernels
from kernels import reference

# Largest difference from the float64 oracle, relative to the largest value of the tensor compared.
# float64: rounding of sums of a few thousand terms. float32: eps 6e-8 times the conditioning of long sums.
# bfloat16: inputs and outputs are rounded to 8 bits (eps 4e-3), the recurrence itself runs in float32.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 1e-2}

# gpu has tests of its own
OTHERS = [name for name in ("cpu", "chunked") if kernels.unusable(name) is None]
NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias")


def arguments(length, batch=2, channels=6, groups=2, states=4, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()

    A = (-torch.rand(channels, states, generator=draw, dtype=torch.float64) * 4).to(dtype).requires_grad_()
    u, delta = normal(batch, channels, length), normal(batch, channels, length)
    B, C = normal(batch, groups, states, length), normal(batch, groups, states, length)
    return [u, delta, A, B, C, normal(channels), normal(channels)]


def outputs_and_gradients(implementation, inputs):
    y = kernels.selective_scan(*inputs, implementation=implementation)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
    gradients = torch.autograd.grad((y.double() * weights).sum(), inputs)
    return dict(zip(["y", *(f"d{name}" for name in NAMES)], [y, *gradients], strict=True))


def assert_as_oracle(implementation, inputs, tolerance):
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = outputs_and_gradients("reference", exact)
    for name, value in outputs_and_gradients(implementation, inputs).items():
        largest = max(expected[name].abs().max().item(), 1e-30)
        difference = (value.double() - expected[name]).abs().max().item() / largest
        assert difference < tolerance, f"{name} differs by {difference:.1e} of its largest value"


def test_three_steps_by_hand():
    softplus = math.log(2)  # of delta = 0
    a = math.exp(-softplus)  # = 1/2 with A = -1
    h1 = softplus * 1 * 2
    h2 = a * h1 + softplus * 3 * 1
    h3 = a * h2 + softplus * -1 * 4
    expected = [h1 * 1 + 10 * 1, h2 * -1 + 10 * 3, h3 * 5 + 10 * -1]
    row = lambda *values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    y = reference.selective_scan(
        u=row(1, 3, -1)[None, None], delta=row(0.5, 0.5, 0.5)[None, None], A=row(-1)[:, None],
        B=row(2, 1, 4)[None, None, None], C=row(1, -1, 5)[None, None, None], D=row(10), delta_bias=row(-0.5),
    )  # fmt: skip
    torch.testing.assert_close(y.flatten(), row(*expected), rtol=0, atol=1e-12)


def test_oracle_passes_gradcheck():
    assert torch.autograd.gradcheck(reference.selective_scan, arguments(5, batch=1, channels=2, states=3))


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 63, 64, 65, 243, 1000])
def test_as_oracle_float32(implementation, length):
    assert_as_oracle(implementation, arguments(length, dtype=torch.float32), TOLERANCE[torch.float32])


@pytest.mark.parametrize("length", [1, 17, 64, 65])
def test_chunked_as_oracle_float64(length):
    assert_as_oracle("chunked", arguments(length), TOLERANCE[torch.float64])


@pytest.mark.parametrize("implementation", OTHERS)
def test_as_oracle_bfloat16(implementation):
    assert_as_oracle(implementation, arguments(65, dtype=torch.bfloat16), TOLERANCE[torch.bfloat16])


@pytest.mark.parametrize("implementation", OTHERS)
def test_as_oracle_at_the_length_of_a_243_frame_clip(implementation):
    inputs = arguments(243 * 17, batch=1, channels=4, groups=1, states=2, dtype=torch.float32)
    assert_as_oracle(implementation, inputs, TOLERANCE[torch.float32])


@pytest.mark.parametrize("implementation", OTHERS)
def test_non_contiguous_inputs(implementation):
    inputs = arguments(33, dtype=torch.float32)
    strided = [t.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for t in inputs]
    assert not strided[0].is_contiguous()
    assert_as_oracle(implementation, strided, TOLERANCE[torch.float32])


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("case", ["tiny delta", "large delta", "A near zero", "A very negative"])
def test_extremes(implementation, case):
    inputs = arguments(100, dtype=torch.float32)
    with torch.no_grad():
        if case == "tiny delta":
            inputs[6] -= 20
        elif case == "large delta":
            inputs[6] += 30
        elif case == "A near zero":
            inputs[2] *= 1e-6
        else:
            inputs[2] *= 1e4
    assert_as_oracle(implementation, inputs, TOLERANCE[torch.float32])


@pytest.mark.parametrize("implementation", OTHERS)
def test_optional_inputs(implementation):
    u, delta, A, B, C, _, _ = (tensor.detach() for tensor in arguments(20, dtype=torch.float32))
    expected = kernels.selective_scan(u, delta, A, B, C, implementation="reference")
    torch.testing.assert_close(kernels.selective_scan(u, delta, A, B, C, implementation=implementation), expected)


def test_forced_implementation_is_never_replaced(monkeypatch):
    with pytest.raises(kernels.ScanUnavailable, match="unknown scan implementation 'nonsense'"):
        kernels.choose("cpu", "nonsense")
    monkeypatch.setenv("LIFTBENCH_SCAN", "reference")
    assert kernels.choose("cpu") == "reference"
    monkeypatch.setattr(reference, "unusable", lambda device: "it is switched off")
    with pytest.raises(kernels.ScanUnavailable, match="'reference' cannot run here: it is switched off"):
        kernels.choose("cpu")


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, lambda t: t[..., 1:], r"delta must have shape \(2, 6, 8\)"),
        (2, lambda t: t[1:], r"A must have shape \(6, 4\)"),
        (3, lambda t: t[:, :1].expand(-1, 4, -1, -1), "4 groups, which do not divide the 6 channels"),
        (4, lambda t: t[:, :, 1:], r"C must have shape \(2, 2, 4, 8\)"),
        (5, lambda t: t.long(), "D must be a real floating-point tensor"),
        (0, lambda t: t[0], r"u must be \(B, channels, L\)"),
    ],
)
def test_wrong_arguments(position, change, message):
    inputs = [tensor.detach() for tensor in arguments(8)]
    inputs[position] = change(inputs[position])
    with pytest.raises(ValueError, match=message):
        kernels.selective_scan(*inputs)


def test_orders_by_hand():
    """A grid of 2 frames and 3 joints: cells 0 1 2 / 3 4 5."""
    orders, limb = kernels.scan_orders("posemamba", 2, 3)
    assert orders.tolist() == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]
    assert limb == (True, False, True, False)
    assert kernels.scan_orders("global", 2, 3)[1] == (False,) * 4
    first_two = {
        "fs_ft": [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5]],
        "fs_bt": [[0, 1, 2, 3, 4, 5], [3, 0, 4, 1, 5, 2]],
        "bs_ft": [[2, 1, 0, 5, 4, 3], [0, 3, 1, 4, 2, 5]],
        "bs_bt": [[2, 1, 0, 5, 4, 3], [3, 0, 4, 1, 5, 2]],
    }
    for pattern, expected in first_two.items():
        orders, limb = kernels.scan_orders(pattern, 2, 3)
        assert orders.tolist() == expected * 2, "the second pair is a copy of the first"
        assert limb == (False,) * 4
    with pytest.raises(ValueError, match="unknown scan pattern"):
        kernels.scan_orders("zigzag", 2, 3)


def test_grid_scan_of_one_direction_is_a_selective_scan():
    """One direction, one state, weights that pass the channels through: the grid scan must be the plain scan."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 17, 1, generator=draw, dtype=torch.float64)
    weight = torch.tensor([[[0.3], [0.7], [-1.1]]], dtype=torch.float64)  # delta, B, C from the one channel
    ones = torch.ones(1, 1, 1, dtype=torch.float64)
    A, D, bias = -ones[0] * 0.5, ones[0, 0] * 2, ones[0] * 0.1
    order = torch.randperm(4 * 17, generator=draw)[None]
    y = kernels.grid_scan(x, weight, ones, bias, A, D, order, (True,))
    summed = (x + x[:, :, list(kernels.LIMB_PARENTS)]).flatten(1)[:, None][..., order[0]]
    expected = reference.selective_scan(
        summed, 0.3 * summed, A, 0.7 * summed[:, None], -1.1 * summed[:, None], D, bias[0]
    )
    torch.testing.assert_close(y.flatten(1)[:, order[0]], expected[:, 0])


def test_scan_macs_follow_the_published_rule():
    assert kernels.scan_macs(batch=2, channels=3, length=5, states=7) == 9 * 2 * 5 * 3 * 7 + 2 * 3 * 5
    assert kernels.scan_macs(batch=1, channels=1, length=1, states=1, skip=False) == 9


@pytest.mark.skipif(kernels.unusable("cpu") is not None, reason="the C++ scan was not built")
def test_fused_operators_count_by_the_rule_in_flop_counter_mode():
    batch, frames, channels, rank, states = 2, 3, 4, 1, 5
    length = frames * 17
    x = torch.randn(batch, frames, 17, channels, requires_grad=True)
    weights = torch.randn(4, rank + 2 * states, channels), torch.randn(4, channels, rank), torch.randn(4, channels)
    orders, limb = kernels.scan_orders("posemamba", frames)
    with FlopCounterMode(display=False) as counter:
        y = kernels.grid_scan(x, *weights, -torch.rand(4 * channels, states), torch.randn(4 * channels), orders, limb)
    products = batch * length * 4 * channels * (rank + 2 * states + rank)
    forward = 2 * (products + kernels.scan_macs(batch, 4 * channels, length, states))
    assert counter.get_total_flops() == forward
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() == 2 * forward

    streams = [arguments(9, dtype=torch.float32), arguments(9, dtype=torch.float32, seed=1)]
    with FlopCounterMode(display=False) as counter:
        kernels.bidirectional_scan(*streams)
    assert counter.get_total_flops() == 2 * 2 * kernels.scan_macs(batch=2, channels=6, length=9, states=4)


@pytest.mark.parametrize("implementation", OTHERS)
def test_bidirectional_scan_is_two_scans(implementation):
    streams = [arguments(33, dtype=torch.float32), arguments(33, dtype=torch.float32, seed=1)]
    y = kernels.bidirectional_scan(*streams, implementation=implementation)
    one, other = ([tensor.detach().double() for tensor in stream] for stream in streams)
    u, delta, A, B, C, D, bias = other
    flipped = reference.selective_scan(u.flip(-1), delta.flip(-1), A, B.flip(-1), C.flip(-1), D, bias).flip(-1)
    expected = reference.selective_scan(*one) + flipped
    assert (y - expected).abs().max() < TOLERANCE[torch.float32] * expected.abs().max()
