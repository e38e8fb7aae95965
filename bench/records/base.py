"""What every record carries. Units stand in the keys. `environment.stamp` makes the fields that all begin with.

`model`, `frames` and `numbers` are the arguments of `liftbench.create_model`: the registered name, the clip length T
and overrides of the variant's numbers.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from liftbench.bench.records.environment import Environment

SCHEMA = 1
_LARGEST = 2**63 - 1
PositiveInt = Annotated[int, Field(gt=0, le=_LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=_LARGEST)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
