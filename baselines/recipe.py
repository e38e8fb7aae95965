"""A training recipe: one validated YAML file, one published table row (or its toy twin)."""

import difflib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from .errors import InputError
from .losses import TERMS
from .registry import entry


class TotalVariation(BaseModel):
    """The regulariser of the Pose3DM paper, `pose3dm.fractional_total_variation`, of the predicted normalised poses."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    order: float = Field(gt=0, le=2)
    weight: PositiveFloat


class Recipe(BaseModel):
    """What decides a training run, besides the data file.

    stride is between the first frames of consecutive clips (for centre-frame models: between centre frames).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    numbers: dict[str, int | float | str | bool] = {}
    frames: PositiveInt
    stride: PositiveInt
    input: Literal["sh", "gt"] = "sh"
    flip: bool = True
    loss: dict[str, float]
    total_variation: TotalVariation | None = None
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: PositiveFloat
    weight_decay: float = Field(0.0, ge=0)
    learning_rate_decay: PositiveFloat = Field(description="factor per epoch")
    epochs: PositiveInt
    batch_size: PositiveInt
    seed: int = Field(0, ge=0)

    @field_validator("model")
    @classmethod
    def _known_model(cls, name):
        if entry(name).stages > 1:
            raise ValueError(f"{name} is trained in {entry(name).stages} stages, which recipes do not describe yet")
        return name

    @field_validator("loss")
    @classmethod
    def _known_terms(cls, weights):
        if not weights:
            raise ValueError(f"names no term; known are {', '.join(TERMS)}")
        for term in weights:
            if term not in TERMS:
                raise ValueError(f"{term!r} is no loss term{_nearest(term, TERMS)}")
        return weights

    @model_validator(mode="after")
    def _variation_of_what(self):
        if self.total_variation and (self.frames == 1 or entry(self.model).output == "centre"):
            raise ValueError(
                f"total_variation is of poses over time, but here {self.model} answers a clip with a single one; "
                "leave it out"
            )
        return self


def read_recipe(path, **overrides):
    """Read and validate a recipe file; overrides replace its values. Raises InputError naming file and key."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the recipe {path} ({error.__class__.__name__}); check the path.") from error
    except yaml.YAMLError as error:
        raise InputError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise InputError(f"The recipe {path} must be a list of 'key: value' lines.")
    try:
        return Recipe(**content | overrides)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = TotalVariation if len(first["loc"]) > 1 else Recipe
            message = f"is no setting of a recipe{_nearest(str(first['loc'][-1]), known.model_fields)}"
        where = f", key {key}" if key else ""
        raise InputError(f"The recipe {path}{where}: {message}.") from error


def _nearest(word, known):
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
