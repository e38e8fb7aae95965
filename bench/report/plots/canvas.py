"""What all plots share: their style, the colour of a model, axes placed in inches, and the bytes of a file.

A plot is as wide as a column of a paper, COLUMN, so that its letters have their size in print. The axes are placed by
hand, and not by a layout engine, because that draws every figure several times.
"""

import contextlib
import io
import textwrap
from collections.abc import Iterator, Mapping
from typing import Literal

import matplotlib
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from PIL import Image

from liftbench.baselines.registry import MODELS
from liftbench.bench.report.results import Key, Results
from liftbench.bench.report.tables.at_a_glance import SHOWN, is_own

COLUMN = 3.35  # inches: 85 mm
_NARROWEST = 0.9  # inches of a panel
SMALL = 6.5  # points: labels of curves, rows and points
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
OTHER = ("#333333", "*")
# Okabe and Ito's palette, safe for the colour-blind, and more; each with its marker, to be told apart in grey.
_PALETTE = [
    ("#0072B2", "o"), ("#56B4E9", "D"), ("#009E73", "s"), ("#E69F00", "^"), ("#D55E00", "v"), ("#CC79A7", "P"),
    ("#8C6D1F", "p"), ("#4B3F8F", "h"), ("#882255", "X"), ("#6B8E23", "<"), ("#A0522D", ">"), ("#5F6B7A", "d"),
]  # fmt: skip
_PUBLISHED_ONLY = ("#6B6B6B", "X")
_DPI = 300
_TEXTS = TextToPath()
_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 7.5, "axes.titlesize": 7.5, "axes.labelsize": 7,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "axes.titlepad": 4, "axes.linewidth": 0.7, "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6, "text.color": "#262626", "axes.labelcolor": "#262626", "xtick.color": "#262626",
    "ytick.color": "#262626", "axes.grid": True, "axes.axisbelow": True, "grid.color": "#E6E6E6",
    "axes.edgecolor": "#808080", "xtick.bottom": False, "ytick.left": False, "xtick.minor.bottom": False,
    "ytick.minor.left": False, "axes.titley": 1.0, "svg.hashsalt": "liftbench", "svg.fonttype": "path",
    "figure.dpi": _DPI, "text.hinting": "none",
}  # fmt: skip


def style(name: str) -> tuple[str, str]:
    """(colour, marker) of a model by its registered or its published name: one a family, by the registry."""
    families = list(dict.fromkeys(entry.family for entry in MODELS.values()))
    published = {entry.published[0]: entry.family for entry in MODELS.values() if entry.published}
    family = MODELS[name].family if name in MODELS else published.get(name)
    if family is None:
        return _PUBLISHED_ONLY
    place = families.index(family)
    return _PALETTE[place] if place < len(_PALETTE) else OTHER


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """The settings under which all plots are drawn and saved."""
    with matplotlib.rc_context(_STYLE):
        yield


def encode(figure: Figure, suffix: Literal["png", "svg"]) -> bytes:
    """The bytes of a file of a figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    if suffix == "svg":
        figure.savefig(buffer, format=suffix, metadata={"Date": None})
        return buffer.getvalue()
    figure.savefig(buffer, format="raw")
    pixels = Image.frombuffer("RGBA", figure.canvas.get_width_height(), buffer.getbuffer())
    small = io.BytesIO()  # a palette of its own takes a third of the bytes
    pixels.convert("RGB").quantize(255, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        small, "png", optimize=True
    )
    return small.getvalue()


def title(figure: Figure) -> str:
    """What a figure shows, from its own titles."""
    titles = [figure.get_suptitle().replace("\n", ", "), *(ax.get_title() for ax in figure.axes)]
    return "; ".join(dict.fromkeys(filter(None, titles)))


def sheet(
    height: float, rows: int = 1, *, left: float = 0.45, right: float = 0.08, below: float = 0.36, above: float = 0.2,
    heading: str = "", footnote: str = "", width: float = COLUMN,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure with a heading, a footnote, and panels between them, one below the other.

    height: inches that a panel takes with the room around it, `above` it for its title and `below` it for ticks and
    label; left and right: inches beside the panels. Long names beside them make the figure wider.
    """
    width = max(width, left + right + _NARROWEST)
    lines = textwrap.wrap(footnote, int(width * 21))
    head = [line for part in heading.split("\n") for line in textwrap.wrap(part, int(width * 16))]
    top, foot = 0.08 + 0.15 * len(head), 0.06 + 0.105 * len(lines)
    total = top + rows * height + foot
    figure = Figure(figsize=(width, total))
    FigureCanvasAgg(figure)
    axes = [
        figure.add_axes(
            (
                left / width,
                (foot + (rows - 1 - row) * height + below) / total,
                (width - left - right) / width,
                (height - above - below) / total,
            )
        )
        for row in range(rows)
    ]
    if heading:
        figure.suptitle("\n".join(head), fontsize=7.5, y=1 - 0.06 / total, va="top", linespacing=1.15)
    figure.text(0.5, 0.04 / total, "\n".join(lines), fontsize=5.8, color="#555555", ha="center", va="bottom",
                linespacing=1.15)  # fmt: skip
    return figure, axes


def shown(results: Results) -> list[Key]:
    """The keys at their published length without overridden numbers, and all of a model that has none such; ablations
    are left to their tables. Beside reference records only the models of the overview and the user's own."""
    keys = results.keys
    usual = [key for key in keys if key.numbers == "{}" and _published(key) and "scan" not in MODELS[key.model].numbers]
    models = {key.model for key in usual}
    own = [key for key in keys if key.model not in models and "scan" not in _numbers(key)]
    return [
        key
        for key in keys
        if (key in usual or key in own) and (not results.has_reference or key.model in SHOWN or is_own(results, key))
    ]


def _published(key: Key) -> bool:
    return key.model in MODELS and MODELS[key.model].frames == key.frames


def _numbers(key: Key) -> Mapping[str, object]:
    return MODELS[key.model].numbers if key.model in MODELS else {}


def label(key: Key) -> str:
    """A model's name, with the frames of a clip if it does not end with them."""
    return key.name if key.name.endswith(f"_{key.frames}") else f"{key.name}, {key.frames}"


def name_rows(ax: Axes, names: list[str]) -> None:
    """Rows 0, 1, ... of bars, the first one on top, with their names left of them."""
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_yticks(range(len(names)), names)
    ax.grid(False, axis="y")


def width_of(texts: list[str], margin: float = 0.14) -> float:
    """Inches that the widest of some labels takes, and a margin."""
    font = FontProperties(family=_STYLE["font.family"], size=SMALL)
    widths = (_TEXTS.get_text_width_height_descent(text, font, ismath=False)[0] for text in texts if text)
    return max(widths, default=0) / 72 + margin


def plain(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def plain_numbers(axis: Axis) -> None:
    """Plain numbers beside a logarithmic axis, at its major ticks only."""
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())


def log_log(ax: Axes, ticks: list[int]) -> None:
    """Both axes in logarithms, plain numbers beside them, and ticks at measured x, at most four that have a number."""
    ax.set(xscale="log", yscale="log")
    plain_numbers(ax.xaxis)
    plain_numbers(ax.yaxis)
    step = -(-len(ticks) // 4)
    ax.set_xticks(ticks, [f"{x:,}" if place % step == 0 else "" for place, x in enumerate(ticks)])
