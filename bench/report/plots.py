"""The plots. One colour and one marker a model family throughout (Okabe and Ito's palette, safe for the colour-blind),
direct labels so that they read in grey, and a title that says which data. No global state of matplotlib is touched.
"""

import contextlib
import io
import itertools

import matplotlib
import matplotlib.colors
import matplotlib.ticker
import numpy as np
import pandas as pd
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from liftbench.baselines.skeleton import JOINTS
from liftbench.bench.measure import scaling as scalings
from liftbench.bench.measure.scan.cases import BY_LENGTH, STATES
from liftbench.bench.measure.scan.contenders import CALLS, FUSED
from liftbench.bench.measure.scan.readings import by_length, ceiling
from liftbench.bench.report import labels
from liftbench.bench.report.results import PUBLISHED_DATA

_FAMILIES = {
    "posemamba": ("#0072B2", "o"), "pose3dm": ("#56B4E9", "D"), "mdtf": ("#009E73", "s"), "lstm": ("#E69F00", "^"),
    "transformer": ("#D55E00", "v"), "mlp": ("#CC79A7", "P"), "mixste": ("#6B6B6B", "X"),
    "motionbert": ("#8C6D1F", "p"), "motionagformer": ("#4B3F8F", "h"),
}  # fmt: skip
_SCANS = {
    "cpu": ("#0072B2", "o"), "gpu": ("#009E73", "s"), "chunked": ("#56B4E9", "D"), "reference": ("#333333", "*"),
    "mambapy": ("#E69F00", "^"), "transformers": ("#CC79A7", "P"), "mamba_ssm": ("#D55E00", "v"),
    "mamba-ssm reference": ("#8C6D1F", "X"),
}  # fmt: skip
_OPERATORS = {
    "linear": "#0072B2", "einsum": "#56B4E9", "matrix product": "#9BD3B8", "attention": "#009E73", "LSTM": "#E69F00",
    "convolution": "#F0E442", "scan": "#D55E00",
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


def title(figure):
    """What a figure shows, from its own titles."""
    titles = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
    return "; ".join(dict.fromkeys(filter(None, titles)))


def _figure(width, height, rows=1, columns=1, **settings):
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **settings)


def error_against_macs(results):
    """Error against MACs per output frame, measured and published."""
    measured = {key: record.macs_per_output_frame / 1e6 for key, record in results.cost.items()}
    axes = "MACs per output frame, M (contractions and scans)", "MACs per output frame, M (as published)"
    return _error_against("MACs", results, measured, *axes, "macs_per_frame_m")


def error_against_parameters(results):
    """Error against parameters: those that receive a gradient, and as published, which most often is thop's count."""
    used = {key: record.parameters_with_gradient for key, record in results.cost.items()}
    measured = {key: parameters / 1e6 for key, parameters in used.items() if parameters is not None}
    axes = "parameters in use, M", "parameters, M (as published)"
    return _error_against("parameters", results, measured, *axes, "params_m")


def error_against_latency(results, machine):
    """Error against the median latency of one clip on one machine; nobody publishes one that compares."""
    measured = {key: record.latency.median_ms for key, record in results.speed[machine].items()}
    return _error_against(f"latency on {machine}", results, measured, "latency of one clip, ms")


def _error_against(what, results, measured, axis, published_axis=None, published=None):
    """A panel a data set measured, and one of the published Human3.6M numbers: never on the same axes.

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
    rows, columns = -(-len(panels) // 2), min(len(panels), 2)
    figure, axes = _figure(5.8 * columns, 4.8 * rows + 0.2, rows, columns)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (title, x_label, points) in zip(axes.flat, panels):
        _bubbles(ax, points)
        ax.plot(*zip(*_steps(pareto_front(points))), color="#909090", linestyle="--", linewidth=1, zorder=1)
        ax.set(title=title, xlabel=x_label, ylabel="MPJPE, mm")
    figure.suptitle(f"Error against {what}", fontsize=11)
    figure.supxlabel("area: parameters (in brackets); dashed: Pareto front", fontsize=8, color="#555555")
    labels.settle(figure)
    for ax, (_, _, points) in zip(axes.flat, panels):
        labels.beside_bubbles(
            figure,
            ax,
            [(x, y) for x, y, *_ in points],
            [_bubble_radius(parameters_m) for _, _, parameters_m, *_ in points],
            [f"{name} ({parameters_m:.2g} M)" for _, _, parameters_m, name, _ in points],
            _steps(pareto_front(points)),
        )
        for text in ax.texts:
            text.set_path_effects([withStroke(linewidth=4, foreground="white")])  # over the front
    return figure


def _measured_points(results, label, measured):
    return [
        (measured[key], record.mpjpe_mm, cost.parameters / 1e6, key.label, key.model)
        for key in results.keys
        if (record := results.accuracy[label].get(key)) and (cost := results.cost.get(key)) and key in measured
    ]


def pareto_front(points):
    """(x, y) of the points that no other point is better than in one of both and at least as good in the other."""
    front = []
    for x, y, *_ in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return zip(*front)


def _steps(front):
    """The corners of a front's line."""
    corners = list(zip(*front))
    return [corners[0]] + [corner for (_, y), (x, y2) in zip(corners, corners[1:]) for corner in ((x, y), (x, y2))]


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
    span = ax.get_xlim()[1] / ax.get_xlim()[0]
    if span < 30:
        ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 5, 7)))


def speed(results, machine, setting=""):
    """Latency of one clip and throughput of the best batch on one machine: medians, whiskers from p20 to p80.

    setting: "" for a forward pass in float32, eager, lifting only; or one of results.speed_in_other_settings[machine].
    """
    group = results.speed_in_other_settings[machine][setting] if setting else results.speed[machine]
    keys = [key for key in results.keys if key in group]
    latency = [[getattr(group[key].latency, f"{q}_ms") for key in keys] for q in ("p20", "median", "p80")]
    best = [group[key].throughput for key in keys]
    clips = [[timing.batch / getattr(timing, f"{q}_ms") * 1e3 for timing in best] for q in ("p80", "median", "p20")]
    peaks = [group[key].latency.peak_memory_mib for key in keys]
    figure, axes = _bar_figure(keys, panels=3 if any(peaks) else 2)
    _bars(axes[0], keys, latency)
    axes[0].set(title="Latency, one clip", xlabel="ms, log scale (less is better)")
    _bars(axes[1], keys, clips, [f" (batch {timing.batch})" for timing in best])
    axes[1].set(title="Throughput, best batch", xlabel="clips/s, log scale (more is better)")
    if any(peaks):
        _bars(axes[2], keys, [peaks])
        axes[2].set(title="Peak memory, one clip", xlabel="MiB, log scale (less is better)")
    figure.suptitle(f"Speed on {machine}, {setting or 'float32'}; whiskers from p20 to p80", fontsize=10)
    return figure


def memory(results):
    """Activations of one clip as they were counted: the peak of inference, and what is kept for a backward pass."""
    fields = {
        "activation_bytes_peak_inference": "peak of inference",
        "activation_bytes_kept_for_backward": "kept for the backward pass",
    }
    keys = [key for key in results.keys if key in results.cost]
    sizes = {field: [getattr(results.cost[key], field) for key in keys] for field in fields}
    counted = {field: [n and n / 2**20 for n in numbers] for field, numbers in sizes.items() if any(numbers)}
    if not counted:
        return None
    figure, axes = _bar_figure(keys, panels=len(counted))
    for ax, (field, sizes_mib) in zip(axes, counted.items()):
        _bars(ax, keys, [sizes_mib])
        ax.set(title=fields[field], xlabel="MiB, log scale (less is better)")
    figure.suptitle("Activations of one clip, float32; counted on the plain form of the models", fontsize=10)
    return figure


def _bubble_radius(parameters_m):
    """In points, its edge included; no less than the marker in its middle."""
    return max(np.sqrt(_AREA_PER_MILLION * parameters_m / np.pi) + 1, 4)


def _bar_figure(keys, panels):
    figure, axes = _figure(2 + 4 * panels, 1.2 + 0.3 * len(keys), columns=panels, sharey=True)
    return figure, axes[0]


def _bars(ax, keys, quantiles, remarks=None):
    """quantiles: a row of numbers, or three of which the outer ones are the ends of whiskers. None is not measured."""
    low, middle, high = np.array(quantiles if len(quantiles) == 3 else 3 * quantiles, dtype=float)
    least = low[low > 0].min() / 2  # zero has no place on a logarithmic axis
    whiskers = {"xerr": (middle - low, high - middle), "error_kw": {"elinewidth": 1.2, "capsize": 3}}
    ax.barh(
        range(len(keys)), np.maximum(middle, least), color=[style(key.model)[0] for key in keys], height=0.7,
        alpha=0.75, **(whiskers if len(quantiles) == 3 else {}),
    )  # fmt: skip
    for i, (value, end) in enumerate(zip(middle, high)):
        text = "not measured" if np.isnan(value) else _short(value) + (remarks[i] if remarks else "")
        ax.annotate(text, (np.fmax(end, least), i), (5, 0), textcoords="offset points", va="center", fontsize=7.5)
    ax.set_yticks(range(len(keys)), [key.label for key in keys])
    ax.set_xscale("log")
    decades = np.log10(np.nanmax(high) / least)
    ax.set_xlim(least, np.nanmax(high) * 10 ** (decades * (0.45 if remarks else 0.22)))
    ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1,), numticks=6))
    ax.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    ax.grid(False, axis="y")
    ax.set_ylim(len(keys) - 0.4, -0.6)


def per_action(results, label):
    """MPJPE by model and action on one data set."""
    group = results.accuracy[label]
    rows = {key: group[key].mpjpe_mm_per_action | {"mean": group[key].mpjpe_mm} for key in results.keys if key in group}
    return _heat_map(rows, f"MPJPE by action on {label}, mm; the best of each action is framed and bold")


def per_joint(results, label):
    """MPJPE by model and joint on one data set, mean over actions. The root is left out, its error is zero."""
    group = results.accuracy[label]
    rows = {
        key: {joint: value for joint, value in group[key].mpjpe_mm_per_joint.items() if joint != JOINTS[0]}
        | {"mean": group[key].mpjpe_mm}
        for key in results.keys
        if key in group
    }
    best = f"the best of each is framed and bold; the mean counts the {JOINTS[0]} as zero"
    return _heat_map(rows, f"MPJPE by joint on {label}, mm; {best}")


def _heat_map(rows, title):
    """rows: Key -> column -> mm. The best of each column is framed."""
    table = pd.DataFrame({key.label: values for key, values in rows.items()}).T
    figure, ((ax,),) = _figure(2.6 + 0.58 * table.shape[1], 1.7 + 0.34 * len(table))
    seaborn.heatmap(
        table, ax=ax, annot=True, fmt=".1f", cmap="YlGnBu", linewidths=0.5, annot_kws={"fontsize": 7.5},
        cbar_kws={"label": "MPJPE, mm"},
    )  # fmt: skip
    for column, best in enumerate(table.to_numpy().argmin(axis=0)):
        frame = Rectangle((column + 0.05, best + 0.05), 0.9, 0.9, fill=False, edgecolor="#D55E00", linewidth=1.6)
        frame.set_path_effects([withStroke(linewidth=4, foreground="white")])
        ax.add_patch(frame)
        ax.texts[best * table.shape[1] + column].set_fontweight("bold")
    ax.set_title(title)
    ax.tick_params(axis="x", rotation=40)
    for tick in ax.get_xticklabels():
        tick.set_horizontalalignment("right")
    ax.tick_params(axis="y", rotation=0)
    return figure


def cost_by_operator(results):
    """The share of each operator in the MACs of a model, which stand beside its bar."""
    keys = [key for key in results.keys if key in results.cost and results.cost[key].macs_per_clip]
    if not keys:
        return None
    macs = pd.DataFrame(
        {i: results.cost[key].contraction_macs_by_operator | {"scan": results.cost[key].scan_macs}
         for i, key in enumerate(keys)}
    ).T.fillna(0)  # fmt: skip
    macs = macs.loc[:, macs.any()]
    order = [name for name in _OPERATORS if name in macs] + sorted(set(macs) - set(_OPERATORS))
    share = 100 * macs[order].div(macs.sum(axis=1), axis=0)
    figure, ((ax,),) = _figure(10, 1.4 + 0.3 * len(keys))
    left = np.zeros(len(keys))
    for name in order:
        colour = _OPERATORS.get(name, _OTHER[0])
        hatch = "//////" if name == "attention" else None  # in grey, attention and scans are alike
        ax.barh(range(len(keys)), share[name], left=left, color=colour, edgecolor="white", linewidth=0.8, height=0.78,
                label=name, hatch=hatch)  # fmt: skip
        ink = "#FFFFFF" if np.dot(matplotlib.colors.to_rgb(colour), (0.3, 0.59, 0.11)) < 0.4 else "#1A1A1A"
        for i, width in enumerate(share[name]):
            if width > 0.75 * (len(name) + 6):
                words = f"{name} {width:.0f} %"
                text = ax.text(left[i] + width / 2, i, words, ha="center", va="center", fontsize=7, color=ink)
                text.set_path_effects([withStroke(linewidth=4, foreground=colour)])  # over the hatching
        left += share[name].to_numpy()
    for i, key in enumerate(keys):
        ax.text(101, i, f"{_short(results.cost[key].macs_per_output_frame / 1e6)} M", va="center", fontsize=7.5)
    ax.set_yticks(range(len(keys)), [key.label for key in keys])
    ax.set(xlim=(0, 100), ylim=(len(keys) - 0.4, -0.6), xlabel="% of the MACs; beside the bars: MACs per output frame")
    ax.grid(False, axis="y")
    ax.set_title("MACs by operator")
    figure.legend(loc="outside lower center", ncols=len(order), fontsize=7.5, frameon=False, handlelength=1)
    return figure


def training(results, label):
    """Loss and test MPJPE against the epoch of every training run on one data set."""
    group = results.training[label]
    runs = [(key.label, key.model, group[key].epochs, group[key].loss, group[key].test_mpjpe_mm)
            for key in results.keys if key in group]  # fmt: skip
    return curves(f"Training on {label}", runs)


def curves(heading, runs):
    """Loss and test MPJPE against the epoch. runs: (label, model, epochs from 0, losses, mm or None an epoch)s."""
    figure, axes = _figure(11, 4, columns=2)
    figure.suptitle(heading, fontsize=10)
    axes[0, 0].set(title="training loss (each recipe's own)", yscale="log")
    axes[0, 1].set(title="test MPJPE without mirrored average, mm")
    ends = {axes[0, 0]: [], axes[0, 1]: []}
    for ax, column in ((axes[0, 0], 3), (axes[0, 1], 4)):
        for line, run in zip(itertools.cycle(_LINES), runs):
            epochs, values = np.array(run[2]) + 1, np.array(run[column], dtype=float)
            (colour, marker), known = style(run[1]), np.flatnonzero(np.isfinite(values))
            ax.plot(epochs, values, marker=marker, markevery=known[-1:], color=colour, linestyle=line, linewidth=1.6)
            if len(known):
                last = known[-1]
                text = f"{run[0]}  {values[last]:.3g}"
                ends[ax].append(labels.at_end(ax, text, epochs[last], values[last], colour))
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    for set_formatter in (axes[0, 0].yaxis.set_major_formatter, axes[0, 0].yaxis.set_minor_formatter):
        set_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    return _settled(figure, ends.values())


def scan_time(results, machine):
    """Time of one clip against its length."""
    title = f"Time of a scan on {machine}, float32; whiskers from p20 to p80"
    return _against_length(results.scan[machine], title, "ms", [(call, call, "median_ms") for call in CALLS])


def scan_ratio(results, machine):
    """How many times as fast as the sequential reference, against the length."""
    title = f"Speed of a scan on {machine}, float32"
    panels = [(call, call, "ratio") for call in CALLS]
    return _against_length(results.scan[machine], title, "times as fast as the sequential reference", panels)


def scan_memory(results, machine):
    """Peak memory of a forward pass, and what is kept for a backward pass, against the length."""
    panels = [
        ("peak of a forward pass, output included", "forward", "peak_memory_mib"),
        ("kept for a backward pass, inputs left out", "forward + backward", "kept_for_backward_mib"),
    ]
    state_mib = 4 * np.prod(BY_LENGTH) * STATES / 2**20
    title = f"Memory of a scan on {machine}, float32; dotted: all its states"
    return _against_length(results.scan[machine], title, "MiB", panels, dotted=state_mib)


def _against_length(record, title, unit, panels, dotted=None):
    """A log-log panel of (title, call, field of a ScanTiming) each, a curve a contender, labelled with its last value.

    dotted: height at length 1 of a line that grows with the length.
    """
    figure, axes = _figure(12, 4.6, columns=2, sharey=True)
    figure.suptitle(title, fontsize=10)
    axes[0, 0].set_ylabel(unit)
    ends = []
    for ax, (panel, call, field) in zip(axes.flat, panels):
        ends.append([])
        series = by_length(record, call)
        for name, points in series.items():
            colour, marker = _SCANS.get(name, _OTHER)
            known = [(length, timing) for length, timing in points if getattr(timing, field)]
            if not known:
                continue
            curve = [(length, getattr(timing, field) or np.nan) for length, timing in points]  # gaps where missing
            ax.plot(*zip(*curve), color=colour, marker=marker, markersize=5, linewidth=1.4)
            lengths, values = zip(*((length, getattr(timing, field)) for length, timing in known))
            if field == "median_ms":
                low, high = ([getattr(timing, key) for _, timing in known] for key in ("p20_ms", "p80_ms"))
                ax.vlines(lengths, low, high, color=colour, linewidth=3, alpha=0.35)
            text = f"{name}  {_short(values[-1])}{_why_it_ends(points, lengths[-1])}"
            ends[-1].append(labels.at_end(ax, text, lengths[-1], values[-1], colour))
        lengths = sorted({length for points in series.values() for length, _ in points})
        ax.set(title=panel, xlabel="length L (one clip, channels of PoseMamba-S)")
        if dotted:
            ax.plot(lengths, dotted * np.array(lengths), color="#808080", linestyle=":", linewidth=1.4, zorder=1)
        _log_log(ax, lengths)
    return _settled(figure, ends)


def _log_log(ax, ticks):
    """Both axes in logarithms, plain numbers beside them, and a tick at each measured x."""
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(ticks, [f"{x:,}" for x in ticks], fontsize=7)
    ax.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    ax.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _settled(figure, columns):
    """The figure laid out, with the labels of each column of `columns` apart from each other."""
    labels.settle(figure)
    for texts in columns:
        labels.spread(figure, texts)
    return figure


def _short(value):
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _why_it_ends(points, last):
    """In brackets: why a curve has no point at the next length."""
    reasons = [timing.missing.partition(":")[0] for length, timing in points if length > last and timing.missing]
    return f" (then {reasons[0]})" if reasons else ""


def scan_roofline(results, machine):
    """State steps a second against state steps a byte, of the forward passes, under the two measured ceilings."""
    record = results.scan[machine]
    points = [
        (one.state_steps / one.compulsory_bytes, one.state_steps / timing.median_ms / 1e6, timing.name, one)
        for one in record.comparisons
        for timing in one.timings
        if one.call == "forward" and timing.median_ms and _on_roofline(one, timing)
    ]
    if not points:
        return None
    bandwidth, roof = record.bandwidth_gb_per_s, record.product_gflop_per_s / record.operations_per_state_step
    intensities, rates = zip(*(point[:2] for point in points))
    ends = np.array([min(min(intensities) / 4, roof / bandwidth / 4), max(intensities) * 12])
    figure, ((ax,),) = _figure(9.5, 5)
    x = np.array([ends[0], roof / bandwidth, ends[1]])
    ax.plot(x, np.minimum(roof, bandwidth * x), color="#333333", linewidth=1.6)
    texts = {}
    for intensity, rate, name, one in points:
        colour, marker = _SCANS.get(name.partition(",")[0], _OTHER)
        ax.plot(intensity, rate, color=colour, marker=marker, markersize=6, linestyle="")
        text = f"{name}, {one.case}: {100 * rate / ceiling(record, one):.2g} %"
        texts.setdefault(one.comparison, []).append(labels.right_of(ax, text, intensity, rate, colour))
    text = f"{record.product_gflop_per_s:,.0f} GFLOP/s, {record.operations_per_state_step} operations a state step"
    ax.annotate(text, (ends[1], roof), (-4, 4), textcoords="offset points", ha="right", fontsize=8)
    ax.annotate(f"{bandwidth:,.0f} GB/s", (ends[0], bandwidth * ends[0]), (14, 4), textcoords="offset points",
                va="top", fontsize=8)  # fmt: skip
    ax.set(xscale="log", yscale="log", ylim=(min(rates) / 3, roof * 6))
    ax.set(xlabel="state steps a compulsory byte", ylabel="state steps a second, 1e9")
    ax.set_title(f"Forward passes on {machine}, float32, and their share of the measured ceilings")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    return _settled(figure, texts.values())


def scaling(results, machine):
    """MACs and time against frames, batch and depth, in logarithms, with fitted exponents; rings: crossovers with the
    model whose attention spans frames."""
    record = results.scaling[machine]
    panels = [
        ("MACs of one clip, G", "frames", "macs", "frames of the clip"),
        ("time of one clip, ms", "frames", "median_ms", "frames of the clip"),
        (f"time of a batch of {scalings.BATCH_FRAMES} frames, ms", "batch", "median_ms", "clips in the batch"),
        (f"time of one clip of {scalings.DEPTH_FRAMES} frames, ms", "depth", "median_ms", "depth"),
    ]
    figure, axes = _figure(12.5, 9, 2, 2)
    figure.suptitle(f"Scaling on {machine}, float32, forward; labels: growth over the last points", fontsize=10)
    figure.supxlabel(
        f"{scalings.ATTENTION}: the only registered model whose attention spans frames; as many parameters as "
        "posemamba_s, but a token a frame (not a joint), and one pose a clip. Rings: it meets the others there.",
        fontsize=8, color="#555555",
    )  # fmt: skip
    ends = []
    for ax, (title, axis, value, x_label) in zip(axes.flat, panels):
        ends.append([])
        by_model = scalings.series(record, axis, value)
        by_model = {name: [(x, y / 1e9 if value == "macs" else y) for x, y in row] for name, row in by_model.items()}
        for line, (name, points) in zip(itertools.cycle(_LINES), by_model.items()):
            colour, marker = style(name)
            ax.plot(*zip(*points), color=colour, marker=marker, markersize=5, linestyle=line, linewidth=1.4)
            power = scalings.exponent(points)
            text = name if power is None else f"{name}  ~ {axis}^{power:.2f}"
            attention = by_model.get(scalings.ATTENTION, []) if axis == "frames" else []
            if x := scalings.crossover(points, attention):
                y = np.exp(np.interp(np.log(x), *np.log(points).T))
                ax.plot(x, y, marker="o", markersize=13, color="none", markeredgecolor=colour, markeredgewidth=1.6)
                text += f", met at {x:,.0f}"
            ends[-1].append(labels.at_end(ax, text, *points[-1], colour))
        ax.set(title=title, xlabel=x_label)
        _log_log(ax, sorted({x for points in by_model.values() for x, _ in points}))
    return _settled(figure, ends)


def _on_roofline(comparison, timing):
    """All contenders at PoseMamba-B's shape and over its grid; the fused implementations at the other models' too."""
    if comparison.comparison == "implementations":
        return comparison.case == "PoseMamba-B" or (timing.name in FUSED and not comparison.case.startswith("length"))
    return comparison.comparison == "grid"
