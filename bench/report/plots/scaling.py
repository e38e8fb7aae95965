"""How do cost and time grow with the length of a clip, and where does attention cost more?"""

import itertools

import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.records import ScalingRecord, readings
from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import LINES, SMALL, log_log, sheet, style, width_of
from liftbench.bench.report.results import Results

_Point = tuple[float, float]


def scaling(results: Results, machine: str) -> Figure:
    """Draw MACs and time against frames, in logarithms, with fitted exponents. Rings mark where the curve of a model
    with scans meets that of one with attention. Batch and depth are in the table."""
    record = results.scaling[machine]
    titles = ("MACs of one clip, G", "time of one clip, ms")
    curves = [_curves(record, value) for value in ("macs", "median_ms")]
    met = [_meetings(results, by_model) for by_model in curves]
    texts = [{name: _label(name, row, lengths[name]) for name, row in by_model.items()}
             for by_model, lengths in zip(curves, met)]  # fmt: skip
    room = width_of([text.replace("$", "") for row in texts for text in row.values()], SMALL)
    figure, axes = sheet(
        (4.1 + room, 3.3), 2, left=0.65, right=room,
        heading=f"Clip length on {machine}, float32, forward",
        footnote="Labels: growth over the last points. Rings: where a model with scans meets one with attention, at "
        f"the lengths beside its name. {readings.ATTENTION} has about as many parameters as posemamba_s, but takes a "
        "token per frame (not per joint) and answers a clip with one pose.",
    )  # fmt: skip
    for ax, title, by_model, lengths, words in zip(axes, titles, curves, met, texts):
        for line, (name, points) in zip(itertools.cycle(LINES), by_model.items()):
            colour, marker = style(name)
            ax.plot(*zip(*points), color=colour, marker=marker, markersize=4.5, linestyle=line, linewidth=1.4)
        ax.set(title=title, xlabel="frames of the clip")
        log_log(ax, sorted({x for points in by_model.values() for x, _ in points}))
        for name, points in by_model.items():
            for x in lengths[name]:
                y = np.exp(np.interp(np.log(x), *np.log(points).T))
                ax.plot(x, y, marker="o", markersize=10, color="none", markeredgecolor=style(name)[0],
                        markeredgewidth=1.6)  # fmt: skip
        labels.at_ends(ax, [labels.End(words[name], *row[-1], style(name)[0]) for name, row in by_model.items()])
    return figure


def _curves(record: ScalingRecord, value: str) -> dict[str, list[_Point]]:
    """model -> (frames, its MACs in 1e9 or its ms) of each length measured."""
    scale = 1e9 if value == "macs" else 1
    return {name: [(x, y / scale) for x, y in row] for name, row in readings.series(record, "frames", value).items()}


def _meetings(results: Results, by_model: dict[str, list[_Point]]) -> dict[str, list[float]]:
    """model -> the clip lengths, from short to long, at which its curve meets that of a model with attention."""
    scans = {key.model for key, cost in results.cost.items() if cost.scan_macs}
    attention = {key.model for key, cost in results.cost.items() if "attention" in cost.contraction_macs_by_operator}
    others = [row for name, row in by_model.items() if name == readings.ATTENTION or name in attention - scans]
    return {
        name: sorted(filter(None, (readings.crossover(points, other) for other in others))) if name in scans else []
        for name, points in by_model.items()
    }


def _label(name: str, points: list[_Point], met: list[float]) -> str:
    power = readings.exponent(points)
    growth = "" if power is None else f"  ~ frames$^{{{power:.2f}}}$"
    return name + growth + (f", meets at {'; '.join(f'{x:,.0f}' for x in met)}" if met else "")
