"""What a stage of training trains, by which loss, and how it is followed: the pose, and before it MDTF's bones."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from liftbench.baselines.evaluation import inference
from liftbench.baselines.registry import entry
from liftbench.baselines.training import losses
from liftbench.baselines.training.recipe import Recipe
from liftbench.mdtf import bone_class_loss, bone_class_scores, polar_classes
from liftbench.pose3dm import fractional_total_variation


@dataclass(frozen=True)
class Stage:
    """model: called with keypoints; what of its parameters requires a gradient is trained.

    losses(predicted, targets) -> {"loss": the scalar to minimise, more to be followed}; scores(model, predict) -> what
    is measured on the test subjects after every epoch, `predict` being `inference.predict` or one with its arguments;
    better(a, b): whether a beats b, both scores of the name `headline`, by which the best epoch is chosen.
    """

    recipe: Recipe
    model: torch.nn.Module
    losses: Callable
    scores: Callable
    headline: str
    better: Callable
    chosen_by: str


def pose_stage(recipe, model, dataset):
    """The stage of which the poses come. The first stage of a model of two is frozen."""
    if recipe.stage_1:
        model.bone_aware.requires_grad_(False)

    def pose_losses(predicted, targets):
        loss = losses.total(predicted, targets, recipe.loss)
        if not recipe.total_variation:
            return {"loss": loss}
        variation = fractional_total_variation(predicted, recipe.total_variation.order)
        return {"loss": loss + recipe.total_variation.weight * variation, "total_variation": variation}

    def scores(model, predict):
        device = next(model.parameters()).device
        error = inference.quick_mpjpe(model, recipe.model, dataset, recipe.frames, device=device, predict=predict)
        return {"test_mpjpe_mm": error}

    return Stage(recipe, model, pose_losses, scores, "test_mpjpe_mm", operator.lt, "lowest MPJPE on the test subjects")


def bone_stage(recipe, model, dataset):
    """MDTF's first stage: the direction class of every bone, from the normalised targets, as the official code does."""

    def scores(model, predict):
        clips = dataset.clips("test", recipe.frames)
        device = next(model.parameters()).device
        logits, _ = predict(model, dataset, clips, entry(recipe.model).channels, 64, device, flip=False)
        true = polar_classes(torch.from_numpy(dataset.targets("test", clips)))
        found = bone_class_scores(torch.from_numpy(np.argmax(logits, axis=-1)), true)
        return {f"test_{name}": score for name, score in found.items()}

    return Stage(
        recipe.of_stage_1(), model.bone_aware,
        lambda predicted, targets: {"loss": bone_class_loss(predicted, targets)},
        scores, "test_accuracy", operator.gt, "highest accuracy of the bones' classes on the test subjects",
    )  # fmt: skip
