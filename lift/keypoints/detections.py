"""What every keypoint file comes to: one row for each person in each frame."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from liftbench.baselines.data import scratch
from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints import layouts

_MOST_PEOPLE = 100  # in one frame
_SPARSEST = 10  # frames for each entry of a file, to bound the memory by its size
_OUTSIDE = 0.1  # share of the image by which a keypoint may lie outside of it, and of keypoints that may lie farther


@dataclass(frozen=True)
class Detections:
    """N detected people over T frames.

    frame: (N,) int, from 0, rising. points: (N, J, 3) float64: x right, y down, pixels, and confidence from 0 to 1,
    0 where the point was not seen. track: (N,) int, the person's number in the file, -1 where it has none.
    """

    source: str  # the program that wrote the file, for messages
    layout: str  # a name in `layouts.LAYOUTS`, or "named points"
    names: tuple[str, ...]  # of the J points
    frame: np.ndarray
    points: np.ndarray
    track: np.ndarray
    frames: int  # T
    first_frame: int  # the number that the file gives to frame 0
    scored: bool  # whether the file has confidences; they are 1 for every point seen otherwise
    fps: float | None = None
    size: tuple[int, int] | None = None  # width, height, pixels
    truth: np.ndarray | None = None  # (T, 17, 3) mm, camera frame, where the file has it
    where: str = "the keypoints"  # what to call them in messages

    def __str__(self) -> str:
        return f"{self.source}, {self.layout}"


def gather(
    path: str | Path,
    source: str,
    layout: str,
    names: Sequence[str],
    numbers: ArrayLike,
    points: ArrayLike,
    track: ArrayLike,
    scored: bool = True,
    every: ArrayLike = (),
) -> Detections:
    """Check the people of a file and put them in order.

    numbers: (N,) the frame of each as the file numbers it; points: (N, J, 3), or (N, J, 2) without confidence; every:
    the numbers of all frames in the file, where it has frames without people.
    Raises InputError where there is nobody, a number is not finite, or the frames are too far apart for the file.
    """
    numbers, points, track = np.asarray(numbers, np.int64), np.asarray(points), np.asarray(track, np.int64)
    if not len(points):
        raise InputError(f"Cannot lift {path}: no person was found in it. Check the detector's output.")
    every = np.append(np.asarray(every, np.int64), numbers)
    first, last = int(every.min()), int(every.max())
    if last - first > 1000 + _SPARSEST * len(every):
        raise InputError(
            f"Cannot read {path}: its {len(points):,} people are in frames {first} to {last}. Number the frames one by "
            "one."
        )
    order = np.argsort(numbers, kind="stable")
    frame = numbers[order] - first
    if (most := np.bincount(frame).max()) > _MOST_PEOPLE:
        raise InputError(f"Cannot read {path}: a frame holds {most:,} people. Keep at most {_MOST_PEOPLE}.")
    ordered = scratch.zeros((*points.shape[:2], 3), np.float64)
    for block in scratch.blocks(len(points)):
        part = ordered[block]
        part[..., 2] = 1
        part[..., : points.shape[2]] = points[order[block]]
        good = np.isfinite(part).all(axis=(1, 2)) & (np.abs(part) < 1e9).all(axis=(1, 2))
        if not good.all():
            raise InputError(
                f"Cannot read {path}: a keypoint in frame {numbers[order[block]][~good][0]} is not finite, or beyond "
                "1e9 pixels. Give points that were not seen the confidence 0."
            )
        nowhere = (part[..., :2] == 0).all(axis=-1)
        part[..., 2] = np.where(nowhere, 0, part[..., 2].clip(0, 1))
    if not ordered[..., 2].any():
        raise InputError(f"Cannot lift {path}: no person was found in it. Check the detector's output.")
    return Detections(
        source, layout, names, frame, ordered, track[order], last - first + 1, first, scored, where=str(path)
    )


def in_image(detections: Detections, size: tuple[int, int]) -> Detections:
    """The detections in pixels of an image of `size` (width, height).

    Coordinates from 0 to 1, as MediaPipe writes them, are multiplied by the size, which `source` then says. Raises
    InputError where more than a tenth of the points lie outside of the image by more than a tenth of it.
    """
    points, source, size = detections.points, detections.source, tuple(size)
    count = (points[..., 2] > 0).sum()
    if sum((np.abs(seen) <= 1).sum() for seen in _seen(points)) >= count:  # half of all x and y
        points, source = scratch.copy(points), f"{source} with coordinates from 0 to 1"
        points *= [*size, 1]
    margin = _OUTSIDE * np.array(size)
    outside = sum(((seen < -margin) | (seen > size + margin)).any(axis=-1).sum() for seen in _seen(points))
    if outside > _OUTSIDE * count:
        x, y = np.percentile(np.concatenate(list(_seen(points))), 95, axis=0)
        raise InputError(
            f"Cannot lift {detections.where}: its keypoints reach x = {x:.0f} and y = {y:.0f}, outside of an image of "
            f"{size[0]} x {size[1]}. Correct --size."
        )
    return replace(detections, source=source, points=points, size=size)


def _seen(points: np.ndarray) -> Iterator[np.ndarray]:
    """(N, J, 3) -> x and y of the points that were seen, (.., 2), some frames at a time."""
    return (points[block][points[block, :, 2] > 0, :2] for block in scratch.blocks(len(points)))


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises InputError where it cannot be read."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Check the path.") from None
    except RecursionError:
        raise InputError(f"Cannot read {path}: it is nested too deeply. Give a detector's own file.") from None
    except ValueError:
        raise InputError(f"Cannot read {path}: it is not complete JSON. Write or copy it again.") from None


def numbers_of(values: Any, path: str | Path) -> np.ndarray:
    """A JSON list of numbers, or of lists of them, as an array. Raises InputError for anything else."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "iuf" or not array.ndim:
        raise InputError(f"Cannot read {path}: its keypoints are not all numbers. Give a detector's own file.")
    return array


def people(rows: list, path: str | Path) -> np.ndarray:
    """Flat keypoints x, y, confidence, ... of N people -> (N, J, 3). Raises InputError where they do not fit."""
    if not rows:
        return np.zeros((0, 1, 3))
    lengths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if len(lengths) > 1 or min(lengths) < 3 or min(lengths) % 3:
        raise InputError(
            f"Cannot read {path}: a person has {min(lengths)} values, which are not x, y and confidence of the same "
            "points for everybody. Give a detector's own file."
        )
    return numbers_of(rows, path).reshape(len(rows), -1, 3)


def choose_layout(
    path: str | Path, count: int, wanted: str, candidates: tuple[str, ...] = tuple(layouts.LAYOUTS)
) -> str:
    """The layout of `count` points: `wanted`, or for "auto" the only one of the candidates that has so many.

    Raises InputError where there is none or a choice, or `wanted` has another number of points.
    """
    if wanted != "auto":
        if wanted not in layouts.LAYOUTS:
            raise InputError(
                f"Cannot read {wanted!r} files: there is no such format. Choose auto, {', '.join(layouts.LAYOUTS)}."
            )
        if len(layouts.LAYOUTS[wanted]) != count:
            raise InputError(
                f"Cannot read {path}: it has {count} points a person, but {wanted} has "
                f"{len(layouts.LAYOUTS[wanted])}. Choose another --format."
            )
        return wanted
    fitting = [name for name in candidates if len(layouts.LAYOUTS[name]) == count]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(
            f"Cannot read {path}: its {count} points fit several formats. Choose --format {' or '.join(fitting)}."
        )
    known = ", ".join(f"{name} ({len(layouts.LAYOUTS[name])})" for name in candidates)
    raise InputError(f"Cannot read {path}: it has {count} points a person. Give one of {known}.")


def frame_numbers(names: list) -> list[int]:
    """The frame of each file or image: an integer as it is, of a name its last digits, or else its place."""
    found = [_number(name) for name in names]
    if None not in found:
        return found
    place = {name: index for index, name in enumerate(dict.fromkeys(map(str, names)))}
    return [place[str(name)] for name in names]


def _number(name: object) -> int | None:
    if isinstance(name, (int, float)) and not isinstance(name, bool):
        return int(name) if abs(name) < 2**53 else None  # False for nan and inf
    digits = re.findall(r"\d+", Path(str(name)).stem)
    return int(digits[-1][-15:]) if digits else None
