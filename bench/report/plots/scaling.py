"""How do cost and time grow with the length of a clip, and where does attention cost more?"""

import itertools

import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.records import ScalingRecord, readings
from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import LINES, log_log, sheet, style, width_of
from liftbench.bench.report.results import Results

_Point = tuple[float, float]


def scaling(results: Results, machine: str) -> Figure:
    """Draw time and MACs against frames, in logarithms, with fitted exponents. Rings mark where the curve of a model
    with scans meets that of one with attention. Batch and depth are in the table."""
    record = results.scaling[machine]
    titles = {"median_ms": "time of one clip, ms", "macs": "MACs of one clip, G"}
    curves = {value: _curves(record, value) for value in titles}
    met = {value: _meetings(results, by_model) for value, by_model in curves.items()}
    words = {value: {name: _label(name, row) for name, row in by_model.items()} for value, by_model in curves.items()}
    room = width_of([text.replace("$", "").replace("^", "") for row in words.values() for text in row.values()])
    sentences = [_sentence(titles[value].partition(" ")[0], by_name) for value, by_name in met.items()]
    figure, axes = sheet(
        2.1, rows=2, left=0.62, right=room + 0.05, heading=f"Clip length, forward passes in float32\n{machine}",
        footnote=f"Beside the names: growth over the last points. Rings: where scans meet attention. "
        f"{' '.join(filter(None, sentences))} {readings.ATTENTION} takes a token per frame, not per joint, and answers "
        "a clip with one pose.",
    )  # fmt: skip
    for ax, (value, by_model) in zip(axes, curves.items()):
        for line, (name, points) in zip(itertools.cycle(LINES), by_model.items()):
            colour, marker = style(name)
            ax.plot(*zip(*points), color=colour, marker=marker, markersize=3.2, linestyle=line, linewidth=1)
        ax.set(title=titles[value], xlabel="frames T of the clip")
        log_log(ax, sorted({x for points in by_model.values() for x, _ in points}))
        for name, found in met[value].items():
            for x, _ in found:
                y = np.exp(np.interp(np.log(x), *np.log(by_model[name]).T))
                ax.plot(x, y, marker="o", markersize=8, color="none", markeredgecolor=style(name)[0],
                        markeredgewidth=1.1)  # fmt: skip
        ends = [labels.End(words[value][name], *row[-1], style(name)[0]) for name, row in by_model.items()]
        labels.at_ends(ax, ends)
    return figure


def _curves(record: ScalingRecord, value: str) -> dict[str, list[_Point]]:
    """model -> (frames, its MACs in 1e9 or its ms) of each length measured."""
    scale = 1e9 if value == "macs" else 1
    return {name: [(x, y / scale) for x, y in row] for name, row in readings.series(record, "frames", value).items()}


def _meetings(results: Results, by_model: dict[str, list[_Point]]) -> dict[str, list[tuple[float, str]]]:
    """model with scans -> (clip length, model with attention) of each meeting of their curves, from short to long."""
    scans = {key.model for key, cost in results.cost.items() if cost.scan_macs}
    attention = {key.model for key, cost in results.cost.items() if "attention" in cost.contraction_macs_by_operator}
    others = [name for name in by_model if name == readings.ATTENTION or name in attention - scans]
    found = {
        name: sorted((x, other) for other in others if (x := readings.crossover(points, by_model[other])))
        for name, points in by_model.items()
        if name in scans
    }
    return {name: meetings for name, meetings in found.items() if meetings}


def _label(name: str, points: list[_Point]) -> str:
    power = readings.exponent(points)
    return name + ("" if power is None else f" $T^{{\\,{power:.2f}}}$")


def _sentence(what: str, met: dict[str, list[tuple[float, str]]]) -> str:
    """Which models meet at which length, in words."""
    pairs = [f"{name} and {other} at {x:,.0f}" for name, found in met.items() for x, other in found]
    return f"{what[0].upper()}{what[1:]}: {', '.join(pairs)}." if pairs else ""
