"""What a record of scans says: series against the length, ratios to public scans, and the machine's ceiling."""

from liftbench.bench.measure import timing
from liftbench.bench.measure.scan.cases import BY_LENGTH
from liftbench.bench.records import ScanComparison, ScanRecord, ScanTiming


def by_length(record: ScanRecord, call: str) -> dict[str, list[tuple[int, ScanTiming]]]:
    """{contender: [(length, ScanTiming)]}, from short to long, of one clip with the channels of PoseMamba-S."""
    series = {}
    for one in record.comparisons:
        if (one.comparison, one.call, one.batch, one.groups, one.channels) == ("implementations", call, *BY_LENGTH):
            for contender in one.timings:
                series.setdefault(contender.name, []).append((one.length, contender))
    return series


def ceiling(record: ScanRecord, comparison: ScanComparison) -> float:
    """State steps per second, in 1e9, that bandwidth and operations allow in a forward pass."""
    intensity = comparison.state_steps / comparison.compulsory_bytes
    return min(record.product_gflop_per_s / record.operations_per_state_step, record.bandwidth_gb_per_s * intensity)


def ratio_to_best_public(comparison: ScanComparison, one: ScanTiming) -> float | None:
    """Median over the rounds of the time of the fastest public contender over this one's; None where there is none."""
    public = [other for other in comparison.timings if other.public and other.median_ms]
    if not public or one.public or one.median_ms is None:
        return None
    best = min(public, key=lambda other: other.median_ms)
    return timing.ratio(best.samples_ms, one.samples_ms)
