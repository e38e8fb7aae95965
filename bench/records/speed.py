"""Records of `liftbench measure speed`, `compare` and `scaling`; the rules stand in the modules of `bench.measure`."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from liftbench.bench.records.base import BaseRecord, ModelRecord, PositiveInt, Strict, Times


class Timing(Strict):
    """Forward passes of one batch size: every sample, and their percentiles."""

    batch: PositiveInt
    samples_ms: list[PositiveFloat] = Field(min_length=1)
    p20_ms: PositiveFloat
    median_ms: PositiveFloat
    p80_ms: PositiveFloat
    peak_memory_mib: NonNegativeFloat | None


class TimedData(Strict):
    """The file that was read while timing. origin: how it was made, {} for a file that does not say."""

    name: str
    sha256: str
    origin: dict


class Ceilings(Strict):
    """The machine's ceilings, and the share of the product's rate that the forward pass reached."""

    bandwidth_gb_per_s: PositiveFloat
    product_gflop_per_s: PositiveFloat  # in the precision that was timed
    macs_per_clip: PositiveInt | None = None
    product_share: NonNegativeFloat | None = None  # at the best batch, two operations per MAC


class Settings(Strict):
    """How a call was made; the meaning stands in `bench.measure.calls`."""

    call: Literal["forward", "training step"] = "forward"
    dtype: Literal["float32", "bfloat16"] = "float32"
    mode: Literal["eager", "compile", "cuda-graph"] = "eager"


class SpeedRecord(ModelRecord, Settings):
    """Latency (one clip) and throughput (the best batch), measured separately; see `bench.measure.speed`."""

    kind: Literal["speed"] = "speed"
    device: Literal["cpu", "cuda"]
    data: TimedData | None = None  # end to end; None: lifting only, random inputs
    difference: NonNegativeFloat | None = None  # found by the parity check, relative to the largest value
    clock: Literal["perf_counter", "CUDA events"]
    other_processes_share: NonNegativeFloat | None  # of this process's processors, meanwhile
    output_frames: PositiveInt
    latency: Timing
    throughput: Timing  # of the best batch of the sweep
    throughput_clips_per_s: PositiveFloat
    throughput_output_frames_per_s: PositiveFloat
    sweep: list[Timing]  # one timing per batch size, batch 1 first
    sweep_ended_by: str
    peak_memory_method: str  # how it was measured, or why it was not
    ceilings: Ceilings

    @property
    def setting(self) -> str:
        """What differs from a forward pass in float32 and mode eager, lifting only; "" if nothing does."""
        usual = {"forward", "float32", "eager"}
        words = [word for word in (self.call, self.dtype, self.mode) if word not in usual]
        return ", ".join(words + ["end to end"] * (self.data is not None))


class Contender(Settings):
    """One of two that were compared: which model, how it ran, and its samples, one list per round."""

    model: str
    frames: PositiveInt
    numbers: dict[str, int | float | str | bool | None] = {}
    scan_implementation: str | None
    difference: NonNegativeFloat | None
    samples_ms: list[list[PositiveFloat]] = Field(min_length=1)
    p20_ms: PositiveFloat  # percentiles of the rounds' medians
    median_ms: PositiveFloat
    p80_ms: PositiveFloat


class CompareRecord(BaseRecord):
    """Two contenders that took turns; see `bench.measure.compare`."""

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


class ScalingPoint(Times):
    """One model at one place of one axis."""

    axis: Literal["frames", "batch", "depth"]
    model: str
    frames: PositiveInt
    batch: PositiveInt
    depth: PositiveInt | None  # None: the model's registry row names none
    macs: PositiveInt | None  # of the whole batch; None: a user's own model that cannot be counted


class ScalingRecord(BaseRecord):
    """How MACs and time grow with frames, batch and depth; see `bench.measure.scaling`."""

    kind: Literal["scaling"] = "scaling"
    device: Literal["cpu", "cuda"]
    clock: Literal["perf_counter", "CUDA events"]
    quick: bool
    longest_call_s: PositiveFloat
    parameters: dict[str, PositiveInt]  # model: those of its published size
    differences: dict[str, NonNegativeFloat | None]  # model: that the parity check found
    points: list[ScalingPoint]
