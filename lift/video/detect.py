"""From a video to 2D keypoints, with any detector."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.lift.keypoints import layouts
from liftbench.lift.keypoints.detections import Detections, gather
from liftbench.lift.keypoints.people import choose, find_people, followed
from liftbench.lift.video import blazepose_files
from liftbench.lift.video.frames import open_video

DETECTORS = ("blazepose", "rtmpose")
SMALL = 1 / 3  # of the image's height, below which detectors miss a person or err
_CONFIDENCE = 0.3


def detect(
    path: str | Path,
    detector: str | Callable[[np.ndarray], np.ndarray] = "blazepose",
    weights: Sequence[str | Path] = (),
    *,
    start: float | None = None,
    end: float | None = None,
    crop: Sequence[int] | None = None,
    tiles: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Detections:
    """The people in each frame of a video, in pixels of the upright image, at a constant frame rate.

    detector: "blazepose" (one person) or "rtmpose" (everybody), or a function from an image, (H, W, 3) uint8 RGB, to
    (N, J, 3) pixels and confidence, with `layout`, a name in `layouts.LAYOUTS`. weights: files of the detector: another
    landmark network of BlazePose, or see `RTMPose`. start, end: seconds. crop: (x, y, width, height), pixels of the
    upright image, the part to look at. tiles: BlazePose looks for a small person in parts of the image.
    progress(done, of) counts frames. Frames without people have no rows.

    Raises InputError, one sentence, for a video that cannot be read or shows nobody, and options that do not fit.
    """
    video = open_video(path, start, end)
    if crop is not None:
        _check_crop(crop, video.size)
    x, y, width, height = crop or (0, 0, *video.size)
    find = detector if callable(detector) else _open(detector, [Path(file) for file in weights], tiles)
    numbers, points = [], []
    for slot, image in video:
        for person in find(np.ascontiguousarray(image[y : y + height, x : x + width])):
            numbers.append(video.first_frame + slot)
            points.append(person + (x, y, 0))
        progress(slot + 1, video.frames)
    every = video.first_frame + np.arange(video.frames)
    name = detector if isinstance(detector, str) else type(detector).__name__
    found = gather(
        path, name, find.layout, layouts.LAYOUTS[find.layout], numbers, points, np.full(len(points), -1), every=every
    )
    return replace(found, fps=video.fps, size=video.size)


def frames_with_people(detections: Detections) -> int:
    """In how many frames somebody was found."""
    return len(np.unique(detections.frame))


def share_of_height(detections: Detections, height: float) -> float:
    """How high, or wide where that is more, the found people are (median), as a share of `height` pixels."""
    seen = detections.points[..., 2:] >= _CONFIDENCE
    low = np.where(seen, detections.points[..., :2], np.inf).min(axis=1)
    high = np.where(seen, detections.points[..., :2], -np.inf).max(axis=1)
    return float(np.median(np.where(high > low, high - low, 0).max(axis=1)) / height)


def save(detections: Detections, person: str | int, path: str | Path) -> None:
    """Write one person's keypoints as an .npz file that `read_keypoints` reads.

    `keypoints` (T, J, 3) float32, pixels and confidence, 0 in frames without the person; `fps`; `image_size` (width,
    height); `layout`; `first_frame`. person: "largest" or a number from 1. Raises InputError for another one.
    """
    persons = find_people(followed(detections, detections.fps))
    chosen = choose(persons, person)
    if len(chosen) != 1:
        raise InputError(f"Cannot write {len(chosen)} people to {path}: it can hold one. Choose largest or a number.")
    keypoints = np.zeros((detections.frames, *detections.points.shape[1:]), np.float32)
    rows = persons[chosen[0]]
    keypoints[detections.frame[rows]] = detections.points[rows]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            keypoints=keypoints,
            fps=np.float64(detections.fps),
            image_size=np.array(detections.size),
            layout=np.array(detections.layout),
            first_frame=np.array(detections.first_frame),
        )


def _open(detector: str, weights: list[Path], tiles: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The detector of that name."""
    if detector == "blazepose":
        from liftbench.lift.video.blazepose import BlazePose

        if len(weights) > 1:
            raise InputError("Cannot use several files with blazepose: it takes one. Give a landmark network, .tflite.")
        person, landmarks = blazepose_files.paths()
        return BlazePose(person, weights[0] if weights else landmarks, tiles)
    if detector == "rtmpose":
        from liftbench.lift.video.rtmpose import RTMPose

        if tiles:
            raise InputError("Cannot use --tiles with rtmpose: it looks for small people itself. Leave it out.")
        return RTMPose(weights)
    raise InputError(
        f"Cannot use the detector {detector!r}: there is no such detector. Choose {' or '.join(DETECTORS)}."
    )


def _check_crop(crop: Sequence[int], size: tuple[int, int]):
    x, y, width, height = crop
    if min(x, y) < 0 or min(width, height) < 16 or x + width > size[0] or y + height > size[1]:
        raise InputError(
            f"Cannot use the crop {x},{y},{width},{height}: it is not at least 16 x 16 pixels inside of an image of "
            f"{size[0]} x {size[1]}. Correct --crop."
        )
