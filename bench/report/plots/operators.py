"""What does a model compute? The share of each operator in its MACs."""

import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.report.plots.canvas import OTHER, SMALL, label, name_rows, plain, sheet, shown, width_of
from liftbench.bench.report.results import Results

_OPERATORS = {
    "linear": "#0072B2", "einsum": "#56B4E9", "matrix product": "#9BD3B8", "attention": "#009E73", "LSTM": "#E69F00",
    "convolution": "#F0E442", "scan": "#D55E00",
}  # fmt: skip
_NAMED = 12  # percent: a share that its number fits into


def cost_by_operator(results: Results) -> Figure | None:
    """The share of each operator in the MACs of a model, which stand beside its bar."""
    keys = [key for key in shown(results) if key in results.cost and results.cost[key].macs_per_clip]
    if not keys:
        return None
    costs = [results.cost[key] for key in keys]
    macs = [cost.contraction_macs_by_operator | {"scan": cost.scan_macs} for cost in costs]
    found = {name for row in macs for name, number in row.items() if number}
    order = [name for name in _OPERATORS if name in found] + sorted(found - set(_OPERATORS))
    names = [label(key) for key in keys]
    legend = 0.14 * -(-len(order) // 4)
    figure, (ax,) = sheet(
        0.55 + legend + 0.165 * len(keys), left=width_of(names), right=0.48, above=0.16 + legend,
        heading="Where are the MACs?",
        footnote="Contractions and scans. Beside the names: frames of a clip; beside the bars: MACs per frame.",
    )  # fmt: skip
    left, totals = np.zeros(len(keys)), np.array([sum(row.values()) for row in macs])
    for name in order:
        share = 100 * np.array([row.get(name, 0) for row in macs]) / totals
        colour = _OPERATORS.get(name, OTHER[0])
        hatch = "//////" if name == "attention" else None  # in grey, attention and scans look alike
        ax.barh(range(len(keys)), share, left=left, color=colour, edgecolor="white", linewidth=0.5, height=0.8,
                label=name, hatch=hatch)  # fmt: skip
        ink = "#FFFFFF" if np.dot(matplotlib.colors.to_rgb(colour), (0.3, 0.59, 0.11)) < 0.4 else "#1A1A1A"
        for i, width in enumerate(share):
            if width > _NAMED and not hatch:
                ax.text(left[i] + width / 2, i, f"{width:.0f}", ha="center", va="center", fontsize=6, color=ink)
        left += share
    for i, cost in enumerate(costs):
        ax.text(103, i, f"{plain(cost.macs_per_output_frame / 1e6)} M", va="center", fontsize=SMALL)
    name_rows(ax, names)
    ax.set(xlim=(0, 100), xlabel="% of the MACs")
    ax.legend(loc="lower center", bbox_to_anchor=(0.3, 1), ncols=4, fontsize=6, frameon=False, handlelength=0.9,
              handletextpad=0.4, columnspacing=0.8, labelspacing=0.2, borderaxespad=0.2)  # fmt: skip
    return figure
