"""What every record carries. Units stand in the keys. `environment.stamp` makes the fields that all begin with.

`model`, `frames` and `numbers` are the arguments of `liftbench.create_model`: the registered name, the clip length T
and overrides of the variant's numbers.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PositiveFloat

from liftbench.bench.records.environment import Environment

SCHEMA = 1
_LARGEST = 2**63 - 1
PositiveInt = Annotated[int, Field(gt=0, le=_LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=_LARGEST)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Times(Strict):
    """What `bench.measure.timing` finds of one contender. `missing` says why there are no times, or why its samples are
    not to be used."""

    samples_ms: list[list[PositiveFloat]] = []  # one list per round
    p20_ms: PositiveFloat | None = None  # percentiles of the rounds' medians
    median_ms: PositiveFloat | None = None
    p80_ms: PositiveFloat | None = None
    missing: str | None = None


class BaseRecord(Strict):
    """What every record carries."""

    schema_version: Literal[1] = Field(SCHEMA, alias="schema")
    created_utc: AwareDatetime
    environment: Environment


class ModelRecord(BaseRecord):
    """What every record of a model carries."""

    model: str
    frames: PositiveInt
    numbers: dict[str, int | float | str | bool | None] = {}
