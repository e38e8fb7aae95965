"""How fast is a selective scan, how much memory does it take, and how near is it to what the machine allows?"""

import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.records.readings import BY_LENGTH, by_length, ceiling
from liftbench.bench.records.scan import ScanComparison, ScanRecord, ScanTiming
from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import OTHER, SMALL, log_log, plain, plain_numbers, sheet, width_of
from liftbench.bench.report.results import Results

_CALLS = ("forward", "forward + backward")
_SCANS = {
    "cpu": ("#0072B2", "o"), "gpu": ("#009E73", "s"), "chunked": ("#56B4E9", "D"), "reference": ("#333333", "*"),
    "mambapy": ("#E69F00", "^"), "transformers": ("#CC79A7", "P"), "mamba_ssm": ("#D55E00", "v"),
    "mamba-ssm reference": ("#8C6D1F", "X"),
}  # fmt: skip


def scan_time(results: Results, machine: str) -> Figure:
    """Time of one clip against its length."""
    panels = [(call, call, "median_ms") for call in _CALLS]
    return _against_length(results.scan[machine], f"Time of a scan on {machine}, float32", "ms", panels)


def scan_memory(results: Results, machine: str) -> Figure:
    """Peak memory of a forward pass, and what is kept for a backward pass, against the length."""
    panels = [
        ("peak of a forward pass, output included", "forward", "peak_memory_mib"),
        ("kept for a backward pass, inputs left out", "forward + backward", "kept_for_backward_mib"),
    ]
    states = results.scan[machine].comparisons[0].states
    state_mib = 4 * np.prod(BY_LENGTH) * states / 2**20
    return _against_length(results.scan[machine], f"Memory of a scan on {machine}, float32", "MiB", panels, state_mib)


def _against_length(
    record: ScanRecord, heading: str, unit: str, panels: list[tuple[str, str, str]], state_mib: float | None = None
) -> Figure:
    """A log-log panel for each (title, call, field of a ScanTiming), a curve for each contender, labelled with its last
    value. state_mib: what all the states of a scan of length 1 take."""
    series = [by_length(record, call) for _, call, _ in panels]
    texts = [_label(name, points, field) for (_, _, field), by_name in zip(panels, series)
             for name, points in by_name.items()]  # fmt: skip
    room = width_of(texts, SMALL)
    notes = "One clip, channels of PoseMamba-S."
    notes += " Dotted: all states of the scan." if state_mib else ""
    notes += " Whiskers: p20 to p80." if panels[0][2] == "median_ms" else ""
    figure, axes = sheet((3.4 + room, 2.9), rows=2, left=0.75, right=room, heading=heading, footnote=notes)
    axes[1].sharey(axes[0])
    for ax, (title, _, field), by_name in zip(axes, panels, series):
        for name, points in by_name.items():
            colour, marker = _SCANS.get(name, OTHER)
            values = [getattr(timing, field) or np.nan for _, timing in points]  # gaps where missing
            ax.plot([length for length, _ in points], values, color=colour, marker=marker, markersize=5, linewidth=1.4)
            if field == "median_ms":
                known = [(length, timing.p20_ms, timing.p80_ms) for length, timing in points if timing.median_ms]
                ax.vlines(*zip(*known), color=colour, linewidth=3, alpha=0.35)
        lengths = sorted({length for points in by_name.values() for length, _ in _known(points, field)})
        ax.set(title=title, xlabel="length L of the scan", ylabel=unit)
        if state_mib:
            ax.plot(lengths, state_mib * np.array(lengths), color="#808080", linestyle=":", linewidth=1.4, zorder=1)
        log_log(ax, lengths)
    for ax, (_, _, field), by_name in zip(axes, panels, series):  # now that both have their limits
        ends = []
        for name, points in by_name.items():
            if known := _known(points, field):
                ends.append(labels.End(_label(name, points, field), *known[-1], _SCANS.get(name, OTHER)[0]))
        labels.at_ends(ax, ends)
    return figure


def _known(points: list[tuple[int, ScanTiming]], field: str) -> list[tuple[int, float]]:
    return [(length, getattr(timing, field)) for length, timing in points if getattr(timing, field)]


def _label(name: str, points: list[tuple[int, ScanTiming]], field: str) -> str:
    """A contender's name, its last value, and in brackets why its curve has a gap or ends."""
    if not (known := _known(points, field)):
        return ""
    last, value = known[-1]
    reasons = [timing.missing.partition(":")[0] for length, timing in points if length > last and timing.missing]
    gaps = [timing.missing.partition(":")[0] for length, timing in points if length < last and timing.missing]
    remarks = [f"gap: {reason}" for reason in gaps[:1]] + [f"then {reason}" for reason in reasons[:1]]
    return f"{name}  {plain(value)}" + (f" ({', '.join(remarks)})" if remarks else "")


def scan_roofline(results: Results, machine: str) -> Figure | None:
    """State steps per second against state steps per byte, of forward passes, under the two measured ceilings."""
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
    ends = np.array([min(min(intensities) / 4, roof / bandwidth / 4), max(intensities) * 14])
    figure, (ax,) = sheet(
        (9, 4.5), heading=f"Forward passes of scans on {machine}, float32", titled=False,
        footnote="Beside each point: its share of the measured ceiling, the line above it.",
    )  # fmt: skip
    x = np.array([ends[0], roof / bandwidth, ends[1]])
    ax.plot(x, np.minimum(roof, bandwidth * x), color="#333333", linewidth=1.6)
    text = f"{record.product_gflop_per_s:,.0f} GFLOP/s, {record.operations_per_state_step} operations per state step"
    ax.annotate(text, (ends[1], roof), (-4, 4), textcoords="offset points", ha="right", fontsize=8)
    ax.annotate(f"{bandwidth:,.0f} GB/s", (ends[0], bandwidth * ends[0]), (14, 2), textcoords="offset points",
                va="top", fontsize=8)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=(min(rates) / 3, roof * 6))
    ax.set(xlabel="state steps per compulsory byte", ylabel="billion state steps per second")
    plain_numbers(ax.xaxis)
    plain_numbers(ax.yaxis)
    groups = {}
    for intensity, rate, name, one in points:
        colour, marker = _SCANS.get(name.partition(",")[0], OTHER)
        ax.plot(intensity, rate, color=colour, marker=marker, markersize=6, linestyle="")
        text = f"{name}, {one.case}: {100 * rate / ceiling(record, one):.2g} %"
        groups.setdefault(one.comparison, []).append(labels.End(text, intensity, rate, colour))
    for group in groups.values():
        labels.right_of(ax, group, below=roof)
    return figure


def _on_roofline(comparison: ScanComparison, timing: ScanTiming) -> bool:
    """All contenders at PoseMamba-B's shape and over its grid; the fused implementations at the other models' too."""
    if comparison.comparison == "implementations":
        return comparison.case == "PoseMamba-B" or (
            timing.name in ("cpu", "gpu") and not comparison.case.startswith("length")
        )
    return comparison.comparison == "grid"
