"""Two linear layers with GELU between them, in the C++ library, against float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from liftbench import kernels
from liftbench.kernels import block, cpu
from liftbench.kernels.block import Mlp
from support.scans import with_threads

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")

# (rows..., channels): one number, rests in every axis, several parts of the rows, many hidden values.
SHAPES = [(1,), (3, 5), (2, 3, 17, 7), (65, 16), (1, 70, 17, 33), (600, 24), (4, 300)]


def layer_of(shape):
    torch.manual_seed(0)
    mlp = Mlp(shape[-1])
    for parameter in mlp.parameters():
        nn.init.normal_(parameter)
    return mlp, torch.randn(shape)


def run(mlp, x, dtype=torch.float32):
    """Return the result and the gradients of sum(result * weights)."""
    mlp, x = copy.deepcopy(mlp).to(dtype), x.to(dtype).requires_grad_()
    y = mlp(x)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return y.detach(), *torch.autograd.grad(y, (x, *mlp.parameters()), dy)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_and_gradients(shape, instruction_set, poisoned):
    mlp, x = layer_of(shape)
    for own, oracle in zip(run(mlp, x), run(mlp, x, torch.float64), strict=True):
        assert own.shape == oracle.shape
        assert (own - oracle).abs().max() <= 4e-6 * oracle.abs().max()


def test_gelu_over_its_range(instruction_set):
    x = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 50.0, -50.0, 1e4, -1e4])])[
        :, None
    ]
    identity = Mlp(1)
    with torch.no_grad():
        for parameter, value in zip(identity.parameters(), ([[1], [0]], [0, 0], [[1, 0]], [0])):
            parameter.copy_(torch.tensor(value))
    y, dx, *_ = run(identity, x)
    exact = x.double().requires_grad_()
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).double()
    expected = F.gelu(exact)
    torch.testing.assert_close(y.double(), expected.detach(), rtol=1e-6, atol=5e-7)
    torch.testing.assert_close(dx.double(), *torch.autograd.grad(expected, exact, dy), rtol=1e-6, atol=3e-6)


def test_values_that_are_not_finite_stay_in_their_rows(instruction_set):
    mlp, x = layer_of((20, 7))
    x[3, 2], x[9, 0] = float("nan"), float("inf")
    y, dx, *_ = run(mlp, x)
    for tensor in (y, dx):
        assert tensor.isfinite().all(1).logical_not().nonzero().flatten().tolist() == [3, 9]


def test_threads_change_nothing(instruction_set):
    mlp, x = layer_of((3, 27, 17, 24))
    found = with_threads(lambda: run(mlp, x))
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others))


def test_what_runs_the_modules_themselves(monkeypatch):
    monkeypatch.setattr(block, "cpu_mlp", None)  # whatever reaches the library fails
    mlp, x = layer_of((6, 8))
    with kernels.using("chunked"):
        mlp(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert mlp(x).dtype == torch.bfloat16
    assert mlp(x[:0]).shape == (0, 8)
    torch.func.vmap(mlp)(x)
    torch.func.jvp(mlp, (x,), (x,))
    mlp.double()(x.double())


def test_the_layers_are_called_if_they_have_hooks():
    (mlp, x), seen = layer_of((6, 8)), []
    mlp.fc1.register_forward_hook(lambda *_: seen.append("fc1"))
    mlp.fc2.register_full_backward_hook(lambda *_: seen.append("fc2"))
    mlp(x).sum().backward()
    assert seen == ["fc1", "fc2"]


def test_operations_are_counted_as_pytorch_counts_them():
    def count():
        with FlopCounterMode(display=False) as counter:
            mlp, x = layer_of((6, 8))
            mlp(x.requires_grad_()).sum().backward()
        return counter.get_total_flops()

    own = count()
    with kernels.using("chunked"):
        assert own == count() == 3 * 2 * 6 * 8 * 16 * 2


# {case: (tensor that is wrong, how)}; the sizes are such that a kernel without checks reads far outside.
WRONG = {
    "x of fewer channels": (0, lambda t: t[:, :8]),
    "x in float64": (0, lambda t: t.double()),
    "x on meta": (0, lambda t: t.to("meta")),
    "first of fewer outputs": (1, lambda t: t[:8]),
    "first_bias too short": (2, lambda t: t[:1]),
    "second of fewer inputs": (3, lambda t: t[:, :8]),
    "second of fewer outputs": (3, lambda t: t[:8]),
    "second_bias too short": (4, lambda t: t[:1]),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_operator_checks_what_it_reads(case):
    which, change = WRONG[case]
    mlp, x = layer_of((60, 64))
    tensors = [x, *(parameter.detach() for parameter in mlp.parameters())]
    tensors[which] = change(tensors[which])
    with pytest.raises(ValueError, match=r"^(x|first|second|first_bias|second_bias) "):
        torch.ops.liftbench.mlp_cpu(*tensors)


@pytest.mark.parametrize("wrong", ["short", "float64", "meta"])
def test_the_backward_operator_checks_what_it_reads(wrong):
    mlp, x = layer_of((60, 64))
    dy = {"short": x[:1], "float64": x.double(), "meta": x.to("meta")}[wrong]
    with pytest.raises(ValueError, match="^the gradient of y "):
        torch.ops.liftbench.mlp_cpu_backward(dy, x, *(parameter.detach() for parameter in mlp.parameters()))
