"""How fast is each model, and how much memory does it take? Dots on logarithmic axes, where a bar has no length."""

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liftbench.bench.report.plots.canvas import SMALL, name_rows, plain, plain_numbers, sheet, shown, style, width_of
from liftbench.bench.report.results import Key, Results


def speed(results: Results, machine: str) -> Figure:
    """Time of a new frame and poses per second of the best batch on one machine: medians, whiskers from p20 to p80.

    Forward passes in float32, eager, lifting only; other settings and lengths are in the tables.
    """
    group = results.speed[machine]
    keys = shown([key for key in results.keys if key in group])
    latency = [
        [getattr(group[key].latency, f"{q}_ms") / group[key].output_frames for key in keys]
        for q in ("p20", "median", "p80")
    ]
    best = [group[key].throughput for key in keys]
    poses = [
        [group[key].output_frames * timing.batch / getattr(timing, f"{q}_ms") * 1e3 for key, timing in zip(keys, best)]
        for q in ("p80", "median", "p20")
    ]
    peaks = [group[key].latency.peak_memory_mib for key in keys]
    heading = f"Speed on {machine}, float32"
    figure, axes = _sheet(keys, 3 if any(peaks) else 2, heading, "Medians; whiskers from p20 to p80.")
    _dots(axes[0], keys, latency)
    axes[0].set(title="latency of a clip per pose", xlabel="ms per new frame (less is better)")
    _dots(axes[1], keys, poses, [f" (batch {timing.batch})" for timing in best])
    axes[1].set(title="throughput of the best batch", xlabel="poses/s (more is better)")
    if any(peaks):
        _dots(axes[2], keys, [peaks])
        axes[2].set(title="peak memory of one clip", xlabel="MiB (less is better)")
    return figure


def memory(results: Results) -> Figure | None:
    """Counted activations of one clip: the peak of inference, and what is kept for a backward pass."""
    fields = {
        "activation_bytes_peak_inference": "peak of inference",
        "activation_bytes_kept_for_backward": "kept for the backward pass",
    }
    keys = [key for key in shown(results.keys) if key in results.cost]
    sizes = {field: [getattr(results.cost[key], field) for key in keys] for field in fields}
    counted = {field: [n and n / 2**20 for n in numbers] for field, numbers in sizes.items() if any(numbers)}
    if not counted:
        return None
    footnote = f"Counted on the plain form of each model. {results.provenance('cost')}"
    figure, axes = _sheet(keys, len(counted), "Activations of one clip, float32", footnote)
    for ax, (field, sizes_mib) in zip(axes, counted.items()):
        _dots(ax, keys, [sizes_mib])
        ax.set(title=fields[field], xlabel="MiB (less is better)")
    return figure


def _sheet(keys: list[Key], panels: int, heading: str, footnote: str) -> tuple[Figure, list[Axes]]:
    names = [key.label for key in keys]
    figure, axes = sheet(
        (3.25, 0.9 + 0.23 * len(keys)), columns=panels, left=0.12, right=0.3, edge=width_of(names), heading=heading,
        footnote=f"Logarithmic axes. {footnote}",
    )  # fmt: skip
    for ax in axes:
        name_rows(ax, names, ax is axes[0])
    return figure, axes


def _dots(ax: Axes, keys: list[Key], quantiles: list[list[float | None]], remarks: list[str] | None = None) -> None:
    """quantiles: a row of numbers, or three of which the outer ones are the ends of whiskers. None is not measured."""
    low, middle, high = np.array(quantiles if len(quantiles) == 3 else 3 * quantiles, dtype=float)
    least = low[low > 0].min() / 2  # zero has no place on a logarithmic axis
    for i, (key, value) in enumerate(zip(keys, middle)):
        if value != 0:
            ax.plot(value, i, marker="o", markersize=6, color=style(key.model)[0], zorder=3)
    if len(quantiles) == 3:
        ax.hlines(range(len(keys)), low, high, color="black", linewidth=1.2)
    for i, (value, end) in enumerate(zip(middle, np.fmax(high, least))):
        text = "not measured" if np.isnan(value) else plain(value) + (remarks[i] if remarks else "")
        ax.annotate(text, (end, i), (7, 0), textcoords="offset points", va="center", fontsize=SMALL)
    most = np.nanmax(high)
    ax.set_xscale("log")
    ax.set_xlim(least, most * (most / least) ** (0.75 if remarks else 0.35))  # room for the numbers
    plain_numbers(ax.xaxis)
    ax.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(_ticks(least, most)))


def _ticks(least: float, most: float) -> np.ndarray:
    """Up to three numbers within the bars: 1, 2 and 5 times powers of ten, or such powers alone."""
    powers = 10.0 ** np.arange(np.floor(np.log10(least)), np.log10(most))
    many = np.outer(powers, (1, 2, 5)).ravel() if most < 30 * least else powers
    within = many[(least <= many) & (many <= most)]
    return within[:: -(-len(within) // 3) or 1]
