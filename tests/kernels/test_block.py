"""The parts of PoseMamba's block around the scan against PyTorch's own modules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from liftbench import create_model, kernels
from liftbench.kernels import block, cpu

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")

SHAPES = [(1, 1, 1, 16), (2, 3, 17, 32), (1, 20, 17, 20), (3, 5, 4, 7), (1, 33, 2, 65)]  # (B, T, J, C)
TOLERANCE = 3e-6  # of values of order 1: nine float32 products and an exp; a LayerNorm


@pytest.fixture(params=["avx512", "avx2", "portable"])
def instruction_set(request):
    try:
        yield cpu.use_instruction_set(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    finally:
        cpu.use_instruction_set("auto")


def halves(shape, seed=0):
    """Two tensors of a shape, which share their memory as the halves of in_proj's output do."""
    torch.manual_seed(seed)
    return torch.randn(*shape[:3], 2 * shape[3]).chunk(2, dim=-1)


def randomised(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_with_silu(shape, instruction_set):
    x = halves(shape)[1]
    conv = randomised(nn.Conv2d(shape[3], shape[3], 3, padding=1, groups=shape[3]))
    with torch.no_grad():
        expected = F.silu(conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        torch.testing.assert_close(block.conv_silu(conv, x), expected, rtol=TOLERANCE, atol=5 * TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES)
def test_norm_with_gate(shape, instruction_set):
    x, gate = halves(shape)
    norm = randomised(nn.LayerNorm(shape[3]))
    with torch.no_grad():
        expected = norm(x + 3) * F.silu(gate)
        torch.testing.assert_close(block.norm_gate(norm, x + 3, gate), expected, rtol=TOLERANCE, atol=5 * TOLERANCE)


def test_the_gate_may_be_as_large_as_floats_go(instruction_set):
    gate = torch.tensor([0.0, -0.0, 1e-30, 88.0, -88.0, -104.0, 1e4, -1e4]).expand(1, 1, 1, 8)
    norm = nn.LayerNorm(8)
    with torch.no_grad():
        x = torch.randn(1, 1, 1, 8)
        torch.testing.assert_close(block.norm_gate(norm, x, gate), norm(x) * F.silu(gate), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (1, 7, 17, 5), (2, 3, 17, 5), (2, 1, 1, 5), (3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_its_gradients(shape, bias):
    torch.manual_seed(0)
    x, layer = torch.randn(shape, requires_grad=True), nn.Linear(5, 3, bias=bias)
    y, expected = block.linear(layer, x), layer(x)
    assert y.shape == expected.shape
    torch.testing.assert_close(y, expected, rtol=TOLERANCE, atol=TOLERANCE)
    inputs, weights = (x, *layer.parameters()), torch.randn_like(y)
    for ours, theirs in zip(torch.autograd.grad(y, inputs, weights), torch.autograd.grad(expected, inputs, weights)):
        torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=10 * TOLERANCE)


def test_gradients_take_the_modules_own_path():
    x, gate = halves((1, 4, 17, 8))
    conv, norm = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.LayerNorm(8)
    y = block.norm_gate(norm, block.conv_silu(conv, x), gate)
    assert all(gradient.any() for gradient in torch.autograd.grad(y.square().sum(), (conv.weight, norm.weight)))


def test_other_implementations_and_float64_run_the_modules_themselves(monkeypatch):
    for name in ("linear", "block"):
        monkeypatch.delattr(cpu, name)  # whatever reaches the library fails
    monkeypatch.setattr(block, "cpu_block", None)
    x, gate = halves((1, 4, 17, 8))
    conv, norm, layer = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.LayerNorm(8), nn.Linear(8, 3)
    with torch.no_grad():
        block.linear(layer, block.norm_gate(norm, block.conv_silu(conv, x, "chunked"), gate, "chunked"), "chunked")
        x, gate = x.double(), gate.double()
        y = block.norm_gate(norm.double(), block.conv_silu(conv.double(), x), gate)
        assert block.linear(layer.double(), y).dtype == torch.float64


def test_threads_do_not_change_the_results():
    model = create_model("posemamba_toy").eval()
    clip = torch.randn(1, 27, 17, 2)
    threads = torch.get_num_threads()
    try:
        with torch.inference_mode():
            torch.set_num_threads(1)
            one = model(clip)
            torch.set_num_threads(2)
            torch.testing.assert_close(model(clip), one, rtol=1e-6, atol=1e-6)  # oneDNN may split its sums
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out(dtype):
    x, gate = (half.to(dtype) for half in halves((1, 4, 17, 8)))
    conv, norm = nn.Conv2d(8, 8, 3, padding=1, groups=8).to(dtype), nn.LayerNorm(8).to(dtype)
    with torch.no_grad():
        y = block.norm_gate(norm, block.conv_silu(conv, x), gate)
        expected = norm.float()(F.silu(conv.float()(x.float().permute(0, 3, 1, 2))).permute(0, 2, 3, 1))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected * F.silu(gate.float()), rtol=0.05, atol=0.05)


def test_a_model_is_the_same_with_and_without_the_library(monkeypatch):
    model, clip = create_model("posemamba_s").eval(), torch.randn(1, 9, 17, 2)
    with torch.inference_mode():
        ours = model(clip)
        monkeypatch.setattr(kernels, "choose", lambda *_, **__: "reference")
        expected = model(clip)
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()
