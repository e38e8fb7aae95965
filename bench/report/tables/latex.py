"""Tables for LaTeX, with the packages booktabs and graphicx: floats that fit a page and are no wider than the text."""

import dataclasses
import functools
import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liftbench.bench.report.tables.table import Row, Table

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "—": "---",
}  # fmt: skip
_WIDTH, _HEIGHT = 122, 58  # of a float: characters, which are scaled down to the text's width, and lines
_CELL, _HEADER, _NOTE = 26, 9, 95  # characters of a line: in a cell, the fewest in a header, below the table
PACKAGES = "% Packages: booktabs, graphicx\n"
_SCALED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"


def latex(table: "Table") -> str:
    """A Table as one or more floats. Each says why its missing numbers are missing; the
    last has the notes.

    Where the columns need more than one, each begins with those that name a row, of which there are `table.naming`.
    """
    cells, _ = table.texts(str, str)
    widths = [2 + _widest(_lines(header, width)) for header, width in zip(table.columns, _widths(cells))]
    headers, named = list(table.columns), table.naming
    groups = _packed(headers[named:], widths[named:], _WIDTH - sum(widths[:named])) or [[]]
    narrow = [
        dataclasses.replace(table, columns={key: table.columns[key] for key in headers[:named] + group}, notes=[])
        for group in groups
    ]
    narrow[-1].notes = table.notes
    floats = [dataclasses.replace(part, rows=rows, notes=[]) for part in narrow for rows in _pages(part)]
    floats[-1].notes, best = table.notes, table.winners()
    for number, one in enumerate(floats, start=1):
        one.title += f" ({number} of {len(floats)})" * (len(floats) > 1)
    return PACKAGES + "\n".join(_float(one, best) for one in floats)


def _pages(table: "Table") -> "list[list[Row]]":
    """The rows in lists that fit a page, with room for the notes."""
    cells, _ = table.texts(str, str)
    heights = [max(len(_lines(cell, _CELL)) for cell in row) for row in cells]
    return _packed(table.rows, heights, _HEIGHT - sum(1 + len(note) // _NOTE for note in table.notes))


def _packed(items: list, sizes: list[int], room: int) -> list[list]:
    """Consecutive items in lists that fill no more than the room, or hold one item."""
    packed, left = [], 0
    for item, size in zip(items, sizes):
        if not packed or size > left:
            packed.append([])
            left = room
        packed[-1].append(item)
        left -= size
    return packed


def _float(table: "Table", best: dict[str, float]) -> str:
    """best: header -> the number that is set in bold, of the whole table."""
    raw, _ = table.texts(str, str)
    cells, reasons = table.texts(
        lambda number: f"---\\textsuperscript{{{number}}}", lambda text: _stacked(_lines(text, _CELL), "t", "l")
    )
    for row, texts in zip(table.rows, cells):
        for place, header in enumerate(table.columns):
            if header in best and _number(row[header]) == best[header]:
                texts[place] = f"\\textbf{{{texts[place]}}}"
    sides = ["r" if all(re.fullmatch(r"[-+.,\d]*", text) for text in column) else "l" for column in zip(*raw)]
    head = [
        _stacked(_lines(header, width), "b", side) for header, width, side in zip(table.columns, _widths(raw), sides)
    ]
    body = "".join(f"{' & '.join(row)} \\\\\n" for row in cells)
    below = [f"\\textsuperscript{{{n}}}~{_escape(reason)}." for n, reason in enumerate(reasons, start=1)]
    below += map(_escape, table.notes)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{_escape(table.title)}}}\n\\scriptsize\\tabcolsep=3pt\n"
        f"{_SCALED}{{\\begin{{tabular}}{{{''.join(sides)}}}\n"
        f"\\toprule\n{' & '.join(head)} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}}}\n"
        f"\\par\\smallskip\\raggedright {' '.join(below)}\n\\end{{table}}\n"
    )


def _number(cell: object) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _widths(cells: list[list[str]]) -> list[int]:
    """Of each column, in characters, without its header."""
    return [_widest([line for text in column for line in _lines(text, _CELL)]) for column in zip(*cells)]


def _widest(lines: list[str]) -> int:
    return max(map(len, lines))


@functools.cache
def _lines(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, _HEADER), break_long_words=False, break_on_hyphens=False) or [""]


def _stacked(lines: list[str], position: str, side: str) -> str:
    """Lines of one cell below each other, on the row's line with the first (t) or the last (b) of them."""
    if len(lines) == 1:
        return _escape(lines[0])
    inside = r" \\ ".join(map(_escape, lines))
    return f"\\begin{{tabular}}[{position}]{{@{{}}{side}@{{}}}}{inside}\\end{{tabular}}"


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
