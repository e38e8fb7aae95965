"""One row for each model: size, cost, error and speed, measured and published."""

import pandas as pd

from liftbench.bench.report.results import PUBLISHED_DATA, Missing, Results, protocol_of
from liftbench.bench.report.tables.table import Table


def _minus(measured, published):
    """measured - published, or the reason why there is no difference."""
    return next((value for value in (measured, published) if isinstance(value, Missing)), None) or measured - published


def _published(row, column, scale=1):
    """A published number, by its column in published.csv."""
    if isinstance(row, Missing):
        return row
    return Missing("not published") if pd.isna(row[column]) else row[column] * scale


def comparison(results: Results) -> Table:
    """One row a model: parameters, MACs per frame, errors and speed; measured, published and their difference."""
    columns = {
        "model": "s", "frames": "d",
        "parameters, M": ",.3f", "parameters by thop, M": ",.3f", "parameters published, M": ",.2f",
        "parameters by thop - published, M": "+,.3f",
        "MACs per frame, M": ",.1f", "MACs per frame by thop, M": ",.1f", "MACs per frame published, M": ",.1f",
        "MACs per frame by thop - published, M": "+,.1f",
    }  # fmt: skip
    for label in results.accuracy:
        columns |= {f"MPJPE, mm ({label})": ".1f", f"P-MPJPE, mm ({label})": ".1f"}
    columns |= {
        f"MPJPE published, mm ({PUBLISHED_DATA})": ".1f",
        f"P-MPJPE published, mm ({PUBLISHED_DATA})": ".1f",
        "2D detections published with": "s",
        "MPJPE measured - published, mm": "+.1f",
    }
    for machine in results.speed:
        columns |= {f"latency, ms ({machine})": ",.2f", f"clips/s ({machine})": ",.1f"}
    rows = [_measured_row(results, key) for key in results.keys]
    found = [row for row in map(results.published_row, results.keys) if not isinstance(row, Missing)]
    measured = {(row.model, row.variant) for row in found}
    for _, published in results.published.iterrows():
        if (published.model, published.variant) not in measured:
            row = dict.fromkeys(columns, Missing("published numbers only, not measured here"))
            row |= {"model": f"{published.model} {published.variant}".strip() + " (published)"}
            rows.append(row | {"frames": int(published.frames)} | _published_cells(published))
    return Table(
        "comparison",
        "Comparison",
        columns,
        rows,
        [
            "MACs per frame: contractions plus scans by the mamba authors' rule, per output frame; papers print "
            "thop's, which sees neither einsum nor scans. Latency: one clip, median; clips/s: of the best batch.",
            "Published errors are those of the epoch that was best on the test subjects.",
            results.provenance("cost", "accuracy", "speed"),
        ],
    )


def _published_cells(published):
    return {
        "parameters published, M": _published(published, "params_m"),
        "MACs per frame published, M": _published(published, "macs_per_frame_m"),
        f"MPJPE published, mm ({PUBLISHED_DATA})": _published(published, "mpjpe_mm"),
        f"P-MPJPE published, mm ({PUBLISHED_DATA})": _published(published, "p_mpjpe_mm"),
        "2D detections published with": published if isinstance(published, Missing) else published.detector,
    }


def _measured_row(results, key):
    published = results.published_row(key)
    row = {"model": key.name, "frames": key.frames} | _published_cells(published)

    cost = results.cost.get(key)
    uncounted = Missing("its cost was not measured")
    thop = {"parameters": uncounted, "MACs per frame": uncounted}
    row |= {"parameters, M": uncounted, "MACs per frame, M": uncounted}
    if cost:
        row |= {"parameters, M": cost.parameters / 1e6, "MACs per frame, M": cost.macs_per_output_frame / 1e6}
        per_frame = cost.thop.macs / cost.output_frames
        thop = {"parameters": cost.thop.parameters / 1e6, "MACs per frame": per_frame / 1e6}
    for what, value in thop.items():
        row[f"{what} by thop, M"] = value
        row[f"{what} by thop - published, M"] = _minus(value, row[f"{what} published, M"])

    for label, group in results.accuracy.items():
        record = group.get(key)
        unevaluated = Missing(f"not evaluated on {label}")
        row[f"MPJPE, mm ({label})"] = record.mpjpe_mm if record else unevaluated
        row[f"P-MPJPE, mm ({label})"] = record.p_mpjpe_mm if record else unevaluated
    row["MPJPE measured - published, mm"] = _error_difference(results, key, published)

    for machine, group in results.speed.items():
        record = group.get(key)
        untimed = Missing("not timed on this machine")
        row[f"latency, ms ({machine})"] = record.latency.median_ms if record else untimed
        row[f"clips/s ({machine})"] = record.throughput_clips_per_s if record else untimed
    return row


def _error_difference(results, key, published):
    """MPJPE measured - published, only where both are of Human3.6M and of the same 2D detections."""
    if isinstance(published, Missing):
        return published
    records = [group[key] for label, group in results.accuracy.items() if label in results.real and key in group]
    if not records:
        return Missing(f"not evaluated on {PUBLISHED_DATA}, so not comparable")
    for record in records:
        if record.data.protocol != protocol_of(published):
            continue
        if record.data.input == published.detector.lower():
            return _minus(record.mpjpe_mm, _published(published, "mpjpe_mm"))
        if record.data.input == "gt":
            return _minus(record.mpjpe_mm, _published(published, "mpjpe_gt2d_mm"))
    return Missing(f"published with {published.detector} detections, evaluated with {records[0].data.input.upper()}")
