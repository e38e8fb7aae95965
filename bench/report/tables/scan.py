"""Times, ratios and memory of the selective scans."""

from liftbench.bench.records import ScanComparison, ScanRecord, ScanTiming
from liftbench.bench.records.readings import ceiling, ratio_to_best_public
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Row, Table


def scan(results: Results) -> Table:
    """Every contender of every comparison of the scans: times, ratios, fraction of the ceiling, memory."""
    columns = {
        "case": "s", "clips x groups x channels x length": "s", "call": "s", "contender": "s", "machine": "s",
        "ms": ",.3g", "p20, ms": ",.3g", "p80, ms": ",.3g", "rounds": "d", "ratio": ",.3g", "to": "s",
        "ratio to the fastest public one": ",.3g", "state steps/s, 1e9": ",.3g", "of the ceiling, %": ".1f",
        "peak memory, MiB": ",.1f", "kept for backward, MiB": ",.2f",
    }  # fmt: skip
    rows = [
        _scan_row(machine, record, comparison, timing)
        for machine, record in results.scan.items()
        for comparison in record.comparisons
        for timing in comparison.timings
    ]
    notes = [
        "Contenders took turns; medians and percentiles of the rounds. Ratio: median over the rounds of the time of "
        "the contender named beside it over this one's. Ceiling: the smaller of what the measured rate of a matrix "
        "product and the measured bandwidth allow; `liftbench measure scan` measures both. Grid: projections included.",
    ]
    for machine, record in results.scan.items():
        notes.append(
            f"{machine}: {record.product_gflop_per_s:,.0f} GFLOP/s, {record.bandwidth_gb_per_s:,.1f} GB/s, "
            f"{record.operations_per_state_step} operations a state step; PyTorch {record.environment.torch}."
        )
        notes += [f"Not measured on {machine}: {name} ({reason})." for name, reason in record.absent.items()]
    methods = sorted({record.peak_memory_method for record in results.scan.values()})
    notes += [f"Peak memory: {method}." for method in methods] + [results.provenance("scan")]
    return Table("scan", "Selective scans", columns, rows, notes, naming=4)


def _scan_row(machine: str, record: ScanRecord, comparison: ScanComparison, timing: ScanTiming) -> Row:
    untimed = Missing(timing.missing or "")

    def known(value: float | None, reason: str) -> float | Missing:
        return untimed if timing.missing else Missing(reason) if value is None else value

    median, best_public = timing.median_ms, ratio_to_best_public(comparison, timing)
    rate = comparison.state_steps / median / 1e6 if median else None
    forward = comparison.call == "forward"
    share = 100 * rate / ceiling(record, comparison) if rate and forward else None
    not_public = "it is public itself" if timing.public else "no public one was timed"
    memory = timing.peak_memory_mib, timing.kept_for_backward_mib
    return {
        "case": comparison.case,
        "clips x groups x channels x length": (
            f"{comparison.batch} x {comparison.groups} x {comparison.channels} x {comparison.length}"
        ),
        "call": comparison.call,
        "contender": timing.name,
        "machine": machine,
        "ms": known(median, ""),
        "p20, ms": known(timing.p20_ms, ""),
        "p80, ms": known(timing.p80_ms, ""),
        "rounds": known(len(timing.samples_ms), ""),
        "ratio": known(timing.ratio, f"{comparison.baseline} was not timed"),
        "to": comparison.baseline,
        "ratio to the fastest public one": known(best_public, not_public),
        "state steps/s, 1e9": known(rate, ""),
        "of the ceiling, %": known(share, "the ceiling is that of the forward pass"),
        "peak memory, MiB": Missing(timing.missing or record.peak_memory_method) if memory[0] is None else memory[0],
        "kept for backward, MiB": (
            Missing("no backward pass") if forward else untimed if memory[1] is None else memory[1]
        ),
    }
