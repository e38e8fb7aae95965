"""lift.mp4: the film, through the extra liftbench[video]; of fast recordings every second frame, or third, ..."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from liftbench.baselines.errors import InputError
from liftbench.lift.lifted import Lifted
from liftbench.lift.pictures.film import film, film_size

_PANEL = (519, 512)  # pixels; the frame, 1040 x 540, needs even sides

_FASTEST = 30  # frames a second


def write(lifted: Lifted, path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Write it as H.264. progress(done, of) counts them. Raises InputError where PyAV is not installed."""
    try:
        import av
    except ImportError:
        raise InputError("Cannot write MP4: PyAV is not installed. Run `pip install liftbench[video]`.") from None
    every = max(1, math.ceil(lifted.fps / _FASTEST - 0.01))
    frames = range(0, len(lifted.valid), every)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(lifted.fps / every).limit_denominator(1001))
        stream.width, stream.height = film_size(_PANEL)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20", "preset": "veryfast"}
        for number, picture in enumerate(film(lifted, frames, _PANEL), start=1):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            progress(number, len(frames))
        container.mux(stream.encode())
