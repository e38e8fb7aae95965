"""BlazePose: 33 points of one person, by the two networks that MediaPipe's Python package holds.

Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking" (2020): a detector finds the person in the whole
image, a second network the points in a square around the person, which the points of one frame give to the next.
Written anew from what the networks expect and answer; unlike MediaPipe it looks for a lost person in the same frame,
and does not smooth.
"""

import math
import os
from pathlib import Path

import numpy as np
from PIL import Image

from liftbench.baselines.errors import InputError

_DETECTOR_SIDE, _STRIDES, _ANCHORS_PER_CELL = 224, (8, 16, 32), (2, 2, 6)
_LANDMARK_SIDE, _LANDMARKS, _BODY = 256, 39, 33
_MARGIN = 1.25  # of the square around a person
_PRESENT, _SURE = 0.5, 0.75  # scores from which something is a person
_TRIED = 3  # squares at most, where the detector finds several
_WINDOW, _SHARP = 3, 0.5  # half the window of a heatmap that refines a point, and the least maximum in it


class BlazePose:
    """Finds one person in the frames of a video, called with one after the other.

    Called with an image, (H, W, 3) uint8 RGB, it returns (1, 33, 3) float64: x right and y down in pixels, and
    confidence, which is the lower one of the network's visibility and presence, and 0 outside of the image; or
    (0, 33, 3) where there is nobody.
    """

    layout = "mediapipe33"

    def __init__(self, detector: Path, landmarks: Path, tiles: bool = False):
        """detector, landmarks: the two .tflite files. tiles: look for the person in overlapping parts of the image too.

        Raises InputError where a file is not such a network.
        """
        self._detector = _Network(detector, _DETECTOR_SIDE, {(1, 2254, 12), (1, 2254, 1)})
        self._landmarks = _Network(landmarks, _LANDMARK_SIDE, {(1, 195), (1, 1), (1, 64, 64, 39)})
        self._anchors = _anchors()
        self._tiles = tiles
        self._square = None  # around the person of the frame before

    def __call__(self, image: np.ndarray) -> np.ndarray:
        points = None if self._square is None else self._points(image, self._square)
        for square in self._search(image) if points is None else ():
            if points is None:
                points = self._points(image, square)
        if points is None:
            self._square = None
            return np.zeros((0, _BODY, 3))
        self._square = _square(points[33, :2], points[34, :2])
        body = points[:_BODY]
        inside = (body[:, :2] >= 0).all(axis=1) & (body[:, :2] < (image.shape[1], image.shape[0])).all(axis=1)
        body[~inside, 2] = 0
        return body[None]

    def _search(self, image: np.ndarray) -> list[np.ndarray]:
        """Squares that may be around a person, the likeliest first.

        The image's squares become smaller until the detector is sure: one that cuts a person may fool it.
        """
        longer, shorter = max(image.shape[:2]), min(image.shape[:2])
        found = []
        for side in dict.fromkeys((longer, shorter, *((longer / 2, longer / 4) if self._tiles else ()))):
            for part in _parts(image.shape[1], image.shape[0], side):
                found.append(self._find(image, part))
            if max(score for score, _ in found) > _SURE:
                break
        return [square for score, square in sorted(found, key=lambda one: -one[0]) if score > _PRESENT][:_TRIED]

    def _find(self, image: np.ndarray, part: np.ndarray) -> tuple[float, np.ndarray]:
        """(score, square around the likeliest person in a part of the image)"""
        answer = self._detector(_cut(image, part, _DETECTOR_SIDE) * 2 - 1)
        score = _sigmoid(answer[1, 2254, 1][0, :, 0])
        at = score.argmax()
        places = answer[1, 2254, 12][0, at, 4:8].reshape(2, 2) / _DETECTOR_SIDE + self._anchors[at]
        return score[at], _square(*_in_image(places, part))

    def _points(self, image: np.ndarray, square: np.ndarray) -> np.ndarray | None:
        """(39, 3) pixels of the image and confidence, or None where the square holds nobody."""
        answer = self._landmarks(_cut(image, square, _LANDMARK_SIDE))
        if answer[1, 1][0, 0] < _PRESENT:
            return None
        found = answer[1, 195].reshape(_LANDMARKS, 5)
        places = _refined(found[:, :2] / _LANDMARK_SIDE, answer[1, 64, 64, 39][0])
        return np.concatenate([_in_image(places, square), _sigmoid(found[:, 3:]).min(axis=1, keepdims=True)], axis=1)


class _Network:
    """A .tflite file with one square image as its input; called, it returns its outputs by their shape."""

    def __init__(self, path: Path, side: int, outputs: set[tuple[int, ...]]):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise InputError(
                "Cannot run BlazePose: ai-edge-litert is not installed. Install it with `pip install liftbench[video]`."
            ) from None
        if not os.path.isfile(path):
            raise InputError(f"Cannot read {path}: there is no such file. Check the path.")
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=_idle_cores())
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError):
            raise InputError(f"Cannot read {path}: it is not a whole .tflite file. Fetch it again.") from None
        (self._input, *more), answers = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._outputs = {tuple(map(int, answer["shape"])): answer["index"] for answer in answers}
        if more or tuple(self._input["shape"]) != (1, side, side, 3) or not outputs <= set(self._outputs):
            raise InputError(f"Cannot use {path}: it is not the network that BlazePose needs there. Give that one.")

    def __call__(self, image: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
        self._interpreter.set_tensor(self._input["index"], image[None].astype(np.float32))
        self._interpreter.invoke()
        return {shape: self._interpreter.get_tensor(index) for shape, index in self._outputs.items()}


def _idle_cores() -> int:
    """How many threads to use, at most 4: they wait for each other without sleeping, and slow down a busy machine."""
    return max(1, min(4, round(len(os.sched_getaffinity(0)) - os.getloadavg()[0])))


def _anchors() -> np.ndarray:
    """(2254, 2): centres of the detector's cells, x and y as shares of its image."""
    places = []
    for stride, count in zip(_STRIDES, _ANCHORS_PER_CELL):
        cells = _DETECTOR_SIDE // stride
        y, x = np.divmod(np.arange(cells * cells).repeat(count), cells)
        places.append((np.stack([x, y], axis=1) + 0.5) / cells)
    return np.concatenate(places)


def _parts(width: int, height: int, side: float) -> list[np.ndarray]:
    """Squares of this side, in pixels, that cover the image, each overlapping the next by half.

    A square is (3, 2): its corner, its side to the right and its side down, in pixels.
    """
    lefts, tops = (
        np.linspace(min(0, room / 2), max(room, room / 2), max(1, math.ceil(2 * room / side) + 1))
        for room in (width - side, height - side)
    )
    return [np.array([(left, top), (side, 0), (0, side)]) for left in lefts for top in tops]


def _square(centre: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The square about the middle of the hips, turned so that `end`, the end of the body's extent, is above it."""
    down = (centre - end) * 2 * _MARGIN
    right = np.array([down[1], -down[0]])
    return np.stack([centre - right / 2 - down / 2, right, down])


def _in_image(places: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Shares of a square, (N, 2), to pixels of the image."""
    return square[0] + places @ square[1:]


def _cut(image: np.ndarray, square: np.ndarray, side: int) -> np.ndarray:
    """The square of the image at `side` x `side` pixels, bilinear, black outside: (side, side, 3) float32, 0 to 1."""
    corners = _in_image(np.array([(0, 0), (1, 0), (0, 1), (1, 1)]), square)
    limit = np.array(image.shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, limit - 1).astype(int)  # the rest need not be copied
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, low + 1, limit).astype(int)
    part = Image.fromarray(np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]))
    (x, y), right, down = square[0] - low, square[1] / side, square[2] / side
    affine = (right[0], down[0], x, right[1], down[1], y)
    cut = part.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return np.asarray(cut, np.float32) / 255


def _refined(places: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """(39, 2) shares of the square, moved to the mean of a 7 x 7 window of their (64, 64, 39) heatmaps where it is
    clear."""
    side, refined = len(heatmaps), places.copy()
    for point, (column, row) in enumerate((places * side).astype(int)):
        if 0 <= column < side and 0 <= row < side:
            top, left = max(0, row - _WINDOW), max(0, column - _WINDOW)
            window = _sigmoid(heatmaps[top : row + _WINDOW + 1, left : column + _WINDOW + 1, point])
            if window.max() >= _SHARP:
                down, right = (window.sum(axis=axis) for axis in (1, 0))
                sums = right @ (left + np.arange(len(right))), down @ (top + np.arange(len(down)))
                refined[point] = np.array(sums) / window.sum() / side
    return refined


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values.astype(np.float64), -100, 100)))
