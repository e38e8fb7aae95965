"""Measurements as data: one JSON line each, with the environment it was made in. Tables and plots are made
from them.
"""

from liftbench.bench.records.accuracy import (
    AccuracyRecord,
    Checkpoint,
    Data,
    OnlineErrors,
    OnlineRecord,
    OnlineWindow,
    TrainingRecord,
)
from liftbench.bench.records.base import Times
from liftbench.bench.records.cost import CostRecord, FvcoreCount, ScanCalls, ThopCount
from liftbench.bench.records.export import ExportRecord
from liftbench.bench.records.lift import LiftRecord
from liftbench.bench.records.loader import LoaderRecord, LoaderStep
from liftbench.bench.records.scan import ScanComparison, ScanRecord, ScanTiming
from liftbench.bench.records.speed import (
    Ceilings,
    CompareRecord,
    Contender,
    ScalingPoint,
    ScalingRecord,
    SpeedRecord,
    TimedData,
    Timing,
)
from liftbench.bench.records.store import Record, append, read

__all__ = [
    "AccuracyRecord", "Ceilings", "Checkpoint", "CompareRecord", "Contender", "CostRecord", "Data", "FvcoreCount",
    "ExportRecord", "LiftRecord", "LoaderRecord", "LoaderStep", "OnlineErrors", "OnlineRecord", "OnlineWindow",
    "Record", "ScalingPoint", "ScalingRecord", "ScanCalls", "ScanComparison", "ScanRecord", "ScanTiming", "SpeedRecord",
    "ThopCount", "TimedData", "Timing", "Times", "TrainingRecord", "append", "read",
]  # fmt: skip
