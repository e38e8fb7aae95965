"""Tables, plots and the report from records: the same records give the same files, byte by byte."""

import functools
import re
from pathlib import Path
from typing import NamedTuple

from liftbench.baselines.files import replacing
from liftbench.bench.records.records import read
from liftbench.bench.report import plots, tables
from liftbench.bench.report.cost_tables import cost, cost_by_module, cost_by_operator
from liftbench.bench.report.ledger import ledger
from liftbench.bench.report.report import report
from liftbench.bench.report.results import Results


class Rendered(NamedTuple):
    """The files written, and a sentence for everything that could not be drawn."""

    written: list
    skipped: list


def render(records_folder, published_csv, out_folder):
    """Render all tables (markdown, CSV, LaTeX), plots (PNG, SVG) and report.html below out_folder -> Rendered.

    Each file replaces the one before as a whole. Raises InputError for records or published numbers that cannot be
    read, and for a folder that cannot be written to.
    """
    records = read(records_folder)
    results = Results(records, published_csv)
    out, written, skipped = Path(out_folder), [], []
    rendered_tables, rendered_plots = [], []

    def write(path, content):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        written.append(path)

    costs = cost, cost_by_operator, cost_by_module
    speeds = tables.speed, tables.compare, tables.scaling
    for make in (tables.comparison, ledger, tables.accuracy, *costs, *speeds, tables.scan):
        table = make(results)
        if not table.rows:
            skipped.append(f"Table {table.name} was not made: there is nothing to put into it.")
            continue
        for suffix, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
            write(out / "tables" / f"{table.name}.{suffix}", text.encode())
        rendered_tables.append(table)
    for name, make, reason in _figures(results):
        with plots.styled():
            figure = make()
            if figure is None:
                skipped.append(f"Plot {name} was not made: {reason}.")
                continue
            encoded = {suffix: plots.encode(figure, suffix) for suffix in ("png", "svg")}
        for suffix, content in encoded.items():
            write(out / "plots" / f"{name}.{suffix}", content)
        rendered_plots.append((name, plots.title(figure), encoded["svg"]))
    write(out / "report.html", report(records, results, rendered_tables, rendered_plots, skipped).encode())
    return Rendered(written, skipped)


def _figures(results):
    """(file name, function that draws it or gives None, why it would not) of every plot."""
    unknown = "no error is known together with its cost"
    yield "error_against_macs", lambda: plots.error_against_macs(results), unknown
    yield "error_against_parameters", lambda: plots.error_against_parameters(results), unknown
    yield "cost_by_operator", lambda: plots.cost_by_operator(results), "there are no cost records"
    yield "memory", lambda: plots.memory(results), "no record counted activations"
    for name, draw, groups, kind in (
        ("error_against_latency", plots.error_against_latency, results.speed, "speed"),
        ("speed", plots.speed, results.speed, "speed"),
        ("per_action", plots.per_action, results.accuracy, "accuracy"),
        ("per_joint", plots.per_joint, results.accuracy, "accuracy"),
        ("training", plots.training, results.training, "training"),
        ("scaling", plots.scaling, results.scaling, "scaling"),
        ("scan_time", plots.scan_time, results.scan, "scan"),
        ("scan_ratio", plots.scan_ratio, results.scan, "scan"),
        ("scan_memory", plots.scan_memory, results.scan, "scan"),
        ("scan_roofline", plots.scan_roofline, results.scan, "scan"),
    ):
        if not groups:
            yield name, lambda: None, f"there are no {kind} records"
        for label in groups:
            make = functools.partial(draw, results, label)
            yield f"{name}_{_slug(label)}", make, "there is nothing to draw"
    for machine, settings in results.speed_in_other_settings.items():
        for setting in settings:
            make = functools.partial(plots.speed, results, machine, setting)
            yield f"speed_{_slug(machine)}_{_slug(setting)}", make, "there is nothing to draw"


def _slug(label):
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
