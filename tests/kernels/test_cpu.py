"""The C++ scan against the float64 oracle: outputs and every gradient by name, on every instruction set here."""

import ctypes
import functools

import pytest
import torch

from liftbench import kernels
from liftbench.kernels import PATTERNS, cpu, grid, reference, scan_orders
from liftbench.kernels.cpu import library
from support import scans
from support.scans import grid_inputs, with_threads

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason=str(cpu.unusable()))

NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def scan_inputs(batch, groups, channels, length, states=16, **options):
    return scans.scan_inputs(batch, groups, channels, length, states, **options)


def run(scan, tensors, dy, dtype=None):
    """{"y": output, name: gradient} of sum(y * dy)."""
    tensors = {name: tensor.detach().to(dtype or tensor.dtype).requires_grad_() for name, tensor in tensors.items()}
    y = scan(**tensors)
    y.backward(dy.to(y.dtype))
    return {"y": y.detach(), **{name: tensor.grad for name, tensor in tensors.items()}}


def assert_close(own, expected, dtype=torch.float32):
    scans.assert_close(own, expected, scans.TOLERANCES["cpu"][dtype])


def assert_as_oracle(tensors, dtype=torch.float32, scan=cpu.selective_scan):
    dy = torch.randn_like(tensors["u"])
    assert_close(run(scan, tensors, dy), run(reference.selective_scan, tensors, dy, torch.float64), dtype)


@functools.cache
def oracle(*shape):
    """Inputs, gradient of the output, and float64 results, once for all instruction sets."""
    tensors = scan_inputs(*shape)
    dy = torch.randn_like(tensors["u"])
    return tensors, dy, run(reference.selective_scan, tensors, dy, torch.float64)


@pytest.mark.parametrize("shape", scans.SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_scan_matches_oracle(shape, instruction_set, poisoned):
    tensors, dy, expected = oracle(*shape)
    assert_close(run(cpu.selective_scan, tensors, dy), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_scan_of_half_precision(dtype, instruction_set):
    tensors = scan_inputs(2, 2, 24, 65, dtype=dtype)
    assert_as_oracle(tensors, dtype)
    assert cpu.selective_scan(**tensors).dtype == dtype


@pytest.mark.parametrize("absent", [("D",), ("delta_bias",), ("D", "delta_bias")])
def test_scan_without_optional_inputs(absent, instruction_set):
    assert_as_oracle({name: tensor for name, tensor in scan_inputs(2, 1, 16, 40).items() if name not in absent})


@pytest.mark.parametrize("delta, A", [(-40, -1), (-90, -1), (30, -1), (200, -1), (3, -1e-30), (3, -1e4), (-3, 0.05)])
def test_scan_at_extremes(delta, A, instruction_set):
    """Tiny and huge delta, A near 0, very negative, and positive but bounded."""
    tensors = scan_inputs(1, 1, 16, 65)
    tensors["delta"] = tensors["delta"] * 0.1 + delta
    tensors["A"] = tensors["A"] * 0 + A * torch.linspace(0.5, 1, 16)
    assert_as_oracle(tensors)


def assert_same_infinities(own, expected):
    """Compare: NaN and infinities where the oracle has them, close values elsewhere."""
    torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("A", [1e4, 30.0, 3.0, 0.5])
def test_positive_A_gives_what_the_oracle_gives(A, instruction_set):
    """exp(delta A) overflows where the oracle's does, and 0 times infinity is NaN there.

    With one state: a sum of several near the limit overflows or not by the order of its terms.
    """
    tensors = scan_inputs(1, 2, 16, 65, states=1)
    tensors["A"] = tensors["A"].abs() * A
    expected = reference.selective_scan(**tensors)
    assert_same_infinities(cpu.selective_scan(**tensors), expected)
    assert A < 1 or not expected.isfinite().all()


def test_positive_A_over_the_grid_gives_what_the_oracle_gives(instruction_set):
    tensors = grid_inputs(1, 3, 24, 2, states=1)
    tensors["A"] = tensors["A"].abs() * 20
    orders, limb = scan_orders("posemamba", 3)
    expected = reference.grid_scan(*tensors.values(), orders, limb, "exact")
    assert not expected.isfinite().all()
    assert_same_infinities(cpu.grid_scan(**tensors, orders=orders, limb=limb), expected)


def test_a_large_delta_before_nan_is_still_clamped(instruction_set):
    tensors = scan_inputs(1, 1, 16, 65)
    tensors["delta"][0, 3, 5], tensors["delta"][0, 3, 10] = 500, float("nan")
    expected = reference.selective_scan(**tensors)
    assert_same_infinities(cpu.selective_scan(**tensors), expected)


def test_nan_stays_in_its_channel(instruction_set):
    tensors = scan_inputs(1, 1, 24, 300)
    clean = cpu.selective_scan(**tensors)
    tensors["delta"][0, 3, 100] = float("nan")
    y = cpu.selective_scan(**tensors)
    assert y[0, 3, 100:].isnan().all()
    y[0, 3] = clean[0, 3]
    assert torch.equal(y, clean)


LAYOUTS = {
    "channels last": lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2),
    "slice": lambda t: torch.cat([t, t, t], -1)[..., t.shape[-1] : 2 * t.shape[-1]],
    "channels-last slice": lambda t: (
        torch.cat([t, t], -2).transpose(-1, -2).contiguous().transpose(-1, -2)[..., : t.shape[-2], :]
    ),
    "every second": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "expanded": lambda t: t[:1].expand_as(t),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scan_of_other_layouts(layout, instruction_set, poisoned):
    tensors = scan_inputs(2, 2, 24, 65)
    strided = {name: LAYOUTS[layout](tensor) if tensor.dim() > 1 else tensor for name, tensor in tensors.items()}
    if layout == "expanded":
        strided["A"] = tensors["A"]
    assert_as_oracle(strided)


@pytest.mark.parametrize("shape", [(1, 2, 72, 300), (70, 1, 24, 17)])
def test_results_do_not_depend_on_threads(shape, instruction_set):
    tensors = scan_inputs(*shape)
    dy = torch.randn_like(tensors["u"])
    results = with_threads(lambda: run(cpu.selective_scan, tensors, dy))
    for result in results[1:]:
        for name, value in results[0].items():
            assert torch.equal(result[name], value), name


def both_streams(forward_stream, reversed_stream):
    """`bidirectional_scan` from the oracle and flips."""
    u, delta, A, B, C, D, delta_bias = reversed_stream
    flipped = reference.selective_scan(u.flip(-1), delta.flip(-1), A, B.flip(-1), C.flip(-1), D, delta_bias)
    return reference.selective_scan(*forward_stream) + flipped.flip(-1)


def on_both_streams(scan):
    """A scan of two streams as a function of named tensors, those of the second with the suffix _b."""
    return lambda **t: scan([t[name] for name in NAMES], [t[name + "_b"] for name in NAMES])


@functools.cache
def bidirectional_oracle(*shape):
    tensors = scan_inputs(*shape) | {name + "_b": t for name, t in scan_inputs(*shape, seed=1).items()}
    dy = torch.randn_like(tensors["u"])
    return tensors, dy, run(on_both_streams(both_streams), tensors, dy, torch.float64)


@pytest.mark.parametrize("layout", [None, "channels last"])
@pytest.mark.parametrize("shape", [(3, 1, 24, 17), (2, 1, 5, 300), (1, 1, 16, 1)])
def test_bidirectional_scan_matches_oracle(shape, layout, instruction_set, poisoned):
    tensors, dy, expected = bidirectional_oracle(*shape)
    if layout:
        tensors = {name: LAYOUTS[layout](tensor) if tensor.dim() > 2 else tensor for name, tensor in tensors.items()}
    assert_close(run(on_both_streams(cpu.bidirectional_scan), tensors, dy), expected)


def run_grid(scan, tensors, pattern="posemamba", limb_gradient="exact", dtype=None):
    orders, limb = scan_orders(pattern, *tensors["x"].shape[1:3])
    dy = torch.randn(tensors["x"].shape, generator=torch.Generator().manual_seed(1))
    return run(lambda **t: scan(**t, orders=orders, limb=limb, limb_gradient=limb_gradient), tensors, dy, dtype)


@functools.cache
def grid_oracle(pattern, limb_gradient, *shape):
    tensors = grid_inputs(*shape)
    scan = functools.partial(grid.grid_scan, selective_scan=reference.selective_scan)
    return tensors, run_grid(scan, tensors, pattern, limb_gradient, torch.float64)


@pytest.mark.parametrize("limb_gradient", ["exact", "published"])
@pytest.mark.parametrize(
    "shape",
    [(2, 5, 32, 2), (1, 1, 5, 1), (1, 16, 24, 3), (5, 2, 48, 4, 5), (1, 9, 128, 8)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_grid_scan_matches_oracle(shape, limb_gradient, instruction_set, poisoned):
    tensors, expected = grid_oracle("posemamba", limb_gradient, *shape)
    assert_close(run_grid(cpu.grid_scan, tensors, "posemamba", limb_gradient), expected)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_is_an_order_table(pattern, poisoned):
    tensors, expected = grid_oracle(pattern, "exact", 2, 5, 24, 2)
    assert_close(run_grid(cpu.grid_scan, tensors, pattern), expected)


def test_published_gradient_differs_through_the_limb_term_only():
    tensors = grid_oracle("posemamba", "exact", 2, 5, 32, 2)[0]
    exact = run_grid(cpu.grid_scan, tensors)
    published = run_grid(cpu.grid_scan, tensors, limb_gradient="published")
    assert [name for name in exact if not torch.equal(exact[name], published[name])] == ["x"]


def test_grid_scan_of_other_layouts_and_half_precision(instruction_set):
    tensors, expected = grid_oracle("posemamba", "exact", 2, 5, 32, 2)
    strided = {
        name: LAYOUTS["channels last"](tensor) if tensor.dim() > 1 else tensor for name, tensor in tensors.items()
    }
    assert_close(run_grid(cpu.grid_scan, strided), expected)
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    scan = functools.partial(grid.grid_scan, selective_scan=reference.selective_scan)
    assert_close(run_grid(cpu.grid_scan, half), run_grid(scan, half, dtype=torch.float64), torch.bfloat16)


@pytest.mark.parametrize("batch", [1, 70])
def test_grid_scan_does_not_depend_on_threads(batch, instruction_set):
    tensors = grid_inputs(batch, 2, 72, 3)
    results = with_threads(lambda: run_grid(cpu.grid_scan, tensors))
    for result in results[1:]:
        for name in result:
            assert torch.equal(result[name], results[0][name]), name


def wrong_orders(wrong):
    """Return an invalid order table of 2 frames, and its flags."""
    orders, limb = scan_orders("posemamba", 2)
    orders = orders.clone()
    if wrong == "short":
        return orders[:, 1:], limb
    values = {"twice": orders[1, 4], "outside": 34, "negative": -1, "beyond int32": orders[1, 3] + 2**32}
    orders[1, 3] = values[wrong]
    return orders, limb


@pytest.mark.parametrize("wrong", ["twice", "outside", "negative", "beyond int32", "short"])
def test_wrong_order_tables_are_errors(wrong):
    orders, limb = wrong_orders(wrong)
    tensors = grid_inputs(1, 2, 16, 1)
    with pytest.raises(ValueError, match="^orders"):
        cpu.grid_scan(**tensors, orders=orders, limb=limb)
    if wrong != "short":
        with pytest.raises(ValueError, match="^orders must be permutations"):
            reference.grid_scan(*tensors.values(), orders, limb, "exact")


def test_orders_on_another_device_are_refused():
    orders, limb = scan_orders("posemamba", 2)
    tensors = grid_inputs(1, 2, 16, 1)
    with pytest.raises(ValueError, match="^orders is on meta"):
        cpu.grid_scan(**tensors, orders=orders.to("meta"), limb=limb)
    with pytest.raises(ValueError, match="^orders is on meta but x is on cpu; move it there or to the cpu$"):
        kernels.grid_scan(**tensors, orders=orders.to("meta"), limb=limb)


def scan_operator(**changes):
    """The operators of the scan on small tensors, some of them changed."""
    tensors = list((scan_inputs(2, 2, 8, 40) | changes).values())
    return torch.ops.liftbench.scan_cpu(tensors, True), tensors


@pytest.mark.parametrize(
    "wrong", ["length of dy", "dtype of dy", "checkpoints of another shape", "dtype of checkpoints"]
)
def test_operators_of_the_backward_pass_check_what_they_read(wrong):
    (y, kept), tensors = scan_operator()
    dy = torch.ones_like(y)
    dy = {"length of dy": dy[..., 1:], "dtype of dy": dy.double()}.get(wrong, dy)
    kept = {"checkpoints of another shape": kept[:, 1:], "dtype of checkpoints": kept.half()}.get(wrong, kept)
    with pytest.raises(ValueError, match=f"^{'the gradient of y' if 'dy' in wrong else 'checkpoints'} "):
        torch.ops.liftbench.scan_cpu_backward(dy, tensors, kept)


@pytest.mark.parametrize("wrong", ["orders", "projected", "checkpoints", "the gradient of y"])
def test_operator_of_the_grids_backward_pass_checks_what_it_reads(wrong):
    tensors = list(grid_inputs(1, 2, 16, 1).values())
    orders, limb = scan_orders("posemamba", 2)
    y, projected, kept = torch.ops.liftbench.grid_scan_cpu(*tensors, orders, list(limb), False, True)
    if wrong == "orders":
        orders = wrong_orders("outside")[0]
    elif wrong == "projected":
        projected = projected[1:]
    elif wrong == "checkpoints":
        kept = kept[1:]
    else:
        y = y[:, 1:]
    with pytest.raises(ValueError, match=f"^{wrong} must"):
        torch.ops.liftbench.grid_scan_cpu_backward(y, *tensors, orders, projected, kept, list(limb), False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["half", "integers", "one short", "sparse", "meta"])
def test_operators_check_every_tensor(name, change):
    tensor = scan_inputs(2, 2, 8, 40)[name]
    changed = {
        "half": lambda: tensor.half(), "integers": lambda: tensor.long(), "one short": lambda: tensor[1:],
        "sparse": lambda: tensor.to_sparse(), "meta": lambda: tensor.to("meta"),
    }[change]()  # fmt: skip
    with pytest.raises((ValueError, NotImplementedError)):
        scan_operator(**{name: changed})


@pytest.mark.parametrize("no_grad", [True, False])
@pytest.mark.parametrize("scan", ["selective_scan", "bidirectional_scan", "grid_scan"])
def test_forward_mode_is_refused(scan, no_grad):
    """Its derivatives used to be zero."""
    streams = scan_inputs(1, 2, 8, 9)
    orders, limb = scan_orders("posemamba", 2)
    x, *others = grid_inputs(1, 2, 16, 1).values()
    functions = {
        "selective_scan": (lambda A: kernels.selective_scan(**streams | {"A": A}), streams["A"]),
        "bidirectional_scan": (
            lambda A: kernels.bidirectional_scan(list(streams.values()), list((streams | {"A": A}).values())),
            streams["A"],
        ),
        "grid_scan": (lambda x: kernels.grid_scan(x, *others, orders, limb), x),
    }
    function, primal = functions[scan]
    with torch.set_grad_enabled(not no_grad), pytest.raises(kernels.ScanUnavailable) as caught:
        torch.func.jvp(function, (primal,), (torch.ones_like(primal),))
    assert str(caught.value) == (
        "Cannot differentiate the scan 'cpu' in forward mode: it has a backward pass only. Use 'reference'."
    )
    with pytest.raises(kernels.ScanUnavailable), torch.autograd.forward_ad.dual_level():
        function(torch.autograd.forward_ad.make_dual(primal, torch.ones_like(primal)))


def test_forward_mode_of_the_oracle_works():
    tensors = scan_inputs(1, 2, 8, 9, dtype=torch.float64)

    def scan(A):
        return kernels.selective_scan(**tensors | {"A": A}, implementation="reference")

    A, direction = tensors["A"], torch.ones_like(tensors["A"])
    _, tangent = torch.func.jvp(scan, (A,), (direction,))
    torch.testing.assert_close(tangent, (scan(A + 1e-6 * direction) - scan(A - 1e-6 * direction)) / 2e-6)


def elementary(x):
    """exp, softplus and sigmoid of the library."""
    x = x.float().contiguous()
    results = [torch.full_like(x, float("nan")) for _ in range(3)]
    pointers = [ctypes.c_void_p(address) for address in library.addresses(x, *results)]
    library.load_library().liftbench_elementary(*pointers, ctypes.c_int64(x.numel()))
    return results


def test_error_bounds_of_elementary_functions(instruction_set):
    """Relative errors: exp 2.5e-7, plus 8e-8 |x| of the rounding of its argument; 1.6 times that for the others."""
    x = torch.cat([torch.linspace(-85, 85, 2_000_001), torch.linspace(-1, 1, 200_001), torch.logspace(-30, 0, 1001)])
    x = torch.cat([x, -x])
    own = elementary(x)
    x = x.float().double()
    expected = x.exp(), x.clamp_min(0) + torch.log1p(torch.exp(-x.abs())), torch.sigmoid(x)
    bound = 2.5e-7 + 8e-8 * x.abs()
    for name, value, exact, slack in zip(("exp", "softplus", "sigmoid"), own, expected, (1, 1.6, 1.6), strict=True):
        assert ((value / exact - 1).abs() <= bound * slack).all(), name


def test_elementary_functions_beyond_the_range_of_the_bounds(instruction_set):
    """exp is 2^-124 at least, or nearly, and overflows where float32 does; softplus and sigmoid have their limits."""
    x = torch.cat([torch.linspace(85, 105, 200_001), torch.logspace(2, 38, 10_001)])
    for sign in (-1, 1):
        exp, softplus, sigmoid = (value.double() for value in elementary(sign * x))
        exact = (sign * x.double()).exp()
        if sign < 0:
            for value in (exp, softplus, sigmoid):
                assert ((value >= 0) & ((value - exact).abs() <= 2**-123)).all()
        else:
            finite, infinite = exact < 2.0**128 * (1 - 1e-5), exact > 2.0**128 * (1 + 1e-5)
            assert ((exp / exact - 1).abs() <= 1e-5)[finite].all() and (exp == float("inf"))[infinite].all()
            assert ((softplus / x.double() - 1).abs() <= 2e-7).all() and (sigmoid == 1).all()


def test_ends_of_elementary_functions(instruction_set):
    inf, nan = float("inf"), float("nan")
    exp, softplus, sigmoid = elementary(torch.tensor([0.0, -0.0, -90, -1e30, -inf, 90, 1e30, inf, nan]))
    assert (exp[:2] == 1).all()
    for low in (exp[2:5], softplus[2:5], sigmoid[2:5]):
        assert ((low >= 0) & (low < 1e-36)).all()
    assert (exp[5:8] == inf).all() and (sigmoid[5:8] == 1).all()
    assert softplus[5:8].tolist() == [90, float(torch.tensor(1e30)), inf]
    assert all(values[8].isnan() for values in (exp, softplus, sigmoid))


def test_memory_kept_for_backward_is_a_sixteenth_of_the_states():
    tensors = scan_inputs(2, 2, 32, 256)
    kept = torch.ops.liftbench.scan_cpu([tensors[name] for name in NAMES], True)[1]
    assert kept.numel() <= 2 * 64 * 256 * 16 / 16


def test_nothing_is_kept_without_gradients():
    tensors = scan_inputs(1, 1, 16, 64)
    assert torch.ops.liftbench.scan_cpu([tensors[name] for name in NAMES], False)[1].numel() == 0


@pytest.mark.parametrize("name", NAMES)
def test_errors_name_the_argument(name):
    tensors = scan_inputs(1, 1, 16, 4)
    with pytest.raises(ValueError, match=f"^{name} is float64"):
        cpu.selective_scan(**{**tensors, name: tensors[name].double()})
    with pytest.raises(ValueError, match=f"^{name} is on meta"):
        cpu.selective_scan(**{**tensors, name: tensors[name].to("meta")})


@pytest.mark.parametrize("name", NAMES[1:])
def test_shapes_that_do_not_fit_are_errors(name):
    tensors = scan_inputs(1, 1, 16, 4)
    with pytest.raises(ValueError, match=f"^({name}|u) must"):
        cpu.selective_scan(**{**tensors, name: tensors[name][:3] if name == "A" else tensors[name][..., :3]})


def test_unknown_instruction_set_is_an_error():
    with pytest.raises(ValueError, match="sse9"):
        cpu.use_instruction_set("sse9")


def test_other_devices_are_refused():
    assert cpu.unusable("cuda") == "the C++ scan runs on the cpu, not on cuda"
