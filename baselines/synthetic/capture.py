"""Record motion as Human3.6M's cameras would have, and write it as a file of the MotionBERT schema."""

import pickle
from pathlib import Path

import numpy as np

from liftbench.baselines.data.cameras import Camera, project_to_2d
from liftbench.baselines.files import replacing
from liftbench.baselines.synthetic import detector

COLUMNS = ("joint_2d", "confidence", "joint3d_image", "2.5d_factor", "joints_2.5d_image", "camera_name")


def millimetres_per_pixel(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the 2.5D factor of each frame.

    pixels: (T, 17, 2); points: (T, 17, 3) mm, camera frame -> (T,): the scale that brings the root-relative pixels
    closest, in least squares, to the root-relative x and y in millimetres (near root depth over focal length).
    """
    flat = pixels - pixels[:, :1]
    true = (points - points[:, :1])[..., :2]
    return (flat * true).sum(axis=(1, 2)) / (flat * flat).sum(axis=(1, 2))


def record(points: np.ndarray, camera: Camera, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Record one take with one camera; return the columns of the schema.

    points: (T, 17, 3) mm, camera frame. joint_2d holds detections with their confidence (detector.detect),
    joint3d_image the exact projections with depth relative to the root in the same pixels, joints_2.5d_image the same
    in millimetres.
    """
    pixels = project_to_2d(points, camera)
    return columns(points, pixels, *detector.detect(pixels, points, rng), camera.name)


def columns(
    points: np.ndarray, pixels: np.ndarray, seen: np.ndarray, confidence: np.ndarray, camera: str
) -> dict[str, np.ndarray]:
    """Return the columns of the schema for one take.

    points: (T, 17, 3) mm, camera frame; pixels: (T, 17, 2), their projections; seen: (T, 17, 2), the detections;
    confidence: (T, 17).
    """
    factor = millimetres_per_pixel(pixels, points).astype(np.float32)
    depth = (points - points[:, :1])[..., 2:] / factor[:, None, None]
    image = np.concatenate([pixels, depth], axis=-1).astype(np.float32)
    return {
        "joint_2d": seen.astype(np.float32),
        "confidence": confidence.astype(np.float32),
        "joint3d_image": image,
        "2.5d_factor": factor,
        "joints_2.5d_image": image * factor[:, None, None],
        "camera_name": np.full(len(points), camera, dtype="<U8"),
    }


class Split:
    """The takes of train or test, gathered one after another."""

    def __init__(self):
        self.columns = {name: [] for name in COLUMNS}
        self.source, self.action = [], []

    def add(self, recorded: dict[str, np.ndarray], source: str, action: str) -> None:
        """Add what record() returned, for a source such as s_09_act_05_subact_02_ca_01."""
        for name in COLUMNS:
            self.columns[name].append(recorded[name])
        self.source += [source] * len(recorded["camera_name"])
        self.action += [action] * len(recorded["camera_name"])

    def schema(self) -> dict:
        """Return the split in the form of a MotionBERT file."""
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        return {**columns, "source": self.source, "action": self.action}


def save(content: dict, path: str | Path) -> Path:
    """Pickle content to path, whole or not at all. Raises InputError if path cannot be written."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(content, file, protocol=4)
    return Path(path)
