"""The four calibrated cameras of the Human3.6M capture room.

World frame: millimetres, z up, origin on the floor. Camera frame: millimetres, x right, y down, z forward.
The calibration is the one published with VideoPose3D (h36m_cameras.json beside this file).
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

# In the order of Human3.6M's ca_01 .. ca_04.
CAMERAS = ("54138969", "55011271", "58860488", "60457274")
SUBJECTS = (1, 5, 6, 7, 8, 9, 11)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with radial and tangential distortion, standing in the world."""

    name: str
    size: tuple[int, int]  # width, height in pixels
    focal: np.ndarray  # (2,) pixels
    centre: np.ndarray  # (2,) pixels
    radial: np.ndarray  # (3,) k1, k2, k3
    tangential: np.ndarray  # (2,) p1, p2
    rotation: np.ndarray  # (3, 3) columns are the camera's axes in the world frame
    position: np.ndarray  # (3,) mm, world frame


def rotation_from_quaternion(q: np.ndarray) -> np.ndarray:
    """q: (4,) w, x, y, z of any length > 0 -> (3, 3) rotation matrix."""
    w, x, y, z = np.asarray(q, dtype=np.float64) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@cache
def load_cameras(subject: int) -> tuple[Camera, ...]:
    """Return the four cameras as they stood for a subject, in the order of CAMERAS.

    Raises KeyError for a subject that is not one of SUBJECTS.
    """
    calibration = json.loads(Path(__file__).with_name("h36m_cameras.json").read_text())
    placed = calibration["extrinsics"][f"S{subject}"]
    return tuple(
        Camera(
            name=name,
            size=(lens["res_w"], lens["res_h"]),
            focal=np.array(lens["focal_length"]),
            centre=np.array(lens["center"]),
            radial=np.array(lens["radial_distortion"]),
            tangential=np.array(lens["tangential_distortion"]),
            rotation=rotation_from_quaternion(placed[name]["orientation"]),
            position=np.array(placed[name]["translation"]),
        )
        for name, lens in ((name, calibration["intrinsics"][name]) for name in CAMERAS)
    )


def world_to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
    """points: (..., 3) mm, world frame -> (..., 3) mm, camera frame."""
    return (points - camera.position) @ camera.rotation


def project_to_2d(points: np.ndarray, camera: Camera) -> np.ndarray:
    """points: (..., 3) mm, camera frame, in front of the camera -> (..., 2) pixels.

    Distortion as in VideoPose3D's project_to_2d, without its clamp to a 90 degree field of view.
    """
    xy = points[..., :2] / points[..., 2:]
    r2 = (xy * xy).sum(axis=-1, keepdims=True)
    k1, k2, k3 = camera.radial
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    tangential = (xy * camera.tangential).sum(axis=-1, keepdims=True)
    return camera.focal * (xy * (radial + tangential) + camera.tangential * r2) + camera.centre


@cache
def room_centre(subject: int) -> np.ndarray:
    """Return the floor position below the point nearest to the four optical axes, (2,) mm, world frame."""
    cameras = load_cameras(subject)
    across = [np.eye(3) - np.outer(c.rotation[:, 2], c.rotation[:, 2]) for c in cameras]
    nearest = np.linalg.solve(sum(across), sum(a @ c.position for a, c in zip(across, cameras, strict=True)))
    return nearest[:2]
