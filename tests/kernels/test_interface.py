"""The scan: the oracle by hand and by gradcheck, every other implementation against the oracle, by name."""

import contextlib
import functools
import math
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from liftbench import create_model, kernels, list_models
from liftbench.baselines import registry
from liftbench.baselines.training.gradient_checkpointing import recompute_blocks
from liftbench.kernels import reference

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


def outputs_and_gradients(scan, inputs, names):
    y = scan(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
    gradients = torch.autograd.grad((y.double() * weights).sum(), inputs)
    return dict(zip(["y", *(f"d{name}" for name in names)], [y, *gradients], strict=True))


def assert_as_oracle(implementation, inputs, tolerance, scan=kernels.selective_scan, names=NAMES):
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    with kernels.using("reference"):
        expected = outputs_and_gradients(scan, exact, names)
    with kernels.using(implementation):
        own = outputs_and_gradients(scan, inputs, names)
    for name, value in own.items():
        largest = max(expected[name].abs().max().item(), 1e-30)
        difference = (value.double() - expected[name]).abs().max().item() / largest
        assert difference < tolerance, f"{name} differs by {difference:.1e} of its largest value"


GRID_NAMES = ("x", "x_proj_weight", "dt_weight", "dt_bias", "A", "D")


def grid_arguments(frames, channels=3, directions=4, rank=2, states=2, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()

    A = -torch.rand(directions * channels, states, generator=draw, dtype=torch.float64)
    return [
        normal(2, frames, 17, channels), normal(directions, rank + 2 * states, channels),
        normal(directions, channels, rank), normal(directions, channels), A.to(dtype).requires_grad_(),
        normal(directions * channels),
    ]  # fmt: skip


def two_streams(scan):
    """A scan of two streams as a function of their 14 tensors in a row."""
    return lambda *inputs, **options: scan(inputs[:7], inputs[7:], **options)


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


def test_fused_oracles_pass_gradcheck():
    orders, limb = kernels.scan_orders("posemamba", 1)
    scan = functools.partial(kernels.grid_scan, orders=orders[:2], limb=limb[:2])
    with kernels.using("reference"):
        assert torch.autograd.gradcheck(scan, grid_arguments(1, channels=1, directions=2, rank=1, states=1))
    streams = [arguments(3, batch=1, channels=2, states=2, seed=seed) for seed in (0, 1)]
    assert torch.autograd.gradcheck(two_streams(reference.bidirectional_scan), [*streams[0], *streams[1]])


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 63, 64, 65, 243, 1000])
def test_as_oracle_float32(implementation, length):
    assert_as_oracle(implementation, arguments(length, dtype=torch.float32), TOLERANCE[torch.float32])


@pytest.mark.parametrize("length", [1, 17, 64, 65])
def test_chunked_as_oracle_float64(length):
    assert_as_oracle("chunked", arguments(length), TOLERANCE[torch.float64])


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("length", [1, 17, 65, 243])
def test_as_oracle_bfloat16(implementation, length):
    assert_as_oracle(implementation, arguments(length, dtype=torch.bfloat16), TOLERANCE[torch.bfloat16])


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("limb_gradient", ["exact", "published"])
@pytest.mark.parametrize("pattern", kernels.PATTERNS)
def test_grid_scan_as_oracle(pattern, limb_gradient, dtype, implementation):
    orders, limb = kernels.scan_orders(pattern, 3)
    scan = functools.partial(kernels.grid_scan, orders=orders, limb=limb, limb_gradient=limb_gradient)
    assert_as_oracle(implementation, grid_arguments(3, dtype=dtype), TOLERANCE[dtype], scan, GRID_NAMES)


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bidirectional_scan_as_oracle(dtype, implementation):
    inputs = [tensor for seed in (0, 1) for tensor in arguments(33, dtype=dtype, seed=seed)]
    names = [f"{name} of the {stream} stream" for stream in ("forward", "reversed") for name in NAMES]
    assert_as_oracle(implementation, inputs, TOLERANCE[dtype], two_streams(kernels.bidirectional_scan), names)


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


def test_named_implementation_is_never_replaced(monkeypatch):
    monkeypatch.setenv("LIFTBENCH_SCAN", "reference")
    assert kernels.choose("cpu") == "reference"
    monkeypatch.setattr(reference, "unusable", lambda device: "it is switched off")
    with pytest.raises(kernels.ScanUnavailable, match="Cannot run the scan 'reference' here: it is switched off"):
        kernels.choose("cpu")
    with kernels.using("chunked"):
        assert kernels.choose("cpu") == "chunked", "a context goes before the environment"
    monkeypatch.setenv("LIFTBENCH_SCAN", "nonsense")
    with pytest.raises(kernels.ScanUnavailable, match="Cannot use the scan 'nonsense'"):
        kernels.choose("cpu")


def test_contexts_nest_and_end(monkeypatch):
    monkeypatch.setenv("LIFTBENCH_SCAN", "reference")
    assert kernels.current() == "auto"
    with kernels.using("chunked"):
        assert (kernels.current(), kernels.choose()) == ("chunked", "chunked")
        with kernels.using("auto"):
            assert kernels.choose() == "reference", "the default again"
        with pytest.raises(KeyError), kernels.using("reference"):
            raise KeyError
        assert kernels.current() == "chunked"
    assert kernels.current() == "auto"
    with pytest.raises(kernels.ScanUnavailable, match="Cannot use the scan 'nonsense'"):
        with kernels.using("nonsense"):
            pass


def test_a_choice_belongs_to_its_thread():
    with kernels.using("chunked"), ThreadPoolExecutor(1) as others:
        assert others.submit(kernels.current).result() == "auto"


def test_an_argument_goes_before_the_context():
    inputs = [tensor.detach() for tensor in arguments(8, dtype=torch.float32)]
    with kernels.using("chunked"), mock.patch.object(kernels.chunked, "selective_scan", None):
        kernels.selective_scan(*inputs, implementation="reference")


@contextlib.contextmanager
def calls(*names):
    """The names of the implementations whose scans run within, one a call; {name: module} stays as it is."""
    seen = []

    def noting(name, scan):
        return lambda *tensors: (seen.append(name), scan(*tensors))[1]

    with contextlib.ExitStack() as stack:
        for name in names:
            module = kernels.IMPLEMENTATIONS[name]
            stack.enter_context(mock.patch.object(module, "selective_scan", noting(name, module.selective_scan)))
        yield seen


def small_model():
    return create_model("posemamba_toy", frames=3, embed_dim=16, depth=2).train()


def gradients(model, pose):
    return torch.autograd.grad(pose.square().sum(), list(model.parameters()))


def test_a_backward_pass_runs_by_the_scan_of_its_forward_pass():
    """It runs in another context and another thread, like autograd's own threads on a GPU."""
    torch.manual_seed(0)
    model, keypoints = small_model().eval(), torch.randn(1, 3, 17, 2)
    with kernels.using("chunked"):
        expected = gradients(model, model(keypoints))
        pose = model(keypoints)
    with kernels.using("reference"), calls("chunked", "reference") as seen, ThreadPoolExecutor(1) as other:
        for one, same in zip(other.submit(gradients, model, pose).result(), expected, strict=True):
            assert torch.equal(one, same)
    assert not seen, "nothing scans again"


def test_a_recomputation_runs_by_the_scan_of_its_forward_pass():
    model, keypoints = small_model(), torch.randn(1, 3, 17, 2)
    recompute_blocks(model)
    with calls("chunked", "reference") as seen:
        with kernels.using("chunked"):
            pose = model(keypoints)
        forward = len(seen)
        with kernels.using("reference"), ThreadPoolExecutor(1) as other:
            other.submit(gradients, model, pose).result()
    assert set(seen) == {"chunked"} and len(seen) == 2 * forward > 0


def test_checkpointing_by_hand_keeps_the_choice_through_its_contexts():
    model, keypoints = small_model(), torch.randn(1, 3, 17, 2)
    with calls("chunked", "reference") as seen:
        with kernels.using("reference"):
            named = kernels.current()
            pose = checkpoint(
                model, keypoints, use_reentrant=False,
                context_fn=lambda: (contextlib.nullcontext(), kernels.using(named)),
            )  # fmt: skip
        gradients(model, pose)
    assert set(seen) == {"reference"}


def test_models_say_whether_they_scan():
    def shallow(name):
        depth = registry.entry(name).depth
        return create_model(name, frames=27, **({depth: 1} if depth else {}))

    scanning = {name for name in list_models() if kernels.scans(shallow(name))}
    assert scanning == {name for name in list_models() if name.startswith(("posemamba", "pose3dm", "mdtf"))}


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, lambda t: t[..., 1:], r"delta must have shape \(2, 6, 8\)"),
        (2, lambda t: t[1:], r"A must have shape \(6, 4\)"),
        (3, lambda t: t[:, :1].expand(-1, 4, -1, -1), "4 groups, which do not divide the 6 channels"),
        (4, lambda t: t[:, :, 1:], r"C must have shape \(2, 2, 4, 8\)"),
        (5, lambda t: t.long(), "D must be a real floating-point tensor"),
        (0, lambda t: t[0], r"u must be \(B, channels, L\)"),
        (0, lambda t: t[..., :0], r"u must be .* not empty, got \(2, 6, 0\)"),
        (0, lambda t: t.to(torch.complex64), "u must be a real floating-point tensor, got torch.complex64"),
        (2, lambda t: t[:, :0], r"neither empty, got \(6, 0\) and \(2, 2, 4, 8\)"),
        (3, lambda t: t[0], r"B \(B, groups, N, L\), .* got \(6, 4\) and \(2, 4, 8\)"),
        (3, lambda t: t[:, :, 1:], r"B must have shape \(2, 2, 4, 8\)"),
        (5, lambda t: t[1:], r"D must have shape \(6,\)"),
        (6, lambda t: t[1:], r"delta_bias must have shape \(6,\)"),
        (4, lambda t: t.to("meta"), "C is on meta but u is on cpu; move them to one device"),
    ],
)
def test_wrong_arguments(position, change, message):
    inputs = [tensor.detach() for tensor in arguments(8)]
    inputs[position] = change(inputs[position])
    with one_sentence(ValueError, message):
        kernels.selective_scan(*inputs)
    with one_sentence(ValueError, message):
        kernels.bidirectional_scan(inputs, inputs)


@contextlib.contextmanager
def one_sentence(kind, message):
    with pytest.raises(kind, match=message) as caught:
        yield
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_streams_that_do_not_fit():
    with one_sentence(ValueError, r"both streams must have one shape and device, got u of \(2, 6, 8\) on cpu and of"):
        kernels.bidirectional_scan(arguments(8), arguments(9))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x", lambda t: t[0], r"x must be \(B, T, J, channels\) and not empty, got \(2, 17, 3\)"),
        ("x", lambda t: t[:0], r"x must be .* not empty"),
        ("x", lambda t: t[:, :, 1:], r"orders must have shape \(4, 32\) and limb 4 flags .* got \(4, 34\) and 4"),
        ("x", lambda t: t.long(), "x must be a real floating-point tensor, got torch.int64"),
        ("x_proj_weight", lambda t: t[:, 1:], r"x_proj_weight must have shape \(4, 6, 3\) to fit x"),
        ("dt_weight", lambda t: t[0], r"dt_weight must be \(K, channels, R\) and A .* got \(3, 2\) and \(12, 2\)"),
        ("dt_weight", lambda t: t[..., :0], "neither empty"),
        ("dt_weight", lambda t: t[:, 1:], r"dt_weight must have shape \(4, 3, 2\)"),
        ("dt_bias", lambda t: t[1:], r"dt_bias must have shape \(4, 3\)"),
        ("dt_bias", lambda t: t.to("meta"), "dt_bias is on meta but x is on cpu"),
        ("A", lambda t: t[1:], r"A must have shape \(12, 2\)"),
        ("D", lambda t: t[1:], r"D must have shape \(12,\)"),
        ("orders", lambda t: t[1:], r"orders must have shape \(4, 34\)"),
        ("orders", lambda t: t.float(), "orders must be int64 or int32, got torch.float32"),
        ("limb", lambda flags: flags[1:], "got .* and 3"),
        ("limb_gradient", lambda _: "approximate", "limb_gradient must be 'exact' or 'published', not 'approximate'"),
    ],
)
def test_wrong_arguments_of_the_grid_scan(name, change, message):
    inputs = dict(zip(GRID_NAMES, (tensor.detach() for tensor in grid_arguments(2)), strict=True))
    orders, limb = kernels.scan_orders("posemamba", 2)
    inputs |= {"orders": orders, "limb": limb, "limb_gradient": "exact"}
    with one_sentence(ValueError, message):
        kernels.grid_scan(**inputs | {name: change(inputs[name])})


def test_the_limb_term_needs_the_joints_that_it_is_defined_for():
    inputs = grid_arguments(2)
    inputs[0] = inputs[0][:, :, :16]
    orders, _ = kernels.scan_orders("posemamba", 2, 16)
    with one_sentence(ValueError, "x has 16 joints, but the limb term is defined for 17"):
        kernels.grid_scan(*inputs, orders, (True, False, False, False))


def test_an_implementation_that_cannot_run_is_an_error():
    inputs = arguments(8)
    with one_sentence(
        kernels.ScanUnavailable, "Cannot run the scan 'cpu' here: it computes in float32, and the tensors are"
    ):
        kernels.selective_scan(*inputs, implementation="cpu")
    with one_sentence(
        kernels.ScanUnavailable, "Cannot run the scan 'cpu' here: the C.. scan runs on the cpu, not on meta"
    ):
        kernels.selective_scan(*[tensor.float().to("meta") for tensor in inputs], implementation="cpu")
    with one_sentence(
        kernels.ScanUnavailable, "Cannot use the scan 'nonsense': no scan has that name. Use auto, cpu, gpu, chun"
    ):
        kernels.selective_scan(*inputs, implementation="nonsense")
    assert kernels.selective_scan(*[tensor.to("meta") for tensor in inputs]).device.type == "meta", "chunked runs"


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
    with pytest.raises(ValueError, match="Cannot find a scan pattern named"):
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
    summed = (x + x[:, :, list(kernels.LIMB_ORDER)]).flatten(1)[:, None][..., order[0]]
    expected = reference.selective_scan(
        summed, 0.3 * summed, A, 0.7 * summed[:, None], -1.1 * summed[:, None], D, bias[0]
    )
    torch.testing.assert_close(y.flatten(1)[:, order[0]], expected[:, 0])


def test_scan_macs_follow_the_published_rule():
    assert kernels.scan_macs(batch=2, channels=3, length=5, states=7) == 9 * 2 * 5 * 3 * 7 + 2 * 3 * 5
    assert kernels.scan_macs(batch=1, channels=1, length=1, states=1, skip=False) == 9


@pytest.mark.skipif(kernels.unusable("cpu") is not None, reason="the C++ scan was not built")
def test_operators_count_by_the_rule_in_flop_counter_mode():
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
    one = 2 * kernels.scan_macs(batch=2, channels=6, length=9, states=4)
    with FlopCounterMode(display=False) as counter:
        y = kernels.selective_scan(*streams[0])
    assert counter.get_total_flops() == one
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() == 2 * one
    with FlopCounterMode(display=False) as counter:
        kernels.bidirectional_scan(*streams)
    assert counter.get_total_flops() == 2 * one


def test_bidirectional_oracle_is_two_scans():
    """The reversed stream is a scan of flipped inputs, flipped back."""
    one, other = ([tensor.detach() for tensor in arguments(9, seed=seed)] for seed in (0, 1))
    u, delta, A, B, C, D, bias = other
    flipped = reference.selective_scan(u.flip(-1), delta.flip(-1), A, B.flip(-1), C.flip(-1), D, bias).flip(-1)
    torch.testing.assert_close(reference.bidirectional_scan(one, other), reference.selective_scan(*one) + flipped)


def relative_difference_from_the_oracle(name, frames, implementation):
    """Return the largest difference of a model's prediction from the oracle's, over the largest value; random
    weights.
    """
    poses = []
    for choice in (implementation, "reference"):
        torch.manual_seed(0)
        model = create_model(name, frames=frames).eval()
        with kernels.using(choice), torch.no_grad():
            poses.append(model(torch.rand(1, frames, 17, 2) * 2 - 1))
    own, expected = poses
    return float((own - expected).abs().max() / expected.abs().max())


# Ten or twenty pairs of blocks in float32, each a rounding of 1e-6.
@pytest.mark.parametrize("implementation", OTHERS)
def test_posemamba_b_as_the_oracle(implementation):
    assert relative_difference_from_the_oracle("posemamba_b", 9, implementation) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("name", ["posemamba_b", "posemamba_l"])
def test_full_size_posemamba_as_the_oracle(name, implementation):
    """With `-s` it prints the differences: 1.0e-6 to 1.4e-6, in 5 minutes on two cores."""
    difference = relative_difference_from_the_oracle(name, 243, implementation)
    print(f"{name}, 243 frames, {implementation}: largest relative difference {difference:.1e}")
    assert difference < 2e-5


def test_an_order_table_made_in_inference_mode_serves_training_later():
    with torch.inference_mode():
        orders, _ = kernels.scan_orders("posemamba", 37)
    again, _ = kernels.scan_orders("posemamba", 37)
    assert orders is again and not again.is_inference()
