"""Transforms of torch.func over the scans and the models: gradients of every sample, vmap, second derivatives."""

import pytest
import torch
from torch.func import functional_call, grad, vmap

from liftbench import create_model, kernels, list_models
from liftbench.baselines.registry import entry
from liftbench.kernels import ScanUnavailable, bidirectional_scan, cpu, grid_scan, scan_orders, selective_scan
from support.scans import scan_inputs

SCANS = [
    pytest.param("cpu", marks=pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")),
    "reference",
]


@pytest.fixture(autouse=True)
def seeded(one_thread):
    torch.manual_seed(0)


def samples(count, **options):
    """Return one dict of inputs for all samples, stacked along a new first axis."""
    every = [scan_inputs(1, 2, 12, 9, 4, **options) for _ in range(count)]
    return {name: torch.stack([one[name] for one in every]) for name in every[0]}


def grid_inputs():
    x, weights = torch.randn(3, 2, 4, 17, 8), torch.randn(4, 5, 8)
    rest = torch.randn(4, 8, 1), torch.randn(4, 8), -torch.rand(32, 2), torch.randn(32)
    return x, (weights, *rest)


@pytest.mark.parametrize("scan", SCANS)
def test_vmap_over_every_input_of_the_scan(scan):
    stacked = samples(3)
    with kernels.using(scan):
        y = vmap(lambda tensors: selective_scan(**tensors))(stacked)
        expected = [selective_scan(**{name: tensor[i] for name, tensor in stacked.items()}) for i in range(3)]
    torch.testing.assert_close(y, torch.stack(expected))


@pytest.mark.parametrize("scan", SCANS)
def test_vmap_over_some_inputs_and_another_axis(scan):
    one = samples(1)
    one = {name: tensor[0] for name, tensor in one.items()}
    us = torch.randn(*one["u"].shape, 4)
    with kernels.using(scan):
        y = vmap(lambda u: selective_scan(**one | {"u": u}), in_dims=3, out_dims=1)(us)
        expected = [selective_scan(**one | {"u": us[..., i].contiguous()}) for i in range(4)]
    torch.testing.assert_close(y, torch.stack(expected, dim=1))


@pytest.mark.parametrize("scan", SCANS)
def test_gradients_of_every_sample_through_both_streams(scan):
    stacked = samples(3)

    def loss(tensors):
        stream = list(tensors.values())
        return bidirectional_scan(stream, stream).square().sum()

    with kernels.using(scan):
        found = vmap(grad(loss))(stacked)
        for i in range(3):
            one = {name: tensor[i].requires_grad_() for name, tensor in stacked.items()}
            expected = torch.autograd.grad(loss(one), list(one.values()))
            for name, gradient in zip(one, expected, strict=True):
                torch.testing.assert_close(found[name][i], gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scan", SCANS)
def test_gradients_of_the_grid_scan_for_every_clip(scan):
    x, parameters = grid_inputs()
    orders = scan_orders("posemamba", 4)

    def loss(x, *parameters):
        return grid_scan(x, *parameters, *orders).square().sum()

    with kernels.using(scan):
        found = vmap(grad(loss, argnums=(0, 1, 4)), in_dims=(0, *[None] * 5))(x, *parameters)
        for i in range(3):
            inputs = [tensor.detach().requires_grad_() for tensor in (x[i], *parameters)]
            expected = torch.autograd.grad(loss(*inputs), [inputs[k] for k in (0, 1, 4)])
            for ours, oracle in zip(found, expected, strict=True):
                assert (ours[i] - oracle).abs().max() <= 1e-5 * oracle.abs().max()


def smaller(name):
    """Return the model at nine frames, or at its own length if it has only that one."""
    try:
        return create_model(name, frames=9), 9
    except Exception:
        return create_model(name), entry(name).frames


def losses(model, parameters, clip):
    pose = functional_call(model, parameters, (clip[None],))
    return (pose[0] if isinstance(pose, tuple) else pose).square().mean()


def assert_gradients_of_every_sample(name):
    model, frames = smaller(name)
    clips = torch.randn(2, frames, 17, entry(name).channels)
    parameters = {key: tensor.detach() for key, tensor in model.eval().named_parameters()}
    found = vmap(grad(lambda *arguments: losses(model, *arguments)), in_dims=(None, 0))(parameters, clips)
    own = dict(model.named_parameters())
    expected = torch.autograd.grad(
        losses(model, own, clips[1]), list(own.values()), allow_unused=True, materialize_grads=True
    )
    largest = max(gradient.abs().max() for gradient in expected)
    for key, gradient in zip(own, expected, strict=True):
        assert (found[key][1] - gradient).abs().max() <= 1e-4 * largest, key


@pytest.mark.parametrize("scan", SCANS)
def test_a_table_made_in_a_transform_serves_outside(scan):
    with kernels.using(scan):
        x, parameters = grid_inputs()
        grad(lambda x: grid_scan(x, *parameters, *scan_orders("global", 4)).sum())(x[0])
        grid_scan(x[0], *parameters, *scan_orders("global", 4))


@pytest.mark.parametrize("name", ["posemamba_toy", "mdtf_tiny", "lstm", "transformer", "mlp"])
def test_gradients_of_every_sample(name):
    assert_gradients_of_every_sample(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_gradients_of_every_sample_of_all_models(name):
    assert_gradients_of_every_sample(name)


def test_vmap_over_a_model_with_weights_of_its_own():
    models = [create_model("posemamba_toy", frames=9).eval() for _ in range(2)]
    weights, _ = torch.func.stack_module_state(models)
    clip = torch.randn(1, 9, 17, 2)
    with torch.no_grad():
        y = vmap(lambda parameters: functional_call(models[0], parameters, (clip,)))(weights)
        expected = torch.stack([model(clip) for model in models])
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_other_scans_name_those_that_transform():
    one = {name: tensor[0] for name, tensor in samples(1).items()}
    with kernels.using("chunked"), pytest.raises(ScanUnavailable, match="Use 'cpu' or 'reference'"):
        grad(lambda u: selective_scan(**one | {"u": u}).sum())(one["u"])


def second(scan):
    one = {name: tensor[0] for name, tensor in samples(1).items()}
    u = one["u"].requires_grad_()
    with kernels.using(scan):
        (gradient,) = torch.autograd.grad(selective_scan(**one).square().sum(), u, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), u)[0]


@pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")
def test_a_second_derivative_names_the_scan_that_has_it():
    assert second("reference").any()
    for scan, name in (("cpu", "scan_cpu"), ("chunked", "the scan 'chunked'")):
        with pytest.raises(ScanUnavailable, match=f"Cannot differentiate {name} twice.*Use the scan 'reference'"):
            second(scan)
    x, parameters = grid_inputs()
    x = x[0].requires_grad_()
    with kernels.using("cpu"):
        y = grid_scan(x, *parameters, *scan_orders("posemamba", 4))
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(ScanUnavailable, match="Use the scan 'reference'"):
        gradient.sum().backward()


@pytest.mark.skipif(cpu.unusable() is not None, reason="the C++ library is not built")
def test_a_second_derivative_inside_transforms_is_refused_too():
    one = {name: tensor[0] for name, tensor in samples(1).items()}
    with kernels.using("cpu"), pytest.raises(ScanUnavailable, match="twice"):
        first = grad(lambda u: selective_scan(**one | {"u": u}).square().sum())
        grad(lambda u: first(u).square().sum())(one["u"])
