"""The Triton scan against the float64 oracle, outputs and every gradient by name: on a GPU where there is one, else in
Triton's interpreter, which one test starts in a process of its own. And registers, compiled for GPUs not here."""

import ast
import functools
import gc
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from liftbench import kernels
from liftbench.kernels import PATTERNS, gpu, grid, reference, scan_orders
from liftbench.kernels.chunked import selective_scan as chunked
from liftbench.kernels.gpu import selfcheck
from support import ROOT, scans

triton = pytest.importorskip("triton", reason="triton is not installed")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
runs = pytest.mark.skipif(  # not `unusable`: these tests fail if its own check finds something
    gpu._missing(DEVICE) is not None, reason=f"{gpu._missing(DEVICE)}; test_in_the_interpreter runs it on the cpu"
)
on_a_gpu = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="it needs a CUDA or HIP device")

if INTERPRETED:
    from triton.runtime import interpreter

    NP_DTYPES, GET_NP_DTYPE = {}, interpreter._get_np_dtype
    gc.disable()  # the interpreter makes millions of objects and no cycles; looking for them is a fifth of its time

KEPT = 5 if INTERPRETED else gpu.KEPT_STEPS  # short, yet more than one round in every loop of the programs
ONE_PASS, CHUNKED = {"FULL_WARPS": 0}, {"FULL_WARPS": float("inf"), "CHUNKED_WARPS": 10**6}  # chunks of one interval


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Uninitialised memory is NaN. In the interpreter, which is slow, intervals are short and one pass is the rule."""
    if INTERPRETED:
        monkeypatch.setattr(gpu, "FULL_WARPS", 0)
        monkeypatch.setattr(gpu, "KEPT_STEPS", KEPT)
        monkeypatch.setattr(gpu, "CARRY_TILE", {"CHUNKS": 4, "LANES": 4})
        monkeypatch.setattr(interpreter, "_get_np_dtype", np_dtype)
        monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call_in_a_patched_language)
    torch.use_deterministic_algorithms(True, warn_only=True)  # cuBLAS would want a variable of the environment
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


def np_dtype(dtype):
    """The interpreter fills a table of all types in every call; one look at each type is enough."""
    name = dtype.scalar.name
    if name not in NP_DTYPES:
        NP_DTYPES[name] = GET_NP_DTYPE(dtype)
    return NP_DTYPES[name]


@functools.cache
def patch_language_of(module, function):
    interpreter._patch_lang(function)


def call_in_a_patched_language(self, *arguments, **options):
    """The interpreter patches triton.language again in every call, a third of its time; once per module is enough."""
    patch_language_of(self.fn.__module__, self.fn)
    return self.rewrite()(*arguments, **options)


@pytest.fixture(params=[ONE_PASS, CHUNKED], ids=["one pass", "chunked"])
def passes(request, monkeypatch, poisoned):
    for name, value in request.param.items():
        monkeypatch.setattr(gpu, name, value)


def scan_inputs(batch, groups, channels, length, states=3, **options):
    return scans.scan_inputs(batch, groups, channels, length, states, delta=-2, device=DEVICE, **options)


def grid_inputs(frames, channels, directions=2, rank=3, states=3, batch=1, joints=17):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(DEVICE)

    return {
        "x": normal(batch, frames, joints, channels),
        "x_proj_weight": normal(directions, rank + 2 * states, channels) * 0.3,
        "dt_weight": normal(directions, channels, rank) * 0.3,
        "dt_bias": normal(directions, channels) - 2,
        "A": -torch.exp(normal(directions * channels, states)),
        "D": normal(directions * channels),
    }


def run(scan, tensors, dtype=None):
    """{"y": output, name: gradient} of a sum of the output with weights of both signs."""
    tensors = {name: tensor.detach().to(dtype or tensor.dtype).requires_grad_() for name, tensor in tensors.items()}
    y = scan(**tensors)
    weights = torch.linspace(-1, 1.5, y.numel(), dtype=torch.float64, device=y.device).view_as(y)
    gradients = torch.autograd.grad((y.double() * weights).sum(), list(tensors.values()))
    return {"y": y.detach(), **dict(zip(tensors, gradients, strict=True))}


def assert_close(own, expected, dtype=torch.float32):
    scans.assert_close(own, expected, scans.TOLERANCES["gpu"][dtype])


def assert_as_oracle(tensors, dtype=torch.float32):
    expected = run(reference.selective_scan, tensors, torch.float64)
    assert_close(run(gpu.selective_scan, tensors), expected, dtype)


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the tests run on the GPU")
def test_in_the_interpreter():
    """Every test marked `runs`, in a new process: Triton reads TRITON_INTERPRET when it is imported."""
    command = [sys.executable, "-m", "pytest", "-rs", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}  # its operators are tiny
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= 60, result.stdout


@runs
@pytest.mark.parametrize("length", [1, 2, 3, KEPT, KEPT + 1, 4 * KEPT - 1, 4 * KEPT + 1])
def test_scan_matches_oracle(length, passes):
    assert_as_oracle(scan_inputs(1, 1, 5, length))


@runs
def test_scan_at_the_shipped_interval(passes, monkeypatch):
    monkeypatch.setattr(gpu, "KEPT_STEPS", 16)
    assert_as_oracle(scan_inputs(1, 1, 5, 17))


@runs
def test_scan_of_several_blocks_groups_and_clips():
    assert_as_oracle(scan_inputs(2, 2, 19, 3, states=2))


@runs
def test_scan_of_several_blocks_in_chunks(monkeypatch):
    for name, value in CHUNKED.items():
        monkeypatch.setattr(gpu, name, value)
    assert_as_oracle(scan_inputs(1, 1, 17, KEPT + 1, states=2))


@runs
@pytest.mark.parametrize("choice", range(4))
def test_scan_of_every_configuration(choice, monkeypatch):
    programs, widest = gpu._programs(), 0
    for name, configurations in (("local", programs._STEP), ("forward", programs._STEP), ("backward", programs._TILE)):
        configuration = configurations[choice % len(configurations)]
        widest = max(widest, configuration["Q"] * configuration["LANES"])
        monkeypatch.setattr(getattr(programs, name), "configs", [triton.Config(configuration, num_warps=1)])
    for name, value in (CHUNKED | {"KEPT_STEPS": 2}).items():
        monkeypatch.setattr(gpu, name, value)
    assert_as_oracle(scan_inputs(1, 1, widest + 3, 3))


@runs
def test_scan_of_half_precision():
    tensors = scan_inputs(1, 1, 5, KEPT + 3, dtype=torch.bfloat16)
    assert_as_oracle(tensors, torch.bfloat16)
    assert gpu.selective_scan(**tensors).dtype == torch.bfloat16


@runs
def test_scan_without_optional_inputs():
    assert_as_oracle(
        {name: value for name, value in scan_inputs(1, 1, 3, 4).items() if name not in ("D", "delta_bias")}
    )


@runs
@pytest.mark.parametrize("delta, A", [(-40, -1), (30, -1), (200, -1), (3, -1e-30), (3, -1e4), (-3, 0.05)])
def test_scan_at_extremes(delta, A):
    """Tiny and huge delta, A near 0, very negative, and positive but bounded."""
    tensors = scan_inputs(1, 1, 3, KEPT + 2)
    tensors["delta"] = tensors["delta"] * 0.1 + delta
    tensors["A"] = tensors["A"] * 0 + A * torch.linspace(0.5, 1, 3, device=DEVICE)
    assert_as_oracle(tensors)


@runs
def test_softplus_over_its_range():
    """One step of one state is y = softplus(delta)."""
    delta = torch.cat([torch.linspace(-80, 80, 81), torch.linspace(-1, 1, 80)]).to(DEVICE)[None, :, None]
    ones = torch.ones(1, 1, 1, 1, device=DEVICE)
    y = gpu.selective_scan(torch.ones_like(delta), delta, -torch.ones_like(delta[0]), ones, ones)
    expected = torch.nn.functional.softplus(delta.double(), threshold=1000)
    assert ((y - expected).abs() / expected).max() < 1e-5, "80 log2(e) eps from the argument of exp2 at -80"
    near = delta.abs() <= 1
    assert ((y - expected).abs() / expected)[near].max() < 1e-6


@runs
@pytest.mark.parametrize("layout", ["channels last", "slice", "broadcast"])
def test_scan_of_any_layout(layout):
    change = {
        "channels last": lambda t: t.mT.contiguous().mT if t.dim() > 2 else t,
        "slice": lambda t: torch.cat([t, t, t], -1)[..., t.shape[-1] : 2 * t.shape[-1]],
        "broadcast": lambda t: t[:1].expand_as(t),
    }[layout]
    assert_as_oracle({name: change(tensor) for name, tensor in scan_inputs(2, 1, 3, 4).items()})


@runs
@pytest.mark.parametrize("length, dtype", [(1, torch.float32), (KEPT + 2, torch.float32), (3, torch.bfloat16)])
def test_bidirectional_scan_matches_oracle(length, dtype):
    streams = [scan_inputs(1, 1, 3, length, seed=seed, dtype=dtype) for seed in (0, 1)]
    both = {f"{name} {i}": tensor for i, stream in enumerate(streams) for name, tensor in stream.items()}

    def own(**tensors):
        values = list(tensors.values())
        return gpu.bidirectional_scan(values[:7], values[7:])

    def oracle(**tensors):
        values = list(tensors.values())
        flipped = [value.flip(-1) if value.dim() > 2 else value for value in values[7:]]
        return reference.selective_scan(*values[:7]) + reference.selective_scan(*flipped).flip(-1)

    assert_close(run(own, both), run(oracle, both, torch.float64), dtype)


def grid_pair(
    frames, pattern="posemamba", limb_gradient="exact", directions=slice(0, 2), scan=reference.selective_scan, joints=17
):
    """(own, oracle made of `scan`), by default of the first two directions, one of them with limb term."""
    orders, limb = scan_orders(pattern, frames, joints)
    orders, limb = orders[directions].to(DEVICE), limb[directions]

    def own(**tensors):
        return gpu.grid_scan(**tensors, orders=orders, limb=limb, limb_gradient=limb_gradient)

    def oracle(**tensors):
        return grid.grid_scan(**tensors, orders=orders, limb=limb, limb_gradient=limb_gradient, selective_scan=scan)

    return own, oracle


@runs
@pytest.mark.parametrize(
    ("passes", "frames"), [(ONE_PASS, 2), (CHUNKED, 1)], ids=["one pass", "chunked"], indirect=["passes"]
)
def test_grid_scan_matches_oracle(passes, frames):
    own, oracle = grid_pair(frames)
    tensors = grid_inputs(frames, channels=5)
    assert_close(run(own, tensors), run(oracle, tensors, torch.float64))


@runs
def test_grid_scan_with_the_published_limb_gradient():
    own, oracle = grid_pair(1, limb_gradient="published")
    tensors = grid_inputs(1, channels=3)
    assert_close(run(own, tensors), run(oracle, tensors, torch.float64))


@runs
@pytest.mark.parametrize("pattern", PATTERNS)
def test_grid_scan_of_every_pattern(pattern):
    """Four directions over 2 frames of 3 joints, or of the 17 that the limb term is defined for."""
    joints = 17 if pattern == "posemamba" else 3
    own, oracle = grid_pair(2, pattern, directions=slice(0, 4), joints=joints)
    tensors = grid_inputs(2, channels=2, directions=4, rank=1, states=1, joints=joints)
    expected = oracle(**{name: tensor.double() for name, tensor in tensors.items()})
    assert_close({"y": own(**tensors)}, {"y": expected})


@runs
def test_grid_scan_of_half_precision():
    own, oracle = grid_pair(1)
    tensors = grid_inputs(1, channels=3)
    tensors["x"] = tensors["x"].bfloat16()
    result = run(own, tensors)
    assert result["y"].dtype == torch.bfloat16
    assert_close(result, run(oracle, tensors, torch.float64), torch.bfloat16)


@runs
@pytest.mark.parametrize("back", [False, True])
def test_carry_over_more_chunks_than_a_tile(back):
    chunks, states, channels = 2 * gpu.CARRY_TILE["CHUNKS"] + 1, 2, 3
    generator = torch.Generator().manual_seed(0)
    ends = torch.randn(1, chunks, states, channels, generator=generator).to(DEVICE)
    sums, A = ends[:, :, 0].abs().contiguous(), -ends[:, 0].abs().contiguous()
    starts = torch.empty_like(ends)
    gpu._programs().carry[1, 1, states](
        ends, sums, A, starts, 1, channels, chunks, 1, BACK=back, N=states, num_warps=1, **gpu.CARRY_TILE
    )
    h = torch.zeros(states, channels, device=DEVICE)
    for i in reversed(range(chunks)) if back else range(chunks):
        torch.testing.assert_close(starts[0, i], h, rtol=1e-4, atol=1e-5)
        h = torch.exp(A[0] * sums[0, i]) * h + ends[0, i]


@runs
def test_operators_are_registered_right():
    tensors = [tensor.requires_grad_() for tensor in scan_inputs(1, 1, 2, 2).values()]
    torch.library.opcheck(torch.ops.liftbench.scan_gpu, (tensors, True))
    tensors = grid_inputs(1, 2, directions=1, rank=1, states=1, joints=3).values()
    x, x_proj_weight, *parameters = [tensor.requires_grad_() for tensor in tensors]
    rows = gpu._project(x, x_proj_weight, (False,), False).detach().requires_grad_()
    arguments = (x, rows, *parameters, torch.arange(3, device=DEVICE)[None], 0, False, True)
    torch.library.opcheck(torch.ops.liftbench.grid_scan_gpu, arguments)


@runs
@pytest.mark.parametrize("outside", [torch.float32, torch.bfloat16])
def test_autocast_leaves_the_scan_in_float32(outside):
    own, _ = grid_pair(1, directions=slice(0, 1))
    tensors = grid_inputs(1, 2, directions=1, rank=1, states=1)
    tensors["x"] = tensors["x"].to(outside)
    expected = own(**tensors)
    with torch.autocast(DEVICE, torch.bfloat16):
        y = own(**tensors)
    assert y.dtype == outside and torch.equal(y, expected)


@runs
def test_compiled_without_a_graph_break():
    own, _ = grid_pair(1, "global", directions=slice(0, 1), joints=3)
    tensors = grid_inputs(1, 2, directions=1, rank=1, states=1, joints=3)
    expected = run(own, tensors)
    for name, value in run(torch.compile(own, fullgraph=True, backend="aot_eager"), tensors).items():
        assert torch.equal(value, expected[name]), name


@runs
def test_what_was_not_kept_is_made_again():
    """An operator traced without gradients, as torch.export may, and run with them."""
    tensors = list(scan_inputs(1, 1, 2, 2).values())
    gradients = []
    for keep in (True, False):
        inputs = [tensor.detach().requires_grad_() for tensor in tensors]
        gradients.append(torch.autograd.grad(torch.ops.liftbench.scan_gpu(inputs, keep)[0].sum(), inputs))
    assert all(map(torch.equal, *gradients))


@runs
def test_selfcheck_finds_nothing_wrong(small_selfcheck):
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):  # it differentiates, and in float32, all the same
        assert selfcheck.difference(torch.device(DEVICE)) is None


@runs
def test_selfcheck_catches_wrong_values(small_selfcheck, monkeypatch):
    """A carry that loses the states is still right in one pass; a limb term of wrong joints spoils the grid only."""
    starts = gpu._Sequences._starts

    def lost(*arguments):
        states = starts(*arguments)
        return states if states is None else torch.zeros_like(states)

    with monkeypatch.context() as patch:
        patch.setattr(gpu._Sequences, "_starts", lost)
        reason = selfcheck.difference(torch.device(DEVICE))
    assert re.search(r"failed its check, selective_scan in chunks on .* of its largest value, and 2e-03 is", reason)
    assert "\n" not in reason
    monkeypatch.setattr(gpu, "LIMB_ORDER", (0,) * 17)
    monkeypatch.setattr(selfcheck, "_FUNCTIONS", {"grid_scan": selfcheck._grid_scan})
    reason = selfcheck.difference(torch.device(DEVICE))
    assert re.search(r"failed its check, grid_scan in one pass on .* by \d.\de[-+]\d\d of its largest value", reason)


@runs
def test_selfcheck_catches_failures_and_nan(small_selfcheck, monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("no such instruction\nand a page of assembly")

    def is_nan(self, y, kept=None, add=False):
        y.fill_(float("nan"))

    monkeypatch.setattr(gpu._Sequences, "forward", is_nan)
    assert "y differs from the reference by inf" in selfcheck.difference(torch.device(DEVICE))
    monkeypatch.setattr(gpu._Sequences, "forward", fails)
    assert selfcheck.difference(torch.device(DEVICE)).endswith("with RuntimeError: no such instruction")


@pytest.fixture
def small_selfcheck(monkeypatch):
    """The interpreter is slow."""
    for name in ("FRAMES", "DIRECTIONS", "STATES", "RANK"):
        monkeypatch.setattr(selfcheck, name, 1)
    monkeypatch.setattr(selfcheck, "CHANNELS", 3)
    monkeypatch.setattr(selfcheck, "LENGTH", KEPT + 1)  # two chunks


@runs
def test_wrong_inputs():
    tensors = scan_inputs(1, 1, 2, 2)
    with pytest.raises(ValueError, match="delta is float64, but the Triton scan computes in float32"):
        gpu.selective_scan(**tensors | {"delta": tensors["delta"].double()})
    with pytest.raises(ValueError, match="orders and limb need 2 directions over 1 x 17 cells"):
        gpu.grid_scan(**grid_inputs(1, 2), orders=torch.zeros(2, 16), limb=(True, True))
    for cell in (0, 17, -1):
        orders = torch.arange(17).repeat(2, 1)
        orders[1, 3] = cell
        with pytest.raises(ValueError, match="^orders must be permutations of the grid cells, one per direction$"):
            gpu.grid_scan(**grid_inputs(1, 2), orders=orders, limb=(True, True))


@runs
def test_order_tables_are_copied_once():
    x, orders = torch.zeros(1, 1, 3, 2, device=DEVICE), scan_orders("global", 1, 3)[0].clone()
    before, again = (gpu._tables(orders, x, limb=0)[0] for _ in range(2))
    assert again is before
    orders.copy_(orders.flip(1))
    assert torch.equal(gpu._tables(orders, x, limb=0)[0], before.flip(1)), "a table that changed is another"


def test_unusable_says_why(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "under TRITON_INTERPRET=1" in gpu.unusable("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.unusable("cuda") == "torch finds no CUDA or HIP device"
    assert gpu.unusable("mps") == "the Triton scan runs on cuda (NVIDIA and AMD GPUs), not on mps"
    monkeypatch.setattr(gpu, "_has_triton", lambda: False)
    assert gpu.unusable("cuda").startswith("triton is not installed")


@pytest.mark.parametrize("found", [None, "the Triton scan failed its check"])
def test_auto_follows_the_selfcheck(found, monkeypatch):
    """It runs once per device, never for the cpu. If it finds something, the next implementation runs and
    doctor says why.
    """
    checked = []
    monkeypatch.setattr(gpu, "_missing", lambda device_type: None)
    monkeypatch.setattr(selfcheck, "difference", lambda device: checked.append(device) or found)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    gpu._found_by_selfcheck.cache_clear()
    monkeypatch.delenv("LIFTBENCH_SCAN", raising=False)
    assert [kernels.choose("cuda") for _ in range(2)] == ["chunked" if found else "gpu"] * 2
    assert kernels.unusable("gpu", "cuda") == found
    assert gpu.unusable("cpu") is None
    assert checked == [torch.device("cuda", 1)]
    gpu._found_by_selfcheck.cache_clear()
    if found:
        with pytest.raises(
            kernels.ScanUnavailable, match="Cannot run the scan 'gpu' here: the Triton scan failed its check"
        ):
            with kernels.using("gpu"):
                kernels.choose("cuda")
    gpu._found_by_selfcheck.cache_clear()


# PoseMamba-B: 256 channels, 4 directions, 243 frames of 17 joints, rank 8.
FULL_SIZE = {"frames": 243, "channels": 256, "directions": 4, "rank": 8, "states": 16}


@on_a_gpu
@pytest.mark.parametrize("batch", [1, 16])
def test_full_size_matches_chunked(batch):
    """Compare with PyTorch in float32, which another test compares with the oracle; both sides round."""
    tensors = grid_inputs(**FULL_SIZE, batch=batch)
    own, expected = (run(scan, tensors) for scan in grid_pair(243, directions=slice(0, 4), scan=chunked))
    for name, value in expected.items():
        difference = float((own[name] - value).abs().max() / value.abs().max())
        assert difference < 1e-4, (name, difference)


def milliseconds(function):
    return triton.testing.do_bench(function, warmup=200, rep=1000, return_mode="median")


@on_a_gpu
@pytest.mark.parametrize("batch", [1, 16])
def test_faster_than_mamba_ssm(batch):
    """grid_scan against the copies, projections, selective_scan_fn and merge that it replaces, in one run."""
    peer = pytest.importorskip("mamba_ssm.ops.selective_scan_interface", reason="mamba-ssm is not installed")
    tensors = {name: tensor.requires_grad_() for name, tensor in grid_inputs(**FULL_SIZE, batch=batch).items()}
    orders, limb = scan_orders("posemamba", 243)
    orders = orders.to(DEVICE)

    def mamba_scan(u, delta, A, B, C, D, bias):
        return peer.selective_scan_fn(u, delta, A, B, C, D, delta_bias=bias, delta_softplus=True)

    def forward(scan):
        return scan(**tensors, orders=orders, limb=limb)

    def both(scan):
        torch.autograd.grad(forward(scan).sum(), list(tensors.values()))

    theirs = functools.partial(grid.grid_scan, limb_gradient="exact", selective_scan=mamba_scan)
    for part, goal in ((forward, 2), (both, 1.5)):
        with torch.set_grad_enabled(part is both):
            ratio = milliseconds(lambda: part(theirs)) / milliseconds(lambda: part(gpu.grid_scan))  # noqa: B023
        assert ratio >= goal, f"{part.__name__}: {ratio:.2f} times as fast as mamba-ssm, the goal is {goal}"


INTEGERS = re.compile(r"directions|channels|length|chunks?|lane|.*_[bkt]")
TABLES = {"order", "neighbours"}


def compiled(name, configuration, capability, constants):
    """Machine code of program `name` for an NVIDIA GPU that need not be here."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    program = getattr(gpu._programs(), name)
    program = program.fn if hasattr(program, "configs") else program  # without the tuner
    constants = {key: value for key, value in (constants | configuration).items() if key in program.arg_names}
    signature, attributes = {}, {}
    for i, argument in enumerate(program.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
            continue
        integer = INTEGERS.fullmatch(argument)
        signature[argument] = "i32" if integer else "*i32" if argument in TABLES else "*fp32"
        if not integer or argument in ("channels", "chunk"):
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(program, signature, constants, attributes)
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": 1}).asm["cubin"]


def resources(cubin, folder):
    """(registers, bytes of stack) per thread: Triton's own n_regs and n_spills * 4, which it reads on a GPU only."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    file = folder / "program.cubin"
    file.write_bytes(cubin)
    report = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    return tuple(int(re.search(rf"{what}:(\d+)", report)[1]) for what in ("REG", "STACK"))


GRID = {"ORDER": "table", "LIMB": 0b0101, "RANK": 8, "N": 16, "INTERVAL": 16}
PLAIN = GRID | {"ORDER": "natural", "LIMB": 0, "RANK": 0}
FLAGS = {"BACK": False, "CHUNKED": True, "KEEP": True, "ADD": False}


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("shape", [GRID, PLAIN], ids=["grid", "plain"])
@pytest.mark.parametrize("name", ["local", "forward", "backward"])
def test_no_register_spills(name, shape, capability, tmp_path, monkeypatch):
    lock, parse = threading.Lock(), ast.parse

    def parse_alone(*arguments, **options):
        with lock:  # CPython 3.11 counts the depth of all threads' syntax trees together, and raises SystemError
            return parse(*arguments, **options)

    monkeypatch.setattr(ast, "parse", parse_alone)
    configurations = getattr(gpu._programs(), name).configs
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # compilers hold no lock of Python's
        cubins = threads.map(lambda one: compiled(name, one.kwargs, capability, shape | FLAGS), configurations)
    for configuration, cubin in zip(configurations, cubins, strict=True):
        registers, stack = resources(cubin, tmp_path)
        print(name, capability, configuration.kwargs, registers, stack)
        assert stack == 0, f"{configuration} spills {stack} bytes per thread with {registers} registers"


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90])
def test_no_register_spills_of_carry(capability, tmp_path):
    cubin = compiled("carry", gpu.CARRY_TILE, capability, FLAGS | {"N": 16})
    assert resources(cubin, tmp_path)[1] == 0


class NoDevice:
    """Answer what Triton asks a driver before it launches a program, for a GPU that is not here."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_device(self):
        return f"sm_{self.capability}"  # Triton's key for what it compiled

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return triton.backends.compiler.GPUTarget("cuda", self.capability, 32)


@pytest.fixture
def compiled_launches(monkeypatch):
    """Launches compile what they would run on sm_90, as Triton specialises it for their arguments, and stop there."""
    from triton.runtime.jit import JITFunction

    launch, programs = JITFunction.run, []

    def compile_only(self, *arguments, grid, warmup, **options):
        programs.append(launch(self, *arguments, grid=grid, warmup=True, **options))

    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(triton.runtime.driver, "_active", NoDevice(90))
    monkeypatch.setattr(gpu, "_missing", lambda device_type: None)
    monkeypatch.setattr(gpu, "_multiprocessors", lambda device: 132)
    return programs


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("case", ["ones", "half precision in chunks"])
def test_launches_compile(case, compiled_launches, tmp_path):
    """Absent tensors, sizes of 1 that become constants, half precision: the interpreter sees none of these."""
    if case == "ones":
        inputs = [torch.zeros(shape, requires_grad=True) for shape in ((1, 1, 1),) * 2 + ((1, 1),)]
        inputs += [torch.zeros(shape, requires_grad=True) for shape in ((1, 1, 1, 1),) * 2 + ((1,),) * 2]
        with selfcheck._configuration(0):
            gpu.selective_scan(*inputs).sum().backward()
    else:
        orders, limb = scan_orders("posemamba", 16)
        shapes = (1, 16, 17, 256), (4, 40, 256), (4, 256, 8), (4, 256), (1024, 16), (1024,)
        x, *others = [torch.zeros(shape, requires_grad=True) for shape in shapes]
        with selfcheck._configuration(1):
            gpu.grid_scan(x.bfloat16(), *others, orders, limb).sum().backward()
    assert len(compiled_launches) == (2 if case == "ones" else 6)
    for program in compiled_launches:
        registers, stack = resources(program.asm["cubin"], tmp_path)
        assert stack == 0, f"{program.name} spills {stack} bytes per thread with {registers} registers"
