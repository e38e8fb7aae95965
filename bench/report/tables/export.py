"""Exported files: their size, what they answer, and how fast they are beside the model in PyTorch."""

from liftbench.bench.records import ExportRecord
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Cell, Row, Table

_NOTES = (
    "Operators: those of the file, the ones inside a Scan once. Of a block: all operators of the file over the model's "
    "blocks. Export: seconds from the model in memory to the file. Difference: the largest from the model in PyTorch, "
    "over the largest output, on random clips of other batches than the one that was traced. Nothing here says how "
    "good the weights are.",
    "Ratio: the file's time over the model's, below 1 where the file is faster; median over the rounds, with its 95 % "
    "bootstrap interval. Both took turns in one process with as many threads, on one clip. ONNX Runtime runs ONNX "
    "files, PyTorch those of torch.export.",
)


def export(results: Results) -> Table:
    """One row for each model, format and machine."""
    columns = {
        "model": "s", "frames": "d", "format": "s", "machine": "s", "weights": "s", "operators": ",d",
        "of a block": ".0f", "opset": "d", "file, MB": ",.1f", "export, s": ",.1f", "difference": ".0e",
        "in PyTorch, ms": ",.3g", "from the file, ms": ",.3g", "ratio": ".2f", "low": ".2f", "high": ".2f",
        "versions": "s",
    }  # fmt: skip
    rows = [
        {"model": key.name, "frames": key.frames, "format": record.format, "machine": machine} | _file(record)
        for machine, key, record in results.export
    ]
    notes = [*_NOTES, results.provenance("export")]
    return Table("cost/export", "Exported files", columns, rows, notes, naming=4)


def _file(record: ExportRecord) -> Row:
    def timed(value: float | None) -> Cell:
        return Missing(record.missing) if value is None else value

    versions = {"PyTorch": record.environment.torch} | record.versions
    return {
        "weights": record.checkpoint.file if record.checkpoint else "random",
        "operators": record.nodes,
        "of a block": record.nodes / record.blocks if record.blocks else Missing("the model has no blocks"),
        "opset": record.opset or Missing("only ONNX has one"),
        "file, MB": record.file_bytes / 1e6,
        "export, s": record.export_s,
        "difference": record.difference,
        "in PyTorch, ms": timed(record.own_ms),
        "from the file, ms": timed(record.file_ms),
        "ratio": timed(record.ratio),
        "low": timed(record.ratio_low),
        "high": timed(record.ratio_high),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
