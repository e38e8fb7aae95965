"""Records of `liftbench measure cost`; the rules of counting stand in `bench.report.tables.cost_rules`."""

from typing import Literal

from pydantic import NonNegativeFloat

from liftbench.bench.records.base import ModelRecord, NonNegativeInt, PositiveInt, Strict


class ThopCount(Strict):
    """What thop prints. It sees no bare parameters, einsum or scan, but counts normalisations."""

    parameters: NonNegativeInt
    macs: NonNegativeInt
    uncounted_modules: dict[str, PositiveInt]  # class: number of modules with parameters that it has no rule for


class FvcoreCount(Strict):
    """What fvcore prints; `missing` says why it prints nothing."""

    macs: NonNegativeInt | None = None
    macs_by_operator: dict[str, NonNegativeInt] = {}
    uncounted_operator_calls: dict[str, PositiveInt] = {}
    missing: str | None = None


class ScanCalls(Strict):
    """Scans of one shape in one forward pass; `channels` counts all directions together."""

    channels: PositiveInt
    length: PositiveInt
    states: PositiveInt
    calls: PositiveInt
    macs_per_call: PositiveInt


class CostRecord(ModelRecord):
    """What one forward pass of one clip costs; the rules stand in `bench.report.tables.cost_rules`.

    `model` may be a user's own `file.py:build`; values that cannot be counted for it are None.
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
