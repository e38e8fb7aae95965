"""Measurements as data: append-only JSON lines, one record a line, validated, units in the keys.

A record is written once and never edited; tables and plots are rendered from records. `model`, `frames` and `numbers`
are what `baselines.create_model` takes: the registered name, the clip length T and overrides of the variant's numbers.
"""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from baselines.errors import InputError

from .environment import Environment

SCHEMA = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Record(_Strict):
    """What every record carries."""

    schema_version: Literal[1] = Field(SCHEMA, alias="schema")
    created_utc: AwareDatetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    environment: Environment
    model: str
    frames: PositiveInt
    numbers: dict[str, int | float | str | bool | None] = {}


class ThopCount(_Strict):
    """What thop prints: it sees neither bare parameters, nor einsum, nor the scan, but counts normalisations."""

    parameters: NonNegativeInt
    macs: NonNegativeInt


class ScanCalls(_Strict):
    """Scans of one shape in one forward pass; `channels` are those of all directions together."""

    channels: PositiveInt
    length: PositiveInt
    states: PositiveInt
    calls: PositiveInt
    macs_per_call: PositiveInt


class CostRecord(_Record):
    """What one forward pass of one clip costs; the rules stand in `bench.cost`."""

    kind: Literal["cost"] = "cost"
    output_frames: PositiveInt  # poses that one clip yields: T, or 1 for a centre-frame model
    parameters: NonNegativeInt
    parameters_with_gradient: NonNegativeInt
    parameter_names_without_gradient: list[str]
    buffer_elements: NonNegativeInt
    thop: ThopCount
    contraction_macs: NonNegativeInt
    contraction_macs_by_operator: dict[str, NonNegativeInt]
    scan_macs: NonNegativeInt
    scans: list[ScanCalls]
    macs_per_clip: NonNegativeInt  # contractions and scans
    macs_per_output_frame: NonNegativeFloat
    uncounted_operator_calls: dict[str, PositiveInt]


class Timing(_Strict):
    """Forward passes of one batch size: every sample, and their percentiles."""

    batch: PositiveInt
    samples_ms: list[PositiveFloat] = Field(min_length=1)
    p20_ms: PositiveFloat
    median_ms: PositiveFloat
    p80_ms: PositiveFloat
    peak_memory_mib: NonNegativeFloat | None


class SpeedRecord(_Record):
    """Latency (one clip) and throughput (the best batch), measured separately; how is said in `bench.speed`."""

    kind: Literal["speed"] = "speed"
    device: Literal["cpu", "cuda"]
    dtype: Literal["float32"] = "float32"
    output_frames: PositiveInt
    latency: Timing
    throughput: Timing  # of the best batch of the sweep
    throughput_clips_per_s: PositiveFloat
    throughput_output_frames_per_s: PositiveFloat
    sweep: list[Timing]  # one timing a batch size, batch 1 first
    sweep_ended_by: str
    peak_memory_method: str  # how it was measured, or why it was not


class Data(_Strict):
    """Which file a model was trained or evaluated on. origin: how it was made, {} for a file that does not say."""

    name: str
    sha256: str
    origin: dict
    input: Literal["sh", "gt"]
    test_frames: PositiveInt
    test_clips: PositiveInt


class Checkpoint(_Strict):
    """The weights that were evaluated, and how their epoch was chosen."""

    file: str
    sha256: str
    epoch: NonNegativeInt | None
    chosen_by: str | None


class AccuracyRecord(_Record):
    """One evaluation: the official protocol, and beside it the variants that users mix it up with."""

    kind: Literal["accuracy"] = "accuracy"
    data: Data
    checkpoint: Checkpoint
    mpjpe_mm: NonNegativeFloat
    p_mpjpe_mm: NonNegativeFloat
    mpjpe_mm_per_action: dict[str, NonNegativeFloat]
    p_mpjpe_mm_per_action: dict[str, NonNegativeFloat]
    mpjpe_mm_per_joint: dict[str, NonNegativeFloat]
    variants: dict[str, dict[str, NonNegativeFloat | None]]
    mean_pose_mpjpe_mm: NonNegativeFloat | None


class TrainingRecord(_Record):
    """One finished training run, one list entry an epoch."""

    kind: Literal["training"] = "training"
    data: Data
    recipe: dict
    epochs: list[NonNegativeInt]
    loss: list[float]
    test_mpjpe_mm: list[NonNegativeFloat | None]
    learning_rate: list[NonNegativeFloat]
    epoch_s: list[NonNegativeFloat]
    clips_per_s: NonNegativeFloat

    @model_validator(mode="after")
    def _one_entry_an_epoch(self):
        for key in ("loss", "test_mpjpe_mm", "learning_rate", "epoch_s"):
            if len(getattr(self, key)) != len(self.epochs):
                raise ValueError(f"{key} has {len(getattr(self, key))} entries for {len(self.epochs)} epochs")
        return self


Record = Annotated[CostRecord | SpeedRecord | AccuracyRecord | TrainingRecord, Field(discriminator="kind")]
_RECORD = TypeAdapter(Record)


def append(path, record):
    """Append one record to a .jsonl file, which is made where it is missing, as a single write of one whole line.

    A line that a crash left unfinished is closed first, so that it does not spoil this one. Raises InputError when the
    file cannot be written.
    """
    path = Path(path)
    line = record.model_dump_json(by_alias=True).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            written = file.write(line)
    except OSError as error:
        raise InputError(
            f"Cannot append to {path}: {error.strerror}; choose another folder or free the disk."
        ) from error
    if written != len(line):
        raise InputError(f"Only a part of the record was written to {path}; free the disk, remove its last line.")


def read(folder):
    """All records of a folder's *.jsonl files, in order of file name and line.

    Raises InputError, naming file and line, for a line that is cut short, does not validate or has another schema.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no records folder {folder}; measure something first or check the path.")
    return [
        _parse(line, f"{path}, line {number}")
        for path in sorted(folder.glob("*.jsonl"))
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1)
        if line.strip()
    ]


def _parse(line, where):
    try:
        content = json.loads(line)
    except ValueError as error:
        raise InputError(
            f"{where} is not a whole JSON record; an interrupted run may have cut it short, remove that line."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{where} is not a JSON object but {type(content).__name__}; remove that line.")
    if content.get("schema") != SCHEMA:
        raise InputError(
            f"{where} has schema {content.get('schema')!r} but this version reads schema {SCHEMA}; use the version "
            "that wrote it, or measure again."
        )
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}, key {key}: {first['msg']}.") from error
