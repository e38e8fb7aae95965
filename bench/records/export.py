"""Records of `liftbench export`; the rules stand in `bench.export`."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from liftbench.bench.records.accuracy import Checkpoint
from liftbench.bench.records.base import ModelRecord, PositiveInt


class ExportRecord(ModelRecord):
    """A file that was exported, checked and timed on one clip. `missing` says why there are no times."""

    kind: Literal["export"] = "export"
    format: Literal["onnx", "torch"]
    checkpoint: Checkpoint | None  # None: random weights
    file_bytes: PositiveInt
    nodes: PositiveInt  # operators in the file, those inside of a Scan included
    blocks: PositiveInt | None  # of the model, None if it has none
    opset: PositiveInt | None = None  # None: not ONNX
    versions: dict[str, str] = {}  # of the packages that wrote and ran it, besides PyTorch
    export_s: PositiveFloat
    difference: NonNegativeFloat  # from the model in PyTorch, relative to the largest output
    own_samples_ms: list[list[PositiveFloat]] = []  # of the model in PyTorch, one list per round
    file_samples_ms: list[list[PositiveFloat]] = []
    own_ms: PositiveFloat | None = None  # median of the rounds' medians
    file_ms: PositiveFloat | None = None
    ratio: PositiveFloat | None = None  # median over the rounds of the file's time over the model's
    ratio_low: PositiveFloat | None = None  # its 95 % bootstrap interval
    ratio_high: PositiveFloat | None = None
    other_processes_share: NonNegativeFloat | None = None  # of this process's processors, while timing
    missing: str | None = None
