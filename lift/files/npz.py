"""poses.npz: the arrays of a recording under stable names."""

import json
from pathlib import Path

import numpy as np

from liftbench.lift.lifted import Lifted


def write(lifted: Lifted, path: Path) -> None:
    """Write keypoints_2d, poses_3d, root, poses_world, valid, fps, image_size, joint_names and metadata (JSON text)."""
    with open(path, "wb") as file:
        np.savez_compressed(
            file,
            keypoints_2d=lifted.keypoints_2d.astype(np.float32, copy=False),
            poses_3d=lifted.poses_3d.astype(np.float32, copy=False),
            root=lifted.root.astype(np.float32, copy=False),
            poses_world=lifted.poses_world.astype(np.float32, copy=False),
            valid=lifted.valid,
            fps=np.float64(lifted.fps),
            image_size=np.array(lifted.image_size),
            joint_names=np.array(lifted.joint_names),
            metadata=np.array(json.dumps(lifted.metadata)),
        )
