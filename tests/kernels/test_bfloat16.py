"""bfloat16 in memory: the C++ scans read and write it without copies, compute in float32 and round once."""

import functools

import pytest
import torch

from liftbench import create_model
from liftbench.baselines import registry
from liftbench.kernels import cpu, grid, reference, scan_orders
from liftbench.kernels.cpu import grid as cpu_grid
from liftbench.kernels.cpu import mixer as cpu_mixer
from liftbench.kernels.cpu import stream as cpu_stream
from support.scans import SHAPES, grid_inputs, scan_inputs, with_threads

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason=str(cpu.unusable()))

# Rounding to nearest with 8 significant bits, and as much of the largest value as the tests of float32 allow.
ROUNDING, FLOAT32 = 2**-8, 2e-6


def narrowed(tensors):
    """The same tensors by name; those that lie along a sequence or a grid in bfloat16."""
    return {name: t.bfloat16() if name in ("u", "delta", "B", "C", "x") else t for name, t in tensors.items()}


def streams(*shape):
    """Two different streams of `bidirectional_scan`."""
    return [narrowed(scan_inputs(*shape, seed=seed)) for seed in (0, 1)]


def channels_last(tensor):
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def in_slice(tensor):
    """The same values, in the middle of memory that is NaN everywhere else, along both of the last axes."""
    channels, length = tensor.shape[-2:]
    room = torch.full((*tensor.shape[:-2], channels + 2, length + 2), float("nan"), dtype=tensor.dtype)
    room[..., 1:-1, 1:-1] = tensor
    return room[..., 1:-1, 1:-1]


LAYOUTS = {
    "contiguous": lambda t: t,
    "channels last": channels_last,
    "slice": in_slice,
    "channels-last slice": lambda t: in_slice(t.transpose(-1, -2)).transpose(-1, -2),
}


def laid_out(layout, tensors):
    return {name: LAYOUTS[layout](t) if name in ("u", "delta", "B", "C") else t for name, t in tensors.items()}


def one_stream(scan, stream):
    return scan(**stream)


def two_streams(scan, there, back):
    return scan(list(there.values()), list(back.values()))


def over_grid(scan, tensors, pattern="posemamba"):
    orders, limb = scan_orders(pattern, *tensors["x"].shape[1:3])
    return scan(**tensors, orders=orders, limb=limb)


def in_dtype(dtype, *arguments):
    return [{name: tensor.to(dtype) for name, tensor in tensors.items()} for tensors in arguments]


def assert_rounded_once(y, exact):
    assert y.dtype == torch.bfloat16 and y.shape == exact.shape
    excess = (y.double() - exact).abs() - ROUNDING * exact.abs()
    assert excess.max() <= FLOAT32 * exact.abs().max(), excess.max() / exact.abs().max()


@functools.cache
def scan_oracle(*shape):
    stream = narrowed(scan_inputs(*shape))
    return stream, reference.selective_scan(*in_dtype(torch.float64, stream)[0].values())


@functools.cache
def bidirectional_oracle(*shape):
    there, back = streams(*shape)
    return there, back, two_streams(reference.bidirectional_scan, *in_dtype(torch.float64, there, back))


@functools.cache
def grid_oracle(*shape):
    tensors = narrowed(grid_inputs(*shape))
    scan = functools.partial(grid.grid_scan, selective_scan=reference.selective_scan, limb_gradient="exact")
    return tensors, over_grid(scan, in_dtype(torch.float64, tensors)[0])


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_scan_rounds_once(shape, instruction_set, poisoned):
    stream, exact = scan_oracle(*shape)
    assert_rounded_once(cpu.selective_scan(**stream), exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [5, 24])
@pytest.mark.parametrize("length", [3, 65])
def test_layouts_are_read_as_they_lie(layout, channels, length, instruction_set, poisoned):
    stream, exact = scan_oracle(2, 2, channels, length, 16)
    assert_rounded_once(cpu.selective_scan(**laid_out(layout, stream)), exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 1, 24, 17, 16), (2, 1, 5, 300, 16), (1, 1, 16, 1, 16), (20, 2, 24, 33, 3)])
def test_bidirectional_scan_rounds_the_sum_once(shape, layout, instruction_set, poisoned):
    there, back, exact = bidirectional_oracle(*shape)
    y = two_streams(cpu.bidirectional_scan, laid_out(layout, there), laid_out(layout, back))
    assert_rounded_once(y, exact)


GRIDS = [(2, 5, 32, 2), (1, 1, 5, 1), (1, 16, 24, 3), (5, 2, 48, 4, 5), (1, 9, 128, 8)]


@pytest.mark.parametrize("shape", GRIDS, ids=lambda shape: "x".join(map(str, shape)))
def test_grid_scan_rounds_the_sum_of_directions_once(shape, instruction_set, poisoned):
    tensors, exact = grid_oracle(*shape)
    assert_rounded_once(over_grid(cpu.grid_scan, tensors), exact)


def with_floats(scan, *arguments):
    """What the scan gives for copies in float32, rounded by PyTorch."""
    return scan(*in_dtype(torch.float32, *arguments)).bfloat16()


SCANS = {
    "selective_scan": (functools.partial(one_stream, cpu.selective_scan), lambda: streams(2, 2, 24, 65, 16)[:1]),
    "bidirectional_scan": (functools.partial(two_streams, cpu.bidirectional_scan), lambda: streams(3, 1, 24, 300, 16)),
    "grid_scan": (functools.partial(over_grid, cpu.grid_scan), lambda: [narrowed(grid_inputs(3, 4, 24, 3))]),
}
every_scan = pytest.mark.parametrize("function", SCANS)


@every_scan
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_bits_are_those_of_a_scan_of_float32_copies(function, threads, instruction_set):
    """For any number of threads. `grid_scan` multiplies the same float32 values in both cases."""
    scan, make = SCANS[function]
    (expected,) = with_threads(lambda: with_floats(scan, *make()), (1,))
    (y,) = with_threads(lambda: scan(*make()), (threads,))
    assert torch.equal(y, expected)


def test_every_value_is_rounded_as_pytorch_rounds_it(instruction_set):
    """With C = 0 and u = 1, y is D: ties, the largest values, subnormals, infinities, NaN and 10,000 others."""
    generator = torch.Generator().manual_seed(0)
    D = torch.randint(-(2**31), 2**31, (10_000,), generator=generator).to(torch.int32).view(torch.float32)
    edges = [0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000]
    edges += [0x7F800001, 0x7FFFFFFF, 0x00000001, 0x00008000, 0x00018000]
    edges = torch.tensor(edges, dtype=torch.int64).to(torch.int32).view(torch.float32)
    D = torch.cat([edges, -edges, D])
    u = torch.ones(1, len(D), 5, dtype=torch.bfloat16)
    zeros = torch.zeros(1, 1, 1, 5, dtype=torch.bfloat16)
    for layout in (lambda t: t, channels_last):
        y = cpu.selective_scan(layout(u), layout(-u), -torch.ones(len(D), 1), zeros, zeros, D)
        expected = D.bfloat16()[:, None].expand(-1, 5)
        assert torch.equal(y[0].isnan(), expected.isnan())
        assert torch.equal(y[0].nan_to_num(1).view(torch.int16), expected.nan_to_num(1).contiguous().view(torch.int16))


def calls_of(module, monkeypatch):
    """Record the structures that a module passes to C++."""
    calls = []

    def call(function, arguments):
        calls.append(arguments)
        return original(function, arguments)

    original = module.call
    monkeypatch.setattr(module, "call", call)
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cpp_reads_the_tensors_themselves(dtype, monkeypatch):
    calls = calls_of(cpu_stream, monkeypatch)
    there, back = (
        stream | {n: stream[n].to(dtype) for n in ("u", "delta", "B", "C")} for stream in streams(2, 2, 24, 9, 16)
    )
    two_streams(cpu.bidirectional_scan, there, back)
    assert calls[0].bfloat16 == (dtype == torch.bfloat16)
    for seen, stream in zip(calls[0].stream, (there, back), strict=True):
        for name in ("u", "delta", "B", "C"):
            assert getattr(seen, name).data == stream[name].data_ptr()
    calls = calls_of(cpu_grid, monkeypatch)
    tensors = grid_inputs(2, 3, 24, 2)
    tensors["x"] = tensors["x"].to(dtype)
    over_grid(cpu.grid_scan, tensors)
    assert calls[0].bfloat16 == (dtype == torch.bfloat16) and calls[0].x == tensors["x"].data_ptr()


@pytest.mark.parametrize("wide", ["u", "delta", "B", "C"])
def test_one_float32_among_the_tensors_makes_all_float32(wide, monkeypatch):
    calls = calls_of(cpu_stream, monkeypatch)
    (stream,) = streams(2, 2, 24, 65, 16)[:1]
    stream[wide] = stream[wide].float()
    y = cpu.selective_scan(**stream)
    assert calls[0].bfloat16 == 0 and y.dtype == stream["u"].dtype
    assert torch.equal(y, cpu.selective_scan(**in_dtype(torch.float32, stream)[0]).to(y.dtype))


def gradients(scan, arguments):
    """The output and the gradient of every tensor, by argument and name."""
    arguments = [{name: t.detach().requires_grad_() for name, t in tensors.items()} for tensors in arguments]
    y = scan(*arguments)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y.dtype))
    found = {(i, name): t.grad for i, tensors in enumerate(arguments) for name, t in tensors.items()}
    return {"y": y.detach(), **found}


@every_scan
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_are_those_of_float32_copies(function, autocast):
    scan, make = SCANS[function]

    def copying(*arguments):
        copies = ({name: tensor.float() for name, tensor in tensors.items()} for tensors in arguments)
        return scan(*copies).bfloat16()

    expected = gradients(copying, make())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = gradients(scan, make())
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


@every_scan
def test_a_graph_traced_without_gradients_can_be_trained(function):
    """Nothing is kept for a backward pass in such a graph, so the backward pass makes it again."""
    scan, make = SCANS[function]
    names = [(i, name) for i, tensors in enumerate(make()) for name in tensors]
    tensors = [tensors[name] for tensors in make() for name in tensors]

    class Module(torch.nn.Module):
        def forward(self, *flat):
            count = len(flat) // len(make())
            parts = [flat[i : i + count] for i in range(0, len(flat), count)]
            return scan(*[dict(zip(each, part, strict=True)) for each, part in zip(make(), parts, strict=True)])

    with torch.no_grad():
        program = torch.export.export(Module(), tuple(tensors)).module()
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    found = torch.autograd.grad(program(*leaves).float().sum(), leaves)
    expected = torch.autograd.grad(Module()(*leaves).float().sum(), leaves)
    for name, own, value in zip(names, found, expected, strict=True):
        assert own.dtype == value.dtype and torch.equal(own, value), name


@pytest.mark.parametrize("keep", [False, True])
def test_operators_are_registered_properly(keep):
    operators = torch.ops.liftbench
    tensors = [t.requires_grad_() for stream in streams(2, 2, 16, 5, 3) for t in stream.values()]
    torch.library.opcheck(operators.scan_cpu, (tensors, keep))
    orders, limb = scan_orders("posemamba", 2)
    tensors = [t.requires_grad_() for t in narrowed(grid_inputs(1, 2, 16, 2, 3)).values()]
    torch.library.opcheck(operators.grid_scan_cpu, (*tensors, orders, list(limb), False, keep))
    if keep:
        tensors = list(streams(2, 2, 16, 5, 3)[0].values())
        torch.library.opcheck(
            operators.scan_cpu_backward,
            (*operators.scan_cpu(tensors, True)[:1], tensors, operators.scan_cpu(tensors, True)[1]),
        )
        tensors = list(narrowed(grid_inputs(1, 2, 16, 2, 3)).values())
        y, *kept = operators.grid_scan_cpu(*tensors, orders, list(limb), False, True)
        torch.library.opcheck(operators.grid_scan_cpu_backward, (y, *tensors, orders, *kept, list(limb), False))


@every_scan
def test_compiled_and_mapped(function):
    scan, make = SCANS[function]
    expected = scan(*make())
    with torch.no_grad():
        assert torch.equal(torch.compile(scan, backend="aot_eager", fullgraph=True)(*make()), expected)
    twice = [
        {name: torch.stack([t, t]) if t.dtype == torch.bfloat16 else t for name, t in tensors.items()}
        for tensors in make()
    ]
    dims = tuple({n: 0 if t.dtype == torch.bfloat16 else None for n, t in tensors.items()} for tensors in make())
    assert torch.equal(torch.vmap(scan, in_dims=dims)(*twice), torch.stack([expected, expected]))


@pytest.mark.parametrize("name", ["posemamba_s", "pose3dm_s", "mdtf_tiny"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_stores_bfloat16_under_autocast_only(name, dtype, monkeypatch):
    half = dtype == torch.bfloat16
    if name == "mdtf_tiny":
        module = cpu_stream
    else:  # in float32 the whole mixer is one call
        module = cpu_grid if half else cpu_mixer
    calls = calls_of(module, monkeypatch)
    small = {"embed_dim": 8, "bottleneck": 32} if name == "pose3dm_s" else {"embed_dim": 16, "depth": 2}
    model = create_model(name, frames=9, **small).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        model(torch.rand(1, 9, 17, registry.entry(name).channels))
    scans = [seen.grid if module is cpu_mixer else seen for seen in calls]
    assert scans and all(scan.bfloat16 == half for scan in scans)
