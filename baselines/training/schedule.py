"""The learning rate as a function of training progress."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liftbench.baselines.training.recipe import Recipe


def learning_rate(recipe: "Recipe", epoch: int, step: int, steps: int) -> float:
    """Return the rate of one step of the optimiser. epoch and step count from 0; steps is their number per epoch.

    exponential: learning_rate times learning_rate_decay to the power of the epoch, constant within an epoch. cosine:
    half a cosine from learning_rate, after the warm-up, to zero at the end of training. During warmup_epochs both are
    multiplied by a factor that grows linearly and reaches 1 at the last step of the warm-up (Goyal et al. 2017).
    """
    begun, ended = epoch + step / steps, epoch + (step + 1) / steps
    if recipe.schedule == "exponential":
        rate = recipe.learning_rate * recipe.learning_rate_decay**epoch
    else:
        gone = max(0.0, begun - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
        rate = recipe.learning_rate * (1 + math.cos(math.pi * gone)) / 2
    return rate * min(1.0, ended / recipe.warmup_epochs) if recipe.warmup_epochs else rate
