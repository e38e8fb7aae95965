"""gait.png: the report as one A4 page, readable in print, in colour or grey."""

import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from liftbench.lift.gait.analysis import SIDES
from liftbench.lift.gait.report import DISCLAIMER, SHOWN, Report, rounded
from liftbench.lift.gait.tables import band
from liftbench.lift.pictures.stage import COLOURS

_PAGE, _DPI = (8.27, 11.69), 150  # inches
_LEFT, _RIGHT = 0.07, 0.95
_QUIET = "#5A626B"
_LINES = {"right": "-", "left": (0, (5, 1.5))}
_STYLE = {"font.family": "DejaVu Sans", "font.size": 8, "axes.linewidth": 0.6, "axes.edgecolor": "#808080"}


def write(report: Report, path: Path) -> None:
    """Draw the page."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_PAGE, dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        figure.text(_LEFT, 0.965, f"Gait of {report.title}"[:70], fontsize=15, weight="bold", va="center")
        figure.text(_RIGHT, 0.965, DISCLAIMER, fontsize=8, color=_QUIET, ha="right", va="center")
        _facts(figure, report)
        _charts(figure, report)
        bottom = _table(figure, report)
        _sentences(figure, report, bottom)
        figure.savefig(path, format="png", metadata={"Software": None})


def _facts(figure: Figure, report: Report):
    for place, (term, value) in enumerate(report.facts):
        x, y = _LEFT + (place % 3) * 0.31, 0.94 - (place // 3) * 0.026
        figure.text(x, y, term, fontsize=6.5, color=_QUIET, va="center")
        figure.text(x, y - 0.0105, value[:48], fontsize=8, va="center")


def _charts(figure: Figure, report: Report):
    width, height, gap = 0.178, 0.13, 0.0565
    for place, name in enumerate(SHOWN):
        x, y = _LEFT + (place % 4) * (width + gap), 0.715 - (place // 4) * (height + 0.055)
        axes = figure.add_axes([x, y, width, height])
        axes.set_title(f"{name}, degrees", fontsize=7.5, loc="left", pad=4)
        axes.tick_params(labelsize=6.5, length=2, width=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, 100)
        if name not in report.curves:
            axes.set(xticks=[], yticks=[])
            axes.text(50, 0.5, "not available:\nno foot among\nthe 17 joints", ha="center", va="center", color=_QUIET)
            continue
        axes.grid(color="#E6E6E6", linewidth=0.6)
        axes.set_axisbelow(True)
        if place >= 4:
            axes.set_xlabel("stride, %", fontsize=7, labelpad=2)
        for side, curve in zip(SIDES, report.curves[name]):
            mean, around = band(curve)
            axes.plot(mean, color=COLOURS[side], linestyle=_LINES[side], linewidth=1.4, label=side)
            axes.fill_between(
                np.arange(101), mean - around, mean + around, color=COLOURS[side], alpha=0.18, linewidth=0
            )
        if place == 0:
            axes.legend(fontsize=6.5, frameon=False, loc="upper center", handlelength=2.4, borderpad=0)


def _table(figure: Figure, report: Report) -> float:
    columns = (0.42, 0.54, 0.66, 0.80, 0.87, 0.95)
    heads = ("right", "left", "expected error", "symmetry index, %", "ratio", "basis")
    y, step = 0.485, 0.0148
    for x, head in zip(columns, heads):
        figure.text(x, y, head, fontsize=7, color=_QUIET, ha="right", va="center")
    figure.text(_LEFT, y, "mean ± SD over the strides", fontsize=7, color=_QUIET, va="center")
    for row in report.rows:
        y -= step
        figure.add_artist(matplotlib.lines.Line2D([_LEFT, _RIGHT], [y + step / 2] * 2, color="#DCDFE3", linewidth=0.5))
        figure.text(_LEFT, y, row.name, fontsize=8, va="center")
        texts = [spread(*pair) for pair in zip(row.mean, row.deviation)]
        alike = row.symmetry or {}
        texts += [
            rounded(row.error),
            f"{alike['symmetry index, %']:.1f}" if alike else "–",
            f"{alike['ratio']:.2f}" if alike else "–",
        ]
        texts.append("ankle" if row.ankle_based else "")
        for x, text in zip(columns, texts):
            figure.text(x, y, text, fontsize=8, ha="right", va="center")
    return y - 1.6 * step


def _sentences(figure: Figure, report: Report, y: float):
    for sentences, weight, colour in ((report.warnings, "bold", "#8A4B00"), (report.notes, "normal", "#262626")):
        for sentence in sentences:
            lines = textwrap.wrap(sentence, 112 if weight == "bold" else 138)
            figure.text(_LEFT, y, "\n".join(lines), fontsize=7, weight=weight, color=colour, va="top", linespacing=1.25)
            y -= 0.0115 * len(lines) + 0.004


def spread(mean: float, deviation: float) -> str:
    """Mean ± standard deviation with the digits that make sense; "not available" where there is none."""
    if np.isnan(mean):
        return "not available"
    digits = 2 if abs(mean) < 3 else 1 if abs(mean) < 200 else 0
    return f"{mean:.{digits}f}" + ("" if np.isnan(deviation) else f" ± {deviation:.{digits}f}")
