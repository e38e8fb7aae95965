"""Measurements as data: append-only JSON lines, one record a line, validated, units in the keys.

A record is written once and never edited; tables and plots are rendered from records. `model`, `frames` and `numbers`
are what `liftbench.create_model` takes: the registered name, the clip length T and overrides of the variant's numbers.
Scans are measured without a model.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from liftbench.baselines.errors import InputError
from liftbench.bench.records.environment import Environment

SCHEMA = 1
_LARGEST = 2**63 - 1
PositiveInt = Annotated[int, Field(gt=0, le=_LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=_LARGEST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Record(_Strict):
    """What every record carries."""

    schema_version: Literal[1] = Field(SCHEMA, alias="schema")
    created_utc: AwareDatetime
    environment: Environment


class _ModelRecord(_Record):
    """What every record of a model carries."""

    model: str
    frames: PositiveInt
    numbers: dict[str, int | float | str | bool | None] = {}


class ThopCount(_Strict):
    """What thop prints: it sees neither bare parameters, nor einsum, nor the scan, but counts normalisations."""

    parameters: NonNegativeInt
    macs: NonNegativeInt
    uncounted_modules: dict[str, PositiveInt]  # class: modules with parameters that it has no rule for


class FvcoreCount(_Strict):
    """What fvcore prints; `missing` says why it does not."""

    macs: NonNegativeInt | None = None
    macs_by_operator: dict[str, NonNegativeInt] = {}
    uncounted_operator_calls: dict[str, PositiveInt] = {}
    missing: str | None = None


class ScanCalls(_Strict):
    """Scans of one shape in one forward pass; `channels` are those of all directions together."""

    channels: PositiveInt
    length: PositiveInt
    states: PositiveInt
    calls: PositiveInt
    macs_per_call: PositiveInt


class CostRecord(_ModelRecord):
    """What one forward pass of one clip costs; the rules stand in `bench.measure.cost.rules`.

    `model` may be `file.py:build`, a module of the user's; what cannot be counted of one is None.
    """

    kind: Literal["cost"] = "cost"
    output_frames: PositiveInt  # poses that one clip yields: T, or 1 for a centre-frame model
    parameters: NonNegativeInt
    parameters_with_gradient: NonNegativeInt | None  # None: `gradient_missing` says why
    parameter_names_without_gradient: list[str] = []
    gradient_missing: str | None = None
    buffer_elements: NonNegativeInt
    activation_bytes_kept_for_backward: NonNegativeInt | None  # None: `gradient_missing` says why
    activation_bytes_peak_inference: NonNegativeInt
    thop: ThopCount
    fvcore: FvcoreCount
    contraction_macs: NonNegativeInt
    contraction_macs_by_operator: dict[str, NonNegativeInt]
    scan_macs: NonNegativeInt
    scans: list[ScanCalls]
    macs_per_clip: NonNegativeInt  # contractions and scans
    macs_per_output_frame: NonNegativeFloat
    macs_by_module: dict[str, NonNegativeInt]  # dotted path: what the module does itself; "": the model
    elementwise_operations: NonNegativeInt
    elementwise_operations_by_operator: dict[str, NonNegativeInt]
    uncounted_operator_calls: dict[str, PositiveInt]


class Timing(_Strict):
    """Forward passes of one batch size: every sample, and their percentiles."""

    batch: PositiveInt
    samples_ms: list[PositiveFloat] = Field(min_length=1)
    p20_ms: PositiveFloat
    median_ms: PositiveFloat
    p80_ms: PositiveFloat
    peak_memory_mib: NonNegativeFloat | None


class TimedData(_Strict):
    """The file that was read from while timing. origin: how it was made, {} for a file that does not say."""

    name: str
    sha256: str
    origin: dict


class Ceilings(_Strict):
    """What the machine reaches at most, and the share of the product's rate that the forward pass reached."""

    bandwidth_gb_per_s: PositiveFloat
    product_gflop_per_s: PositiveFloat  # in the precision that was timed
    macs_per_clip: PositiveInt | None = None
    product_share: NonNegativeFloat | None = None  # at the best batch, two operations a MAC


class _Settings(_Strict):
    """How a call was made; the meaning stands in `bench.measure.calls`."""

    call: Literal["forward", "training step"] = "forward"
    dtype: Literal["float32", "bfloat16"] = "float32"
    mode: Literal["eager", "compile", "cuda-graph"] = "eager"


class SpeedRecord(_ModelRecord, _Settings):
    """Latency (one clip) and throughput (the best batch), measured separately; how is said in `bench.measure.speed`."""

    kind: Literal["speed"] = "speed"
    device: Literal["cpu", "cuda"]
    data: TimedData | None = None  # end to end; None: lifting only, random inputs
    difference: NonNegativeFloat | None = None  # that the parity check found, of the largest value
    clock: Literal["perf_counter", "CUDA events"]
    other_processes_share: NonNegativeFloat | None  # of this process's processors, meanwhile
    output_frames: PositiveInt
    latency: Timing
    throughput: Timing  # of the best batch of the sweep
    throughput_clips_per_s: PositiveFloat
    throughput_output_frames_per_s: PositiveFloat
    sweep: list[Timing]  # one timing a batch size, batch 1 first
    sweep_ended_by: str
    peak_memory_method: str  # how it was measured, or why it was not
    ceilings: Ceilings

    @property
    def setting(self):
        """What differs from a forward pass in float32 and mode eager, lifting only; "" if nothing does."""
        usual = {"forward", "float32", "eager"}
        words = [word for word in (self.call, self.dtype, self.mode) if word not in usual]
        return ", ".join(words + ["end to end"] * (self.data is not None))


class Contender(_Settings):
    """One of two that were compared: which model, how it ran, and its samples, one list a round."""

    model: str
    frames: PositiveInt
    numbers: dict[str, int | float | str | bool | None] = {}
    scan_implementation: str | None
    difference: NonNegativeFloat | None
    samples_ms: list[list[PositiveFloat]] = Field(min_length=1)
    p20_ms: PositiveFloat  # percentiles of the rounds' medians
    median_ms: PositiveFloat
    p80_ms: PositiveFloat


class CompareRecord(_Record):
    """Two that took turns; how is said in `bench.measure.compare`."""

    kind: Literal["compare"] = "compare"
    device: Literal["cpu", "cuda"]
    clock: Literal["perf_counter", "CUDA events"]
    batch: PositiveInt
    first: Contender
    second: Contender
    ratio: PositiveFloat  # of the first one's time over the second one's
    ratio_low: PositiveFloat
    ratio_high: PositiveFloat
    confidence: PositiveFloat
    other_processes_share: NonNegativeFloat | None


class ScalingPoint(_Strict):
    """One model at one place of one axis. `missing` says why there are no times."""

    axis: Literal["frames", "batch", "depth"]
    model: str
    frames: PositiveInt
    batch: PositiveInt
    depth: PositiveInt
    macs: PositiveInt  # of the whole batch
    samples_ms: list[list[PositiveFloat]] = []  # one list a round
    p20_ms: PositiveFloat | None = None  # percentiles of the rounds' medians
    median_ms: PositiveFloat | None = None
    p80_ms: PositiveFloat | None = None
    missing: str | None = None


class ScalingRecord(_Record):
    """How MACs and time grow with frames, batch and depth; how is said in `bench.measure.scaling`."""

    kind: Literal["scaling"] = "scaling"
    device: Literal["cpu", "cuda"]
    clock: Literal["perf_counter", "CUDA events"]
    quick: bool
    longest_call_s: PositiveFloat
    parameters: dict[str, PositiveInt]  # model: those of its published size
    differences: dict[str, NonNegativeFloat | None]  # model: that the parity check found
    points: list[ScalingPoint]


class Data(_Strict):
    """Which file or folder a model was trained or evaluated on; protocols are described in
    `baselines.evaluation.protocols`.

    origin: how it was made, {} for a file that does not say.
    """

    name: str
    sha256: str
    origin: dict
    protocol: Literal["h36m", "h36m_videopose3d", "mpi_inf_3dhp"]
    input: Literal["sh", "cpn", "gt"]
    test_frames: PositiveInt
    test_clips: PositiveInt


class Checkpoint(_Strict):
    """The weights that were evaluated, and how their epoch was chosen."""

    file: str
    sha256: str
    epoch: NonNegativeInt | None
    chosen_by: str | None


class AccuracyRecord(_ModelRecord):
    """One evaluation: the official protocol of its data, and beside it the variants that users mix it up with.

    pck and auc: of mpi_inf_3dhp only, whose "actions" are the test sequences.
    """

    kind: Literal["accuracy"] = "accuracy"
    data: Data
    checkpoint: Checkpoint
    mpjpe_mm: NonNegativeFloat
    p_mpjpe_mm: NonNegativeFloat
    mpjpe_mm_per_action: dict[str, NonNegativeFloat]
    p_mpjpe_mm_per_action: dict[str, NonNegativeFloat]
    pck_150mm_percent: NonNegativeFloat | None = None
    auc_percent: NonNegativeFloat | None = None
    pck_150mm_percent_per_action: dict[str, NonNegativeFloat] | None = None
    auc_percent_per_action: dict[str, NonNegativeFloat] | None = None
    mpjpe_mm_per_joint: dict[str, NonNegativeFloat]
    variants: dict[str, dict[str, NonNegativeFloat | None]]
    mean_pose_mpjpe_mm: NonNegativeFloat | None


class TrainingRecord(_ModelRecord):
    """One finished training run, one list entry an epoch."""

    kind: Literal["training"] = "training"
    data: Data
    recipe: dict
    epochs: list[NonNegativeInt]
    loss: list[float]
    total_variation: list[NonNegativeFloat] | None = None  # unweighted, where the recipe asks for it
    test_mpjpe_mm: list[NonNegativeFloat | None]
    learning_rate: list[NonNegativeFloat]
    epoch_s: list[NonNegativeFloat]
    data_wait_share: list[NonNegativeFloat] | None = None  # of epoch_s; None: not measured
    clips_per_s: NonNegativeFloat
    processes: PositiveInt  # that trained together

    @model_validator(mode="after")
    def _one_entry_an_epoch(self):
        for key in ("loss", "total_variation", "test_mpjpe_mm", "learning_rate", "epoch_s", "data_wait_share"):
            values = getattr(self, key)
            if values is not None and len(values) != len(self.epochs):
                raise ValueError(f"{key} has {len(values)} entries for {len(self.epochs)} epochs")
        return self


class ScanTiming(_Strict):
    """One contender in one comparison. `missing` says why there are no times, or why its samples are not to be used."""

    name: str
    public: bool = False  # another project's implementation
    samples_ms: list[list[PositiveFloat]] = []  # one list a round
    p20_ms: PositiveFloat | None = None  # percentiles of the rounds' medians
    median_ms: PositiveFloat | None = None
    p80_ms: PositiveFloat | None = None
    ratio: PositiveFloat | None = None  # median over the rounds of the baseline's time over this one's
    peak_memory_mib: NonNegativeFloat | None = None
    kept_for_backward_mib: NonNegativeFloat | None = None
    missing: str | None = None


class ScanComparison(_Strict):
    """Contenders that took turns on one shape; `channels` are those of one group (of one direction of a grid)."""

    comparison: Literal["implementations", "instruction sets", "grid"]
    case: str
    call: Literal["forward", "forward + backward"]
    batch: PositiveInt
    groups: PositiveInt
    channels: PositiveInt
    length: PositiveInt
    states: PositiveInt
    state_steps: PositiveInt
    compulsory_bytes: PositiveInt  # inputs and outputs of a forward pass, each moved once
    baseline: str  # the contender of which the ratios are
    other_processes_share: NonNegativeFloat | None  # of this process's processors, during the rounds
    timings: list[ScanTiming]


class ScanRecord(_Record):
    """One run of `liftbench measure scan`; how is said in `bench.measure.scan`."""

    kind: Literal["scan"] = "scan"
    device: Literal["cpu", "cuda"]
    dtype: Literal["float32"] = "float32"
    quick: bool
    longest_call_s: PositiveFloat
    absent: dict[str, str]  # contender: why it cannot run here, or what is wrong with its results
    differences: dict[str, NonNegativeFloat]  # contender: from the oracle, of the largest value of the tensor compared
    bandwidth_gb_per_s: PositiveFloat
    product_gflop_per_s: PositiveFloat
    operations_per_state_step: PositiveInt
    peak_memory_method: str
    comparisons: list[ScanComparison]


Record = Annotated[
    CostRecord | SpeedRecord | CompareRecord | ScalingRecord | AccuracyRecord | TrainingRecord | ScanRecord,
    Field(discriminator="kind"),
]
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
    try:
        contents = {path: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}
    except OSError as error:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}; check its permissions.") from error
    return [
        _parse(line, f"{path}, line {number}")
        for path, content in contents.items()
        for number, line in enumerate(content.split(b"\n"), start=1)
        if line.strip()
    ]


def _parse(line, where):
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
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
