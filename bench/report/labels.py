"""Direct labels of plots, placed so that none covers another, a bubble or the frame."""

import numpy as np
from matplotlib.text import Text

_SIDES = np.array([(1, 0), (-1, 0)] + [(x, y) for x in (0, 0.5, -0.5, 1, -1) for y in (1, -1)])
_GAPS = (2, 6, 12, 19, 28, 39, 53, 70, 90)  # points between a bubble and its label
_NEAR = 3  # points from another bubble within which a label could be taken for its own
_FAR = 5  # points from which a line joins the two
_LINE = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0, "color": "#808080"}


def settle(figure):
    """Lay the figure out (the second pass knows the first one's axes); from here on its axes stay where they are."""
    figure.draw_without_rendering()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def beside_bubbles(figure, ax, points, radii, texts, path):
    """Label the bubbles of a settled figure, each where there is room, and near no other.

    points: data coordinates; radii: in points; path: the corners of a line that is not to be covered, in data
    coordinates.
    """
    renderer = figure.canvas.get_renderer()
    scale = 72 / figure.dpi  # points a pixel; all boxes are (x0, y0, x1, y1) in points
    centres = ax.transData.transform(points) * scale
    inside = ax.get_window_extent(renderer).extents * scale
    bubbles = [_box(centre, 2 * (radius + _NEAR)) for centre, radius in zip(centres, radii)]
    dots = _dots(ax.transData.transform(path) * scale)
    placed = []  # labels and their lines
    for i, (point, centre, radius) in enumerate(zip(points, centres, radii)):
        text = ax.annotate(
            texts[i], point, (0, 0), textcoords="offset points", ha="center", va="center", fontsize=7.5, zorder=4
        )
        size = text.get_window_extent(renderer).size * scale + 1
        solid = bubbles[:i] + bubbles[i + 1 :] + placed
        shift = _free_place(centre, radius, size, solid + dots, solid, inside)
        text.xyann = shift
        line = _line(centre, radius, shift, size)
        placed += [_box(centre + shift, size), *line]
        if line:
            ax.annotate("", point, _nearest(shift, size), textcoords="offset points", zorder=1, arrowprops=_LINE)


def _dots(corners):
    """A line through corners as small boxes."""
    ends = zip(corners[:-1], corners[1:])
    return [_box(a + (b - a) * part, 3) for a, b in ends for part in np.arange(0, 1, 3 / max(np.hypot(*(b - a)), 3))]


def _free_place(centre, radius, size, taken, solid, inside):
    """From a bubble's centre to its label's: the nearest place where the label covers least of what is taken, and its
    line crosses least of what is solid."""

    def covered(shift):
        label = _box(centre + shift, size)
        outside = size.prod() - _common(label, inside)
        crossed = sum(_common(dot, solid) for dot in _line(centre, radius, shift, size))
        return round(_common(label, taken) + 2 * outside + 5 * crossed)  # rounding errors must not decide

    return min((side * (size / 2 + radius + gap) for gap in _GAPS for side in _SIDES), key=covered)


def _line(centre, radius, shift, size):
    """The line from a bubble to a label that is far from it, as small boxes; none where the label is near."""
    end = _nearest(shift, size)
    length = np.hypot(*end)
    if length <= radius + _FAR:
        return []
    return [_box(centre + end * part, 2) for part in np.linspace(radius / length, 1, 12)]


def _nearest(shift, size):
    """The point of a label that is nearest to the centre of its bubble, from there."""
    return np.clip((0, 0), shift - size / 2, shift + size / 2)


def _box(centre, size):
    return np.concatenate([centre - np.divide(size, 2), centre + np.divide(size, 2)])


def _common(box, others):
    """The area that a box shares with each of the others, summed."""
    others = np.reshape(others, (-1, 4))
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(0).prod(axis=1).sum()


def at_end(ax, text, x, y, colour):
    """A label right of the axes, joined to a curve's end at (x, y)."""
    return _joined(ax, text, (x, y), (1.03, y), colour, ax.get_yaxis_transform())


def right_of(ax, text, x, y, colour):
    """A label right of the point (x, y) of axes with a logarithmic x, joined to it."""
    label = _joined(ax, text, (x, y), (1.3 * x, y), colour, ax.transData)
    label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    return label


def _joined(ax, text, point, place, colour, coordinates):
    return ax.annotate(
        text, point, place, textcoords=coordinates, va="center", fontsize=7.5, annotation_clip=False,
        arrowprops=_LINE | {"color": colour, "relpos": (0, 0.5), "linestyle": (0, (1, 2))},
    )  # fmt: skip


def spread(figure, texts):
    """Move labels of one pair of axes, made by `at_end` or `right_of`, up or down no further than it takes that none
    touches another, keeping their order."""
    renderer = figure.canvas.get_renderer()
    groups = []  # of labels that touch: [their texts, the places where each would put the group's first]
    for text in sorted(texts, key=lambda text: text.xy[1]):
        groups.append([[text], [_height_of(text)]])
        while len(groups) > 1 and np.mean(groups[-2][1]) + _pitch(renderer, groups[-2][0]) > np.mean(groups[-1][1]):
            others, places = groups.pop()
            groups[-1][1] += [place - _pitch(renderer, groups[-1][0]) for place in places]
            groups[-1][0] += others
    for group, places in groups:
        for i, text in enumerate(group):
            place = np.mean(places) + _pitch(renderer, group[:i])
            text.set_position((text.get_position()[0], text.axes.transData.inverted().transform((0, place))[1]))


def _height_of(text):
    """Where a label would be by itself, in pixels."""
    return text.axes.transData.transform((0, text.get_position()[1]))[1]


def _pitch(renderer, texts):
    """What labels below each other take, in pixels; of the texts alone, without their lines."""
    return sum(Text.get_window_extent(text, renderer).height + 1 for text in texts)
