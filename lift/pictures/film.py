"""Frames of a film: the person in the image at the left, in 3D at the right."""

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from liftbench.lift.lifted import Lifted
from liftbench.lift.pictures.drawing import QUIET, SCALE, TEXT, draw_image, draw_space, font
from liftbench.lift.pictures.frames import images
from liftbench.lift.pictures.stage import stage
from liftbench.lift.pictures.view import around, person_in_image

_GAP, _BAR = 2, 28  # pixels between the two pictures, and of the line below them


def film_size(panel: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a frame of two pictures of `panel` pixels."""
    return 2 * panel[0] + _GAP, panel[1] + _BAR


def film(lifted: Lifted, frames: Sequence[int], panel: tuple[int, int], note: str = "") -> Iterator[Image.Image]:
    """The pictures of `frames`, rising numbers from 0; note: a few words at the lower right."""
    here = stage(lifted)
    view, crop = around(here, lifted.fps), person_in_image(lifted.keypoints_2d, lifted.image_size, panel[0] / panel[1])
    small = font(14)
    empty = Image.new("RGB", film_size(panel), "white")
    ImageDraw.Draw(empty).text((empty.width - 12, panel[1] + _BAR / 2), note, fill=QUIET, font=small, anchor="rm")
    for frame, image in zip(frames, images(lifted, frames)):
        picture = empty.copy()
        seen = draw_image(lifted.keypoints_2d[frame], lifted.valid[frame], crop, lifted.image_size, panel, image)
        picture.paste(seen.reduce(SCALE), (0, 0))
        picture.paste(draw_space(here, lifted.valid, view, frame, panel).reduce(SCALE), (panel[0] + _GAP, 0))
        time = f"{frame / lifted.fps:.2f} s"
        ImageDraw.Draw(picture).text((12, panel[1] + _BAR / 2), time, fill=TEXT, font=small, anchor="lm")
        yield picture
