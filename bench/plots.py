"""The plots. One colour and one marker a model family throughout (Okabe and Ito's palette, safe for the colour-blind),
direct labels so that they read in grey, and a title that says which data. No global state of matplotlib is touched.
"""

import contextlib
import io
import itertools

import matplotlib
import matplotlib.ticker
import numpy as np
import pandas as pd
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from . import labels
from .results import PUBLISHED_DATA

_FAMILIES = {
    "posemamba": ("#0072B2", "o"), "pose3dm": ("#56B4E9", "D"), "mdtf": ("#009E73", "s"), "lstm": ("#E69F00", "^"),
    "transformer": ("#D55E00", "v"), "mlp": ("#CC79A7", "P"), "mixste": ("#6B6B6B", "X"),
    "motionbert": ("#8C6D1F", "p"), "motionagformer": ("#4B3F8F", "h"),
}  # fmt: skip
_OTHER = ("#333333", "*")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_AREA_PER_MILLION = 40  # of a bubble, in points^2
_STYLE = seaborn.axes_style("whitegrid") | {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "grid.color": "#E6E6E6", "axes.edgecolor": "#808080", "svg.hashsalt": "liftbench",
    "svg.fonttype": "path", "figure.dpi": 160, "text.hinting": "none",
}  # fmt: skip


def style(name):
    """(colour, marker) of a model by its registered or published name, whose first word is its family."""
    return _FAMILIES.get(name.lower().replace(" ", "_").split("_")[0], _OTHER)


@contextlib.contextmanager
def styled():
    """The settings that all plots are drawn and saved under."""
    with matplotlib.rc_context(_STYLE):
        yield


def encode(figure, suffix):
    """The bytes of a figure as "png" or "svg"; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if suffix == "png" else {"Date": None}
    figure.savefig(buffer, format=suffix, metadata=metadata)
    return buffer.getvalue()


def _figure(width, height, rows=1, columns=1, **settings):
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **settings)


def error_against_macs(results):
    """A panel a data set measured, and one of the published Human3.6M numbers: never on the same axes."""
    panels = [
        (f"measured on {label}", "MACs per output frame, M (contractions and scans)", points)
        for label in results.accuracy
        if (points := _measured_points(results, label))
    ]
    published = results.published.dropna(subset=["macs_per_frame_m", "mpjpe_mm", "params_m"])
    if len(published):
        points = [
            (row.macs_per_frame_m, row.mpjpe_mm, row.params_m, f"{row.model} {row.variant}".strip(), row.model)
            for row in published.itertuples()
        ]
        panels.append((f"published for {PUBLISHED_DATA}", "MACs per output frame, M (as published)", points))
    if not panels:
        return None
    rows, columns = -(-len(panels) // 2), min(len(panels), 2)
    figure, axes = _figure(5.8 * columns, 4.8 * rows + 0.2, rows, columns)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (title, x_label, points) in zip(axes.flat, panels):
        _bubbles(ax, points)
        ax.set(title=f"Error against cost, {title}", xlabel=x_label, ylabel="MPJPE, mm")
    figure.supxlabel("bubble area: parameters (in brackets)", fontsize=8, color="#555555")
    labels.settle(figure)
    for ax, (_, _, points) in zip(axes.flat, panels):
        labels.beside_bubbles(
            figure,
            ax,
            [(x, y) for x, y, *_ in points],
            [_bubble_radius(parameters_m) for _, _, parameters_m, *_ in points],
            [f"{name} ({parameters_m:.2g} M)" for _, _, parameters_m, name, _ in points],
        )
    return figure


def _measured_points(results, label):
    return [
        (cost.macs_per_output_frame / 1e6, record.mpjpe_mm, cost.parameters / 1e6, key.label, key.model)
        for key in results.keys
        if (record := results.accuracy[label].get(key)) and (cost := results.cost.get(key))
    ]


def _bubbles(ax, points):
    for x, y, parameters_m, _, name in sorted(points, key=lambda point: -point[2]):
        colour, marker = style(name)
        ax.scatter(
            x, y, s=_AREA_PER_MILLION * parameters_m, color=colour, alpha=0.45, edgecolor=colour, linewidth=1, zorder=2
        )
        ax.scatter(x, y, s=14, color=colour, marker=marker, edgecolor="white", linewidth=0.4, zorder=3)
    ax.set_xscale("log")
    ax.margins(x=0.22, y=0.2)
    ax.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    if ax.get_xlim()[1] / ax.get_xlim()[0] < 30:
        ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))


def speed(results, machine):
    """Latency of one clip and throughput of the best batch on one machine: medians, whiskers from p20 to p80."""
    group = results.speed[machine]
    keys = [key for key in results.keys if key in group]
    latency = [[getattr(group[key].latency, f"{q}_ms") for key in keys] for q in ("p20", "median", "p80")]
    best = [group[key].throughput for key in keys]
    clips = [[timing.batch / getattr(timing, f"{q}_ms") * 1e3 for timing in best] for q in ("p80", "median", "p20")]
    figure, axes = _figure(10, 1.5 + 0.36 * len(keys), columns=2, sharey=True)
    _bars(axes[0, 0], keys, latency, ["" for _ in keys])
    axes[0, 0].set(title="Latency, one clip", xlabel="ms, log scale (less is better)")
    _bars(axes[0, 1], keys, clips, [f" (batch {timing.batch})" for timing in best])
    axes[0, 1].set(title="Throughput, best batch", xlabel="clips/s, log scale (more is better)")
    figure.suptitle(f"Speed on {machine}, float32; whiskers from p20 to p80", fontsize=10)
    return figure


def _bubble_radius(parameters_m):
    """In points, its edge included; no less than the marker in its middle."""
    return max(np.sqrt(_AREA_PER_MILLION * parameters_m / np.pi) + 1, 4)


def _bars(ax, keys, quantiles, remarks):
    low, middle, high = np.array(quantiles)
    colours = [style(key.model)[0] for key in keys]
    ax.barh(range(len(keys)), middle, xerr=(middle - low, high - middle), color=colours, height=0.62, alpha=0.75,
            error_kw={"elinewidth": 1.2, "capsize": 3, "ecolor": "#222222"})  # fmt: skip
    for i, (value, end, remark) in enumerate(zip(middle, high, remarks)):
        ax.annotate(f"{value:,.3g}{remark}" if value < 1000 else f"{value:,.0f}{remark}", (end, i), (5, 0),
                    textcoords="offset points", va="center", fontsize=7.5)  # fmt: skip
    ax.set_yticks(range(len(keys)), [key.label for key in keys])
    ax.set_xscale("log")
    ax.set_xlim(low.min() / 2, high.max() * (high.max() / low.min() * 2) ** 0.4)
    ax.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.grid(False, axis="y")
    if not ax.yaxis_inverted():
        ax.invert_yaxis()


def per_action(results, label):
    """MPJPE by model and action on one data set; the best model of each action is framed."""
    group = results.accuracy[label]
    table = pd.DataFrame(
        {
            key.label: group[key].mpjpe_mm_per_action | {"mean": group[key].mpjpe_mm}
            for key in results.keys
            if key in group
        }
    ).T
    figure, ((ax,),) = _figure(2.6 + 0.58 * table.shape[1], 1.7 + 0.34 * len(table))
    seaborn.heatmap(
        table, ax=ax, annot=True, fmt=".1f", cmap="YlGnBu", linewidths=0.5, annot_kws={"fontsize": 7.5},
        cbar_kws={"label": "MPJPE, mm"},
    )  # fmt: skip
    for column, best in enumerate(table.to_numpy().argmin(axis=0)):
        ax.add_patch(Rectangle((column + 0.04, best + 0.04), 0.92, 0.92, fill=False, edgecolor="#D55E00", linewidth=2))
    ax.set_title(f"MPJPE by action on {label}, mm; the best of each action is framed")
    ax.tick_params(axis="x", rotation=40)
    for tick in ax.get_xticklabels():
        tick.set_horizontalalignment("right")
    ax.tick_params(axis="y", rotation=0)
    return figure


def training(results, label):
    """Loss and test MPJPE against the epoch of every training run on one data set."""
    group = results.training[label]
    keys = [key for key in results.keys if key in group]
    figure, axes = _figure(11, 4, columns=2)
    figure.suptitle(f"Training on {label}", fontsize=10)
    axes[0, 0].set(title="training loss (each recipe's own)", yscale="log")
    axes[0, 1].set(title="test MPJPE without mirrored average, mm")
    ends = {axes[0, 0]: [], axes[0, 1]: []}
    for ax, field in ((axes[0, 0], "loss"), (axes[0, 1], "test_mpjpe_mm")):
        for line, key in zip(itertools.cycle(_LINES), keys):
            epochs, values = np.array(group[key].epochs) + 1, np.array(getattr(group[key], field), dtype=float)
            marker = "o" if len(epochs) == 1 else ""
            (curve,) = ax.plot(epochs, values, marker=marker, color=style(key.model)[0], linestyle=line, linewidth=1.6)
            if np.isfinite(values).any():
                last = np.flatnonzero(np.isfinite(values))[-1]
                text = f"{key.label}  {values[last]:.3g}"
                ends[ax].append(labels.at_end(ax, text, epochs[last], values[last], curve.get_color()))
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    for set_formatter in (axes[0, 0].yaxis.set_major_formatter, axes[0, 0].yaxis.set_minor_formatter):
        set_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    labels.settle(figure)
    for texts in ends.values():
        labels.spread(figure, texts)
    return figure
