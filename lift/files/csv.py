"""poses.csv: one row for each joint of each frame."""

import numpy as np
import pandas as pd

_FRAMES = 10_000  # written at a time


def write(lifted, path) -> None:
    """Write a long table: frame, time_s, joint, valid, and the coordinates with their units; empty where unknown."""
    for start in range(0, len(lifted.valid), _FRAMES):
        at = slice(start, start + _FRAMES)
        count, joints = lifted.valid[at].shape
        frame = np.repeat(np.arange(start, start + count), joints)
        columns = {
            "frame": frame,
            "time_s": frame / lifted.fps,
            "joint": np.tile(lifted.joint_names, count),
            "valid": lifted.valid[at].ravel().astype(int),
        }
        camera = lifted.poses_3d[at] + lifted.root[at, None]
        for names, values in (
            (("image_x_px", "image_y_px", "confidence"), lifted.keypoints_2d[at]),
            (("relative_x_mm", "relative_y_mm", "relative_z_mm"), lifted.poses_3d[at]),
            (("camera_x_mm", "camera_y_mm", "camera_z_mm"), camera),
            (("world_x_mm", "world_y_mm", "world_z_mm"), lifted.poses_world[at]),
        ):
            columns |= dict(zip(names, values.reshape(-1, 3).T))
        table = pd.DataFrame(columns)
        table.to_csv(path, mode="a" if start else "w", header=not start, index=False, float_format="%.4f")
