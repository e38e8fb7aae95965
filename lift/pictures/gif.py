"""lift.gif: the film for places that show no video; at most 20 frames a second and 15 seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from liftbench.lift.lifted import Lifted
from liftbench.lift.pictures.film import film

_PANEL = (360, 380)  # pixels
_RATE, _LONGEST = 20, 15.0  # frames a second, s
_SAMPLES, _COLOURS = 6, 128  # frames whose colours all others are shown in


def write(lifted: Lifted, path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Write the film; of a longer recording the beginning, which the film says. progress(done, of) counts frames."""
    seconds = len(lifted.valid) / lifted.fps
    delay = round(100 / min(lifted.fps, _RATE))  # in hundredths of a second, as GIF counts
    times = np.arange(0, min(seconds, _LONGEST) * 100, delay) / 100
    frames = np.minimum(times * lifted.fps + 1e-6, len(lifted.valid) - 1).astype(int).tolist()
    note = f"first {_LONGEST:g} s of {seconds:.0f} s" if seconds > _LONGEST else ""
    some = frames[:: max(1, len(frames) // _SAMPLES)]
    samples = np.concatenate([np.asarray(picture) for picture in film(lifted, some, _PANEL, note)])
    palette = Image.fromarray(samples).quantize(_COLOURS)

    def pictures() -> Iterator[Image.Image]:
        for number, picture in enumerate(film(lifted, frames, _PANEL, note), start=1):
            progress(number, len(frames))
            yield picture.quantize(palette=palette, dither=Image.Dither.NONE)

    first, *rest = pictures()
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=10 * delay, loop=0)
