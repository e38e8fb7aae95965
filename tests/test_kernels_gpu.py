"""The Triton scan against the float64 oracle, outputs and every gradient by name: on a GPU where there is one, and else
in Triton's interpreter, which one test starts in a process of its own; and its registers, compiled for GPUs not here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import PATTERNS, gpu, grid, reference, scan_orders

triton = pytest.importorskip("triton", reason="triton is not installed")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
runs = pytest.mark.skipif(
    gpu.unusable(DEVICE) is not None, reason=f"{gpu.unusable(DEVICE)}; test_in_the_interpreter runs it on the cpu"
)
on_a_gpu = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="it needs a CUDA or HIP device")

# Largest difference over the largest reference value. float32: rounding of 1e-7 per step, and 2 ulp of the GPU's exp2,
# carried along by decays near 1, and for gradients sums over steps. bfloat16: the oracle reads the same rounded inputs,
# so what remains is the rounding of outputs and gradients to 8 bits.
TOLERANCES = {torch.float32: {"y": 5e-6, "gradient": 2e-5}, torch.bfloat16: {"y": 2**-8, "gradient": 2**-8}}
ONE_PASS, CHUNKED = {"FULL_WARPS": 0}, {"FULL_WARPS": float("inf"), "CHUNKED_WARPS": 10**6}  # chunks of one interval


@pytest.fixture(params=[ONE_PASS, CHUNKED], ids=["one pass", "chunked"])
def passes(request, monkeypatch):
    for name, value in request.param.items():
        monkeypatch.setattr(gpu, name, value)


@pytest.fixture(autouse=True)
def poisoned():
    """Uninitialised memory is NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


def scan_inputs(batch, groups, channels, length, states=3, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    total = groups * channels
    tensors = {
        "u": normal(batch, total, length),
        "delta": normal(batch, total, length) - 2,
        "A": -torch.exp(normal(total, states)),
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "D": normal(total),
        "delta_bias": normal(total),
    }
    return {name: tensor.to(DEVICE, dtype) for name, tensor in tensors.items()}


def grid_inputs(frames, channels, directions=4, rank=3, states=3, batch=1):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(DEVICE)

    return {
        "x": normal(batch, frames, 17, channels),
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
    for name, value in expected.items():
        assert own[name].shape == value.shape and own[name].isfinite().all(), name
        difference = float((own[name].double() - value).abs().max() / value.abs().max().clamp_min(1e-20))
        assert difference <= TOLERANCES[dtype]["y" if name == "y" else "gradient"], (name, difference)


def assert_as_oracle(tensors, dtype=torch.float32):
    expected = run(reference.selective_scan, tensors, torch.float64)
    assert_close(run(gpu.selective_scan, tensors), expected, dtype)


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the tests run on the GPU")
def test_in_the_interpreter():
    """Every test marked `runs`, in a new process: Triton reads TRITON_INTERPRET when it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 30, result.stdout


@runs
@pytest.mark.parametrize("length", [1, 2, 3, 17, 63, 65])
def test_scan_matches_oracle(length, passes):
    assert_as_oracle(scan_inputs(1, 1, 5, length))


@runs
def test_scan_of_several_blocks_groups_and_clips(passes):
    assert_as_oracle(scan_inputs(2, 2, 19, 18, states=2))


@runs
def test_scan_of_half_precision():
    tensors = scan_inputs(1, 1, 5, 19, dtype=torch.bfloat16)
    assert_as_oracle(tensors, torch.bfloat16)
    assert gpu.selective_scan(**tensors).dtype == torch.bfloat16


@runs
def test_scan_without_optional_inputs():
    assert_as_oracle({name: value for name, value in scan_inputs(1, 1, 3, 4).items() if name not in ("D", "delta_bias")})


@runs
@pytest.mark.parametrize("delta, A", [(-40, -1), (30, -1), (200, -1), (3, -1e-30), (3, -1e4), (-3, 0.05)])
def test_scan_at_extremes(delta, A):
    """Tiny and huge delta, A near 0, very negative, and positive but bounded."""
    tensors = scan_inputs(1, 1, 3, 18)
    tensors["delta"] = tensors["delta"] * 0.1 + delta
    tensors["A"] = tensors["A"] * 0 + A * torch.linspace(0.5, 1, 3, device=DEVICE)
    assert_as_oracle(tensors)


@runs
def test_softplus_over_its_range():
    """One step of one state is y = softplus(delta); the bound is that of a product of exp2 and polynomial, in float32."""
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
@pytest.mark.parametrize("length", [1, 18])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
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


def grid_pair(frames, pattern="posemamba", limb_gradient="exact"):
    orders, limb = scan_orders(pattern, frames)
    orders = orders.to(DEVICE)

    def own(**tensors):
        return gpu.grid_scan(**tensors, orders=orders, limb=limb, limb_gradient=limb_gradient)

    def oracle(**tensors):
        scan = reference.selective_scan
        return grid.grid_scan(**tensors, orders=orders, limb=limb, limb_gradient=limb_gradient, selective_scan=scan)

    return own, oracle


@runs
@pytest.mark.parametrize("limb_gradient", ["exact", "published"])
def test_grid_scan_matches_oracle(limb_gradient, passes):
    own, oracle = grid_pair(2, limb_gradient=limb_gradient)
    tensors = grid_inputs(2, channels=5)
    assert_close(run(own, tensors), run(oracle, tensors, torch.float64))


@runs
@pytest.mark.parametrize("pattern", PATTERNS)
def test_grid_scan_of_every_pattern(pattern):
    own, oracle = grid_pair(2, pattern)
    tensors = grid_inputs(2, channels=2, rank=1, states=1)
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
    chunks, states, channels = 70, 2, 3
    generator = torch.Generator().manual_seed(0)
    ends = torch.randn(1, chunks, states, channels, generator=generator).to(DEVICE)
    sums, A = ends[:, :, 0].abs().contiguous(), -ends[:, 0].abs().contiguous()
    starts = torch.empty_like(ends)
    gpu._programs().carry[1, 1, states](
        ends, sums, A, starts, 1, channels, chunks, 1, BACK=back, N=states, CHUNKS=32, LANES=32, num_warps=1
    )
    h = torch.zeros(states, channels, device=DEVICE)
    for i in reversed(range(chunks)) if back else range(chunks):
        torch.testing.assert_close(starts[0, i], h, rtol=1e-4, atol=1e-5)
        h = torch.exp(A[0] * sums[0, i]) * h + ends[0, i]


@runs
def test_operators_are_registered_right():
    tensors = [tensor.requires_grad_() for tensor in scan_inputs(1, 1, 2, 2).values()]
    torch.library.opcheck(torch.ops.liftbench.scan_gpu, (tensors, True))
    x, x_proj_weight, *parameters = (tensor.requires_grad_() for tensor in grid_inputs(1, 2, rank=1, states=1).values())
    orders, limb = scan_orders("posemamba", 1)
    rows = gpu._project(x, x_proj_weight, limb, False).detach().requires_grad_()
    arguments = (x, rows, *parameters, orders.to(DEVICE), 0b0101, False, True)
    torch.library.opcheck(torch.ops.liftbench.grid_scan_gpu, arguments)


@runs
def test_wrong_inputs():
    tensors = scan_inputs(1, 1, 2, 2)
    with pytest.raises(ValueError, match="delta is float64, but the Triton scan computes in float32"):
        gpu.selective_scan(**tensors | {"delta": tensors["delta"].double()})
    with pytest.raises(ValueError, match="orders and limb need 4 directions over 1 x 17 cells"):
        gpu.grid_scan(**grid_inputs(1, 2), orders=torch.zeros(4, 16), limb=(True,) * 4)


def test_unusable_says_why(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "under TRITON_INTERPRET=1" in gpu.unusable("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.unusable("cuda") == "torch finds no CUDA or HIP device"
    monkeypatch.setattr(gpu, "_has_triton", lambda: False)
    assert gpu.unusable("cuda").startswith("triton is not installed")


INTEGERS = re.compile(r"directions|channels|length|chunks?|lane|.*_[bkt]")
TABLES = {"order", "parents"}


def compiled(name, configuration, capability, constants):
    """Program `name` for an NVIDIA GPU that need not be here: (registers, bytes of stack) per thread."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    program = getattr(gpu._programs(), name)
    constants = constants | configuration
    while not hasattr(program, "arg_names") or hasattr(program, "configs"):
        program = program.fn
    constants = {name: value for name, value in constants.items() if name in program.arg_names}
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
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 1})
    return kernel.asm["cubin"]


def resources(cubin, folder):
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
def test_no_register_spills(name, shape, capability, tmp_path):
    for configuration in getattr(gpu._programs(), name).configs:
        registers, stack = resources(compiled(name, configuration.kwargs, capability, shape | FLAGS), tmp_path)
        print(name, capability, configuration.kwargs, registers, stack)
        assert stack == 0, f"{configuration} spills {stack} bytes per thread with {registers} registers"


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90])
def test_no_register_spills_of_carry(capability, tmp_path):
    cubin = compiled("carry", {"CHUNKS": 32, "LANES": 32}, capability, FLAGS | {"N": 16})
    assert resources(cubin, tmp_path)[1] == 0
