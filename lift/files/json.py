"""poses.json: the arrays of a recording, frame by frame."""

import json

import numpy as np


def write(lifted, path) -> None:
    """Write the names of poses.npz, with a list of frames that hold the arrays' rows; null where unknown."""
    head = {"fps": lifted.fps, "image_size": list(lifted.image_size), "joint_names": list(lifted.joint_names)}
    head["metadata"] = lifted.metadata
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "frames": [')
        for frame in range(len(lifted.valid)):
            row = {
                name: _plain(getattr(lifted, name)[frame])
                for name in ("keypoints_2d", "poses_3d", "root", "poses_world")
            }
            row |= {"frame": frame, "valid": lifted.valid[frame].tolist()}
            file.write(("," if frame else "") + "\n" + json.dumps(row))
        file.write("\n]}\n")


def _plain(values):
    """Nested lists of numbers with three decimals, None for nan."""
    rounded = np.round(values.astype(np.float64), 3)
    return np.where(np.isnan(rounded), None, rounded).tolist()
