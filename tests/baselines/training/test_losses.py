"""Every loss term, the PoseMamba total and its gradient, against the official code; edge cases by hand."""

import numpy as np
import pytest
import torch

from liftbench.baselines.training import losses
from support import GOLDEN

MIXSTE = GOLDEN / "comparators/mixste_loss.npz"
GOLDEN = np.load(GOLDEN / "losses.npz")
PREDICTED, TARGET = (torch.tensor(GOLDEN[key]) for key in ("prediction", "target"))
POSEMAMBA = {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 20, "temporal_consistency": 0.5}


@pytest.mark.parametrize("term", [term for term in losses.TERMS if term in GOLDEN])
def test_term(term):
    assert losses.TERMS[term](PREDICTED, TARGET).item() == pytest.approx(float(GOLDEN[term]), rel=1e-12)


def test_joint_weights():
    assert losses.JOINT_WEIGHTS == tuple(GOLDEN["joint_weights"])


def test_posemamba_total_and_gradient():
    predicted = PREDICTED.clone().requires_grad_()
    total = losses.total(predicted, TARGET, POSEMAMBA)
    assert total.item() == pytest.approx(float(GOLDEN["posemamba_total"]), rel=1e-12)
    (gradient,) = torch.autograd.grad(total, predicted)
    torch.testing.assert_close(gradient, torch.tensor(GOLDEN["posemamba_total_grad"]), rtol=0, atol=1e-12)


def test_mixste_total_and_gradients():
    """Published training multiplies every gradient by the loss, which is the gradient of half its square."""
    arrays = np.load(MIXSTE)
    predicted, target = (torch.tensor(arrays[key]).double() for key in ("prediction", "target"))
    assert losses.JOINT_WEIGHTS == tuple(arrays["joint_weights"])
    terms = {"weighted_mpjpe": "weighted_mpjpe", "temporal_consistency": "smoothness", "velocity": "velocity"}
    for term, name in terms.items():
        assert losses.TERMS[term](predicted, target).item() == pytest.approx(float(arrays[name]), rel=1e-12)
    predicted.requires_grad_()
    total = losses.total(predicted, target, {"weighted_mpjpe": 1, "temporal_consistency": 0.5, "velocity": 2})
    assert total.item() == pytest.approx(float(arrays["total"]), rel=1e-12)
    for name, loss in (("grad_exact", total), ("grad_published", total**2 / 2)):
        (gradient,) = torch.autograd.grad(loss, predicted, retain_graph=True)
        torch.testing.assert_close(gradient, torch.tensor(arrays[name]).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("term", ["velocity", "temporal_consistency", "limb_var", "angle_velocity"])
def test_terms_over_time_are_zero_for_one_frame(term):
    assert losses.TERMS[term](PREDICTED[:, :1], TARGET[:, :1]).item() == 0


@pytest.mark.parametrize("term", ["relative_mpjpe", "relative_velocity"])
def test_relative_terms_do_not_depend_on_a_person_s_size(term):
    size = torch.tensor([0.1, 3.0], dtype=torch.float64)[:, None, None, None]
    predicted, target = (torch.randn(2, 5, 17, 3, dtype=torch.float64) for _ in range(2))
    error = losses.TERMS[term](predicted, target)
    assert losses.TERMS[term](predicted * size, target * size).item() == pytest.approx(error.item())
    shifted = target + 2 * target.square().sum(-1).mean((1, 2)).sqrt()[:, None, None, None] * torch.tensor([1, 0, 0])
    assert losses.relative_mpjpe(shifted, target).item() == pytest.approx(2)


def test_by_hand():
    target = torch.randn(2, 5, 17, 3, dtype=torch.float64)
    shifted = target + torch.tensor([3.0, 0.0, 4.0])
    assert losses.mpjpe(shifted, target).item() == pytest.approx(5)
    assert losses.velocity(shifted, target).item() == pytest.approx(0, abs=1e-12)
    assert losses.limb_gt(shifted, target).item() == pytest.approx(0, abs=1e-12)
    assert losses.n_mpjpe(3 * target, target).item() == pytest.approx(0, abs=1e-12)
