"""Records of `liftbench measure scan`; the rules stand in `bench.measure.scan`."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from liftbench.bench.records.base import BaseRecord, PositiveInt, Strict, Times


class ScanTiming(Times):
    """One contender in one comparison."""

    name: str
    public: bool = False  # another project's implementation
    ratio: PositiveFloat | None = None  # median over the rounds of the baseline's time over this one's
    peak_memory_mib: NonNegativeFloat | None = None
    kept_for_backward_mib: NonNegativeFloat | None = None


class ScanComparison(Strict):
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
    baseline: str  # the contender that ratios compare with
    other_processes_share: NonNegativeFloat | None  # of this process's processors, during the rounds
    timings: list[ScanTiming]


class ScanRecord(BaseRecord):
    """One run of `liftbench measure scan`; see `bench.measure.scan`."""

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
