"""Where are the errors? MPJPE of each model by action."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from liftbench.bench.report.plots.canvas import SMALL, sheet, width_of
from liftbench.bench.report.results import Key, Results

_ROW, _COLUMN = 0.28, 0.5  # inches of a cell


def per_action(results: Results, label: str) -> Figure:
    """MPJPE by model and action on one data set."""
    group = results.accuracy[label]
    rows = {key: group[key].mpjpe_mm_per_action | {"mean": group[key].mpjpe_mm} for key in results.keys if key in group}
    unranked = (
        "" if label in results.real else "Short training on other data than the papers': it does not rank models. "
    )
    return _heat_map(rows, f"MPJPE by action on {label}, mm", unranked + results.provenance("accuracy"))


def _heat_map(rows: dict[Key, dict[str, float]], title: str, footnote: str) -> Figure:
    """rows: Key -> column -> mm. The best of each column is framed."""
    names, columns = [key.label for key in rows], list(next(iter(rows.values())))
    values = np.array([[row[column] for column in columns] for row in rows.values()])
    below = 0.75 * width_of(columns) - 0.25  # of slanted names, more than the label of an axis takes
    figure, (ax,) = sheet(
        (_COLUMN * len(columns), _ROW * len(names) + 0.5 + below), left=0, right=0.05, edge=width_of(names),
        heading=title, footnote=f"Framed and bold: the best of each column. {footnote}", titled=False,
    )  # fmt: skip
    x, y, width, height = ax.get_position().bounds
    ax.set_position((x, y + below / figure.get_figheight(), width, height - below / figure.get_figheight()))
    low, span = values.min(), np.ptp(values) or 1
    ax.imshow(values, aspect="auto", cmap="YlGnBu", vmin=low, vmax=low + 2.2 * span)  # light enough for dark text
    ax.axvline(len(columns) - 1.5, color="white", linewidth=6)  # sets the mean apart
    ax.grid(False)
    ax.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    best = values.argmin(axis=0)
    for (i, j), value in np.ndenumerate(values):
        weight = "bold" if best[j] == i else "normal"
        ax.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=SMALL, color="#262626", fontweight=weight)
    for j, i in enumerate(best):
        for colour, line in (("white", 3.5), ("#D55E00", 1.6)):
            ax.add_patch(Rectangle((j - 0.45, i - 0.45), 0.9, 0.9, fill=False, edgecolor=colour, linewidth=line,
                                   zorder=3))  # fmt: skip
    return figure
