"""How fast is each model, and how much memory does it take? Dots on logarithmic axes, where a bar has no length."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liftbench.bench.report.plots import canvas
from liftbench.bench.report.plots.canvas import SMALL, plain
from liftbench.bench.report.results import Key, Results

_NUMBERS = 0.5  # inches of a column of numbers beside the dots


class _Row(NamedTuple):
    """A model's two dots, their numbers as text, and the ends of the first one's whisker; None has no dot."""

    key: Key
    first: float | None
    second: float | None
    texts: tuple[str, str]
    whisker: tuple[float, float] | None = None


def speed(results: Results, machine: str) -> Figure:
    """How long a pose takes on one machine: in a clip by itself, median and p20 to p80, and in the best batch.

    Forward passes in float32, eager, lifting only; other settings, lengths and models are in the tables. A machine on
    which no model was timed at its published length shows all that was.
    """
    group, rows = results.speed[machine], []
    for key in list(filter(group.get, canvas.shown(results))) or group:
        record = group[key]
        low, one, high = (getattr(record.latency, f"{q}_ms") / record.output_frames for q in ("p20", "median", "p80"))
        poses = record.throughput_output_frames_per_s
        rows.append(_Row(key, one, 1e3 / poses, (plain(one), plain(poses)), (low, high)))
    return _dots(
        rows, ("one clip", "best batch"), ("ms per\nnew frame", "poses/s,\nbest batch"), "ms per pose",
        f"Time of a pose, float32\n{machine}", "Whiskers: p20 to p80. Beside the names: frames of a clip.",
    )  # fmt: skip


def memory(results: Results) -> Figure | None:
    """Counted activations of one clip: the peak of inference, and what is kept for a backward pass."""
    rows, reasons = [], set()
    for key in filter(results.cost.get, canvas.shown(results)):
        record = results.cost[key]
        sizes = [record.activation_bytes_peak_inference, record.activation_bytes_kept_for_backward]
        if any(sizes):
            mib = [size and size / 2**20 for size in sizes]
            rows.append(_Row(key, *mib, tuple("—" if one is None else plain(one) for one in mib)))
            reasons |= {record.gradient_missing or "not counted"} if None in sizes else set()
    if not rows:
        return None
    dashes = f" —: {'; '.join(sorted(reasons))}." if reasons else ""
    return _dots(
        rows, ("inference, peak", "kept for backward"), ("peak,\nMiB", "kept,\nMiB"),
        "MiB", "Activations of one clip, float32",
        f"Counted on the plain form of each model. Beside the names: frames of a clip.{dashes}",
    )  # fmt: skip


def _dots(
    rows: Sequence[_Row], kinds: tuple[str, str], headers: tuple[str, str], unit: str, heading: str, footnote: str
) -> Figure:
    """A row of two dots for each model, the first one filled, and both numbers beside them."""
    names = [canvas.label(row.key) for row in rows]
    figure, (ax,) = canvas.sheet(
        0.78 + 0.165 * len(rows), left=canvas.width_of(names), right=2 * _NUMBERS, above=0.36, heading=heading,
        footnote=f"Logarithmic axis. {footnote}",
    )  # fmt: skip
    canvas.name_rows(ax, names)
    for place, row in enumerate(rows):
        colour, _ = canvas.style(row.key.model)
        if row.whisker:
            ax.hlines(place, *row.whisker, color="black", linewidth=0.9, zorder=2)
        if row.second:
            ax.plot(row.second, place, marker="o", markersize=4.5, color="white", markeredgecolor=colour, zorder=3)
        if row.first:
            ax.plot(row.first, place, marker="o", markersize=3.8, color=colour, zorder=4)
    _columns(ax, rows, headers)
    _limits(ax, rows)
    for colour, kind in zip(("#555555", "white"), kinds):
        ax.plot([], [], marker="o", markersize=4, linestyle="", color=colour, markeredgecolor="#555555", label=kind)
    ax.legend(loc="lower right", bbox_to_anchor=(0.98, 1.0), ncols=2, fontsize=SMALL, frameon=False, handlelength=0.8,
              handletextpad=0.3, columnspacing=0.9, borderaxespad=0.1)  # fmt: skip
    ax.set_xlabel(f"{unit} (less is better)")
    return figure


def _columns(ax: Axes, rows: Sequence[_Row], headers: tuple[str, str]) -> None:
    """The numbers right of the axes, below their headers."""
    inch = 1 / (ax.figure.get_figwidth() * ax.get_position().width)
    place = ax.get_yaxis_transform()  # x of the axes, y of the data
    for column, header in enumerate(headers):
        x = 1 + (column + 0.94) * _NUMBERS * inch
        ax.text(x, -0.75, header, transform=place, ha="right", va="bottom", fontsize=5.8, linespacing=1.05)
        for y, row in enumerate(rows):
            ax.text(x, y, row.texts[column], transform=place, ha="right", va="center", fontsize=SMALL)


def _limits(ax: Axes, rows: Sequence[_Row]) -> None:
    known = [value for row in rows for value in (row.first, row.second, *(row.whisker or ())) if value]
    least, most = min(known) / 1.6, max(known) * 1.6
    ax.set(xscale="log", xlim=(least, most))
    canvas.plain_numbers(ax.xaxis)
    ax.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(_ticks(least, most)))


def _ticks(least: float, most: float) -> np.ndarray:
    """Up to three numbers, four where they are short: 1, 2 and 5 times powers of ten, or such powers alone."""
    powers = 10.0 ** np.arange(np.floor(np.log10(least)), np.log10(most))
    many = np.outer(powers, (1, 2, 5)).ravel() if most < 30 * least else powers
    within = many[(least <= many) & (many <= most)]
    return within[:: -(-len(within) // (4 if least > 0.1 else 3)) or 1]
