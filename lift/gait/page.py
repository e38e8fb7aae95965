"""gait.html: the report as one page that loads nothing, in light and dark, and prints."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.pages import templates_of
from liftbench.lift.gait.analysis import SIDES
from liftbench.lift.gait.picture import spread
from liftbench.lift.gait.report import DISCLAIMER, SHOWN, Report, rounded
from liftbench.lift.gait.tables import band

_WIDTH, _HEIGHT, _TICKS = 300, 160, (1, 2, 5, 10, 20, 30, 45, 90)


def write(report: Report, path: Path) -> None:
    """Write the page."""
    text = templates_of("liftbench.lift.gait").get_template("gait.html.j2").render(
        report=report, disclaimer=DISCLAIMER, charts=[_chart(name, report.curves.get(name)) for name in SHOWN],
        spread=spread, rounded=rounded, width=_WIDTH, height=_HEIGHT,
    )  # fmt: skip
    Path(path).write_text(text, encoding="utf-8", newline="\n")


def _chart(name: str, both: tuple[np.ndarray, np.ndarray] | None) -> dict[str, Any]:
    """What the template draws of one angle: ticks and, of each side, a line and a band, as SVG paths."""
    if both is None:
        return {"name": name, "sides": None}
    bands = [band(curve) for curve in both]
    edges = np.concatenate([[mean - np.nan_to_num(around), mean + np.nan_to_num(around)] for mean, around in bands])
    low, high = np.nanmin(edges), np.nanmax(edges)
    step = next((tick for tick in _TICKS if (high - low) / tick <= 4), 180)
    low, high = np.floor(low / step) * step, max(np.ceil(high / step), np.floor(low / step) + 1) * step

    def y(values: np.ndarray) -> np.ndarray:
        return _HEIGHT * (high - values) / (high - low)

    sides = []
    for side, (mean, around) in zip(SIDES, bands):
        if np.isnan(mean).any():
            continue
        around = np.nan_to_num(around)
        outline = [*zip(range(101), y(mean + around)), *zip(range(100, -1, -1), y(mean - around)[::-1])]
        sides.append({"side": side, "line": _path(zip(range(101), y(mean))), "band": _path(outline) + "Z"})
    ticks = [(f"{value:g}", round(y(value), 1)) for value in np.arange(low, high + step / 2, step)]
    return {"name": name, "sides": sides, "ticks": ticks}


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{percent * _WIDTH / 100:.0f},{y:.1f}" for percent, y in points)
