"""A block's branches with norm and sum, each in one call of the C++ library, against float64."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from liftbench import kernels
from liftbench.kernels import block, cpu
from liftbench.kernels.cpu import mixer as cpu_mixer
from liftbench.kernels.cpu import mlp as cpu_mlp
from liftbench.posemamba.model import Block
from support.scans import with_threads

pytestmark = pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")

# Clips, frames, channels: one frame, odd channels, less than a vector, more than one part of the rows.
SHAPES = [(1, 1, 16), (2, 3, 7), (3, 5, 20), (1, 20, 24), (2, 31, 8), (1, 70, 12)]
TOLERANCE = {"y": 2e-6, "gradient": 2e-5}


def block_of(shape, scan="posemamba", limb_gradient="exact"):
    """Make a block with random parameters and its input."""
    torch.manual_seed(0)
    batch, frames, channels = shape
    made = Block(channels, 0.5, scan, limb_gradient).eval()
    for name, parameter in made.named_parameters():
        if "norm" in name or name.endswith("bias") and "dt" not in name:
            nn.init.normal_(parameter, std=0.5)
    return made, torch.randn(batch, frames, 17, channels) + 1


def run(made, x, dtype=torch.float32):
    """Return the output and the gradients of sum(output * weights), by name."""
    made, x = copy.deepcopy(made).to(dtype), x.to(dtype).requires_grad_()
    y = made(x)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    gradients = torch.autograd.grad(y, (x, *made.parameters()), dy)
    return {"y": y.detach(), "x": gradients[0], **dict(zip(dict(made.named_parameters()), gradients[1:]))}


def by_parts(monkeypatch):
    """Make blocks run their modules one by one."""
    monkeypatch.setattr(block, "_runs_whole", lambda *modules: False)


def scaled_by(made, scale):
    """Make the block's drop path use this factor for every clip."""
    made.drop_path.scale = lambda x: scale.to(x.dtype)
    return made


def assert_close(own, expected):
    for name, value in expected.items():
        assert own[name].shape == value.shape and own[name].isfinite().all(), name
        difference = (own[name].double() - value).abs().max() / value.abs().max()
        assert difference <= TOLERANCE["y" if name == "y" else "gradient"], (name, difference)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients(shape, instruction_set, poisoned):
    made, x = block_of(shape)
    assert_close(run(made, x), run(made, x, torch.float64))


@pytest.mark.parametrize("shape", SHAPES[1:4], ids=str)
def test_drop_path_scales_the_branches_of_each_clip(shape, instruction_set, poisoned):
    made, x = block_of(shape)
    scaled_by(made, torch.tensor([2.0, 0.0, 1.25])[: len(x)])
    assert_close(run(made, x), run(made, x, torch.float64))


@pytest.mark.parametrize("scan", kernels.PATTERNS)
def test_every_pattern_of_the_scan(scan):
    made, x = block_of((2, 5, 8), scan)
    assert_close(run(made, x), run(made, x, torch.float64))


def test_the_published_gradient_of_the_limb_term(poisoned):
    made, x = block_of((2, 5, 8), limb_gradient="published")
    own = run(made, x)
    assert_close(own, run(made, x, torch.float64))
    assert not torch.equal(own["x"], run(*block_of((2, 5, 8)))["x"])


def test_a_call_has_the_output_of_the_modules(monkeypatch):
    """Also bit by bit, but for the norm, which is PyTorch's if the modules run one by one."""
    made, x = block_of((2, 9, 16))
    own = run(made, x)
    by_parts(monkeypatch)
    assert_close(own, run(made, x))


def test_a_block_is_two_calls(monkeypatch):
    seen = []
    for module in (cpu_mixer, cpu_mlp):

        def call(name, arguments, original=module.call):
            seen.append(name)
            return original(name, arguments)

        monkeypatch.setattr(module, "call", call)
    made, x = block_of((1, 4, 8))
    made(x).sum().backward()
    assert seen == ["mixer", "mlp", "mlp_backward", "mixer_backward"]


@pytest.mark.parametrize("shape", [(1, 40, 24), (5, 9, 8)])
def test_threads_change_nothing(shape, instruction_set):
    made, x = block_of(shape)
    found = with_threads(lambda: run(made, x))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


def test_without_gradients_nothing_is_kept():
    made, x = block_of((1, 4, 8))
    expected = made(x)
    with torch.no_grad():
        assert torch.equal(made(x), expected)
    assert made.requires_grad_(False)(x).grad_fn is None


def test_only_what_needs_a_gradient_has_one():
    made, x = block_of((1, 4, 8))
    made.op.in_proj.weight.requires_grad_(False)
    made(x).sum().backward()
    assert made.op.in_proj.weight.grad is None and x.grad is None and made.op.A_logs.grad is not None


def test_strided_inputs_and_gradients():
    made, x = block_of((2, 4, 8))
    wide = torch.stack([x, x], dim=-1)
    assert torch.equal(made(wide[..., 0]), made(x))
    expanded = made(x.requires_grad_()).sum()  # whose gradient is one number for all
    expanded.backward()
    assert_close({"x": x.grad}, {"x": torch.autograd.grad(made(x), x, torch.ones(x.shape))[0].double()})


def test_values_that_are_not_finite_stay_in_their_clip(instruction_set):
    made, x = block_of((3, 4, 8))
    x[1, 2, 3, 4] = float("nan")
    found = run(made, x)
    for name in ("y", "x"):
        assert found[name].isfinite().all(-1).all(-1).all(-1).tolist() == [True, False, True]


# What makes a block run its modules one by one, {case: change of a block of 8 channels}.
CHANGES = {
    "a hook on a layer": lambda made: made.op.out_proj.register_forward_hook(lambda *_: None),
    "a hook on the norm": lambda made: made.norm.register_forward_pre_hook(lambda *_: None),
    "a hook on the mixer": lambda made: made.op.register_full_backward_hook(lambda *_: None),
    "a hook on drop path": lambda made: made.drop_path.register_forward_hook(lambda *_: None),
    "another layer": lambda made: setattr(made.op, "out_proj", nn.Sequential(made.op.out_proj)),
    "a layer with a bias": lambda made: setattr(made.op, "in_proj", block.Linear(8, 32)),
    "another convolution": lambda made: setattr(made.op, "conv2d", block.ConvSilu(16, 16, 3, padding=1)),
    "a parametrised weight": lambda made: nn.utils.parametrizations.weight_norm(made.op.in_proj),
    "a norm without weights": lambda made: setattr(made, "norm", nn.LayerNorm(8, elementwise_affine=False)),
    "a norm over two axes": lambda made: setattr(made, "norm", nn.LayerNorm((17, 8))),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_or_watched_part_is_called(case, monkeypatch):
    made, x = block_of((2, 4, 8))
    CHANGES[case](made)
    own = copy.deepcopy(made)(x) if "hook" not in case and "parametrised" not in case else made(x)
    monkeypatch.setattr(cpu_mixer, "call", None)  # whatever reaches the mixer's kernel fails
    assert torch.equal(made(x), own)
    by_parts(monkeypatch)
    torch.testing.assert_close(own, made(x), rtol=1e-5, atol=1e-5)


def test_who_watches_operators_sees_those_of_the_parts(monkeypatch):
    made, x = block_of((2, 4, 8))
    expected = made(x)
    monkeypatch.setattr(cpu_mixer, "call", None)
    with FlopCounterMode(display=False) as counter:
        made(x)
    assert torch.ops.liftbench.grid_scan_cpu in counter.get_flop_counts()["Global"]
    with torch.profiler.profile() as profiler:
        made(x)
    assert any("grid_scan_cpu" in event.name for event in profiler.events())
    with kernels.using("chunked"):
        torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(made(x), expected, rtol=0.1, atol=0.2)
    assert made.double()(x.double()).dtype == torch.float64


def test_operations_are_those_of_the_parts():
    """An exported program holds the whole operators, so counters must know them."""

    def count(function):
        with FlopCounterMode(display=False) as counter:
            function()
        return counter.get_total_flops()

    made, x = block_of((2, 4, 32))
    own = count(lambda: made(x).sum().backward())
    mixer, scale = mixer_arguments(made, x)
    mlp = x, None, made.norm2.weight, made.norm2.bias, *made.mlp.weights(), 1e-6

    def whole():
        operators = torch.ops.liftbench
        operators.mixer_cpu(*mixer)[0].sum().backward()
        operators.mlp_residual_cpu(*mlp).sum().backward()

    assert count(whole) == own


def mixer_arguments(made, x, keep=True):
    """Return the arguments of the operator mixer_cpu, and a scale that fits."""
    orders, limb = kernels.scan_orders("posemamba", x.shape[1])
    parameters = [made.norm.weight, made.norm.bias, *made.op.weights()]
    return [x, None, parameters, orders, list(limb), False, 1e-6, 1e-5, keep], torch.rand(len(x))


@pytest.mark.parametrize("keep", [False, True])
def test_operators_are_registered_properly(keep):
    made, x = block_of((2, 2, 8))
    arguments, scale = mixer_arguments(made, x.requires_grad_(), keep)
    torch.library.opcheck(torch.ops.liftbench.mixer_cpu, arguments)
    arguments[1] = scale
    torch.library.opcheck(torch.ops.liftbench.mixer_cpu, arguments)
    mlp = made.norm2.weight, made.norm2.bias, *made.mlp.weights(), 1e-6
    torch.library.opcheck(torch.ops.liftbench.mlp_residual_cpu, (x, scale, *mlp))


# {case: (which tensor is wrong: x, scale or the number of a parameter, how)}; the sizes are such that a kernel without
# checks reads far outside.
WRONG = {
    "x of fewer channels": ("x", lambda t: t[..., :8]),
    "x in float64": ("x", lambda t: t.double()),
    "x of three axes": ("x", lambda t: t[0]),
    "x without frames": ("x", lambda t: t[:, :0]),
    "x on meta": ("x", lambda t: t.to("meta")),
    "scale of one clip": ("scale", lambda t: t[:1]),
    "scale in float64": ("scale", lambda t: t.double()),
    **{f"parameter {i} cut": (i, lambda t: t[:1] if len(t) > 1 else t[:, :1]) for i in range(13)},
    **{f"parameter {i} in float64": (i, lambda t: t.double()) for i in range(13)},
    **{f"parameter {i} on meta": (i, lambda t: t.to("meta")) for i in range(13)},
}


def wrong(case, x, scale, parameters):
    which, change = WRONG[case]
    parameters = [change(p) if which == i else p for i, p in enumerate(parameters)]
    return change(x) if which == "x" else x, change(scale) if which == "scale" else scale, parameters


@pytest.mark.parametrize("case", WRONG)
def test_the_operators_check_what_they_read(case):
    made, x = block_of((60, 2, 64))
    (x, _, parameters, *rest), scale = mixer_arguments(made.requires_grad_(False), x)
    y, *kept = torch.ops.liftbench.mixer_cpu(x, scale, parameters, *rest)
    *tensors, changed = wrong(case, x, scale, parameters)
    with pytest.raises(ValueError, match=" (is|must) "):
        torch.ops.liftbench.mixer_cpu(*tensors, changed, *rest)
    with pytest.raises(ValueError, match=" (is|must) "):
        torch.ops.liftbench.mixer_cpu_backward(y, *tensors, changed, rest[0], kept, *rest[1:-1])
    mlp = [made.norm2.weight, made.norm2.bias, *made.mlp.weights()]
    if WRONG[case][0] in ("x", "scale", *range(len(mlp))) and case != "x of three axes":
        *tensors, changed = wrong(case, x, scale, mlp)
        with pytest.raises(ValueError, match=" (is|must) "):
            torch.ops.liftbench.mlp_residual_cpu(*tensors, *changed, 1e-6)
        with pytest.raises(ValueError, match=" (is|must) "):
            torch.ops.liftbench.mlp_residual_cpu_backward(y, *tensors, *changed, 1e-6)


@pytest.mark.parametrize("which", ["orders", *range(6)])
def test_orders_and_what_was_kept_are_checked(which):
    made, x = block_of((2, 3, 16))
    (x, scale, parameters, orders, *rest), _ = mixer_arguments(made.requires_grad_(False), x)
    y, *kept = torch.ops.liftbench.mixer_cpu(x, scale, parameters, orders, *rest)
    if which == "orders":
        orders = orders.clone()
        orders[2, 5] = orders[2, 6]
        with pytest.raises(ValueError, match="permutations"):
            torch.ops.liftbench.mixer_cpu(x, scale, parameters, orders, *rest)
    elif which < 5:
        kept[which] = kept[which][:1]
    else:
        y = y[:1]
    with pytest.raises(ValueError, match="permutations|must have shape"):
        torch.ops.liftbench.mixer_cpu_backward(y, x, scale, parameters, orders, kept, *rest[:-1])
