"""What does a lower error cost? MPJPE against MACs, parameters and latency."""

import math

import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import plain_numbers, sheet, style
from liftbench.bench.report.results import PUBLISHED_DATA, Key, Results

_AREA_PER_MILLION = 40  # of a bubble, in points^2


def error_against_macs(results: Results) -> Figure | None:
    """Error against MACs per output frame, measured and published."""
    measured = {key: record.macs_per_output_frame / 1e6 for key, record in results.cost.items()}
    axes = "MACs per output frame, M (contractions and scans)", "MACs per output frame, M (as published)"
    return _error_against("MACs", results, measured, *axes, "macs_per_frame_m")


def error_against_parameters(results: Results) -> Figure | None:
    """Error against parameters: those that receive a gradient, and as published, which is most often thop's count."""
    used = {key: record.parameters_with_gradient for key, record in results.cost.items()}
    measured = {key: parameters / 1e6 for key, parameters in used.items() if parameters is not None}
    axes = "parameters in use, M", "parameters, M (as published)"
    return _error_against("parameters", results, measured, *axes, "params_m")


def error_against_latency(results: Results, machine: str) -> Figure | None:
    """Error against the median latency of one clip on one machine; no published latency compares."""
    measured = {key: record.latency.median_ms for key, record in results.speed[machine].items()}
    return _error_against(f"latency on {machine}", results, measured, "latency of one clip, ms")


def _error_against(what, results, measured, axis, published_axis=None, published=None):
    """A panel for each data set, and one for the published Human3.6M numbers: they never share axes.

    measured: Key -> its place on the x axis; published: the column of the published numbers that goes there.
    """
    panels = [
        (f"measured on {label}", axis, points)
        for label in results.accuracy
        if (points := _measured_points(results, label, measured))
    ]
    if published:
        rows = results.published.dropna(subset=[published, "mpjpe_mm", "params_m"])
        points = [
            (getattr(row, published), row.mpjpe_mm, row.params_m, f"{row.model} {row.variant}".strip(), row.model)
            for row in rows.itertuples()
        ]
        panels += [(f"published for {PUBLISHED_DATA}", published_axis, points)] if points else []
    if not panels:
        return None
    key = "Area: parameters, in brackets. Dashed: Pareto front."
    warning = "" if results.real >= results.accuracy.keys() else f" Only panels named {PUBLISHED_DATA} show its errors."
    figure, axes = sheet(
        (4.0, 3.4), -(-len(panels) // 2), min(len(panels), 2), heading=f"Error against {what}",
        footnote=f"{key}{warning} {results.provenance('accuracy')}",
    )  # fmt: skip
    if len(axes) > len(panels):  # the last one takes a whole row
        x0, y0, _, height = axes[-2].get_position().bounds
        axes[-2].set_position((x0, y0, axes[-1].get_position().x1 - x0, height))
        axes.pop().remove()
    for ax, (title, x_label, points) in zip(axes, panels):
        front = _steps(pareto_front(points))
        _bubbles(ax, points)
        ax.plot(*zip(*front), color="#909090", linestyle="--", linewidth=1, zorder=1)
        ax.set(title=title, xlabel=x_label, ylabel="MPJPE, mm")
        labels.beside_bubbles(
            ax,
            [(x, y) for x, y, *_ in points],
            [_radius(parameters_m) for _, _, parameters_m, *_ in points],
            [f"{name} ({parameters_m:.2g} M)" for _, _, parameters_m, name, _ in points],
            front,
        )
    return figure


def _measured_points(results: Results, label: str, measured: dict[Key, float]):
    return [
        (measured[key], record.mpjpe_mm, cost.parameters / 1e6, key.label, key.model)
        for key in results.keys
        if (record := results.accuracy[label].get(key)) and (cost := results.cost.get(key)) and key in measured
    ]


def pareto_front(points: list[tuple]) -> list[tuple[float, float]]:
    """(x, y) of the points that no other point beats in one coordinate without losing in the other."""
    front = []
    for x, y, *_ in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _steps(front):
    """The corners of a front's line."""
    return front[:1] + [corner for (_, y), (x, y2) in zip(front, front[1:]) for corner in ((x, y), (x, y2))]


def _bubbles(ax: Axes, points):
    for x, y, parameters_m, _, name in sorted(points, key=lambda point: -point[2]):
        colour, marker = style(name)
        ax.scatter(
            x, y, s=_AREA_PER_MILLION * parameters_m, color=colour, alpha=0.45, edgecolor=colour, linewidth=1, zorder=2
        )
        ax.scatter(x, y, s=14, color=colour, marker=marker, edgecolor="white", linewidth=0.4, zorder=3)
    ax.set_xscale("log")
    ax.margins(x=0.25, y=0.2)
    plain_numbers(ax.xaxis)
    span = ax.get_xlim()[1] / ax.get_xlim()[0]
    if span < 30:
        ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 5, 7)))
    ax.set_xlim(ax.get_xlim())
    ax.set_ylim(ax.get_ylim())


def _radius(parameters_m):
    """Of a bubble in points, its edge included; no less than the marker in its middle."""
    return max(math.sqrt(_AREA_PER_MILLION * parameters_m / math.pi) + 1, 4)
