"""Exported files: their size, what they differ by, and how fast they are beside PyTorch."""

from liftbench.bench.records import ExportRecord
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Row, Table

_NOTE = (
    "Difference: of the file's answers from the model's in PyTorch, relative to the largest. Times: one clip, the file "
    "and the model in turn in one process with the same number of threads; ratio: median over the rounds of the file's "
    "time over the model's, with its 95 % bootstrap interval. Operators: those inside of a Scan included."
)


def export(results: Results) -> Table:
    """One row for each model, clip length, format and machine."""
    columns = {
        "model": "s", "frames": "d", "format": "s", "machine": "s", "export, s": ".1f", "file, MB": ".1f",
        "operators": ",d", "operators a block": ".0f", "difference": ".1e", "PyTorch, ms": ",.1f", "file, ms": ",.1f",
        "ratio": ".2f", "low": ".2f", "high": ".2f",
    }  # fmt: skip
    made = [record for record in results.records if record.kind == "export"]
    newest = {
        (one.model, one.frames, str(one.numbers), one.format, one.environment.machine): one
        for one in sorted(made, key=lambda one: (not results.is_reference(one), one.created_utc))
    }
    rows = [_row(newest[key]) for key in sorted(newest)]
    return Table("export", "Exported files", columns, rows, [_NOTE, results.provenance("export")], naming=4)


def _row(record: ExportRecord) -> Row:
    untimed = Missing(record.missing or "not timed")
    times = {
        "PyTorch, ms": record.own_ms, "file, ms": record.file_ms, "ratio": record.ratio, "low": record.ratio_low,
        "high": record.ratio_high,
    }  # fmt: skip
    return {
        "model": record.model, "frames": record.frames, "format": record.format, "machine": record.environment.machine,
        "export, s": record.export_s, "file, MB": record.file_bytes / 1e6, "operators": record.nodes,
        "operators a block": record.nodes / record.blocks if record.blocks else Missing("the model has no blocks"),
        "difference": record.difference,
        **{name: untimed if value is None else value for name, value in times.items()},
    }  # fmt: skip
