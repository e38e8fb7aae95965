"""A person drawn with Pillow, in the image and in 3D.

Pillow does not smooth edges, so everything is drawn SCALE times as large as it will be seen.
"""

import functools
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from liftbench.baselines.skeleton import BONES
from liftbench.lift.pictures.stage import COLOURS, SIDES, Stage
from liftbench.lift.pictures.view import View

SCALE = 2
_PAPER, _GROUND, _GRID, _PATH = (255, 255, 255), (236, 238, 240), (150, 160, 170), (0, 96, 156)
_BODY, _HEAD, _SHADOW = (222, 225, 229), (207, 212, 218), (205, 209, 213)
TEXT, QUIET = (27, 30, 34), (90, 98, 107)
_BACKDROP = (214, 218, 222)  # outside of the image
_CELL, _CELLS = 500, 8  # mm of a square of the floor, squares to each side
_TRUNK = (11, 14, 1, 4)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib; size in pixels."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def draw_space(
    stage: Stage, valid: np.ndarray, view: View, frame: int, size: tuple[int, int], path: bool = True
) -> Image.Image:
    """The person in 3D on the floor, `size` pixels times SCALE.

    stage, view: what to draw and from where; valid: (T, 17) bool, other joints are hollow. path: draw the way of the
    pelvis too.
    """
    size = (SCALE * size[0], SCALE * size[1])
    picture = _sky(size).copy()
    pen = ImageDraw.Draw(picture)
    points = stage.points[frame]
    known = np.isfinite(points).all(axis=-1)
    if stage.floor:
        _draw_floor(pen, view, frame, size)
        if path:
            _draw_path(pen, stage, view, frame, size)
        _draw_shadow(pen, view.see(points * [1, 1, 0], frame, size), known)
    seen = view.see(points, frame, size)
    if known[list(_TRUNK)].all():
        pen.polygon([tuple(seen[joint, :2]) for joint in _TRUNK], fill=_BODY)
    things = [((seen[a, 2] + seen[b, 2]) / 2, "bone", (a, b)) for a, b in BONES if known[a] and known[b]]
    things += [(seen[joint, 2] - 30, "joint", joint) for joint in np.flatnonzero(known)]
    if known[9] and known[10]:
        things.append((seen[10, 2] + 40, "head", None))
    for _, kind, what in sorted(things, key=lambda thing: -thing[0]):
        if kind == "bone":
            width = (46 if SIDES[what[1]] == "middle" else 40) * seen[list(what), 3].mean()
            _draw_bone(pen, seen[what[0]], seen[what[1]], COLOURS[SIDES[what[1]]], max(width, 2 * SCALE))
        elif kind == "joint":
            radius = max(26 * seen[what, 3], 1.8 * SCALE)
            _draw_joint(pen, seen[what], COLOURS[SIDES[what]], radius, valid[frame, what])
        else:
            _disc(pen, (seen[9] + seen[10]) / 2, 88 * seen[10, 3], fill=_HEAD)
    return picture


def draw_image(
    keypoints: np.ndarray, valid: np.ndarray, crop: tuple[float, float, float], image_size: tuple[int, int],
    size: tuple[int, int], image: np.ndarray | None = None,
) -> Image.Image:  # fmt: skip
    """The keypoints of one frame in a part of the image, `size` pixels times SCALE.

    keypoints: (17, 2 or 3) pixels; valid: (17,) bool; crop: (left, top, width), pixels; image: (H, W, 3) uint8 RGB.
    """
    width, height = SCALE * size[0], SCALE * size[1]
    left, top, wide = crop
    scale = width / wide
    if image is None:
        corner = -left * scale, -top * scale
        picture = _frame((width, height), corner, (scale * image_size[0], scale * image_size[1])).copy()
    else:
        across = image.shape[1] / image_size[0]
        box = (left * across, top * across, (left + wide) * across, (top + height / scale) * across)
        picture = _cut(Image.fromarray(image), box, (width, height))
    pen = ImageDraw.Draw(picture)
    places = (keypoints[:, :2] - [left, top]) * scale
    known = np.isfinite(places).all(axis=-1)
    tall = np.ptp(places[known, 1]) if known.any() else 0
    thick, radius = max(2 * SCALE, 0.016 * tall), max(2.4 * SCALE, 0.014 * tall)
    for a, b in BONES:
        if known[a] and known[b]:
            _draw_bone(pen, places[a], places[b], COLOURS[SIDES[b]], thick)
    for joint in np.flatnonzero(known):
        _draw_joint(pen, places[joint], COLOURS[SIDES[joint]], radius, valid[joint])
    return picture


def _cut(image: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """A part of an image at another size; outside of the image it is grey."""
    inside = np.clip(box, 0, [image.width, image.height] * 2)
    if (inside == box).all():
        return image.resize(size, Image.Resampling.BILINEAR, box=tuple(box), reducing_gap=1.5)
    scale = size[0] / (box[2] - box[0])
    picture = Image.new("RGB", size, _BACKDROP)
    part = tuple(max(1, round((inside[axis + 2] - inside[axis]) * scale)) for axis in range(2))
    corner = tuple(round((inside[axis] - box[axis]) * scale) for axis in range(2))
    picture.paste(image.resize(part, Image.Resampling.BILINEAR, box=tuple(inside), reducing_gap=1.5), corner)
    return picture


@functools.lru_cache(maxsize=16)
def _frame(size: tuple[int, int], corner: tuple[float, float], image: tuple[float, float]) -> Image.Image:
    """The empty image, inside of what lies around it."""
    picture = Image.new("RGB", size, _BACKDROP)
    ImageDraw.Draw(picture).rectangle([corner, (corner[0] + image[0], corner[1] + image[1])], fill=_GROUND)
    return picture


@functools.lru_cache(maxsize=4)
def _sky(size: tuple[int, int]) -> Image.Image:
    """The background, from paper at the top to the ground at the bottom."""
    share = np.clip(np.linspace(-0.1, 1, size[1]), 0, 1)[:, None, None]
    rows = np.array(_PAPER) * (1 - share) + np.array(_GROUND) * share
    return Image.fromarray(np.broadcast_to(rows.round().astype(np.uint8), (size[1], size[0], 3)).copy())


def _draw_floor(pen: ImageDraw.ImageDraw, view: View, frame: int, size: tuple[int, int]):
    """Squares of the floor about the target, the fainter the farther away."""
    middle = np.floor(view.targets[frame, :2] / _CELL)
    steps = np.arange(-_CELLS, _CELLS + 1)
    ends = np.stack(np.meshgrid(steps, np.arange(-_CELLS, _CELLS), indexing="ij"), axis=-1).reshape(-1, 2)
    along, across = (ends + middle) * _CELL, (ends[:, ::-1] + middle) * _CELL
    starts = np.concatenate([along, across])
    stops = np.concatenate([along + [0, _CELL], across + [_CELL, 0]])
    even = np.concatenate([(ends[:, 0] + middle[0]) % 2 == 0, (ends[:, 0] + middle[1]) % 2 == 0])
    away = np.linalg.norm((starts + stops) / 2 - view.targets[frame, :2], axis=-1)
    strength = np.clip(1 - away / (_CELLS * _CELL), 0, 1) ** 1.5 * np.where(even, 0.9, 0.45)
    flat = np.zeros((len(starts), 1))
    a, b = (view.see(np.concatenate([ends, flat], axis=1), frame, size) for ends in (starts, stops))
    good = (strength > 0.08) & (a[:, 2] > 200) & (b[:, 2] > 200)
    colours = (np.array(_GROUND) + strength[:, None] * (np.array(_GRID) - _GROUND)).astype(int).tolist()
    lines = np.concatenate([a[:, :2], b[:, :2]], axis=1).tolist()
    for index in np.flatnonzero(good):
        pen.line(lines[index], fill=tuple(colours[index]), width=SCALE)


def _draw_path(pen: ImageDraw.ImageDraw, stage: Stage, view: View, frame: int, size: tuple[int, int]):
    """Where the pelvis has been and will be."""
    for x, y, depth, scale in view.see(stage.path, frame, size).tolist():
        if depth > 200:
            radius = max(12 * scale, 0.5 * SCALE)
            pen.ellipse([x - radius, y - radius / 2, x + radius, y + radius / 2], fill=_PATH)


def _draw_shadow(pen: ImageDraw.ImageDraw, seen: np.ndarray, known: np.ndarray):
    for a, b in BONES:
        if known[a] and known[b]:
            width = 45 * seen[[a, b], 3].mean()
            pen.line([*seen[a, :2], *seen[b, :2]], fill=_SHADOW, width=max(2, round(width)))
            for end in (a, b):
                _disc(pen, seen[end], width / 2, fill=_SHADOW)


def _draw_bone(pen: ImageDraw.ImageDraw, a: np.ndarray, b: np.ndarray, colour: str, width: float):
    ends = [float(a[0]), float(a[1]), float(b[0]), float(b[1])]
    for fill, wide in ((_PAPER, width + 1.5 * SCALE), (colour, width)):
        pen.line(ends, fill=fill, width=round(wide))
        _disc(pen, a, wide / 2, fill=fill)
        _disc(pen, b, wide / 2, fill=fill)


def _draw_joint(pen: ImageDraw.ImageDraw, at: np.ndarray, colour: str, radius: float, valid: bool):
    _disc(pen, at, radius + 0.7 * SCALE, fill=_PAPER)
    if valid:
        _disc(pen, at, radius, fill=colour)
    else:
        _disc(pen, at, radius, fill=_PAPER, outline=colour, width=max(SCALE, round(0.45 * radius)))


def _disc(pen: ImageDraw.ImageDraw, at: np.ndarray, radius: float, **style: Any):
    x, y, radius = float(at[0]), float(at[1]), float(radius)
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], **style)
