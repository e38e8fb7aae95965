"""Direct labels, placed by arithmetic so that none covers another, a bubble or the frame.

The axes must have their limits and their place on the figure before labels are placed.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from liftbench.bench.report.plots.canvas import SMALL, width_of

_LINE_HEIGHT = 1.3 * SMALL  # points that a label takes below the next
_SHIFTS = np.stack(np.meshgrid(np.arange(-48, 49, 4), np.arange(-32, 33, 2)), axis=-1).reshape(-1, 2)
_NEAR = 1.5  # points from another bubble within which a label could be taken for its own
_FAR = 5  # points from which a line joins the two


class End(NamedTuple):
    """A label, and the point (x, y) in data coordinates that it belongs to."""

    text: str
    x: float
    y: float
    colour: str


def at_ends(ax: Axes, ends: list[End]) -> None:
    """Label the ends of curves right of the axes, and join each label to its end."""
    height = 72 * ax.get_position().height * ax.figure.get_figheight()
    pixels = ax.transData.transform(_limited(ax, [(end.x, end.y) for end in ends])) if ends else []
    points = [ax.transAxes.inverted().transform(pixel) for pixel in pixels]
    levels = within(spread([y for _, y in points], _LINE_HEIGHT / height), _LINE_HEIGHT / height)
    for end, (x, y), level in zip(ends, points, levels):
        ax.plot([x, 1.045], [y, level], color=end.colour, linestyle=(0, (1, 2)), linewidth=0.6,
                transform=ax.transAxes, clip_on=False)  # fmt: skip
        ax.text(1.055, level, end.text, transform=ax.transAxes, va="center_baseline", fontsize=SMALL)


def _limited(ax: Axes, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # what is drawn from now on does not move them
    return points


def spread(heights: list[float], pitch: float) -> list[float]:
    """Heights at least `pitch` apart, in the order of those given and no further from them than it takes."""
    order = np.argsort(heights, kind="stable")
    groups = []  # of labels that touch: the heights where each would put the group's first
    for i in order:
        groups.append([heights[i]])
        while len(groups) > 1 and np.mean(groups[-2]) + pitch * len(groups[-2]) > np.mean(groups[-1]):
            touching = groups.pop()
            groups[-1] += [height - pitch * len(groups[-1]) for height in touching]
    levels = [np.mean(group) + pitch * place for group in groups for place in range(len(group))]
    placed = np.empty(len(heights))
    placed[order] = levels
    return placed.tolist()


def within(levels: list[float], pitch: float) -> list[float]:
    """Heights that are `pitch` apart, moved between 0 and 1 as far as there is room, in their order."""
    order = np.argsort(levels, kind="stable")[::-1]
    moved = np.array(levels, dtype=float)
    for above, i in enumerate(order):
        moved[i] = min(moved[i], 1 - pitch / 2 - above * pitch)
    for below, i in enumerate(order[::-1]):
        moved[i] = max(moved[i], pitch / 2 + below * pitch)
    return moved.tolist()


def beside_bubbles(
    ax: Axes,
    points: list[tuple[float, float]],
    radii: list[float],
    texts: list[str],
    lines: list[list[tuple[float, float]]],
) -> None:
    """Label bubbles, each where there is room and near no other.

    points: data coordinates; radii: in points; lines: the corners of each line that is not to be covered, in data
    coordinates.
    """
    scale = 72 / ax.figure.dpi  # points a pixel; all boxes are (x0, y0, x1, y1) in points
    centres = ax.transData.transform(_limited(ax, points)) * scale
    inside = ax.get_window_extent().extents[None] * scale
    bubbles = _boxes(centres, 2 * (np.array(radii)[:, None] + _NEAR))
    dots = np.concatenate([_dots(ax.transData.transform(line) * scale) for line in lines])
    sizes = [np.array([72 * width_of([text], 0.03), 1.1 * SMALL]) for text in texts]
    places, placed = [None] * len(texts), [np.empty((0, 4))] * len(texts)  # of each: its shift; its label and line
    for i in [*range(len(texts))] * 3:  # later with all others in sight
        centre, radius, size = centres[i], radii[i], sizes[i]
        solid = np.concatenate([np.delete(bubbles, i, axis=0), *placed[:i], *placed[i + 1 :]])
        distances = np.hypot(*np.clip(0, _SHIFTS - size / 2, _SHIFTS + size / 2).T) - radius
        shifts, distances = _SHIFTS[distances > 0.5], distances[distances > 0.5]
        boxes = _boxes(centre + shifts, size)
        covered = _overlap(boxes, _within_reach(np.concatenate([solid, dots]), boxes))
        aside = np.abs(shifts[:, 1]) / 8 + (shifts[:, 0] < 0)  # right of the point reads best
        cost = distances + aside + 2 * covered + 5 * (size.prod() - _overlap(boxes, inside))
        cost = np.round(cost, 3)  # rounding errors never decide
        apart = np.abs((dots[:, :2] + dots[:, 2:]) / 2 - centre).max(axis=1)
        away = dots[apart > (radius + 5 if apart.min(initial=9) < 2 else 0)]  # a line through the bubble starts there
        least = np.inf
        for j in np.argsort(cost, kind="stable"):
            if cost[j] >= least:
                break
            joint = _line(centre, radius, shifts[j], size)
            total = np.round(cost[j] + 10 * _overlap(joint, np.concatenate([solid, away])).sum(), 3)
            if total < least:
                least, places[i], placed[i] = total, shifts[j], np.concatenate([boxes[[j]], joint])
    for point, centre, text, size, shift, boxes in zip(points, centres, texts, sizes, places, placed):
        label = ax.annotate(
            text, point, shift, textcoords="offset points", ha="center", va="center", fontsize=SMALL, zorder=4
        )
        label.set_path_effects([withStroke(linewidth=1.5, foreground="white")])  # over the front
        if len(boxes) > 1:  # there is a line
            end = (centre + np.clip((0, 0), shift - size / 2, shift + size / 2)) / scale
            ax.plot(*zip(point, ax.transData.inverted().transform(end)), color="#808080", linewidth=0.5, zorder=1)


def _dots(corners: np.ndarray) -> np.ndarray:
    """A line through corners as small boxes."""
    dots = [np.empty((0, 2))]
    for a, b in zip(corners[:-1], corners[1:]):
        parts = np.arange(0, 1, 2 / max(np.hypot(*(b - a)), 2))
        dots.append(a + (b - a) * parts[:, None])
    return _boxes(np.concatenate(dots), 2)


def _line(centre: np.ndarray, radius: float, shift: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The line from a bubble to a label that is far from it, as small boxes; none where the label is near."""
    end = np.clip((0, 0), shift - size / 2, shift + size / 2)  # the label's nearest point
    length = np.hypot(*end)
    if length <= radius + _FAR:
        return np.empty((0, 4))
    return _boxes(centre + end * np.linspace(radius / length, 1, 2 + int(length / 3))[:, None], 2)


def _boxes(centres: np.ndarray, sizes: np.ndarray | float) -> np.ndarray:
    """(N, 4) boxes around (N, 2) centres."""
    half = np.broadcast_to(np.asarray(sizes) / 2, np.shape(centres))
    return np.concatenate([centres - half, centres + half], axis=1)


def _within_reach(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those boxes that meet the box around all the others."""
    low, high = others[:, :2].min(axis=0), others[:, 2:].max(axis=0)
    return boxes[((boxes[:, 2:] > low) & (boxes[:, :2] < high)).all(axis=1)]


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,): the area that each box shares with each of the others, summed."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=2).sum(axis=1)
