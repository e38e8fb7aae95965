"""What all plots share: their style, the colour of a model, axes placed in inches, and the bytes of a file.

The axes are placed by hand, and not by a layout engine, because that draws every figure several times.
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
from liftbench.bench.report.results import Key

SMALL = 7.5  # points: labels of curves, bars and bubbles
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
OTHER = ("#333333", "*")
# Okabe and Ito's palette, safe for the colour-blind, and more; each with its marker, to be told apart in grey.
_PALETTE = [
    ("#0072B2", "o"), ("#56B4E9", "D"), ("#009E73", "s"), ("#E69F00", "^"), ("#D55E00", "v"), ("#CC79A7", "P"),
    ("#8C6D1F", "p"), ("#4B3F8F", "h"), ("#882255", "X"), ("#6B8E23", "<"), ("#A0522D", ">"), ("#5F6B7A", "d"),
]  # fmt: skip
_PUBLISHED_ONLY = ("#6B6B6B", "X")
_DPI = 120
_TEXTS = TextToPath()
_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 8.5, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "text.color": "#262626", "axes.labelcolor": "#262626", "xtick.color": "#262626",
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
    metadata = {"Software": None} if suffix == "png" else {"Date": None}
    figure.savefig(buffer, format=suffix, metadata=metadata)
    if suffix == "svg":
        return buffer.getvalue()
    small = io.BytesIO()  # a palette of its own takes a third of the bytes
    Image.open(buffer).convert("RGB").quantize(255, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        small, "png", optimize=True
    )
    return small.getvalue()


def title(figure: Figure) -> str:
    """What a figure shows, from its own titles."""
    titles = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
    return "; ".join(dict.fromkeys(filter(None, titles)))


def sheet(
    panel: tuple[float, float], rows: int = 1, columns: int = 1, *, left: float = 0.65, right: float = 0.15,
    edge: float = 0.0, heading: str = "", footnote: str = "", titled: bool = True,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure with a heading, a footnote, and rows x columns panels between them, row by row.

    panel: inches that one takes with the room around it, for its title (titled), the ticks and the label below it, and
    what stands `left` and `right` of it; edge: inches left of all panels.
    """
    width = edge + columns * panel[0]
    lines = textwrap.wrap(footnote, int(width * 14))
    head, foot = 0.36 if heading else 0.08, 0.1 + 0.14 * len(lines)
    height = head + rows * panel[1] + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    above, below = 0.3 if titled else 0.05, 0.5
    axes = [
        figure.add_axes(
            (
                (edge + column * panel[0] + left) / width,
                (foot + (rows - 1 - row) * panel[1] + below) / height,
                (panel[0] - left - right) / width,
                (panel[1] - above - below) / height,
            )
        )
        for row in range(rows)
        for column in range(columns)
    ]
    if heading:
        figure.suptitle(heading, fontsize=10, y=1 - 0.12 / height, va="top")
    figure.text(0.5, 0.08 / height, "\n".join(lines), fontsize=7, color="#555555", ha="center", va="bottom")
    return figure, axes


def shown(keys: list[Key]) -> list[Key]:
    """The keys at their published length without overridden numbers, and all of a model that has none such; ablations
    are left to their tables."""
    usual = [key for key in keys if key.numbers == "{}" and _published(key) and "scan" not in MODELS[key.model].numbers]
    models = {key.model for key in usual}
    own = [key for key in keys if key.model not in models and "scan" not in _numbers(key)]
    return [key for key in keys if key in usual or key in own]


def _published(key: Key) -> bool:
    return key.model in MODELS and MODELS[key.model].frames == key.frames


def _numbers(key: Key) -> Mapping[str, object]:
    return MODELS[key.model].numbers if key.model in MODELS else {}


def name_rows(ax: Axes, names: list[str], shown: bool = True) -> None:
    """Rows 0, 1, ... of bars, the first one on top, with their names left of them if `shown`."""
    ax.set_ylim(len(names) - 0.4, -0.6)
    if shown:
        ax.set_yticks(range(len(names)), names)
        ax.grid(False, axis="y")
    else:
        ax.yaxis.set_major_locator(matplotlib.ticker.NullLocator())


def width_of(texts: list[str], points: float = 8) -> float:
    """Inches that the widest of some texts takes, and a little more."""
    font = FontProperties(family=_STYLE["font.family"], size=points)
    widths = (_TEXTS.get_text_width_height_descent(text, font, ismath=False)[0] for text in texts if text)
    return max(widths, default=0) / 72 + 0.15


def plain(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def plain_numbers(axis: Axis) -> None:
    """Plain numbers beside a logarithmic axis, at its major ticks only."""
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())


def log_log(ax: Axes, ticks: list[int]) -> None:
    """Both axes in logarithms, plain numbers beside them, and a tick at each measured x."""
    ax.set(xscale="log", yscale="log")
    plain_numbers(ax.xaxis)
    plain_numbers(ax.yaxis)
    ax.set_xticks(ticks, [f"{x:,}" for x in ticks], fontsize=7)
