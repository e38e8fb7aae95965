"""How do cost and time grow with the length of a clip, and where does attention cost more?"""

import itertools

import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.records import readings
from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import LINES, SMALL, log_log, sheet, style, width_of
from liftbench.bench.report.results import Results


def scaling(results: Results, machine: str) -> Figure:
    """Draw MACs and time against frames, in logarithms, with fitted exponents. Rings mark where a curve meets that of
    readings.ATTENTION. Batch and depth are in the table."""
    record = results.scaling[machine]
    panels = [
        ("MACs of one clip, G", "frames", "macs", "frames of the clip"),
        ("time of one clip, ms", "frames", "median_ms", "frames of the clip"),
    ]
    room = width_of(["posemamba_toy  ~ frames^1.00, meets at 59,049"], SMALL)
    figure, axes = sheet(
        (4.1 + room, 3.3), 2, left=0.65, right=room,
        heading=f"Clip length on {machine}, float32, forward",
        footnote=f"Labels: growth over the last points. Rings: where a curve meets that of {readings.ATTENTION}, which "
        "attends over the frames of the clip. It has about as many parameters as posemamba_s, but takes a token per "
        "frame (not per joint) and answers a clip with one pose.",
    )  # fmt: skip
    for ax, (title, axis, value, x_label) in zip(axes, panels):
        by_model = readings.series(record, axis, value)
        by_model = {name: [(x, y / 1e9 if value == "macs" else y) for x, y in row] for name, row in by_model.items()}
        for line, (name, points) in zip(itertools.cycle(LINES), by_model.items()):
            colour, marker = style(name)
            ax.plot(*zip(*points), color=colour, marker=marker, markersize=4.5, linestyle=line, linewidth=1.4)
        ax.set(title=title, xlabel=x_label)
        log_log(ax, sorted({x for points in by_model.values() for x, _ in points}))
        ends = []
        for name, points in by_model.items():
            colour, power = style(name)[0], readings.exponent(points)
            text = name if power is None else f"{name}  ~ {axis}$^{{{power:.2f}}}$"
            attention = by_model.get(readings.ATTENTION, []) if axis == "frames" else []
            if x := readings.crossover(points, attention):
                y = np.exp(np.interp(np.log(x), *np.log(points).T))
                ax.plot(x, y, marker="o", markersize=12, color="none", markeredgecolor=colour, markeredgewidth=1.6)
                text += f", meets at {x:,.0f}"
            ends.append(labels.End(text, *points[-1], colour))
        labels.at_ends(ax, ends)
    return figure
