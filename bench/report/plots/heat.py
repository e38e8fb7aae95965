"""Where are the errors? MPJPE of each action by model."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from liftbench.bench.report.plots.canvas import COLUMN, SMALL, label, sheet, width_of
from liftbench.bench.report.results import Key, Results

_ROW, _LEAST = 0.165, 0.34  # inches: of a row, and the least of a column


def per_action(results: Results, data: str) -> Figure:
    """MPJPE by action and model on one data set."""
    group = results.accuracy[data]
    columns = {
        key: group[key].mpjpe_mm_per_action | {"mean": group[key].mpjpe_mm} for key in results.keys if key in group
    }
    unranked = "" if data in results.real else " Short training on other data than the papers': it ranks no models."
    return _heat_map(columns, f"MPJPE by action, mm\n{data}", f"Framed: the best of each row.{unranked}")


def _heat_map(columns: dict[Key, dict[str, float]], title: str, footnote: str) -> Figure:
    """columns: Key -> action -> mm. The best of each row is framed."""
    names, actions = [label(key) for key in columns], list(next(iter(columns.values())))
    values = np.array([[column[action] for column in columns.values()] for action in actions])
    left, slanted = width_of(actions), 0.72 * width_of(names)
    width = max(COLUMN, left + slanted + _LEAST * len(names))
    figure, (ax,) = sheet(
        _ROW * len(actions) + slanted + 0.1, left=left, right=0.6 * slanted, above=slanted, below=0.1, heading=title,
        footnote=footnote, width=width,
    )  # fmt: skip
    low, span = values.min(), np.ptp(values) or 1
    ax.imshow(values, aspect="auto", cmap="YlGnBu", vmin=low, vmax=low + 2.2 * span)  # light enough for dark text
    ax.axhline(len(actions) - 1.5, color="white", linewidth=4)  # sets the mean apart
    ax.grid(False)
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(names)), names, rotation=40, ha="left", rotation_mode="anchor")
    ax.set_yticks(range(len(actions)), actions)
    ax.tick_params(length=0, pad=2)
    best = values.argmin(axis=1)
    for (i, j), value in np.ndenumerate(values):
        weight = "bold" if best[i] == j else "normal"
        ax.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=SMALL, color="#262626", fontweight=weight)
    for i, j in enumerate(best):
        for colour, line in (("white", 2.2), ("#D55E00", 1.0)):
            ax.add_patch(Rectangle((j - 0.46, i - 0.42), 0.92, 0.84, fill=False, edgecolor=colour, linewidth=line,
                                   zorder=3))  # fmt: skip
    return figure
