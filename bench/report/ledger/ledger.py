"""The ledger: every published figure beside what each counter says of the same model, and whose count it is.

A published figure is a counter's if the counter gives its digits: if the two differ by at most half a unit of the last
digit that was published, or if the rest was cut off there. Where MACs are published of a clip and of a frame, both must
agree.

The ledger of the reference records stands in results/reference/ledger.md, which `liftbench render --reference` writes.
"""

import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal

import pandas as pd

from liftbench.baselines.registry import MODELS
from liftbench.bench.records import CostRecord
from liftbench.bench.report.built import UNTRAINED, built
from liftbench.bench.report.ledger.notes import INTRODUCTION, NOTES, Note
from liftbench.bench.report.results import (
    PUBLISHED_DATA,
    Key,
    Missing,
    Results,
    measured_error,
    protocol_of,
    registered,
)
from liftbench.bench.report.tables.table import Row, Table

_ABOUT = {"model": "s", "data": "s", "2D": "s", "frames": "d"}
_PARAMETERS = {
    "parameters published, M": "s", "parameters by thop, M": ",.3f", "parameters in use, M": ",.3f",
    "parameters built officially, M": ",.3f", "published parameters are": "s",
}  # fmt: skip
_MACS = {
    "MACs published, G": "s", "MACs per frame published, M": "s", "MACs per frame by thop, M": ",.1f",
    "contractions per frame, M": ",.1f", "contractions and scans per frame, M": ",.1f", "published MACs are": "s",
}  # fmt: skip
_MEASURED = f"MPJPE measured here on {PUBLISHED_DATA}, mm"
_ERRORS = {
    "MPJPE published, mm": "s", "P-MPJPE published, mm": "s", "MPJPE with true 2D published, mm": "s",
    "PCK published, %": "s", "AUC published, %": "s", "users report, mm": "s", _MEASURED: ".1f", "source": "s",
    "doubt": "s", "source of the users' reports": "s",
}  # fmt: skip
_FIGURES = (" published, M", " published, G", " published, mm", " published, %")  # the ends of their columns' names
_NOT_PUBLISHED = Missing("not printed in any source that could be read")


@dataclass
class Ledger(Table):
    """One table as data; to be read, it is three below each other and the notes."""

    explanations: list = field(default_factory=list)

    def markdown(self) -> str:
        parts = "\n".join(part.markdown() for part in self.parts())
        notes = "\n\n".join([_bullets(self.explanations), *self.notes])
        return f"# What the papers' numbers mean\n\n{INTRODUCTION}\n\n{notes}\n\n{parts}"

    def latex(self) -> str:
        return "\n".join(part.latex() for part in self.parts())

    def parts(self) -> list[Table]:
        digits = (
            "A published figure is a counter's if both have the same digits: if they differ by at most half a unit of "
            "the last published digit, of the clip and of the frame where both are published. Cut short: the counter "
            "has more digits, which were not rounded but left out."
        )
        chosen = "Published errors are those of the epoch that was best on the test subjects."
        return [
            self.part("Ledger: parameters, published and counted", _PARAMETERS, digits),
            self.part("Ledger: MACs, published and counted", _MACS, digits),
            self.part("Ledger: errors, published, reported and measured", _ERRORS, chosen),
        ]

    def part(self, title: str, columns: dict[str, str], note: str) -> Table:
        """Some of the columns as a table of its own, of the rows for which one of these figures is published."""
        columns = _ABOUT | columns
        figures = [column for column in columns if column.endswith(_FIGURES)]
        rows = [row for row in self.rows if any(row[column] != _NOT_PUBLISHED for column in figures)]
        return Table(self.name, title, columns, rows, [note])


def ledger(results: Results) -> Table:
    """A row for every row of results/reference/published.csv, with what is known of its model."""
    rows = [_row(results, published) for _, published in results.published_text.iterrows()]
    columns, notes = _ABOUT | _PARAMETERS | _MACS | _ERRORS, [results.provenance("cost", "accuracy")]
    return Ledger("ledger", "Ledger", columns, rows, notes, explanations=NOTES)


def _bullets(notes: Iterable[Note]) -> str:
    def bullet(note: Note) -> str:
        links = ", ".join(f"[{test}](../../{file})" for file, test in note.tests)
        text = f"- **{note.title}.** {note.text} Tests: {links}."
        return textwrap.fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)

    return "\n".join(map(bullet, notes))


def _row(results: Results, published: pd.Series) -> Row:
    """published: a row of `results.published_text`."""
    text = {column: _NOT_PUBLISHED if pd.isna(value) else value for column, value in published.items()}
    key = built(published)
    counted = _counted(results, key)
    return {
        "model": f"{published.model} {published.variant}".strip(), "data": published.dataset,
        "2D": published.detector, "frames": int(published.frames),
        **_parameters(text["params_m"], counted),
        **_macs(text["macs_g"], text["macs_per_frame_m"], counted),
        "MPJPE published, mm": text["mpjpe_mm"],
        "P-MPJPE published, mm": text["p_mpjpe_mm"],
        "MPJPE with true 2D published, mm": text["mpjpe_gt2d_mm"],
        "PCK published, %": text["pck_percent"],
        "AUC published, %": text["auc_percent"],
        "users report, mm": _cited(published.users_report_mm),
        _MEASURED: _measured(results, published, key),
        "source": text["source"],
        "doubt": "none" if pd.isna(published.doubt) else published.doubt,
        "source of the users' reports": _cited(published.users_source),
    }  # fmt: skip


def _counted(results: Results, key: Key | Missing) -> list[CostRecord] | Missing:
    """The costs (as built here, as built officially) of a model, or why they are missing."""
    if isinstance(key, Missing):
        return key
    official = MODELS[key.model].official if key.numbers == "{}" else {}
    keys = [key, Key(key.model, key.frames, json.dumps(official)) if official else key]
    for one in keys:
        if one not in results.cost:
            return Missing(f"the cost of {one.label} was not measured")
    return [results.cost[one] for one in keys]


def _parameters(published: str | Missing, counted: list[CostRecord] | Missing) -> Row:
    row = dict.fromkeys(_PARAMETERS, counted) | {"parameters published, M": published}
    if isinstance(counted, Missing):
        return row
    here, official = counted
    counts = {
        "thop's count": here.thop.parameters,
        "the true count": official.parameters_with_gradient,
        "the count of all that is built": official.parameters,
    }
    if official.parameters == official.parameters_with_gradient:
        del counts["the count of all that is built"]
    return row | {
        "parameters by thop, M": here.thop.parameters / 1e6,
        "parameters in use, M": official.parameters_with_gradient / 1e6,
        "parameters built officially, M": official.parameters / 1e6,
        "published parameters are": _whose([published], {name: [Decimal(n) / 10**6] for name, n in counts.items()}),
    }


def _macs(clip: str | Missing, frame: str | Missing, counted: list[CostRecord] | Missing) -> Row:
    row = dict.fromkeys(_MACS, counted) | {"MACs published, G": clip, "MACs per frame published, M": frame}
    if isinstance(counted, Missing):
        return row
    here, _ = counted
    counts = {
        "thop's count": here.thop.macs,
        "the contractions": here.contraction_macs,
        "contractions and scans": here.macs_per_clip,
    }
    by_thop, contractions, everything = (macs / here.output_frames / 1e6 for macs in counts.values())
    figures = {name: [Decimal(n) / 10**9, Decimal(n) / here.output_frames / 10**6] for name, n in counts.items()}
    return row | {
        "MACs per frame by thop, M": by_thop,
        "contractions per frame, M": contractions,
        "contractions and scans per frame, M": everything,
        "published MACs are": _whose([clip, frame], figures),
    }


def _whose(published: list[str | Missing], counts: dict[str, list[Decimal]]) -> str | Missing:
    """Which counters reproduce the published figures; counts: counter -> its numbers, in their order and units."""
    given = [i for i, figure in enumerate(published) if not isinstance(figure, Missing)]
    if not given:
        return _NOT_PUBLISHED
    names = [name for name, numbers in counts.items() if all(agrees(published[i], numbers[i]) for i in given)]
    names = names or [
        f"{name}, cut short"
        for name, numbers in counts.items()
        if all(agrees(published[i], numbers[i]) or cut_short(published[i], numbers[i]) for i in given)
    ]
    return " and ".join(names) or "not reproduced by any counter"


def agrees(figure: str, number: Decimal) -> bool:
    """Whether a number, a Decimal, is within half a unit of the last digit of a published figure, a text."""
    figure = Decimal(figure)
    return abs(number - figure) <= Decimal(5).scaleb(figure.as_tuple().exponent - 1)


def cut_short(figure: str, number: Decimal) -> bool:
    """Whether a published figure, a text, is a number, a Decimal, without its further digits."""
    figure = Decimal(figure)
    return number.quantize(figure, ROUND_DOWN) == figure


def _cited(value: str | float) -> str | Missing:
    return Missing("no report by users is cited") if pd.isna(value) else value


def _measured(results: Results, published: pd.Series, key: Key | Missing) -> float | Missing:
    """The MPJPE measured on the published data from the same kind of 2D input; never that of other data."""
    if isinstance(key, Missing):
        return key
    if published.dataset != PUBLISHED_DATA:
        return Missing(f"a row of {published.dataset}, not of {PUBLISHED_DATA}")
    if registered(published) is None:
        return UNTRAINED
    for label in results.real & results.accuracy.keys():
        record = results.accuracy[label].get(key)
        on = (record.data.protocol, record.data.input) if record else None
        if on == (protocol_of(published), published.detector.lower()):
            return measured_error(record, published)
    return Missing(
        f"not evaluated here on {PUBLISHED_DATA} with {published.detector} detections, which are licensed and not "
        "shipped"
    )
