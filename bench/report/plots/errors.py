"""What does a lower error cost? Published errors against counted MACs and measured speed.

Only published errors are drawn: those measured here are of other data and of short training, and their order means
nothing.
"""

import math

import matplotlib.ticker
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liftbench.baselines.registry import MODELS
from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import SMALL, plain_numbers, sheet, style
from liftbench.bench.report.results import PUBLISHED_DATA, Key, Results, registered

_HEIGHT = 3.8  # inches of the panel, without the names of the families below it
_RADIUS = 2.4  # points, of a marker

_Point = tuple[float, float, Key, float | None]  # (x, mm, model, published x)


def error_against_macs(results: Results) -> Figure | None:
    """Published error against MACs per frame: an arrow leads from the published count to ours."""
    rows = _rows(results)
    points = [
        (cost.macs_per_output_frame / 1e6, row.mpjpe_mm, key, _published_macs(row, key))
        for key, row in rows
        if (cost := results.cost.get(key))
    ]
    note = (
        "Filled: all contractions and scans, counted here; hollow: as published, most often by thop, or that of "
        "a clip over its poses. Beside a point: its variant, and the frames of a clip. Dashed: nothing is better at "
        f"less. {PUBLISHED_DATA}, SH or CPN detections."
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
        "Best batch, float32. Beside a point: its variant, and the frames of a clip. Dashed: nothing is better and "
        f"faster. {PUBLISHED_DATA}, SH or CPN detections."
    )
    return _drawn(f"Published error against speed\n{machine}", points, "poses per second", note, least=False)


def _rows(results: Results) -> list[tuple[Key, pd.Series]]:
    """(Key, row) of the published errors that are means over actions, of models that are built here."""
    found = results.published.dropna(subset=["mpjpe_mm"])
    found = found[(found.averaged_over == "actions") & (found.detector != "HRNet")]
    named = [(registered(row), row) for _, row in found.iterrows()]
    return [(Key(name, int(row.frames), "{}"), row) for name, row in named if name]


def _published_macs(row: pd.Series, key: Key) -> float | None:
    """Per frame, M: as published, or those of a clip over its poses; None where none are published."""
    if not pd.isna(row.macs_per_frame_m):
        return row.macs_per_frame_m
    poses = 1 if MODELS[key.model].output == "centre" else key.frames
    return None if pd.isna(row.macs_g) else 1e3 * row.macs_g / poses


def _drawn(heading: str, points: list[_Point], x_label: str, note: str, least: bool) -> Figure | None:
    """least: whether a smaller x is better."""
    if not points:
        return None
    families = list(dict.fromkeys(MODELS[key.model].family for *_, key, _ in points))
    figure, (ax,) = sheet(
        _HEIGHT + 0.14 * -(-len(families) // 3), left=0.48, above=0.06, below=0.36 + 0.14 * -(-len(families) // 3),
        heading=heading, footnote=note,
    )  # fmt: skip
    ax.set(xscale="log", xlabel=x_label, ylabel="published MPJPE, mm")
    arrows = []
    for x, y, key, published in points:
        colour, marker = style(key.model)
        if published:
            ax.plot(published, y, marker=marker, color="white", markeredgecolor=colour, markersize=4, zorder=2)
            arrows.append(((published, y), (x, y)))
        ax.plot(x, y, marker=marker, color=colour, markeredgecolor="white", markeredgewidth=0.5, markersize=5,
                linestyle="", zorder=3)  # fmt: skip
    ax.margins(x=0.09, y=0.05)
    _ticks(ax)
    for tail, head in arrows:
        ax.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": "#808080", "shrinkA": 2, "shrinkB": 2,
                                                "linewidth": 0.7, "mutation_scale": 6})  # fmt: skip
    ordered = [(x if least else -x, y) for x, y, *_ in points]
    front = _steps([(abs(x), y) for x, y in pareto_front(ordered)])
    ax.plot(*zip(*front), color="#B0B0B0", linestyle="--", linewidth=0.8, zorder=1)
    labels.beside_bubbles(
        ax,
        [(x, y) for x, y, *_ in points],
        [_RADIUS] * len(points),
        [_label(key) for *_, key, _ in points],
        [front, *arrows],
    )
    _legend(ax, families)
    return figure


def _label(key: Key) -> str:
    """The variant and the frames of a clip; the colour says the family."""
    variant = MODELS[key.model].published[1]
    return f"{variant}, {key.frames}" if variant.isalpha() else f"{key.frames}"


def _legend(ax: Axes, families: list[str]) -> None:
    """The families' names as their papers write them, below the axes."""
    named = {one.family: one.published[0] for one in MODELS.values() if one.published}
    for family in families:
        name = next(name for name, one in MODELS.items() if one.family == family)
        colour, marker = style(name)
        ax.plot([], [], color=colour, marker=marker, markersize=4, linestyle="", label=named.get(family, family))
    ax.legend(loc="upper center", bbox_to_anchor=(0.46, -0.115), ncols=3, fontsize=SMALL, frameon=False,
              handlelength=0.8, handletextpad=0.4, columnspacing=1.2, labelspacing=0.25, borderaxespad=0)  # fmt: skip


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
