"""A table as data, and as markdown, CSV and LaTeX. A missing number is a dash with a footnote."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from liftbench.bench.report.results import Missing
from liftbench.bench.report.tables.latex import latex

Cell = str | float | Missing
Row = dict[str, Cell]


@dataclass
class Table:
    """columns: header -> format of its numbers; the first `naming` of them tell rows apart. rows: one dict per row,
    header -> number, text or Missing. notes: sentences that stand below the table. best: header -> "least" or "most",
    the columns whose best number LaTeX shows in bold."""

    name: str
    title: str
    columns: dict[str, str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    naming: int = 2
    best: dict[str, str] = field(default_factory=dict)

    def parts(self) -> list["Table"]:
        """The tables that are shown below each other."""
        return [self]

    def markdown(self) -> str:
        cells, reasons = self.texts(lambda number: f"—<sup>{number}</sup>", lambda text: text.replace("|", r"\|"))
        lines = [list(self.columns), ["---"] + ["---:"] * (len(self.columns) - 1), *cells]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        footnotes = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))
        return "\n\n".join(filter(None, [f"## {self.title}", table, footnotes, *self.notes])) + "\n"

    def latex(self) -> str:
        """Floats with tables of the booktabs package, scaled to the text's width with graphicx."""
        return latex(self)

    def csv(self) -> str:
        """Unrounded numbers; a missing one is empty, and the last column says why."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self.columns, "missing"])
        for row in self.rows:
            cells = [row[header] for header in self.columns]
            reasons = [f"{header}: {cell.reason}" for header, cell in zip(self.columns, cells) if _missing(cell)]
            writer.writerow([*("" if _missing(cell) else cell for cell in cells), "; ".join(reasons)])
        return text.getvalue()

    def winners(self) -> dict[str, float]:
        """The best number of each column of `best` that has different numbers; digits as published count as numbers."""
        numbers = {
            header: [one for row in self.rows if (one := number(row[header])) is not None] for header in self.best
        }
        pick = {"least": min, "most": max}
        return {header: pick[self.best[header]](found) for header, found in numbers.items() if len(set(found)) > 1}

    def texts(self, dash: Callable[[int], str], escape: Callable[[str], str]) -> tuple[list[list[str]], list[str]]:
        """The cells as texts, and the reasons of the missing ones in the order of their footnotes."""
        reasons = []

        def text(header: str, value: Cell) -> str:
            if _missing(value):
                if value.reason not in reasons:
                    reasons.append(value.reason)
                return dash(reasons.index(value.reason) + 1)
            return escape(value if isinstance(value, str) else _format(value, self.columns[header]))

        return [[text(header, row[header]) for header in self.columns] for row in self.rows], reasons


def number(cell: object) -> float | None:
    """A cell as a number, digits as published too; None for texts and what is missing."""
    try:
        found = float(cell)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _format(number: float, rule: str) -> str:
    text = format(number, rule)
    return f"{number:,.0f}" if "e+" in text else text


def _missing(value: object) -> bool:
    return isinstance(value, Missing)
