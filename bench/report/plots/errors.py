"""What does a lower error cost? Published errors against counted MACs and measured speed.

Only published errors are drawn: those measured here are of other data and of short training, and their order means
nothing.
"""

import math

import matplotlib.ticker
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import plain_numbers, sheet, style
from liftbench.bench.report.results import PUBLISHED_DATA, Key, Results, registered

_SIZE = (4.1, 4.4)  # inches, of a column
_RADIUS = 4  # points, of a marker

_Point = tuple[float, float, Key, float | None]  # (x, mm, model, published x)


def error_against_macs(results: Results) -> Figure | None:
    """Published error against MACs per frame: an arrow leads from the published count to ours."""
    rows = _rows(results)
    points = [
        (cost.macs_per_output_frame / 1e6, row.mpjpe_mm, key, _published_macs(row))
        for key, row in rows
        if (cost := results.cost.get(key))
    ]
    note = (
        "Filled: all contractions and scans, counted here; hollow: as published, most often by thop. Dashed: nothing "
        f"is better at less. {PUBLISHED_DATA}, SH or CPN detections; beside the names: frames of a clip."
    )
    return _drawn("Published error against MACs", points, "MACs per frame, M", note, least=True)


def error_against_speed(results: Results, machine: str) -> Figure | None:
    """Published error against the poses that a model answers per second on one machine."""
    timed = results.speed[machine]
    points = [
        (timed[key].throughput_output_frames_per_s, row.mpjpe_mm, key, None)
        for key, row in _rows(results)
        if key in timed
    ]
    note = (
        f"{machine}, best batch, float32. Dashed: nothing is better and faster. {PUBLISHED_DATA}, SH or CPN detections;"
        " beside the names: frames of a clip."
    )
    return _drawn("Published error against speed", points, "poses per second", note, least=False)


def _rows(results: Results) -> list[tuple[Key, pd.Series]]:
    """(Key, row) of the published errors that are means over actions, of models that are built here."""
    found = results.published.dropna(subset=["mpjpe_mm"])
    found = found[(found.averaged_over == "actions") & (found.detector != "HRNet")]
    named = [(registered(row), row) for _, row in found.iterrows()]
    return [(Key(name, int(row.frames), "{}"), row) for name, row in named if name]


def _published_macs(row: pd.Series) -> float | None:
    """Per frame, M; None where none are published."""
    return None if pd.isna(row.macs_per_frame_m) else row.macs_per_frame_m


def _drawn(heading: str, points: list[_Point], x_label: str, note: str, least: bool) -> Figure | None:
    """least: whether a smaller x is better."""
    if not points:
        return None
    figure, (ax,) = sheet(_SIZE, heading=heading, footnote=note, titled=False)
    ax.set(xscale="log", xlabel=x_label, ylabel="published MPJPE, mm")
    arrows = []
    for x, y, key, published in points:
        colour, marker = style(key.model)
        if published:
            ax.plot(published, y, marker=marker, color="white", markeredgecolor=colour, markersize=6, zorder=2)
            arrows.append(((published, y), (x, y)))
        ax.plot(x, y, marker=marker, color=colour, markeredgecolor="white", markersize=7, linestyle="", zorder=3)
    ax.margins(x=0.22, y=0.08)
    _ticks(ax)
    for tail, head in arrows:
        ax.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": "#808080", "shrinkA": 3, "shrinkB": 3})
    ordered = [(x if least else -x, y) for x, y, *_ in points]
    front = _steps([(abs(x), y) for x, y in pareto_front(ordered)])
    ax.plot(*zip(*front), color="#B0B0B0", linestyle="--", linewidth=1, zorder=1)
    path = front + [corner for arrow in arrows for corner in arrow]
    labels.beside_bubbles(
        ax, [(x, y) for x, y, *_ in points], [_RADIUS] * len(points),
        [f"{key.model.removesuffix(f'_{key.frames}')}, {key.frames}" for _, _, key, _ in points], path,
    )  # fmt: skip
    return figure


def pareto_front(points: list[tuple]) -> list[tuple[float, float]]:
    """(x, y) of the points that no other point beats in one coordinate without losing in the other."""
    front = []
    for x, y, *_ in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _steps(front: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a front's line."""
    return front[:1] + [corner for (_, y), (x, y2) in zip(front, front[1:]) for corner in ((x, y), (x, y2))]


def _ticks(ax: Axes) -> None:
    """Plain numbers at 1, 2 and 5 times powers of ten, or at powers alone where there is room for few."""
    low, high = ax.get_xlim()
    decades = math.log10(high / low)
    plain_numbers(ax.xaxis)
    ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 3) if decades > 1.5 else (1, 2, 5)))
    ax.set_xlim(low, high)
    ax.set_ylim(ax.get_ylim())
