"""A camera on a sphere about the person, and the part of the image in which the person is."""

from dataclasses import dataclass

import numpy as np

from liftbench.lift.pictures.stage import Stage

_DISTANCE, _FOCAL = 3.1, 1.5  # in half heights of the person, and in heights of the picture; as on the page
_TURNED, _ABOVE = 30.0, 9.0  # degrees from the camera's own direction, and above the horizon


@dataclass(frozen=True)
class View:
    """azimuth, elevation: degrees, as in `stage.Stage`. distance: mm. targets: (T, 3) mm, its middle in each frame."""

    azimuth: float
    elevation: float
    distance: float
    targets: np.ndarray

    def see(self, points: np.ndarray, frame: int, size: tuple[int, int]) -> np.ndarray:
        """(..., 3) mm to (..., 4): x right, y down in a picture of `size` pixels; depth in mm; pixels in a mm there."""
        (sa, ca), (se, ce) = ((np.sin(a), np.cos(a)) for a in np.radians([self.azimuth, self.elevation]))
        axes = np.array([[ca, sa, 0], [sa * se, -ca * se, -ce], [-ce * sa, ce * ca, -se]])  # right, down, away
        x, y, away = np.moveaxis((points - self.targets[frame]) @ axes.T, -1, 0)
        depth = self.distance + away
        scale = _FOCAL * min(size[1], 1.25 * size[0]) / np.maximum(depth, 1)
        return np.stack([size[0] / 2 + scale * x, 0.52 * size[1] + scale * y, depth, scale], axis=-1)


def around(stage: Stage, fps: float) -> View:
    """A view that follows the person through a recording, or stands still where the person does."""
    points, frames = stage.points, len(stage.points)
    if not np.isfinite(points).any():
        return View(stage.azimuth + _TURNED, _ABOVE, 3000.0, np.zeros((frames, 3)))
    known = np.isfinite(points).all(axis=-1)
    top = max(1.0, np.percentile(np.where(known, points[..., 2], -np.inf).max(axis=1)[known.any(axis=1)], 90))
    centre = np.where(known[:, :1], points[:, 0, :2], _mean(points[..., :2], known))
    there = np.flatnonzero(known.any(axis=1))
    path = np.stack([np.interp(np.arange(frames), there, centre[there, axis]) for axis in range(2)], axis=1)
    wide = np.linalg.norm(np.ptp(path, axis=0)) / 2
    half = 0.62 * top
    if wide > 0.6 * top:
        path = _steady(path, max(1, round(fps / 2)))
    else:
        path, half = np.broadcast_to((path.min(axis=0) + path.max(axis=0)) / 2, path.shape), max(half, 0.8 * wide + 500)
    targets = np.concatenate([path, np.full((frames, 1), top / 2)], axis=1)
    return View(stage.azimuth + _TURNED, _ABOVE, _DISTANCE * half, targets)


def person_in_image(
    keypoints: np.ndarray, size: tuple[int, int], aspect: float, least: float = 0
) -> tuple[float, float, float]:
    """Where the person ever is in an image of `size` pixels -> (left, top, width) of a crop.

    keypoints: (T, 17, 2 or 3) pixels, nan where unknown; aspect: of the crop, width / height; least: pixels that it is
    wide at least. It lies within the image where it can.
    """
    seen = keypoints[..., :2][np.isfinite(keypoints[..., :2]).all(axis=-1)]
    if len(seen):
        low, high = seen.min(axis=0), seen.max(axis=0)
    else:
        low = high = np.array(size) / 2
        least = max(least, size[0], size[1] * aspect)
    margin = 0.16 * (high[1] - low[1])
    width = max(high[0] - low[0] + 2 * margin, (high[1] - low[1] + 2.2 * margin) * aspect, least)
    corner = (low + high) / 2 - np.array([width, width / aspect]) / 2
    room = np.array(size) - np.array([width, width / aspect])
    corner = np.where(room < 0, room / 2, np.clip(corner, 0, np.maximum(room, 0)))
    return float(corner[0]), float(corner[1]), float(width)


def _mean(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known[..., None], values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)[:, None]


def _steady(path: np.ndarray, reach: int) -> np.ndarray:
    """(T, 2), each the mean of the `reach` frames before and after it."""
    sums = np.concatenate([np.zeros((1, 2)), path.cumsum(axis=0)])
    frames = np.arange(len(path))
    first, last = np.maximum(frames - reach, 0), np.minimum(frames + reach + 1, len(path))
    return (sums[last] - sums[first]) / (last - first)[:, None]
