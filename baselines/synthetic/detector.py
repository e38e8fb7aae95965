"""A model of a 2D detector's errors and confidence, applied to exact projections.

It is tuned to what is known of the stacked-hourglass detections on Human3.6M: a mean error of about five pixels, larger
on wrists and ankles, on joints hidden from the camera and on fast ones. Errors persist over neighbouring frames, and
now and then both legs or both arms are swapped. Confidence reflects the error imperfectly.
"""

import numpy as np

from liftbench.baselines.skeleton import LIMBS, PARENTS

# Error in pixels of each joint when it is visible and at rest; it grows with the distance from the torso.
BASE = np.array([2.6, 2.8, 3.2, 4.0, 2.8, 3.2, 4.0, 2.8, 2.6, 2.6, 2.9, 2.9, 3.7, 4.8, 2.9, 3.7, 4.8])
# Radius in mm of the flesh around the bone that ends in each joint.
FLESH = np.array([0, 70, 75, 50, 70, 75, 50, 130, 130, 60, 95, 70, 50, 40, 70, 50, 40])
SWAPS_PER_FRAME = 1 / 500  # per pair of limbs
SWAP_FRAMES = (4, 22)
LOSSES_PER_FRAME = 1 / 400  # per joint
LOSS_FRAMES = (2, 30)


def hidden(points: np.ndarray) -> np.ndarray:
    """Return how far each joint is hidden behind another body part.

    points: (T, 17, 3) mm, camera frame -> (T, 17) from 0, in sight, to 1. A bone that does not touch the joint hides it
    if it passes nearer to the camera and its flesh reaches the line of sight.
    """
    points = points.astype(np.float32)
    ends = np.arange(1, 17)
    starts = np.array(PARENTS)[ends]
    sight = points[..., :2] / points[..., 2:]
    start, end = sight[:, None, starts], sight[:, None, ends]
    bone = end - start
    along = ((sight[:, :, None] - start) * bone).sum(-1) / np.maximum((bone * bone).sum(-1), 1e-9)
    along = np.clip(along, 0, 1)
    depth = points[:, None, starts, 2] * (1 - along) + points[:, None, ends, 2] * along
    apart = np.linalg.norm(sight[:, :, None] - start - along[..., None] * bone, axis=-1) * depth
    nearer = points[:, :, None, 2] - depth - 0.8 * FLESH[ends]
    joint = np.arange(17)[:, None]
    family = (ends == joint) | (starts == joint) | (starts == np.array(PARENTS)[:, None])
    cover = np.clip(1.5 - apart / FLESH[ends], 0, 1) * np.clip(nearer / 40, 0, 1)
    return np.where(family, 0, cover).max(axis=-1)


def smooth_noise(rng: np.random.Generator, frames: int, shape: tuple[int, ...], width: float) -> np.ndarray:
    """Draw noise, (frames, *shape), of unit variance and correlated over about `width` frames: white noise through a
    Gaussian filter.
    """
    reach = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    white = rng.standard_normal((frames + 2 * reach, *shape))
    windows = np.lib.stride_tricks.sliding_window_view(white, len(kernel), axis=0)
    return windows @ kernel


def swaps(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Draw which joint the detector shows in the place of each: (frames, 17) joint numbers."""
    shown = np.tile(np.arange(17), (frames, 1))
    for right, left in LIMBS:
        for _ in range(rng.poisson(frames * SWAPS_PER_FRAME)):
            begin = rng.integers(frames)
            stretch = slice(begin, begin + rng.integers(*SWAP_FRAMES))
            shown[stretch, right], shown[stretch, left] = left, right
    return shown


def detect(pixels: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Detect the joints of one take seen by one camera.

    pixels: (T, 17, 2) exact projections; points: (T, 17, 3) mm, camera frame
    -> (T, 17, 2) pixels and (T, 17) confidence in (0, 1].
    """
    frames = len(pixels)
    speed = np.linalg.norm(np.gradient(pixels, axis=0), axis=-1) if frames > 1 else np.zeros((1, 17))
    scale = BASE * (1 + np.minimum(speed / 8, 1.5) + 1.6 * hidden(points))
    tail = np.exp(0.45 * smooth_noise(rng, frames, (17,), 5))  # good and bad stretches
    noise = 0.8 * smooth_noise(rng, frames, (17, 2), 4) + 0.6 * rng.standard_normal((frames, 17, 2))
    error = 0.69 * (scale * tail)[..., None] * noise

    shown = swaps(rng, frames)[..., None]
    seen = np.take_along_axis(pixels + error, shown, axis=1)
    size = np.linalg.norm(error, axis=-1)
    doubt = size / 22 + 0.06 * np.abs(smooth_noise(rng, frames, (17,), 4)) + 0.35 * (shown[..., 0] != np.arange(17))
    confidence = 0.95 * np.exp(-doubt) + 0.03 * rng.standard_normal((frames, 17))
    return seen, np.clip(confidence, 0.02, 1)


def lose(pixels: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw which joints a detector misses: those outside the image, and now and then any other for a moment.

    pixels: (T, 17, 2) exact projections; image: (2, 2), its lowest and highest x and y -> (T, 17) bool.
    """
    lost = ((pixels < image[0]) | (pixels > image[1])).any(axis=-1)
    for joint in range(17):
        for _ in range(rng.poisson(len(pixels) * LOSSES_PER_FRAME)):
            begin = rng.integers(len(pixels))
            lost[begin : begin + rng.integers(*LOSS_FRAMES), joint] = True
    return lost
