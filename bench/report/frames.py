"""Records and published figures as pandas DataFrames, with units in the names of the columns."""

import json
from pathlib import Path
from typing import Literal

import pandas as pd

from liftbench.baselines.errors import InputError
from liftbench.bench.records import AccuracyRecord, CostRecord, SpeedRecord, TrainingRecord
from liftbench.bench.records.base import ModelRecord
from liftbench.bench.report import results as _results

KINDS = ("cost", "speed", "accuracy", "training")


def load_records(
    folder: Path | str | None = None, kind: Literal["cost", "speed", "accuracy", "training"] | None = None
) -> pd.DataFrame:
    """One row for each record of a model: what was measured, where and when, and its headline figures.

    folder: your own records (default: results/records, where it is there); the reference records that come with
    liftbench are always among the rows, with `reference` True. kind: only these records, and only the columns that they
    fill. NaN stands where a kind has no such figure. Errors are those of the official protocol of `data`.

    Raises InputError for a folder or a line that cannot be read, and for another kind.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"Cannot load records of kind {kind!r}: there is no such kind. Choose {', '.join(KINDS)}.")
    found = _results.load(None if folder is None else Path(folder))
    kinds = KINDS if kind is None else (kind,)
    rows = [_row(found, record) for record in found.records if record.kind in kinds]
    table = pd.DataFrame(rows).sort_values("created_utc", kind="stable", ignore_index=True) if rows else pd.DataFrame()
    return table.dropna(axis="columns", how="all") if kind else table


def load_published() -> pd.DataFrame:
    """The cited figures, one row for each row of a paper's table; `source` names the source, `doubt` what is doubtful.

    Columns: model, variant, dataset, detector, frames, params_m (1e6), macs_g (1e9, of a clip), macs_per_frame_m (1e6),
    errors in mm (gt2d: with true 2D), PCK and AUC in percent, averaged_over (actions or frames), and `registered`, the
    name of that model here.
    """
    found = _results.load_reference().published_all
    return found.assign(registered=[_results.registered(row) for _, row in found.iterrows()])


def _row(found: _results.Results, record: ModelRecord) -> dict[str, object]:
    row = {
        "kind": record.kind, "model": record.model, "frames": record.frames, "numbers": json.dumps(record.numbers),
        "created_utc": record.created_utc, "machine": record.environment.machine,
        "reference": found.is_reference(record),
    }  # fmt: skip
    return row | _FIGURES[record.kind](record)


def _cost(record: CostRecord) -> dict[str, float]:
    return {
        "parameters": record.parameters, "macs_per_clip": record.macs_per_clip,
        "macs_per_output_frame": record.macs_per_output_frame, "thop_macs_per_clip": record.thop.macs,
        "activation_peak_mib": record.activation_bytes_peak_inference / 2**20,
    }  # fmt: skip


def _speed(record: SpeedRecord) -> dict[str, object]:
    latency = record.latency
    return {
        "setting": record.setting or "forward", "latency_ms": latency.median_ms, "latency_p20_ms": latency.p20_ms,
        "latency_p80_ms": latency.p80_ms, "ms_per_new_frame": latency.median_ms / record.output_frames,
        "throughput_poses_per_s": record.throughput_output_frames_per_s, "best_batch_clips": record.throughput.batch,
    }  # fmt: skip


def _accuracy(record: AccuracyRecord) -> dict[str, object]:
    official = record.variants["official"]
    return {
        "data": record.data.name, "data_origin": record.data.origin.get("kind", "released"), "input": record.data.input,
        "protocol": record.data.protocol, "epoch": record.checkpoint.epoch,
        **{name: official.get(name) for name in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_per_frame")},
    }  # fmt: skip


def _training(record: TrainingRecord) -> dict[str, object]:
    return {
        "data": record.data.name, "data_origin": record.data.origin.get("kind", "released"), "input": record.data.input,
        "protocol": record.data.protocol, "epochs": len(record.epochs), "training_s": sum(record.epoch_s),
        "clips_per_s": record.clips_per_s, "last_test_mpjpe_mm": record.test_mpjpe_mm[-1],
    }  # fmt: skip


_FIGURES = {"cost": _cost, "speed": _speed, "accuracy": _accuracy, "training": _training}
