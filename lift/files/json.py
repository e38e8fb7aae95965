"""poses.json: the arrays of a recording, frame by frame."""

import json
from pathlib import Path

import numpy as np

from liftbench.baselines.data.scratch import blocks
from liftbench.lift.lifted import Lifted

_FRAMES = 1000  # converted at a time


def write(lifted: Lifted, path: Path) -> None:
    """Write the names of poses.npz, with a list of frames that hold the arrays' rows; null where unknown."""
    head = {"fps": lifted.fps, "image_size": list(lifted.image_size), "joint_names": list(lifted.joint_names)}
    head["metadata"] = lifted.metadata
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "frames": [')
        for at in blocks(len(lifted.valid), _FRAMES):
            rows = {
                name: getattr(lifted, name)[at].astype(np.float64).round(3).tolist()
                for name in ("keypoints_2d", "poses_3d", "root", "poses_world")
            }
            rows["valid"] = lifted.valid[at].tolist()
            for frame, values in enumerate(zip(*rows.values()), at.start):
                row = json.dumps({"frame": frame} | dict(zip(rows, values))).replace("NaN", "null")
                file.write(("," if frame else "") + "\n" + row)
        file.write("\n]}\n")
