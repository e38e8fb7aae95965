"""A synthetic person who walks, with constant bones, and what a camera sees of them."""

from dataclasses import replace

import numpy as np

from liftbench.baselines.data.cameras import project_to_2d, world_to_camera
from liftbench.baselines.synthetic.actions import act
from liftbench.baselines.synthetic.body import FPS, REST
from liftbench.baselines.synthetic.capture import millimetres_per_pixel
from liftbench.lift.lifted import Lifted

__all__ = ["FPS", "lifted_walker", "seen_by", "walker"]
_WALK = 14


def walker(frames: int = 200) -> np.ndarray:
    """(frames, 17, 3) mm, world, z up: in a loop about the origin."""
    return act(_WALK, REST.astype(float), frames, np.random.default_rng(0))


def seen_by(camera, joints: np.ndarray, room=(0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """A person before a camera, taken without its distortion and with its principal point in the middle of the image.

    joints: (T, 17, 3) mm, world; room: (2,) mm, where their origin is. Returns (T, 17, 3) mm, camera frame, and
    (T, 17, 3) pixels: x, y in the image and depth relative to the pelvis.
    """
    points = world_to_camera(joints + [*room, 0], camera)
    pinhole = replace(
        camera, focal=np.full(2, camera.focal.mean()), centre=np.array(camera.size) / 2, radial=np.zeros(3),
        tangential=np.zeros(2),
    )  # fmt: skip
    pixels = project_to_2d(points, pinhole)
    depth = (points - points[:, :1])[..., 2:] / millimetres_per_pixel(pixels, points)[:, None, None]
    return points, np.concatenate([pixels, depth], axis=-1)


def lifted_walker(frames: int = 60) -> Lifted:
    """Somebody who walks before a camera 4 m away; the left wrist is unknown in five frames, everything in one."""
    world = walker(frames) - [0, 0, 5.0]
    camera = world[..., [0, 2, 1]] * [1, -1, 1] + [0, 1000, 4000]
    pixels = camera[..., :2] / camera[..., 2:] * 1000 + [960, 540]
    keypoints = np.concatenate([pixels, np.full((frames, 17, 1), 0.875)], axis=-1)
    poses, root, valid = camera - camera[:, :1], camera[:, 0].copy(), np.ones((frames, 17), bool)
    for array in (poses, world, keypoints):
        array[20:25, 13] = array[40] = np.nan
    root[40] = np.nan
    valid[20:25, 13] = valid[40] = False
    metadata = {"model": "mlp", "focal_px": 1000.0}
    return Lifted(keypoints, poses, root, world, valid, float(FPS), (1920, 1080), metadata)
