"""The convolution before MDTF's scans against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from liftbench import create_model, kernels
from liftbench.kernels import block, cpu
from liftbench.kernels.block import steps_conv_silu
from support.scans import with_threads

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")

SHAPES = [(1, 1, 16), (3, 17, 32), (2, 2, 20), (1, 3, 7), (70, 5, 65)]  # (S, L, C)


def inputs(shape, dtype=torch.float32):
    """Make x, which is half of a larger tensor as in the model, the weights and the bias."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(*shape[:2], 2 * shape[2], generator=draw).chunk(2, dim=-1)[1].to(dtype)
    return [x, *(torch.randn(size, generator=draw).to(dtype) for size in ((shape[2], 1, 4), (shape[2],)))]


def by_pytorch(x, weight, bias, reverse):
    """Reverse the sequence itself, as Mamba's second direction does."""
    x = x.flip(1) if reverse else x
    y = F.silu(F.conv1d(F.pad(x.mT, (3, 0)), weight, bias, groups=x.shape[-1])).mT
    return y.flip(1) if reverse else y


def gradients(function, tensors, reverse):
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*tensors, reverse)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return torch.autograd.grad(y, tensors, weights)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape, reverse, instruction_set, poisoned, monkeypatch):
    oracle = inputs(shape, torch.float64)
    expected, expected_gradients = by_pytorch(*oracle, reverse), gradients(by_pytorch, oracle, reverse)
    monkeypatch.setattr(F, "conv1d", None)  # the library computes all that follows
    y = steps_conv_silu(*inputs(shape), reverse)
    torch.testing.assert_close(y.double(), expected, rtol=3e-6, atol=3e-6)
    for own, theirs in zip(gradients(steps_conv_silu, inputs(shape), reverse), expected_gradients, strict=True):
        assert (own - theirs).abs().max() <= 2e-6 * theirs.abs().max()


def test_threads_change_nothing():
    def results():
        return [steps_conv_silu(*inputs((70, 5, 65))), *gradients(steps_conv_silu, inputs((70, 5, 65)), True)]

    found = with_threads(results, (1, 3))
    assert all(map(torch.equal, *found))


def test_it_runs_in_pytorch_with_another_scan_kernel_width_or_dtype(monkeypatch):
    def refuse(*_):
        raise AssertionError("the library ran")

    monkeypatch.setattr(block.cpu_steps, "conv_silu", refuse)
    x, weight, bias = inputs((2, 5, 8))
    with kernels.using("chunked"):
        torch.testing.assert_close(steps_conv_silu(x, weight, bias, True), by_pytorch(x, weight, bias, True))
    assert steps_conv_silu(x, weight[..., :3], bias).shape == x.shape
    assert steps_conv_silu(x.double(), weight.double(), bias.double()).dtype == torch.float64
    assert steps_conv_silu(x[:0], weight, bias).shape == (0, 5, 8)


def test_a_strided_axis_of_length_one_means_nothing():
    x, weight, bias = inputs((3, 1, 8))
    strange = x.contiguous().as_strided((3, 1, 8), (8, 99, 1))
    assert torch.equal(steps_conv_silu(strange, weight, bias), steps_conv_silu(x, weight, bias))


@pytest.mark.parametrize(
    "wrong", ["x of two axes", "weight of three taps", "bias of one channel less", "back", "float64"]
)
def test_the_operator_checks_what_it_reads(wrong):
    x, weight, bias = inputs((2, 5, 8))
    arguments = {
        "x of two axes": (x[0], weight, bias, 3),
        "weight of three taps": (x, weight[..., :3], bias, 3),
        "bias of one channel less": (x, weight, bias[1:], 3),
        "back": (x, weight, bias, 4),
        "float64": (x.double(), weight, bias, 3),
    }[wrong]
    with pytest.raises(ValueError, match=r"must|float64"):
        torch.ops.liftbench.steps_conv_silu_cpu(*arguments)


def test_the_operator_is_a_good_citizen_of_torch():
    tensors = [tensor.requires_grad_() for tensor in inputs((2, 5, 8))]
    torch.library.opcheck(torch.ops.liftbench.steps_conv_silu_cpu, (*tensors, 3))


def test_a_model_is_the_same_with_and_without_the_library(monkeypatch):
    torch.manual_seed(0)
    model, clip = create_model("mdtf_tiny", frames=9).eval(), torch.randn(1, 9, 17, 3)
    with torch.no_grad():
        own = model(clip)
        monkeypatch.setattr(block, "_on_cpu", lambda _: False)
        plain = model(clip)
    torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-5)
