"""poses.csv: one row for each joint of each frame."""

from pathlib import Path

import numpy as np

from liftbench.baselines.data.scratch import blocks
from liftbench.lift.lifted import Lifted

_COLUMNS = (
    "frame", "time_s", "joint", "valid", "image_x_px", "image_y_px", "confidence", "relative_x_mm", "relative_y_mm",
    "relative_z_mm", "camera_x_mm", "camera_y_mm", "camera_z_mm", "world_x_mm", "world_y_mm", "world_z_mm",
)  # fmt: skip
_NUMBERS = ",".join(["%.4f"] * 12)
_FRAMES = 1000  # converted at a time


def write(lifted: Lifted, path: Path) -> None:
    """Write a long table: frame, time, joint, valid, and the coordinates with their units; empty where unknown."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(_COLUMNS) + "\n")
        for at in blocks(len(lifted.valid), _FRAMES):
            camera = lifted.poses_3d[at] + lifted.root[at, None]
            arrays = lifted.keypoints_2d[at], lifted.poses_3d[at], camera, lifted.poses_world[at]
            values = np.concatenate(arrays, axis=-1).tolist()
            for frame, (pose, valid) in enumerate(zip(values, lifted.valid[at].tolist()), at.start):
                when = f"{frame},{frame / lifted.fps:.4f}"
                for joint, row, seen in zip(lifted.joint_names, pose, valid):
                    numbers = (_NUMBERS % tuple(row)).replace("nan", "")
                    file.write(f"{when},{joint},{seen:d},{numbers}\n")
