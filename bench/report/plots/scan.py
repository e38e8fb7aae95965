"""How fast is a selective scan, how much memory does it take, and how near is it to what the machine allows?"""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.records.readings import BY_LENGTH, by_length, ceiling
from liftbench.bench.records.scan import ScanComparison, ScanRecord, ScanTiming
from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import OTHER, SMALL, log_log, name_rows, plain, plain_numbers, sheet, width_of
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
    return _against_length(results.scan[machine], f"Time of a scan, float32\n{machine}", "ms", panels)


def scan_memory(results: Results, machine: str) -> Figure:
    """Peak memory of a forward pass, and what is kept for a backward pass, against the length."""
    panels = [
        ("peak of a forward pass", "forward", "peak_memory_mib"),
        ("kept for a backward pass", "forward + backward", "kept_for_backward_mib"),
    ]
    states = results.scan[machine].comparisons[0].states
    state_mib = 4 * np.prod(BY_LENGTH) * states / 2**20
    return _against_length(results.scan[machine], f"Memory of a scan, float32\n{machine}", "MiB", panels, state_mib)


def _against_length(
    record: ScanRecord, heading: str, unit: str, panels: list[tuple[str, str, str]], state_mib: float | None = None
) -> Figure:
    """A log-log panel for each (title, call, field of a ScanTiming), a curve for each contender, labelled with its last
    value. state_mib: what all the states of a scan of length 1 take."""
    series = [by_length(record, call) for _, call, _ in panels]
    texts = [_label(name, points, field) for (_, _, field), by_name in zip(panels, series)
             for name, points in by_name.items()]  # fmt: skip
    notes = ["One clip, channels of PoseMamba-S. Beside the names: the last value."]
    notes += ["Dotted: all states of the scan."] if state_mib else []
    notes += ["Whiskers: p20 to p80."] if panels[0][2] == "median_ms" else []
    notes += ["The output counts as memory, the inputs do not."] if state_mib else []
    notes += _gaps(series)
    figure, axes = sheet(
        1.9, rows=2, left=0.58, right=width_of(texts) + 0.05, heading=heading, footnote=" ".join(notes)
    )
    axes[1].sharey(axes[0])
    for ax, (title, _, field), by_name in zip(axes, panels, series):
        for name, points in by_name.items():
            colour, marker = _SCANS.get(name, OTHER)
            values = [getattr(timing, field) or np.nan for _, timing in points]  # gaps where missing
            ax.plot([length for length, _ in points], values, color=colour, marker=marker, markersize=3.5, linewidth=1)
            if field == "median_ms":
                known = [(length, timing.p20_ms, timing.p80_ms) for length, timing in points if timing.median_ms]
                ax.vlines(*zip(*known), color=colour, linewidth=2, alpha=0.35)
        lengths = sorted({length for points in by_name.values() for length, _ in _known(points, field)})
        ax.set(title=title, xlabel="length L of the scan", ylabel=unit)
        if state_mib:
            ax.plot(lengths, state_mib * np.array(lengths), color="#808080", linestyle=":", linewidth=1, zorder=1)
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
    """A contender's name and its last value."""
    known = _known(points, field)
    return f"{name}  {plain(known[-1][1])}" if known else ""


def _gaps(series: Iterable[dict[str, list[tuple[int, ScanTiming]]]]) -> list[str]:
    """Why curves end or have gaps: `Not drawn: too slow (mambapy, reference).`"""
    found = {}
    for name, points in (pair for by_name in series for pair in by_name.items()):
        for _, timing in points:
            if timing.missing:
                found.setdefault(timing.missing.partition(":")[0], set()).add(name)
    reasons = [f"{reason} ({', '.join(sorted(names))})" for reason, names in sorted(found.items())]
    return [f"Gaps and ends: {'; '.join(reasons)}."] if reasons else []


def scan_ceiling(results: Results, machine: str) -> Figure | None:
    """How near each scan's forward pass comes to what the machine allows, by measured bandwidth and products."""
    record = results.scan[machine]
    rows = [
        (100 * one.state_steps / timing.median_ms / 1e6 / ceiling(record, one), timing.name, one)
        for one in record.comparisons
        for timing in one.timings
        if one.call == "forward" and timing.median_ms and _has_row(one, timing)
    ]
    if not rows:
        return None
    names = [f"{name}, {one.case.replace('grid of ', 'grid, ')}" for _, name, one in rows]
    figure, (ax,) = sheet(
        0.48 + 0.16 * len(rows), left=width_of(names), right=0.12, above=0.06,
        heading=f"Scans and their ceiling, float32\n{machine}",
        footnote=f"Forward passes, logarithmic axis. The ceiling: what {record.bandwidth_gb_per_s:,.0f} GB/s and "
        f"{record.product_gflop_per_s:,.0f} GFLOP/s, both measured, allow at {record.operations_per_state_step} "
        "operations a state step.",
    )  # fmt: skip
    name_rows(ax, names)
    for place, (share, name, _) in enumerate(rows):
        colour, marker = _SCANS.get(name.partition(",")[0], OTHER)
        ax.plot(share, place, color=colour, marker=marker, markersize=4, linestyle="")
        left = share > 20  # beside the frame there is no room
        ax.annotate(f"{share:.2g} %", (share, place), (-5 if left else 5, 0), textcoords="offset points", va="center",
                    ha="right" if left else "left", fontsize=SMALL)  # fmt: skip
    ax.set(xscale="log", xlim=(min(share for share, *_ in rows) / 1.6, 100), xlabel="% of the ceiling")
    plain_numbers(ax.xaxis)
    return figure


def _has_row(comparison: ScanComparison, timing: ScanTiming) -> bool:
    """All contenders at PoseMamba-B's shape and over its grid; the fused implementations at the other models' too."""
    if comparison.comparison == "implementations":
        return comparison.case == "PoseMamba-B" or (
            timing.name in ("cpu", "gpu") and not comparison.case.startswith("length")
        )
    return comparison.comparison == "grid"
