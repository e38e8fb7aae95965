"""Times of models: each by itself, and pairs that took turns."""

from liftbench.bench.records.speed import Contender, SpeedRecord
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Table


def speed(results: Results) -> Table:
    """Latency and throughput with their spread, memory, and what they were measured on."""
    columns = {
        "model": "s", "frames": "d", "setting": "s", "machine": "s", "scan": "s", "PyTorch": "s",
        "latency, ms": ",.2f", "p20, ms": ",.2f", "p80, ms": ",.2f", "samples": "d", "peak memory, MiB": ",.1f",
        "best batch": "d", "ms per new frame": ",.3f", "poses/s": ",.1f", "of the product's rate, %": ",.1f",
    }  # fmt: skip
    rows, groups = [], [(machine, group) for machine, group in results.speed.items()]
    for machine, by_setting in results.speed_in_other_settings.items():
        groups += [(machine, group) for group in by_setting.values()]
    for machine, group in groups:
        for key in filter(group.get, results.keys):
            record = group[key]
            peak = record.latency.peak_memory_mib
            row = {
                "model": key.name,
                "frames": key.frames,
                "setting": record.setting or "forward",
                "machine": machine,
                "scan": record.environment.scan_implementation or Missing("the model has no scan"),
                "PyTorch": record.environment.torch,
                "latency, ms": record.latency.median_ms,
                "p20, ms": record.latency.p20_ms,
                "p80, ms": record.latency.p80_ms,
                "samples": len(record.latency.samples_ms),
                "peak memory, MiB": Missing(record.peak_memory_method) if peak is None else peak,
                "best batch": record.throughput.batch,
                "ms per new frame": record.latency.median_ms / record.output_frames,
                "poses/s": record.throughput_output_frames_per_s,
                "of the product's rate, %": _product_share(record),
            }
            rows.append(row)
    methods = sorted({record.peak_memory_method for _, group in groups for record in group.values()})
    notes = [
        "Float32, eager, lifting only and random inputs on the device unless the setting says otherwise. Latency: one "
        "clip, median; ms per new frame: the latency over the poses of a clip; poses/s: best batch, median. The share "
        "of the product's rate compares two operations per MAC (contractions and scans) at the best batch with a "
        "matrix product measured in the same process.",
    ]
    for machine, group in groups:
        product, bandwidth = (
            max(getattr(record.ceilings, key) for record in group.values())
            for key in ("product_gflop_per_s", "bandwidth_gb_per_s")
        )
        setting = next(iter(group.values())).setting or "forward"
        notes.append(f"{machine}, {setting}: up to {product:,.0f} GFLOP/s and {bandwidth:,.1f} GB/s.")
    notes += [f"Peak memory of one clip: {method}." for method in methods] + [results.provenance("speed")]
    return Table("speed", "Speed", columns, rows, notes, naming=3)


def _product_share(record: SpeedRecord) -> float | Missing:
    if record.ceilings.product_share is None:
        return Missing("counted for lifting forward only")
    return 100 * record.ceilings.product_share


def compare(results: Results) -> Table:
    """Pairs that took turns, with the ratio of their times and its interval."""
    columns = {
        "first": "s", "second": "s", "call": "s", "batch": "d", "machine": "s", "first, ms": ",.3g",
        "second, ms": ",.3g", "rounds": "d", "ratio": ".3f", "low": ".3f", "high": ".3f",
    }  # fmt: skip
    rows = [
        {
            "first": _contender(record.first),
            "second": _contender(record.second),
            "call": record.first.call,
            "batch": record.batch,
            "machine": machine,
            "first, ms": record.first.median_ms,
            "second, ms": record.second.median_ms,
            "rounds": len(record.first.samples_ms),
            "ratio": record.ratio,
            "low": record.ratio_low,
            "high": record.ratio_high,
        }
        for machine, record in results.compare
    ]
    note = (
        "Ratio: median over the rounds of the first one's time over the second one's, above 1 where the second is "
        "faster; low and high: its 95 % bootstrap interval. Both took turns in one process."
    )
    return Table("compare", "Compared in turn", columns, rows, [note, results.provenance("compare")])


def _contender(one: Contender) -> str:
    words = [one.scan_implementation, one.dtype, one.mode]
    return f"{one.model}, {one.frames} frames ({', '.join(filter(None, words))})"
