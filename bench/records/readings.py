"""Derive from records what their fields do not state: ratios, series along one axis, exponents, crossovers, ceilings.

Nothing here needs PyTorch.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from liftbench.bench.records.scan import ScanComparison, ScanRecord, ScanTiming
from liftbench.bench.records.speed import ScalingRecord

BY_LENGTH = (1, 4, 128)  # batch, groups and channels of the scans that are shown against the length
ATTENTION = "transformer"  # attends over frames; every scaling record has it, for others to be compared with
LAST = 3  # points that an exponent is fitted through


def ratio(rounds_ms: Iterable[Sequence[float]], others_ms: Iterable[Sequence[float]]) -> float:
    """Return the median over the rounds of one call's time over another's, so that drift of the machine cancels out."""
    medians, others = ([np.median(row) for row in rows] for rows in (rounds_ms, others_ms))
    return float(np.median(np.divide(medians, others)))


def by_length(record: ScanRecord, call: str) -> dict[str, list[tuple[int, ScanTiming]]]:
    """Return {contender: [(length, ScanTiming)]}, from short to long, for one clip with the channels of PoseMamba-S."""
    found = {}
    for one in record.comparisons:
        if (one.comparison, one.call, one.batch, one.groups, one.channels) == ("implementations", call, *BY_LENGTH):
            for contender in one.timings:
                found.setdefault(contender.name, []).append((one.length, contender))
    return found


def ceiling(record: ScanRecord, comparison: ScanComparison) -> float:
    """Return the state steps per second, in 1e9, that bandwidth and operations allow in a forward pass."""
    intensity = comparison.state_steps / comparison.compulsory_bytes
    return min(record.product_gflop_per_s / record.operations_per_state_step, record.bandwidth_gb_per_s * intensity)


def ratio_to_best_public(comparison: ScanComparison, one: ScanTiming) -> float | None:
    """Return the median over the rounds of the fastest public contender's time over this one's, or None without one."""
    public = [other for other in comparison.timings if other.public and other.median_ms]
    if not public or one.public or one.median_ms is None:
        return None
    best = min(public, key=lambda other: other.median_ms)
    return ratio(best.samples_ms, one.samples_ms)


def series(record: ScalingRecord, axis: str, value: str) -> dict[str, list[tuple[int, float]]]:
    """Return {model: [(x, value)]} along one axis, in order. value: a field of ScalingPoint; points without it are left
    out."""
    found = {}
    for point in record.points:
        if point.axis == axis and getattr(point, value):
            found.setdefault(point.model, []).append((getattr(point, axis), getattr(point, value)))
    return found


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope through the last LAST points (x, y) in logarithms, or None if there are fewer."""
    if len(points) < LAST:
        return None
    x, y = np.log(points[-LAST:]).T
    return float(np.polyfit(x, y, 1)[0])


def crossover(points: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> float | None:
    """Return the largest x at which two series have equal values, or None if there is no such x where both exist."""
    others = dict(others)
    common = [(math.log(x), math.log(y / others[x])) for x, y in points if x in others]
    found = None
    for (x0, d0), (x1, d1) in itertools.pairwise(common):
        if d0 != d1 and d0 * d1 <= 0:
            found = math.exp(x0 - d0 * (x1 - x0) / (d1 - d0))
    return found
