"""Direct labels, placed by arithmetic so that none covers another, a bubble or the frame.

The axes must have their limits and their place on the figure before labels are placed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from liftbench.bench.report.plots.canvas import SMALL, width_of

_LINE_HEIGHT = 1.3 * SMALL  # points that a label takes below the next
_SIDES = np.array([(1, 0), (-1, 0)] + [(x, y) for x in (0, 0.5, -0.5, 1, -1) for y in (1, -1)])
_GAPS = np.array([2, 6, 12, 19, 28, 39, 53, 70, 90])  # points between a bubble and its label
_NEAR = 3  # points from another bubble within which a label could be taken for its own
_FAR = 5  # points from which a line joins the two


class End(NamedTuple):
    """A label, and the point (x, y) in data coordinates that it belongs to."""

    text: str
    x: float
    y: float
    colour: str


def at_ends(ax: Axes, ends: list[End]) -> None:
    """Label the ends of curves right of the axes, and join each label to its end."""
    _label(ax, ends, lambda x: 1.03)


def right_of(ax: Axes, points: list[End], below: float) -> None:
    """Label points right of each and below a height in data coordinates, and join each label to its point."""
    _label(ax, points, lambda x: x + 0.04, below)


def _label(ax: Axes, ends: list[End], place: Callable[[float], float], below: float | None = None) -> None:
    height = 72 * ax.get_position().height * ax.figure.get_figheight()
    pixels = ax.transData.transform(_limited(ax, [(end.x, end.y) for end in ends])) if ends else []
    points = [ax.transAxes.inverted().transform(pixel) for pixel in pixels]
    levels = spread([y for _, y in points], _LINE_HEIGHT / height)
    if below is not None:
        highest = ax.transAxes.inverted().transform(ax.transData.transform((1, below)))[1] - _LINE_HEIGHT / height
        for above, i in enumerate(np.argsort(levels)[::-1]):
            levels[i] = min(levels[i], highest - above * _LINE_HEIGHT / height)
    for end, (x, y), level in zip(ends, points, levels):
        ax.plot([x, place(x) - 0.005], [y, level], color=end.colour, linestyle=(0, (1, 2)), linewidth=0.7,
                transform=ax.transAxes, clip_on=False)  # fmt: skip
        ax.text(place(x), level, end.text, transform=ax.transAxes, va="center_baseline", fontsize=SMALL)


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


def beside_bubbles(
    ax: Axes, points: list[tuple[float, float]], radii: list[float], texts: list[str], path: list[tuple[float, float]]
) -> None:
    """Label bubbles, each where there is room and near no other.

    points: data coordinates; radii: in points; path: the corners of a line that is not to be covered, in data
    coordinates.
    """
    scale = 72 / ax.figure.dpi  # points a pixel; all boxes are (x0, y0, x1, y1) in points
    centres = ax.transData.transform(_limited(ax, points)) * scale
    inside = ax.get_window_extent().extents[None] * scale
    bubbles = _boxes(centres, 2 * (np.array(radii)[:, None] + _NEAR))
    dots = _dots(ax.transData.transform(path) * scale)
    sizes = [np.array([72 * width_of([text], SMALL), _LINE_HEIGHT]) for text in texts]
    places, placed = [None] * len(texts), [np.empty((0, 4))] * len(texts)  # of each: its shift; its label and line
    for i in [*range(len(texts))] * 2:  # the second time with all others in sight
        centre, radius, size = centres[i], radii[i], sizes[i]
        solid = np.concatenate([np.delete(bubbles, i, axis=0), *placed[:i], *placed[i + 1 :]])
        shifts = (_SIDES * (size / 2 + radius + _GAPS[:, None, None])).reshape(-1, 2)
        labels = _boxes(centre + shifts, size)
        lines = [_line(centre, radius, shift, size) for shift in shifts]
        crossed = [_overlap(line, solid).sum() for line in lines]
        cost = _overlap(labels, np.concatenate([solid, dots])) + 5 * np.array(crossed)
        best = np.argmin(np.round(cost + 2 * (size.prod() - _overlap(labels, inside))))  # rounding errors never decide
        places[i], placed[i] = shifts[best], np.concatenate([labels[[best]], lines[best]])
    for point, centre, text, size, shift, boxes in zip(points, centres, texts, sizes, places, placed):
        label = ax.annotate(
            text, point, shift, textcoords="offset points", ha="center", va="center", fontsize=SMALL, zorder=4
        )
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])  # over the front
        if len(boxes) > 1:  # there is a line
            end = (centre + np.clip((0, 0), shift - size / 2, shift + size / 2)) / scale
            ax.plot(*zip(point, ax.transData.inverted().transform(end)), color="#808080", linewidth=0.7, zorder=1)


def _dots(corners: np.ndarray) -> np.ndarray:
    """A line through corners as small boxes."""
    dots = [np.empty((0, 2))]
    for a, b in zip(corners[:-1], corners[1:]):
        parts = np.arange(0, 1, 3 / max(np.hypot(*(b - a)), 3))
        dots.append(a + (b - a) * parts[:, None])
    return _boxes(np.concatenate(dots), 3)


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


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,): the area that each box shares with each of the others, summed."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=2).sum(axis=1)
