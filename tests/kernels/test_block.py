"""The parts of PoseMamba's block around the scan against PyTorch's own modules."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from liftbench import create_model, kernels
from liftbench.kernels import block, cpu
from liftbench.kernels.block import ConvSilu, GatedNorm, Linear
from support.scans import with_threads

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")

SHAPES = [(1, 1, 1, 16), (2, 3, 17, 32), (1, 20, 17, 20), (3, 5, 4, 7), (1, 33, 2, 65)]  # (B, T, J, C)
TOLERANCE = 3e-6  # for values of order 1: nine float32 products and an exp; a LayerNorm


def halves(shape, seed=0):
    """Make two tensors of a shape that share their memory as the halves of in_proj's output do."""
    torch.manual_seed(seed)
    return torch.randn(*shape[:3], 2 * shape[3]).chunk(2, dim=-1)


def by_pytorch(module, x, *gate):
    """Compute the module's result with PyTorch's own operators."""
    if isinstance(module, nn.LayerNorm):
        return nn.LayerNorm.forward(module, x) * F.silu(*gate)
    return F.silu(nn.Conv2d.forward(module, x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


def randomised(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_with_silu(shape, instruction_set):
    x = halves(shape)[1]
    conv = randomised(ConvSilu(shape[3], shape[3], 3, padding=1, groups=shape[3]))
    with torch.no_grad():
        expected = by_pytorch(conv, x)
        torch.testing.assert_close(conv(x), expected, rtol=TOLERANCE, atol=5 * TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES)
def test_norm_with_gate(shape, instruction_set):
    x, gate = halves(shape)
    norm = randomised(GatedNorm(shape[3]))
    with torch.no_grad():
        expected = by_pytorch(norm, x + 3, gate)
        torch.testing.assert_close(norm(x + 3, gate), expected, rtol=TOLERANCE, atol=5 * TOLERANCE)


def test_the_gate_may_be_as_large_as_floats_go(instruction_set):
    gate = torch.tensor([0.0, -0.0, 1e-30, 88.0, -88.0, -104.0, 1e4, -1e4]).expand(1, 1, 1, 8)
    norm = GatedNorm(8)
    with torch.no_grad():
        x = torch.randn(1, 1, 1, 8)
        torch.testing.assert_close(norm(x, gate), by_pytorch(norm, x, gate), rtol=1e-5, atol=1e-5)


def gradients(module, *inputs, dtype=torch.float32):
    """Return the gradients of sum(module(*inputs) * weights), by the module or, in float64, by PyTorch's operators."""
    module = copy.deepcopy(module).to(dtype)
    inputs = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    y = module(*inputs) if dtype == torch.float32 else by_pytorch(module, *inputs)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return torch.autograd.grad(y, (*inputs, *module.parameters()), weights)


def assert_equal_gradients(own, expected, allowed=2e-6):
    for ours, oracle in zip(own, expected, strict=True):
        assert (ours - oracle).abs().max() <= allowed * oracle.abs().max()


def conv_of(channels):
    return randomised(ConvSilu(channels, channels, 3, padding=1, groups=channels))


@pytest.mark.parametrize("shape", [*SHAPES, (70, 17, 3, 24)])
def test_gradients_of_the_convolution(shape, instruction_set, poisoned):
    x, conv = halves(shape)[1], conv_of(shape[3])
    assert_equal_gradients(gradients(conv, x), gradients(conv, x, dtype=torch.float64))


@pytest.mark.parametrize("shape", [*SHAPES, (70, 17, 3, 24)])
def test_gradients_of_the_norm_with_gate(shape, instruction_set, poisoned):
    (x, gate), norm = halves(shape), randomised(GatedNorm(shape[3]))
    assert_equal_gradients(gradients(norm, x + 3, gate), gradients(norm, x + 3, gate, dtype=torch.float64), 5e-6)


def test_gradients_of_a_gate_as_large_as_floats_go(instruction_set):
    gate = torch.tensor([0.0, -0.0, 1e-30, 88.0, -88.0, -104.0, 1e4, -1e4]).expand(1, 1, 1, 8)
    x, norm = torch.randn(1, 1, 1, 8), GatedNorm(8)
    assert_equal_gradients(gradients(norm, x, gate), gradients(norm, x, gate, dtype=torch.float64), 1e-5)


def test_gradients_in_the_library_without_pytorchs_operators(monkeypatch):
    monkeypatch.setattr(nn.Conv2d, "forward", None)
    monkeypatch.setattr(nn.LayerNorm, "forward", None)
    x, gate = halves((1, 4, 17, 8))
    gradients(conv_of(8), x), gradients(GatedNorm(8), x, gate)


@pytest.mark.parametrize("shape", [(1, 40, 17, 24), (70, 3, 17, 8)])
def test_threads_do_not_change_the_gradients(shape, instruction_set):
    (x, gate), conv, norm = halves(shape), conv_of(shape[3]), randomised(GatedNorm(shape[3]))
    found = with_threads(lambda: [*gradients(conv, x), *gradients(norm, x, gate)])
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others))


def test_only_what_needs_a_gradient_has_one():
    x, conv = torch.randn(1, 4, 17, 8), conv_of(8)
    conv.weight.requires_grad_(False)
    conv(x).sum().backward()
    assert conv.weight.grad is None and x.grad is None and conv.bias.grad is not None


def test_other_implementations_and_float64_run_the_modules_themselves(monkeypatch):
    monkeypatch.setattr(block, "cpu_block", None)  # whatever reaches the library fails
    x, gate = halves((1, 4, 17, 8))
    conv, norm, layer = ConvSilu(8, 8, 3, padding=1, groups=8), GatedNorm(8), Linear(8, 3)
    with torch.no_grad():
        with kernels.using("chunked"):
            layer(norm(conv(x), gate))
        x, gate = x.double(), gate.double()
        y = norm.double()(conv.double()(x), gate)
        assert layer.double()(y).dtype == torch.float64


def test_threads_do_not_change_the_results():
    model = create_model("posemamba_toy").eval()
    clip = torch.randn(1, 27, 17, 2)
    with torch.inference_mode():
        one, two = with_threads(lambda: model(clip), (1, 2))
    torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-6)  # PyTorch's own layers may split their sums


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out(dtype):
    x, gate = (half.to(dtype) for half in halves((1, 4, 17, 8)))
    conv, norm = ConvSilu(8, 8, 3, padding=1, groups=8).to(dtype), GatedNorm(8).to(dtype)
    with torch.no_grad():
        y = norm(conv(x), gate)
        expected = by_pytorch(norm.float(), by_pytorch(conv.float(), x.float()), gate.float())
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


def test_a_model_is_the_same_with_and_without_the_library():
    model, clip = create_model("posemamba_s").eval(), torch.randn(1, 9, 17, 2)
    with torch.inference_mode():
        ours = model(clip)
        with kernels.using("reference"):
            expected = model(clip)
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


# Convolutions and inputs that the library does not compute: {case: (module, channels of x)}
OTHER_CONVOLUTIONS = {
    "kernel size 5": (lambda: ConvSilu(8, 8, 5, padding=2, groups=8), 8),
    "kernel size 1 x 3": (lambda: ConvSilu(8, 8, (1, 3), padding=(0, 1), groups=8), 8),
    "not depthwise": (lambda: ConvSilu(8, 8, 3, padding=1), 8),
    "two channels a group": (lambda: ConvSilu(8, 8, 3, padding=1, groups=4), 8),
    "two outputs a channel": (lambda: ConvSilu(8, 16, 3, padding=1, groups=8), 8),
    "stride 2": (lambda: ConvSilu(8, 8, 3, padding=1, stride=2, groups=8), 8),
    "padding 0": (lambda: ConvSilu(8, 8, 3, groups=8), 8),
    "padding 2": (lambda: ConvSilu(8, 8, 3, padding=2, groups=8), 8),
    "padding by name": (lambda: ConvSilu(8, 8, 3, padding="same", groups=8), 8),
    "dilation 2": (lambda: ConvSilu(8, 8, 3, padding=1, dilation=2, groups=8), 8),
    "circular padding": (lambda: ConvSilu(8, 8, 3, padding=1, groups=8, padding_mode="circular"), 8),
    "no bias": (lambda: ConvSilu(8, 8, 3, padding=1, groups=8, bias=False), 8),
}


@pytest.mark.parametrize("case", OTHER_CONVOLUTIONS)
def test_other_convolutions_run_as_pytorch_has_them(case):
    make, channels = OTHER_CONVOLUTIONS[case]
    torch.manual_seed(0)
    conv, x = randomised(make()), torch.randn(2, 6, 17, channels)
    with torch.no_grad():
        expected = by_pytorch(conv, x)
        assert torch.equal(conv(x), expected)


@pytest.mark.parametrize("channels", [4, 64])
def test_a_convolution_of_other_channels_is_pytorchs_error(channels):
    conv = ConvSilu(8, 8, 3, padding=1, groups=8)
    with torch.no_grad(), pytest.raises(RuntimeError, match="to have 8 channels"):
        conv(torch.randn(1, 4, 17, channels))


OTHER_NORMS = {
    "two axes": (lambda: GatedNorm((17, 8)), (2, 3, 17, 8)),
    "not affine": (lambda: GatedNorm(8, elementwise_affine=False), (2, 3, 17, 8)),
    "no bias": (lambda: GatedNorm(8, bias=False), (2, 3, 17, 8)),
    "one gate for all channels": (lambda: GatedNorm(8), (2, 3, 17, 1)),
    "one gate for all clips": (lambda: GatedNorm(8), (3, 17, 8)),
    "one gate for all frames": (lambda: GatedNorm(8), (2, 1, 17, 8)),
}


@pytest.mark.parametrize("case", OTHER_NORMS)
def test_other_norms_run_as_pytorch_has_them(case):
    make, shape = OTHER_NORMS[case]
    torch.manual_seed(0)
    norm, x, gate = randomised(make()), torch.randn(2, 3, 17, 8), torch.randn(shape)
    with torch.no_grad():
        assert torch.equal(norm(x, gate), by_pytorch(norm, x, gate))


def test_a_gate_that_does_not_fit_is_pytorchs_error():
    with torch.no_grad(), pytest.raises(RuntimeError, match="must match the size of"):
        GatedNorm(8)(torch.randn(2, 3, 17, 8), torch.randn(2, 3, 16, 8))


@pytest.mark.parametrize("shape", [(3, 17, 8), (0, 3, 17, 8), (2, 0, 17, 8)])
def test_other_numbers_of_axes_and_empty_clips_run_as_pytorch_has_them(shape):
    norm, x = GatedNorm(8), torch.randn(shape)
    with torch.no_grad():
        assert torch.equal(norm(x, x), by_pytorch(norm, x, x))


def test_weights_of_another_dtype_are_pytorchs_error():
    with torch.no_grad(), pytest.raises(RuntimeError, match="(?i)type"):
        ConvSilu(8, 8, 3, padding=1, groups=8).double()(torch.randn(1, 4, 17, 8))


def test_forward_mode_goes_through_the_modules():
    conv, norm = ConvSilu(8, 8, 3, padding=1, groups=8), GatedNorm(8)
    x, direction = torch.randn(1, 4, 17, 8), torch.randn(1, 4, 17, 8)

    def function(x):
        return norm(conv(x), x)

    with torch.no_grad():
        _, tangent = torch.func.jvp(function, (x,), (direction,))
        expected = (function(x + 1e-3 * direction) - function(x - 1e-3 * direction)) / 2e-3
    torch.testing.assert_close(tangent, expected, rtol=0.01, atol=0.01)


# {case: (tensor that is wrong, how)}; the sizes are such that a kernel without checks reads far outside.
WRONG = {
    "weight of one channel": ("weight", lambda t: t[:1]),
    "weight of another kernel": ("weight", lambda t: t[..., :2]),
    "bias too short": ("bias", lambda t: t[:3]),
    "weight in float64": ("weight", lambda t: t.double()),
    "x in bfloat16": ("x", lambda t: t.bfloat16()),
    "x of three axes": ("x", lambda t: t[0]),
    "x without frames": ("x", lambda t: t[:, :0]),
    "x on meta": ("x", lambda t: t.to("meta")),
    "gate of fewer joints": ("gate", lambda t: t[:, :, :16]),
    "gate of fewer channels": ("gate", lambda t: t[..., :1]),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_operators_check_what_they_read(case):
    name, change = WRONG[case]
    x = torch.randn(2, 3, 17, 64)
    conv = {"x": x, "weight": torch.randn(64, 1, 3, 3), "bias": torch.randn(64)}
    norm = {"x": x, "gate": x, "weight": torch.randn(64), "bias": torch.randn(64), "epsilon": 1e-5}
    if name != "gate":
        with pytest.raises(ValueError, match=f"^{name} "):
            torch.ops.liftbench.conv_silu_cpu(**conv | {name: change(conv[name])})
    if "kernel" not in case:
        with pytest.raises(ValueError, match=f"^({name}|gate) "):
            torch.ops.liftbench.norm_gate_cpu(**norm | {name: change(norm[name])})


@pytest.mark.parametrize("wrong", ["short", "float64", "meta"])
def test_the_operators_of_the_backward_pass_check_what_they_read(wrong):
    x, weight = torch.randn(2, 3, 17, 64), torch.randn(64)
    dy = {"short": x[:1], "float64": x.double(), "meta": x.to("meta")}[wrong]
    with pytest.raises(ValueError, match="^the gradient of y "):
        torch.ops.liftbench.conv_silu_cpu_backward(dy, x, torch.randn(64, 1, 3, 3), weight)
    with pytest.raises(ValueError, match="^the gradient of y "):
        torch.ops.liftbench.norm_gate_cpu_backward(dy, x, x, weight, weight, 1e-5)


def test_strides_of_axes_of_length_one_mean_nothing(instruction_set):
    """(B, T, 1, C) whose third axis has a stride of three cells."""
    x = torch.randn(2, 1, 3, 8).transpose(1, 2)
    assert x.is_contiguous() and x.stride(2) == 24
    conv, norm = randomised(ConvSilu(8, 8, 3, padding=1, groups=8)), GatedNorm(8)
    with torch.no_grad():
        expected = by_pytorch(conv, x)
        torch.testing.assert_close(conv(x), expected, rtol=TOLERANCE, atol=5 * TOLERANCE)
        torch.testing.assert_close(norm(x, x), by_pytorch(norm, x, x), rtol=1e-5, atol=1e-5)
