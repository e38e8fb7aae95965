"""A training recipe: one validated YAML file for one published table row, or for its toy version."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

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
from pydantic_core import ErrorDetails

from liftbench.baselines.errors import InputError, in_words
from liftbench.baselines.registry import Entry, entry, is_file, located
from liftbench.baselines.training.lookup import find_recipe, read_settings
from liftbench.baselines.training.losses import TERMS


class TotalVariation(BaseModel):
    """The regulariser of the Pose3DM paper, applied to the predicted normalised poses."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    order: float = Field(gt=0, le=2)
    weight: PositiveFloat


class Stage1(BaseModel):
    """The settings in which the first of two stages differs from the second."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    learning_rate: PositiveFloat
    weight_decay: float = Field(0.0, ge=0)
    learning_rate_decay: float | None = Field(None, gt=0, le=1)
    epochs: PositiveInt
    batch_size: PositiveInt


INPUTS = {"h36m": ("sh", "gt"), "h36m_videopose3d": ("cpn", "gt"), "mpi_inf_3dhp": ("gt",)}


class Recipe(BaseModel):
    """Everything that decides a training run, except the data file.

    stride is between the first frames of consecutive clips (for centre-frame models: between centre frames).
    batch_size counts the clips of one step of the optimiser, over all processes and all parts that `accumulate` makes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: str
    numbers: dict[str, int | float | str | bool] = {}
    frames: PositiveInt
    stride: PositiveInt
    data: Literal["h36m", "h36m_videopose3d", "mpi_inf_3dhp"] = "h36m"
    input: Literal["sh", "gt", "cpn"] = "sh"
    flip: bool = True
    loss: dict[str, PositiveFloat]
    total_variation: TotalVariation | None = None
    optimizer: Literal["adamw", "adam", "adam_amsgrad"] = "adamw"
    learning_rate: PositiveFloat
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["exponential", "cosine"] = "exponential"
    learning_rate_decay: float | None = Field(
        None, gt=0, le=1, description="factor per epoch, of the exponential schedule"
    )
    warmup_epochs: float = Field(0.0, ge=0)
    clip_gradient: PositiveFloat | None = Field(None, description="largest norm of the gradient")
    ema: float | None = Field(None, gt=0, lt=1, description="decay per step of the averaged weights")
    epochs: PositiveInt
    batch_size: PositiveInt
    accumulate: PositiveInt = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    gradient_checkpointing: bool = False
    stage_1: Stage1 | None = None
    test_stride: PositiveInt = Field(1, description="after an epoch every n-th test clip is scored; 1: all of them")
    seed: int = Field(0, ge=0, lt=2**63)

    @field_validator("model")
    @classmethod
    def _located_model(cls, name: str) -> str:
        if not is_file(name):
            entry(name)
        return located(name, ".")

    @property
    def entry(self) -> Entry:
        """The model's row in the registry."""
        return entry(self.model, self.frames)

    @field_validator("loss")
    @classmethod
    def _known_terms(cls, weights: dict[str, float]) -> dict[str, float]:
        if not weights:
            raise ValueError(f"names no term. Known are {', '.join(TERMS)}")
        for term in weights:
            if term not in TERMS:
                raise ValueError(f"{term!r} is not a loss term. {_nearest(term, TERMS)}")
        return weights

    @model_validator(mode="after")
    def _input_of_the_data(self) -> "Recipe":
        if self.input not in INPUTS[self.data]:
            raise ValueError(
                f"input {self.input} is not a 2D input of the data {self.data}. Choose {' or '.join(INPUTS[self.data])}"
            )
        return self

    @model_validator(mode="after")
    def _variation_of_what(self) -> "Recipe":
        if self.total_variation and (self.frames == 1 or self.entry.output == "centre"):
            raise ValueError(
                f"total_variation compares poses over time, but here {self.entry.name} answers a clip with one pose. "
                "Leave it out"
            )
        return self

    @model_validator(mode="after")
    def _stages(self) -> "Recipe":
        stages = len(self.entry.stages) or 1
        if (self.stage_1 is None) == (stages > 1):
            found = (
                "2 stages. Write stage_1 beside the settings of the second"
                if stages > 1
                else "1 stage. Leave stage_1 out"
            )
            raise ValueError(f"{self.entry.name} is trained in {found}")
        return self

    @model_validator(mode="after")
    def _schedules(self) -> "Recipe":
        for prefix, stage in self._each_stage():
            if self.schedule == "exponential" and stage.learning_rate_decay is None:
                raise ValueError(
                    f"{prefix}learning_rate_decay is missing. Give the factor per epoch of the exponential schedule"
                )
            if self.schedule == "cosine" and stage.learning_rate_decay is not None:
                raise ValueError(
                    f"{prefix}learning_rate_decay belongs to the exponential schedule. Leave it out of a cosine"
                )
            if self.warmup_epochs >= stage.epochs:
                raise ValueError(
                    f"warmup_epochs {self.warmup_epochs:g} leave none of {prefix}epochs {stage.epochs}. Take fewer"
                )
            if self.accumulate > stage.batch_size:
                raise ValueError(
                    f"accumulate asks for {self.accumulate} parts of a {prefix}batch_size of {stage.batch_size}. "
                    "Take fewer"
                )
        return self

    def _each_stage(self) -> list[tuple[str, "Recipe | Stage1"]]:
        return [("", self)] + ([("stage_1.", self.stage_1)] if self.stage_1 else [])

    @property
    def share_tested(self) -> str:
        """Text to add to the name of a score that is measured after an epoch on a part of the test clips."""
        return f" (1 of {self.test_stride} clips)" if self.test_stride > 1 else ""

    def of_stage_1(self) -> "Recipe":
        """Return the recipe of the first stage, which shares what `stage_1` does not name."""
        return self.model_copy(update=self.stage_1.model_dump() | {"stage_1": None, "total_variation": None})


def read_recipe(recipe: str | Path, **overrides) -> Recipe:
    """Read and validate a recipe, given by path or by name; overrides replace its settings.

    Raises InputError naming file and key.
    """
    path = find_recipe(recipe)
    settings = read_settings(path) | overrides
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")  # the cause of a missing key
        problem, remedy = _explain(first)
        raise InputError(f"Cannot use the recipe {path}: {problem}. {remedy}") from error


def _explain(error: ErrorDetails) -> tuple[str, str]:
    """Return (what is wrong, what to do) for an error of pydantic. Our validators say "what is wrong. What to do"."""
    key = ".".join(str(part)[:40] for part in error["loc"])
    if error["type"] == "extra_forbidden":
        group = {"total_variation": TotalVariation, "stage_1": Stage1}.get(error["loc"][0], Recipe)
        return f"there is no setting {key}", _nearest(str(error["loc"][-1]), group.model_fields)
    message = in_words(error)
    if isinstance(error["input"], str) and error["type"] in ("float_type", "int_type"):
        message += f", not the text {error['input'][:40]!r}"
        message += ". Write 2.0e-4, which YAML takes for a number" if "e" in error["input"].lower() else ""
    problem, _, remedy = message.rstrip(".").partition(". ")
    remedy = remedy or ("Add it" if error["type"] == "missing" else "Correct that setting")
    return f"{key and f'key {key}: '}{problem}", remedy + "." * (remedy[-1] != "?")


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
