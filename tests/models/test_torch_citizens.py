"""The scans as operators of torch: compiled, exported, under autocast, traced without data, counted, in DDP."""

import functools
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from liftbench import create_model, kernels
from liftbench.kernels import cpu, gpu
from support import in_child

built = pytest.mark.skipif(cpu.unusable() is not None, reason=str(cpu.unusable()))
STREAM = ("u", "delta", "A", "B", "C", "D", "delta_bias")
GRID = ("x", "x_proj_weight", "dt_weight", "dt_bias", "A", "D")


def stream(batch=2, groups=2, channels=6, length=9, states=3, seed=0, device="cpu"):
    draw = torch.Generator(device).manual_seed(seed) if device == "cpu" else None
    rows = (batch, groups, states, length)
    shapes = (batch, channels, length), (batch, channels, length), (channels, states), rows, rows, (channels,)
    u, delta, A, B, C, D = (torch.randn(shape, generator=draw, device=device) for shape in shapes)
    return [u, delta, -A.exp(), B, C, D, D - 1]


def grid(batch=2, frames=2, channels=5, directions=4, rank=2, states=3):
    draw = torch.Generator().manual_seed(0)
    total = directions * channels
    shapes = (
        (batch, frames, 17, channels), (directions, rank + 2 * states, channels), (directions, channels, rank),
        (directions, channels), (total, states), (total,),
    )  # fmt: skip
    x, projection, dt_weight, dt_bias, A, D = (torch.randn(shape, generator=draw) for shape in shapes)
    return [x, projection * 0.3, dt_weight * 0.3, dt_bias - 2, -A.exp(), D]


def grid_scan(*tensors, module=kernels, **options):
    orders, limb = kernels.scan_orders("posemamba", tensors[0].shape[1])
    return module.grid_scan(*tensors, orders, limb, **options)


def bidirectional_scan(*tensors, module=kernels, **options):
    return module.bidirectional_scan(tensors[:7], tensors[7:], **options)


def selective_scan(*tensors, module=kernels, **options):
    return module.selective_scan(*tensors, **options)


# {function: (as a function of tensors in a row, these tensors)}
SCANS = {
    "selective_scan": (selective_scan, stream()),
    "bidirectional_scan": (bidirectional_scan, [*stream(), *stream(seed=1)]),
    "grid_scan": (grid_scan, grid()),
}
every_scan = pytest.mark.parametrize("function", SCANS)


def output_and_gradients(function, tensors):
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*tensors)
    weights = torch.linspace(-1, 1.5, y.numel(), device=y.device).view_as(y)
    return [y, *torch.autograd.grad((y.float() * weights).sum(), tensors)]


def assert_same(own, expected):
    for i, (value, exact) in enumerate(zip(own, expected, strict=True)):
        assert value.dtype == exact.dtype and torch.equal(value, exact), i


def toy(**numbers):
    torch.manual_seed(0)
    return create_model("posemamba_s", frames=5, embed_dim=16, depth=1, **numbers).eval()


def test_a_gradient_needs_no_compiler():
    """torch._dynamo takes as long to import as the rest of torch."""
    code = (
        "import sys, torch, liftbench\n"
        "liftbench.create_model('posemamba_s', frames=1)(torch.zeros(1, 1, 17, 2)).sum().backward()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@built
@every_scan
def test_compiled_without_a_graph_break(function):
    scan, tensors = SCANS[function]
    torch._dynamo.reset()
    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    assert_same(output_and_gradients(compiled, tensors), output_and_gradients(scan, tensors))


@built
def test_compiled_by_inductor():
    torch._dynamo.reset()
    # Trusting the processor's own word on its vectors saves compiling a test program for each kind: 10 s of 13.
    compiled = torch.compile(selective_scan, fullgraph=True, options={"cpp.vec_isa_ok": True})
    tensors = stream()
    assert_same(output_and_gradients(compiled, tensors), output_and_gradients(selective_scan, tensors))


@built
def test_compiled_model():
    """Forward and backward of the whole network in one graph each, with gradients and without."""
    torch._dynamo.reset()
    model, keypoints = toy(), torch.randn(2, 3, 17, 2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    results = []
    for network in (model, compiled):
        model.zero_grad()
        pose = network(keypoints)
        pose.square().mean().backward()
        results.append([pose, *(parameter.grad for parameter in model.parameters())])
    assert_same(*results)
    with torch.no_grad():
        assert torch.equal(compiled(keypoints), model(keypoints))


@built
def test_compiled_once_with_one_choice():
    """A graph keeps the choice with which it was traced, whatever is chosen around a later call."""
    torch._dynamo.reset()
    tensors = stream()
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    with kernels.using("chunked"):
        expected, traced = output_and_gradients(selective_scan, tensors), output_and_gradients(compiled, tensors)
    assert_same(traced, expected)
    assert_same(output_and_gradients(compiled, tensors), expected)
    assert any(
        not torch.equal(one, other) for one, other in zip(expected, output_and_gradients(selective_scan, tensors))
    )


@built
def test_a_choice_inside_a_compiled_function_counts():
    torch._dynamo.reset()
    tensors = [tensor.detach() for tensor in stream()]

    def scan(*tensors):
        with kernels.using("chunked"):
            return selective_scan(*tensors)

    assert torch.equal(torch.compile(scan, backend="aot_eager")(*tensors), scan(*tensors))
    by_argument = functools.partial(selective_scan, implementation="chunked")
    compiled = torch.compile(by_argument, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*tensors), scan(*tensors))


@built
def test_exported_model_takes_any_batch_and_length():
    model, keypoints = toy(), torch.randn(2, 3, 17, 2)
    sizes = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(model, (keypoints,), dynamic_shapes=sizes)
    for shape in ((2, 3), (3, 5)):
        keypoints = torch.randn(*shape, 17, 2)
        assert torch.equal(program.module()(keypoints), model(keypoints))


class Scan(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.scan, tensors = SCANS[function]
        self.tensors = torch.nn.ParameterList(tensors[1:])

    def forward(self, x):
        return self.scan(x, *self.tensors)


@built
@every_scan
def test_exported_without_gradients_and_trained(function):
    """Nothing is kept for a backward pass in such a graph, so the backward pass makes it again."""
    module, first = Scan(function), SCANS[function][1][0]
    with torch.no_grad():
        program = torch.export.export(module, (first,)).module()
    for network in (module, program):
        network(first).square().sum().backward()
    assert_same(*([parameter.grad for parameter in network.parameters()] for network in (program, module)))


@every_scan
@pytest.mark.parametrize("outside", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("implementation", ["cpu", "chunked", "reference"])
def test_autocast_leaves_the_scan_in_float32(function, outside, implementation):
    if reason := kernels.unusable(implementation):
        pytest.skip(reason)
    function, tensors = SCANS[function]

    def scan(*tensors):
        with kernels.using(implementation):
            return function(*tensors)

    tensors = [tensors[0].to(outside), *tensors[1:]]
    expected = output_and_gradients(scan, tensors)
    assert expected[0].dtype == outside

    def under_autocast(*tensors):
        with torch.autocast("cpu", torch.bfloat16):
            return scan(*tensors)

    assert_same(output_and_gradients(under_autocast, tensors), expected)
    if implementation == "cpu":  # the others have a backward by torch, which autocast reaches
        with torch.autocast("cpu", torch.bfloat16):
            assert_same(output_and_gradients(scan, tensors), expected)


@built
@pytest.mark.parametrize("keep", [False, True])
def test_operators_of_the_cpu_are_registered_properly(keep):
    """With 16 channels a group: blocks that are not full leave part of the checkpoints as it was."""

    def check(operator, *arguments):
        torch.library.opcheck(operator, arguments)

    operators = torch.ops.liftbench
    tensors = [tensor.requires_grad_() for tensor in stream(channels=32, length=5) * 2]
    check(operators.scan_cpu, tensors, keep)
    tensors, (orders, limb) = grid(batch=1, channels=16), kernels.scan_orders("posemamba", 2)
    check(operators.grid_scan_cpu, *[tensor.requires_grad_() for tensor in tensors], orders, list(limb), False, keep)
    if keep:
        tensors = stream()
        y, kept = operators.scan_cpu(tensors, True)
        check(operators.scan_cpu_backward, y, tensors, kept)
        tensors = grid(batch=1)
        y, *kept = operators.grid_scan_cpu(*tensors, orders, list(limb), False, True)
        check(operators.grid_scan_cpu_backward, y, *tensors, orders, *kept, list(limb), False)


@every_scan
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_traced_without_a_gpu(function, dtype, monkeypatch):
    """Meta tensors give shapes, dtypes and the count of operations of forward and backward."""
    monkeypatch.setattr(gpu, "_missing", lambda device_type: None)
    scan, tensors = SCANS[function]
    with FlopCounterMode(display=False) as counter:
        tensors = [torch.empty(tensor.shape, device="meta", requires_grad=True) for tensor in tensors]
        tensors[0] = tensors[0].detach().to(dtype).requires_grad_()
        y = scan(*tensors, module=gpu)
        assert (y.shape, y.dtype, y.device.type) == (tensors[0].shape, dtype, "meta")
        gradients = torch.autograd.grad(y.float().sum(), tensors)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert (gradient.shape, gradient.dtype) == (tensor.shape, tensor.dtype)
    operators, counts = torch.ops.liftbench, counter.get_flop_counts()["Global"]
    if function == "grid_scan":
        assert counts[operators.grid_scan_gpu_backward] == 2 * counts[operators.grid_scan_gpu] > 0
    else:
        assert counts[operators.scan_gpu_backward] == 2 * counts[operators.scan_gpu] > 0


@pytest.mark.parametrize("function", ["selective_scan", "bidirectional_scan"])
def test_gpu_refuses_clips_beyond_its_32_bit_offsets(function, monkeypatch):
    monkeypatch.setattr(gpu, "_missing", lambda device_type: None)
    scan, _ = SCANS[function]
    copies = len(SCANS[function][1]) // 7
    large = stream(1, 1, channels=2**11, length=2**20, device="meta") * copies
    with pytest.raises(ValueError, match="a clip of 2147483648 elements.* Use 'chunked' or shorter clips"):
        scan(*large, module=gpu)
    many = stream(2**12, 1, channels=2**10, length=2**10, device="meta") * copies
    assert scan(*many, module=gpu).numel() == 2**32, "many clips may be larger together"
    with torch.no_grad():
        assert scan(*many, module=gpu).numel() == 2**32


@built
def test_distributed_training_has_the_gradients_of_one_process(tmp_path):
    """DDP over gloo, in two processes."""
    processes = in_child.start_together(2, in_child.gradients_of_half, tmp_path)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    model, keypoints = in_child.distributed_case()
    model(keypoints).square().mean().backward()
    for rank in (0, 1):
        gradients = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, parameter in model.named_parameters():
            largest = parameter.grad.abs().max()
            assert (gradients[name] - parameter.grad).abs().max() <= 1e-5 * largest, (rank, name)
