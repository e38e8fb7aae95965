"""Convert image coordinates to the network's [-1, 1] and back, as MotionBERT's Human3.6M data reader does."""

import numpy as np

MM_PER_M = 1000


def normalize(pose: np.ndarray, resolution: np.ndarray) -> np.ndarray:
    """Convert pixels to normalised coordinates: xy / w * 2 - (1, h / w); z / w * 2.

    pose: (..., J, 2) or (..., J, 3), pixels; z is depth in pixels relative to the root.
    resolution: (..., 2), (width, height) in pixels, its leading axes broadcast with those of `pose`.
    Returns the shape of `pose`, x in [-1, 1] inside the image, in the dtype of `pose` and `resolution` together.
    """
    width, offset = _width_and_offset(resolution, pose.shape[-1])
    return pose / width * 2 - offset


def denormalize(pose: np.ndarray, resolution: np.ndarray) -> np.ndarray:
    """Convert normalised coordinates to pixels: the inverse of `normalize`, with the same arguments."""
    width, offset = _width_and_offset(resolution, pose.shape[-1])
    return (pose + offset) / 2 * width


def _width_and_offset(resolution: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    resolution = np.asarray(resolution)[..., None, :]
    width, height = resolution[..., :1], resolution[..., 1:]
    offset = np.concatenate([np.ones_like(width), height / width, np.zeros_like(width)], axis=-1)
    return width, offset[..., :channels]


def root_relative(pose: np.ndarray) -> np.ndarray:
    """Subtract joint 0, the pelvis, from a pose, (..., J, C) in any unit."""
    return pose - pose[..., :1, :]
