"""How did training go? Loss and test error of each run against the epoch."""

import itertools
from collections.abc import Iterable, Sequence

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import LINES, label, plain, plain_numbers, sheet, style, width_of
from liftbench.bench.report.results import Results


def training(results: Results, data: str) -> Figure:
    """Test MPJPE of every training run on one data set."""
    group = results.training[data]
    runs = [
        (label(key), key.model, group[key].epochs, group[key].loss, group[key].test_mpjpe_mm)
        for key in results.keys
        if key in group
    ]
    note = "Beside the names: frames of a clip. The loss is not drawn: the recipes have different ones."
    if data not in results.real:
        note += " Short runs on other data than the papers': their order does not rank the models."
    return curves(f"Training on {data}", runs, note, loss=False)


def curves(
    heading: str,
    runs: Iterable[tuple[str, str, Sequence[int], Sequence[float], Sequence[float | None]]],
    footnote: str = "",
    loss: bool = True,
) -> Figure:
    """Test MPJPE against the epoch, and below it the loss of runs whose recipes have the same.

    runs: (label, model, epochs from 0, loss per epoch, mm or None per epoch) of each.
    """
    runs = list(runs)
    room = width_of([f"{run[0]}  1,234" for run in runs]) + 0.1
    figure, axes = sheet(2.0, rows=1 + loss, left=0.42, right=room, heading=heading, footnote=footnote)
    axes[0].set(title="test MPJPE, mm, not mirrored")
    if loss:  # before its labels are placed
        axes[1].set(title="training loss (each recipe's own)", yscale="log")
        plain_numbers(axes[1].yaxis)
        axes[1].yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    for ax, column in zip(axes, (4, 3)):
        ends = []
        for line, run in zip(itertools.cycle(LINES), runs):
            epochs, values = np.array(run[2]) + 1, np.array(run[column], dtype=float)
            (colour, marker), known = style(run[1]), np.flatnonzero(np.isfinite(values))
            ax.plot(epochs[known], values[known], marker=marker, markevery=[-1], color=colour, linestyle=line,
                    linewidth=1.2, markersize=4)  # fmt: skip
            if len(known):
                last = known[-1]
                ends.append(labels.End(f"{run[0]}  {plain(values[last])}", epochs[last], values[last], colour))
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        labels.at_ends(ax, ends)
    return figure
