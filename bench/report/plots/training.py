"""How did training go? Loss and test error of each run against the epoch."""

import itertools
from collections.abc import Iterable, Sequence

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import LINES, SMALL, plain, plain_numbers, sheet, style, width_of
from liftbench.bench.report.results import Results


def training(results: Results, label: str) -> Figure:
    """Test MPJPE of every training run on one data set."""
    group = results.training[label]
    runs = [
        (key.label, key.model, group[key].epochs, group[key].loss, group[key].test_mpjpe_mm)
        for key in results.keys
        if key in group
    ]
    note = "The loss is not drawn: the recipes have different ones."
    if label not in results.real:
        note += " Short runs on other data than the papers': their order does not rank the models."
    note += f" {results.provenance('training')}"
    return curves(f"Training on {label}", runs, note, loss=False)


def curves(
    heading: str,
    runs: Iterable[tuple[str, str, Sequence[int], Sequence[float], Sequence[float | None]]],
    footnote: str = "",
    loss: bool = True,
) -> Figure:
    """Test MPJPE against the epoch, and beside it the loss of runs whose recipes have the same.

    runs: (label, model, epochs from 0, loss per epoch, mm or None per epoch) of each.
    """
    runs = list(runs)
    room = width_of([f"{label}  0.1234" for label, *_ in runs], SMALL)
    figure, axes = sheet(
        (3.3 + room, 3.3), columns=1 + loss, left=0.55, right=room + 0.1, heading=heading, footnote=footnote
    )
    axes[-1].set(title="test MPJPE without mirrored average, mm")
    for ax, column in zip(axes[::-1], (4, 3)):
        ends = []
        for line, run in zip(itertools.cycle(LINES), runs):
            epochs, values = np.array(run[2]) + 1, np.array(run[column], dtype=float)
            (colour, marker), known = style(run[1]), np.flatnonzero(np.isfinite(values))
            ax.plot(epochs, values, marker=marker, markevery=known[-1:], color=colour, linestyle=line, linewidth=1.6)
            if len(known):
                last = known[-1]
                ends.append(labels.End(f"{run[0]}  {plain(values[last])}", epochs[last], values[last], colour))
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        labels.at_ends(ax, ends)
    if not loss:
        return figure
    axes[0].set(title="training loss (each recipe's own)", yscale="log")
    plain_numbers(axes[0].yaxis)
    axes[0].yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    return figure
