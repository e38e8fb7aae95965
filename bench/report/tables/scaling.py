"""How cost and time grow with frames, batch and depth."""

from liftbench.bench.measure import scaling as scalings
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Table


def scaling(results: Results) -> Table:
    """Growth of MACs and time with frames, batch and depth, and where attention becomes dearer."""
    columns = {
        "model": "s", "machine": "s", "parameters, M": ",.2f", "MACs ~ frames^": ".2f", "time ~ frames^": ".2f",
        "time ~ batch^": ".2f", "time ~ depth^": ".2f", "frames timed up to": ",d",
        "attention needs more MACs from frame": ",.0f", "attention takes longer from frame": ",.0f",
    }  # fmt: skip
    rows = [
        _scaling_row(machine, record, model) for machine, record in results.scaling.items() for model in scalings.SIZES
    ]
    notes = [
        f"Exponents: slopes through the last {scalings.LAST} points in logarithms. Attention: {scalings.ATTENTION}, "
        "the only registered model whose attention spans frames; it has as many parameters as posemamba_s, but a token "
        "a frame, not a joint, and answers a clip with one pose. Crossovers are interpolated between measured lengths.",
        results.provenance("scaling"),
    ]
    return Table("scaling", "Scaling with frames, batch and depth", columns, rows, notes)


def _scaling_row(machine, record, model):
    series = {
        (axis, value): scalings.series(record, axis, value)
        for axis, value in (
            ("frames", "macs"), ("frames", "median_ms"), ("batch", "median_ms"), ("depth", "median_ms"),
        )
    }  # fmt: skip
    exponents = [scalings.exponent(by_model.get(model, [])) for by_model in series.values()]
    few = Missing(f"fewer than {scalings.LAST} points")
    row = {"model": model, "machine": machine, "parameters, M": record.parameters[model] / 1e6}
    names = ("MACs ~ frames^", "time ~ frames^", "time ~ batch^", "time ~ depth^")
    row |= {name: few if one is None else one for name, one in zip(names, exponents)}
    timed = series["frames", "median_ms"].get(model)
    row["frames timed up to"] = timed[-1][0] if timed else Missing("not timed")
    for name, value in (
        ("attention needs more MACs from frame", "macs"), ("attention takes longer from frame", "median_ms"),
    ):  # fmt: skip
        by_model = series["frames", value]
        x = scalings.crossover(by_model.get(model, []), by_model.get(scalings.ATTENTION, []))
        row[name] = Missing("not within the lengths measured of both") if x is None else x
        if model == scalings.ATTENTION:
            row[name] = Missing("it is the one with attention")
    return row
