"""The report: one HTML file that holds all tables and plots and loads nothing. The same records give the same bytes."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from markupsafe import Markup, escape

from liftbench.baselines.data.formats.motionbert import EXCLUDED_TAKES
from liftbench.baselines.pages import templates_of
from liftbench.bench.records.environment import Environment
from liftbench.bench.report.ledger.notes import NOTES
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Cell, Table, number

_SECTIONS = {
    "Overview": ("overview", "at_a_glance", "error_against"),
    "Tables of the papers": ("papers",),
    "Accuracy": ("accuracy", "per_action", "lift", "online"),
    "Training": ("training",),
    "Cost": ("cost", "memory"),
    "Speed of models": ("speed", "lengths", "compare", "scaling"),
    "Scan kernels": ("scan",),
    "Published numbers": ("ledger",),
    "Further results": ("",),
}  # the beginnings of the names of tables and plots; a section takes what those before it left

_View = dict[str, object]  # what the template shows of a table
_Plot = tuple[str, str, bytes]  # (name, title, PNG)


def report(
    results: Results, tables: Iterable[Table], plots: Iterable[tuple[str, str, bytes]], skipped: Iterable[str]
) -> str:
    """The report as HTML.

    tables: Tables; plots: (name, title, PNG as bytes); skipped: a sentence for everything that was not made.
    """
    templates = templates_of("liftbench.bench.report")
    templates.filters |= {
        "data_uri": _data_uri,
        "code": _code,
        "short": lambda title: title.partition(";")[0],
        "slug": lambda title: title.lower().replace(" ", "-"),
    }
    tested = sorted(results.accuracy.keys() | results.online.keys())
    templates.tests["missing"] = lambda value: isinstance(value, Missing)
    return templates.get_template("report.html.j2").render(
        sections=_sections([view for table in tables for view in _views(table)], plots),
        results=results,
        tested=tested,
        not_real=[label for label in tested if label not in results.real],
        excluded=EXCLUDED_TAKES,
        notes=NOTES,
        data=_views(_data(results)),
        environments=_views(_environments(results)),
        skipped=skipped,
    )


def _sections(views: list[_View], plots: Iterable[_Plot]) -> Iterator[tuple[str, list[_View], list[_Plot]]]:
    """(title, table views, plots) of every section that is not empty."""

    def section(name: str) -> str:
        return next(title for title, starts in _SECTIONS.items() if name.startswith(starts))

    for title in _SECTIONS:
        here = [view for view in views if section(view["name"]) == title], [p for p in plots if section(p[0]) == title]
        if any(here):
            yield title, *here


def _views(table: Table) -> Iterator[_View]:
    """What the template shows of a table's parts: their texts, the numbers to sort by, and the footnotes."""
    parts = table.parts() if table.rows else []
    for place, part in enumerate(parts, start=1):
        texts, reasons = part.texts(str, str)
        values = [[row[header] for header in part.columns] for row in part.rows]
        yield {
            "name": part.name.replace("/", "-") + (f"-{place}" if len(parts) > 1 else ""),
            "title": part.title,
            "open": part.name == "overview",
            "columns": [(header, _numeric(column)) for header, column in zip(part.columns, zip(*values))],
            "rows": [[(text, value, number(value)) for text, value in zip(*row)] for row in zip(texts, values)],
            "naming": min(part.naming, len(part.columns)),
            "reasons": reasons,
            "notes": part.notes,
            "csv": part.csv().encode(),
        }


def _numeric(column: Sequence[Cell]) -> bool:
    known = [value for value in column if not isinstance(value, Missing)]
    return bool(known) and all(number(value) is not None for value in known)


def _data(results: Results) -> Table:
    """What models were trained and evaluated on."""
    columns = {
        "data": "s", "is the public data": "s", "file": "s", "made by": "s", "2D input": "s", "frames of a clip": "d",
        "test clips": ",d", "test frames": ",d", "SHA-256": "s",
    }  # fmt: skip
    rows = {}
    for groups in (results.training, results.accuracy, results.online):
        for label, group in groups.items():
            for key, record in group.items():
                data = record.data
                origin = ", ".join(f"{name} {value}" for name, value in data.origin.items())
                cells = label, "yes" if label in results.real else "no", data.name
                cells += origin or Missing("the file does not say"), data.input, key.frames
                rows[label, key.frames] = *cells, data.test_clips, data.test_frames, data.sha256[:12]
    rows = [dict(zip(columns, rows[key])) for key in sorted(rows)]
    return Table("data", "Data that models were trained and evaluated on", columns, rows)


def _environments(results: Results) -> Table:
    """Where the records were made."""
    found = {}
    for record in results.records:
        found.setdefault((results.is_reference(record), record.environment), []).append(record)
    fields = list(Environment.model_fields)
    columns = {"records": "s", "whose": "s", "from": "s", "to": "s"} | {_heading(field): "s" for field in fields}
    rows = []
    for (reference, environment), made in found.items():
        kinds = Counter(record.kind for record in made)
        days = sorted(f"{record.created_utc:%Y-%m-%d}" for record in made)
        values = [getattr(environment, field) for field in fields]
        texts = [Missing("does not apply or is not known") if value is None else _plain(value) for value in values]
        count = ", ".join(f"{times} {kind}" for kind, times in sorted(kinds.items()))
        rows.append(dict(zip(columns, (count, "reference" if reference else "own", days[0], days[-1], *texts))))
    note = "Git dirty: whether anything but results differed from the commit. The tables show the newest records."
    return Table("environments", "Machines, versions and commits", columns, rows, [note])


def _heading(field: str) -> str:
    return re.sub("^(cpu|gpu|os)(?=_|$)", lambda match: match[0].upper(), field).replace("_", " ")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value[:10] if re.fullmatch("[0-9a-f]{40}", str(value)) else str(value)


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _code(text: str) -> Markup:
    """Text with `code` in it."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
