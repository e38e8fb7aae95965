"""Linear layers of the C++ library against float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from liftbench import kernels
from liftbench.kernels import block, cpu
from liftbench.kernels.block import Linear
from liftbench.kernels.cpu import product
from support.scans import with_threads

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")

# Shape of x, outputs: a single number, tiles with and without rest in every axis, parts of the rows, many inputs.
CASES = [
    ((1,), 1),
    ((5,), 3),
    ((2, 3, 17, 5), 3),
    ((13, 16), 16),
    ((1, 243, 17), 64),
    ((71, 33), 49),
    ((2, 27, 17, 64), 256),
    ((600, 128), 144),
    ((40, 600), 7),
    ((3, 20), 700),
]


def layer_of(x, outputs, bias=True):
    torch.manual_seed(0)
    return torch.randn(x), torch.randn(outputs, x[-1]), torch.randn(outputs) if bias else None


def run(x, weight, bias, function=block.linear, dtype=torch.float32):
    """Return the result and the gradients of sum(result * weights)."""
    tensors = [None if tensor is None else tensor.to(dtype).requires_grad_() for tensor in (x, weight, bias)]
    y = function(*tensors)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return y.detach(), *torch.autograd.grad(y, [tensor for tensor in tensors if tensor is not None], dy)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_and_gradients(case, bias, instruction_set, poisoned):
    tensors = layer_of(*case, bias)
    for own, oracle in zip(run(*tensors), run(*tensors, F.linear, torch.float64), strict=True):
        assert own.shape == oracle.shape
        assert (own - oracle).abs().max() <= 2e-6 * oracle.abs().max()


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_gradients_that_are_wanted(wanted, poisoned):
    tensors = [tensor.requires_grad_(want) for tensor, want in zip(layer_of((40, 20), 24), wanted)]
    product.linear(*tensors).sum().backward()
    assert [tensor.grad is not None for tensor in tensors] == list(wanted)
    expected = torch.autograd.grad(F.linear(*tensors).sum(), tensors[wanted.index(True)])
    torch.testing.assert_close(tensors[wanted.index(True)].grad, *expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [((600, 128), 144), ((2, 27, 17, 64), 256)], ids=str)
def test_threads_change_nothing(case, instruction_set):
    tensors = layer_of(*case)
    found = with_threads(lambda: run(*tensors))
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others))


def test_a_row_does_not_depend_on_the_others():
    x, weight, bias = layer_of((100, 48), 40)
    rows = torch.cat([product.linear(row[None], weight, bias) for row in x])
    assert torch.equal(product.linear(x, weight, bias), rows)


def test_a_value_that_is_not_finite_stays_in_its_row(instruction_set):
    x, weight, bias = layer_of((20, 7), 5)
    x[3, 2], x[9, 0] = float("nan"), float("inf")
    finite = product.linear(x, weight, bias).isfinite().all(1)
    assert finite.logical_not().nonzero().flatten().tolist() == [3, 9]


def test_tensors_of_any_layout():
    x, weight, bias = layer_of((6, 20, 8), 5)
    strided = x.transpose(0, 1)[:, ::2, :4]
    weight = weight.t()[:4].t()
    torch.testing.assert_close(product.linear(strided, weight, bias), F.linear(strided, weight, bias))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5)])
def test_no_rows(shape):
    x = torch.randn(shape, requires_grad=True)
    y = Linear(5, 3)(x)
    y.sum().backward()
    assert y.shape == (*shape[:-1], 3) and x.grad.shape == shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_run_pytorchs(dtype):
    tensors = [tensor.to(dtype) for tensor in layer_of((6, 8), 5)]
    assert torch.equal(block.linear(*tensors), F.linear(*tensors))


def test_autocast_runs_pytorchs():
    tensors = layer_of((6, 8), 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = block.linear(*tensors)
        assert y.dtype == torch.bfloat16 and torch.equal(y, F.linear(*tensors))


def test_other_scans_run_pytorchs(monkeypatch):
    monkeypatch.setattr(block, "product", None)  # whatever reaches the library fails
    with kernels.using("chunked"):
        Linear(5, 3)(torch.randn(4, 5))


def test_operations_are_counted_as_pytorch_counts_them():
    def count(function):
        with FlopCounterMode(display=False) as counter:
            run(*layer_of((6, 8), 5), function)
        return counter.get_total_flops()

    assert count(block.linear) == count(F.linear) == 3 * 2 * 6 * 8 * 5


@torch.no_grad()
def test_without_gradients_modes_and_profilers_still_see_the_operator():
    tensors = layer_of((6, 8), 5)
    with FlopCounterMode(display=False) as counter:
        product.linear(*tensors)
    assert counter.get_total_flops() == 2 * 6 * 8 * 5
    with torch.profiler.profile() as profile:
        product.linear(*tensors)
    assert "liftbench::linear_cpu" in {event.name for event in profile.events()}


@torch.no_grad()
def test_without_gradients_a_subclass_of_tensors_still_sees_the_operator():
    class Marked(torch.Tensor):
        seen = []

        @classmethod
        def __torch_function__(cls, function, types, arguments=(), named=None):
            cls.seen.append(getattr(function, "__name__", ""))
            return super().__torch_function__(function, types, arguments, named or {})

    x, weight, bias = layer_of((6, 8), 5)
    product.linear(x.as_subclass(Marked), weight, bias)
    assert any("linear_cpu" in name for name in Marked.seen)


# {case: (tensor that is wrong, how)}; the sizes are such that a kernel without checks reads far outside.
WRONG = {
    "bias of one output": ("bias", lambda t: t[:1]),
    "weight of fewer inputs": ("weight", lambda t: t[:, :8]),
    "x of fewer channels": ("x", lambda t: t[:, :8]),
    "x on meta": ("x", lambda t: t.to("meta")),
    "x in float64": ("x", lambda t: t.double()),
    "x without rows": ("x", lambda t: t[:0]),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_operator_checks_what_it_reads(case):
    name, change = WRONG[case]
    tensors = dict(zip(("x", "weight", "bias"), layer_of((60, 64), 32)))
    with pytest.raises(ValueError, match=r"^(x|weight|bias) "):
        torch.ops.liftbench.linear_cpu(**tensors | {name: change(tensors[name])})


@pytest.mark.parametrize("wrong", ["short", "float64", "meta"])
def test_the_backward_operator_checks_what_it_reads(wrong):
    x, weight, _ = layer_of((60, 64), 32)
    dy = torch.randn(60, 32)
    dy = {"short": dy[:1], "float64": dy.double(), "meta": dy.to("meta")}[wrong]
    with pytest.raises(ValueError, match="^the gradient of y "):
        torch.ops.liftbench.linear_cpu_backward(dy, x, weight, [True, True, True])
