"""What does a shorter delay cost in mm? The error over the offline one, against the delay."""

import itertools

from matplotlib.figure import Figure

from liftbench.bench.records import OnlineRecord
from liftbench.bench.report.plots import labels
from liftbench.bench.report.plots.canvas import LINES, label, sheet, style, width_of
from liftbench.bench.report.results import Key, Results, in_order


def online(results: Results, data: str) -> Figure:
    """MPJPE over the offline one of every model at its look-aheads, on one data set."""
    group = results.online[data]
    keys = in_order(group)
    names = [_name(key, group[key]) for key in keys]
    note = (
        "Beside the names: frames of a clip, and the offline MPJPE. Hollow: the newest frame is repeated in place of "
        "those that have not come. A window's own time comes on top of the delay."
    )
    if data not in results.real:
        note += " Short runs on other data than the papers': their order does not rank the models."
    figure, (ax,) = sheet(2.2, left=0.42, right=width_of(names) + 0.1, heading=f"Real time on {data}", footnote=note)
    ax.set(title="MPJPE over offline, mm", xlabel="delay of a pose, ms")
    ax.axhline(0, color="#808080", linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
    ends = []
    for name, key, line in zip(names, keys, itertools.cycle(LINES)):
        record, (colour, marker) = group[key], style(key.model)
        points = [
            (1e3 * one.look_ahead_frames / record.fps, one.mpjpe_mm - record.offline.mpjpe_mm) for one in record.windows
        ]
        ax.plot(*zip(*points), color=colour, linestyle=line, linewidth=1.2)
        for point, window in zip(points, record.windows):
            ax.plot(*point, marker=marker, markersize=4, markeredgecolor=colour, linestyle="", zorder=3,
                    color="white" if window.repeated_frames else colour)  # fmt: skip
        ends.append(labels.End(name, *points[-1], colour))
    labels.at_ends(ax, ends)
    return figure


def _name(key: Key, record: OnlineRecord) -> str:
    """The weights, or else the model, with the frames of a clip; and the offline error."""
    return f"{f'{record.weights}, {key.frames}' if record.weights else label(key)}  {record.offline.mpjpe_mm:.1f}"
