"""How cost and time grow with frames, batch and depth."""

from liftbench.bench.records import ScalingRecord, readings
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Row, Table


def scaling(results: Results) -> Table:
    """Growth of MACs and time with frames, batch and depth, and the clip length from which attention costs more."""
    columns = {
        "model": "s", "machine": "s", "parameters, M": ",.2f", "MACs ~ frames^": ".2f", "time ~ frames^": ".2f",
        "time ~ batch^": ".2f", "time ~ depth^": ".2f", "frames timed up to": ",d",
        "attention needs more MACs from frame": ",.0f", "attention takes longer from frame": ",.0f",
    }  # fmt: skip
    rows = [
        _scaling_row(machine, record, model)
        for machine, record in results.scaling.items()
        for model in record.parameters
    ]
    notes = [
        f"Exponents: slopes through the last {readings.LAST} points in logarithms. Attention stands for "
        f"{readings.ATTENTION}, which attends over the frames of the clip. It has about as many parameters as "
        "posemamba_s, but takes a token per frame, not per joint, and answers a clip with one pose. Crossovers are "
        "interpolated between measured lengths.",
        results.provenance("scaling"),
    ]
    return Table("scaling", "Scaling with frames, batch and depth", columns, rows, notes)


def _scaling_row(machine: str, record: ScalingRecord, model: str) -> Row:
    series = {
        (axis, value): readings.series(record, axis, value)
        for axis, value in (
            ("frames", "macs"), ("frames", "median_ms"), ("batch", "median_ms"), ("depth", "median_ms"),
        )
    }  # fmt: skip
    exponents = [readings.exponent(by_model.get(model, [])) for by_model in series.values()]
    few = Missing(f"fewer than {readings.LAST} points")
    row = {"model": model, "machine": machine, "parameters, M": record.parameters[model] / 1e6}
    names = ("MACs ~ frames^", "time ~ frames^", "time ~ batch^", "time ~ depth^")
    row |= {name: few if one is None else one for name, one in zip(names, exponents)}
    timed = series["frames", "median_ms"].get(model)
    row["frames timed up to"] = timed[-1][0] if timed else Missing("not timed")
    for name, value in (
        ("attention needs more MACs from frame", "macs"), ("attention takes longer from frame", "median_ms"),
    ):  # fmt: skip
        by_model = series["frames", value]
        x = readings.crossover(by_model.get(model, []), by_model.get(readings.ATTENTION, []))
        row[name] = Missing("not within the lengths measured of both") if x is None else x
        if model == readings.ATTENTION:
            row[name] = Missing("the other models are compared with it")
    return row
