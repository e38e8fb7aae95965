"""The images of a recording's video, for its pictures."""

from collections.abc import Iterable, Iterator

import numpy as np

from liftbench.lift.lifted import Lifted

_FAR = 100  # frames, from which on it is quicker to look for a frame than to decode those before it


def images(lifted: Lifted, frames: Iterable[int]) -> Iterator[np.ndarray | None]:
    """For each of `frames`, rising numbers from 0, the image (H, W, 3) uint8 RGB of the video; None without a video.

    Between the frames of the video its last one stands. Raises InputError where the video cannot be read.
    """
    if lifted.video is None:
        yield from (None for _ in frames)
        return
    from liftbench.lift.video.frames import open_video

    video = open_video(lifted.video)
    first, last, fps = lifted.metadata.get("first_frame", 0), video.frames - 1, video.fps
    begin, stream = 0, iter(video)
    image, following = None, next(stream, None)
    for frame in frames:
        wanted = min(frame + first, last)
        if following is not None and wanted - following[0] - begin > _FAR:
            video = open_video(lifted.video, start=wanted / fps)
            begin, stream = video.first_frame, iter(video)
            image, following = None, next(stream, None)
        while following is not None and (image is None or following[0] + begin <= wanted):
            image, following = following[1], next(stream, None)
        yield image
