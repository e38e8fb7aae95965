"""The stages of training, each with its module, loss and scores: the pose, and what some papers train before it."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.evaluation import inference
from liftbench.baselines.registry import REGULARIZERS, load
from liftbench.baselines.training import losses

if TYPE_CHECKING:
    from liftbench.baselines.training.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """What one stage trains.

    model: called with keypoints; its parameters that require a gradient are trained. losses(predicted, targets) ->
    {"loss": the scalar to minimise, and more values to log}. scores(model, predict) -> what is measured on the test
    subjects after every epoch; `predict` takes the arguments of `inference.predict`. headline: the score that chooses
    the best epoch; better(a, b): whether its value a beats b.
    """

    recipe: "Recipe"
    model: torch.nn.Module
    losses: Callable
    scores: Callable
    headline: str
    better: Callable
    chosen_by: str


def pose_stage(recipe: "Recipe", model: torch.nn.Module, dataset: Dataset) -> Stage:
    """Return the last or only stage, which gives the poses. The stages before it are frozen."""
    for name in recipe.entry.stages[:-1]:
        getattr(model, name).requires_grad_(False)
    total_variation = load(REGULARIZERS["total_variation"]) if recipe.total_variation else None

    def pose_losses(predicted: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        loss = losses.total(predicted, targets, recipe.loss)
        if not total_variation:
            return {"loss": loss}
        variation = total_variation(predicted, recipe.total_variation.order)
        return {"loss": loss + recipe.total_variation.weight * variation, "total_variation": variation}

    def scores(model: torch.nn.Module, predict: Callable) -> dict[str, float]:
        device = next(model.parameters()).device
        error = inference.quick_mpjpe(
            model, recipe.model, dataset, recipe.frames, device=device, predict=predict, stride=recipe.test_stride
        )
        return {"test_mpjpe_mm": error}

    chosen_by = "lowest MPJPE on the test subjects" + recipe.share_tested
    return Stage(recipe, model, pose_losses, scores, "test_mpjpe_mm", operator.lt, chosen_by)


def first_stage(recipe: "Recipe", model: torch.nn.Module, dataset: Dataset) -> Stage:
    """Return the first stage of a model with two: a submodule that brings its own loss and scores.

    The submodule has loss(answer, targets) -> scalar and scores(answer, targets) -> dict, where answer is its output
    for keypoints and targets are the normalised poses (B, T, 17, 3). Its `headline` names the score whose highest value
    chooses the best epoch.
    """
    row = recipe.entry
    name = row.stages[0]
    part = getattr(model, name)

    def scores(model: torch.nn.Module, predict: Callable) -> dict[str, float]:
        clips = dataset.clips("test", recipe.frames)[:: recipe.test_stride]
        device = next(model.parameters()).device
        answer, _ = predict(model, dataset, clips, row.channels, device=device, flip=False)
        found = part.scores(torch.from_numpy(answer), torch.from_numpy(dataset.targets("test", clips)))
        return {f"test_{score}": value for score, value in found.items()}

    chosen_by = f"highest {part.headline} of {name} on the test subjects" + recipe.share_tested
    return Stage(
        recipe.of_stage_1(), part, lambda predicted, targets: {"loss": part.loss(predicted, targets)}, scores,
        f"test_{part.headline}", operator.gt, chosen_by,
    )  # fmt: skip
