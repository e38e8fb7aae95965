"""gait.csv and gait_curves.csv: plain numbers, units in the names, empty where nothing is known."""

import csv
from pathlib import Path

import numpy as np

from liftbench.lift.gait.analysis import SIDES
from liftbench.lift.gait.parameters import NOT_OBSERVABLE
from liftbench.lift.gait.report import Report


def parameters(report: Report, path: Path) -> None:
    """One row a quantity: mean and standard deviation of each side, the error to expect, and their symmetry."""
    strides = [len(side) for side in report.curves["knee flexion"]]
    header = [
        "quantity and unit", "right mean", "right SD", "left mean", "left SD", "right strides", "left strides",
        "expected error", "source of the error", "symmetry index, %", "gait asymmetry, %", "ratio right/left", "note",
    ]  # fmt: skip
    rows = []
    for row in report.rows:
        numbers = [row.mean[0], row.deviation[0], row.mean[1], row.deviation[1]]
        alike = list(row.symmetry.values()) if row.symmetry else [np.nan] * 3
        note = "ankle-based" if row.ankle_based else ""
        error = ["not validated", ""] if row.error is None else [_number(row.error), report.source]
        rows.append([row.name, *map(_number, numbers), *strides, *error, *map(_number, alike), note])
    rows += [[name, *[""] * 11, "not available from the 17 joints"] for name in NOT_OBSERVABLE]
    _write(path, header, rows)


def curves(report: Report, path: Path) -> None:
    """One row for each angle, side and percent of the stride: mean and standard deviation over the strides, degrees."""
    rows = [
        [angle, side, percent, len(curve), _number(mean), _number(deviation)]
        for angle, both in report.curves.items()
        for side, curve in zip(SIDES, both)
        for percent, (mean, deviation) in enumerate(zip(*band(curve)))
    ]
    _write(path, ["angle", "side", "stride, %", "strides", "mean, degrees", "SD, degrees"], rows)


def band(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of (strides, 101), each (101,), nan where there are too few strides."""
    unknown = np.full(101, np.nan)
    return curve.mean(axis=0) if len(curve) else unknown, curve.std(axis=0, ddof=1) if len(curve) > 1 else unknown


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def _write(path: Path, header: list[str], rows: list[list]):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
