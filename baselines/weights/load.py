"""Load weights into a model: all of them or none. What does not fit is named."""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from liftbench.baselines.errors import InputError
from liftbench.baselines.weights.metadata import in_short
from liftbench.baselines.weights.read import read_checkpoint

Shapes = dict[str, tuple[int, ...]]  # of named tensors


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file relate to those of a model: keys on one side only, and shapes that differ."""

    left_out: list[str]  # official keys of parts that the model deliberately does not build
    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]
    likeness: float  # 0 to 2: the share of names that both have, and that of shapes

    @property
    def exact(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        kinds = (("missing", self.missing), ("not in the model", self.unexpected), ("of another shape", self.misshapen))
        return "; ".join(
            f"{len(items)} {kind}: {', '.join(map(in_short, items[:5]))}"
            + (f" and {len(items) - 5} more" if len(items) > 5 else "")
            for kind, items in kinds
            if items
        )


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Return the shapes of named tensors."""
    return {key: tuple(value.shape) for key, value in state.items()}


def compare(model: nn.Module, own: Shapes, given: Shapes) -> Fit:
    """Compare the tensors of a model, `own`, with those of a file, `given`."""
    left_out = getattr(model, "unused_official_keys", lambda keys: set())(given.keys() - own.keys())
    names = len(own.keys() & given.keys()) / len(own.keys() | given.keys())
    shapes, others = Counter(own.values()), Counter(given.values())
    return Fit(
        left_out=sorted(left_out),
        missing=[key for key in own if key not in given],
        unexpected=[key for key in given if key not in own and key not in left_out],
        misshapen=[
            f"{key} is {given[key]} but the model has {shape}"
            for key, shape in own.items()
            if given.get(key, shape) != shape
        ],
        likeness=names + (shapes & others).total() / (shapes | others).total(),
    )


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Load weights from `path` into `model`, all of them or none, and return the model.

    Reads what `read_checkpoint` reads. Raises InputError naming the keys and shapes that do not fit. Parts of an
    official checkpoint that a model deliberately does not build (`unused_official_keys`, Pose3DM) are left out, and a
    warning says how many parameters they have.
    """
    state = read_checkpoint(path, model.state_dict().keys()).state
    fit = compare(model, shapes_of(model.state_dict()), shapes_of(state))
    if not fit.exact:
        raise InputError(
            f"Cannot load {path} into {type(model).__name__}: {fit}. "
            "Build the variant, clip length and settings that the file was made with."
        )
    left_out = sum(state.pop(key).numel() for key in fit.left_out)
    model.load_state_dict(state)
    if left_out:
        message = f"left out {left_out:,} parameters of {path} that {type(model).__name__} never uses"
        warnings.warn(message, stacklevel=2)
    return model
