"""contact.png: eight moments of a recording, seen above and lifted below, as a figure of a paper."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from liftbench.lift.lifted import Lifted
from liftbench.lift.pictures.drawing import QUIET, SCALE, TEXT, draw_image, draw_space, font
from liftbench.lift.pictures.frames import images
from liftbench.lift.pictures.stage import COLOURS, stage
from liftbench.lift.pictures.view import around, person_in_image

_MOMENTS = 8
_CELL, _GAP = (240, 320), 10  # pixels
_MARGIN, _CAPTION, _FOOT = 16, 34, 40


def write(lifted: Lifted, path: Path) -> None:
    """Write the picture, 2,022 x 770 pixels; a recording of fewer frames has fewer moments."""
    frames = np.unique(np.linspace(0, len(lifted.valid) - 1, _MOMENTS).round().astype(int))
    here = stage(lifted)
    view, aspect = around(here, lifted.fps), _CELL[0] / _CELL[1]
    moments = lifted.keypoints_2d[frames]
    wide = max(person_in_image(moment, lifted.image_size, aspect)[2] for moment in moments)
    width = 2 * _MARGIN + len(frames) * (_CELL[0] + _GAP) - _GAP
    sheet = Image.new("RGB", (width, _MARGIN + _CAPTION + 2 * _CELL[1] + _GAP + _FOOT), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (frame, image) in enumerate(zip(frames.tolist(), images(lifted, frames))):
        left = _MARGIN + column * (_CELL[0] + _GAP)
        crop = person_in_image(lifted.keypoints_2d[frame], lifted.image_size, aspect, wide)
        seen = draw_image(lifted.keypoints_2d[frame], lifted.valid[frame], crop, lifted.image_size, _CELL, image)
        solid = draw_space(here, lifted.valid, view, frame, _CELL)
        sheet.paste(seen.reduce(SCALE), (left, _MARGIN + _CAPTION))
        sheet.paste(solid.reduce(SCALE), (left, _MARGIN + _CAPTION + _CELL[1] + _GAP))
        middle = left + _CELL[0] / 2, _MARGIN + _CAPTION / 2 - 3
        pen.text(middle, f"{frame / lifted.fps:.2f} s", fill=TEXT, font=font(20), anchor="mm")
    _legend(pen, sheet.size, lifted)
    sheet.save(path, format="PNG")


def _legend(pen: ImageDraw.ImageDraw, size: tuple[int, int], lifted: Lifted):
    """What the colours and rows are, on one line at the bottom."""
    x, y = _MARGIN + 8, size[1] - _FOOT / 2 - 2
    for side, name in (("right", "right"), ("left", "left"), ("middle", "trunk"), (None, "filled in or unsure")):
        if side:
            pen.ellipse([x - 7, y - 7, x + 7, y + 7], fill=COLOURS[side])
        else:
            pen.ellipse([x - 7, y - 7, x + 7, y + 7], outline=COLOURS["middle"], width=3)
        pen.text((x + 15, y), name, fill=QUIET, font=font(17), anchor="lm")
        x += 42 + pen.textlength(name, font=font(17))
    said = "above: keypoints in the image;  below: lifted to 3D, squares of 0.5 m"
    if x + pen.textlength(said, font=font(17)) + _MARGIN < size[0]:
        pen.text((size[0] - _MARGIN, y), said, fill=QUIET, font=font(17), anchor="rm")
