"""Tables and plots from records: the same records give the same files, byte by byte."""

import re
from pathlib import Path
from typing import NamedTuple

from baselines.files import replacing

from . import plots, tables
from .records import read
from .results import Results


class Rendered(NamedTuple):
    """The files written, and a sentence for everything that could not be drawn."""

    written: list
    skipped: list


def render(records_folder, published_csv, out_folder):
    """Render all tables (markdown, CSV, LaTeX) and plots (PNG, SVG) below out_folder -> Rendered.

    Each file replaces the one before as a whole. Raises InputError for records or published numbers that cannot be
    read, and for a folder that cannot be written to.
    """
    results = Results(read(records_folder), published_csv)
    out, written, skipped = Path(out_folder), [], []

    def write(path, content):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        written.append(path)

    for make in (tables.comparison, tables.accuracy, tables.cost, tables.speed):
        table = make(results)
        if not table.rows:
            skipped.append(f"Table {table.name} was not made: there is nothing to put into it.")
            continue
        for suffix, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
            write(out / "tables" / f"{table.name}.{suffix}", text.encode())
    for name, make, reason in _figures(results):
        with plots.styled():
            figure = make()
            if figure is None:
                skipped.append(f"Plot {name} was not made: {reason}.")
                continue
            for suffix in ("png", "svg"):
                write(out / "plots" / f"{name}.{suffix}", plots.encode(figure, suffix))
    return Rendered(written, skipped)


def _figures(results):
    """(file name, function that draws it or gives None, why it would not) of every plot."""
    yield "error_against_macs", lambda: plots.error_against_macs(results), "no error is known together with its cost"
    for name, draw, groups, kind in (
        ("speed", plots.speed, results.speed, "speed"),
        ("per_action", plots.per_action, results.accuracy, "accuracy"),
        ("training", plots.training, results.training, "training"),
    ):
        if not groups:
            yield name, lambda: None, f"there are no {kind} records"
        for label in groups:
            yield f"{name}_{_slug(label)}", lambda draw=draw, label=label: draw(results, label), ""


def _slug(label):
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
