"""Records of `liftbench measure loader`; the rules stand in `bench.measure.loader`."""

from typing import Literal

from pydantic import NonNegativeFloat

from liftbench.bench.records.base import BaseRecord, NonNegativeInt, PositiveInt, Strict


class LoaderStep(Strict):
    """One step in a fresh process. The peaks are None if the system does not report them."""

    start_s: NonNegativeFloat
    read_s: NonNegativeFloat | None = None  # for `clips_read` clips; None: the step reads none
    peak_rss_mib: NonNegativeInt | None = None
    peak_private_mib: NonNegativeInt | None = None
    peak_file_mib: NonNegativeInt | None = None


class LoaderRecord(BaseRecord):
    """Our loader's first and later start, and the official way, on one file of random content."""

    kind: Literal["loader"] = "loader"
    numpy: str
    train_frames: PositiveInt
    test_frames: PositiveInt
    file_bytes: PositiveInt
    clip_frames: PositiveInt
    train_stride: PositiveInt
    clips_read: PositiveInt
    clips_written: PositiveInt  # by the official way
    other_processes_share: NonNegativeFloat | None  # of this process's processors, meanwhile
    first_start: LoaderStep
    later_start: LoaderStep
    official_way: LoaderStep
