"""A synthetic person who walks, with constant bones, and what a camera sees of them."""

from dataclasses import replace

import numpy as np

from liftbench.baselines.data.cameras import project_to_2d, world_to_camera
from liftbench.baselines.synthetic.actions import act
from liftbench.baselines.synthetic.body import FPS, REST
from liftbench.baselines.synthetic.capture import millimetres_per_pixel
from liftbench.lift.lifted import Lifted

__all__ = ["FPS", "LEG", "STRIDE", "SWING", "lifted_walker", "marching", "seen_by", "walker"]
_WALK = 14
STRIDE, SWING, LEG = 1.2, np.radians(25), 900.0  # of `marching`: s, of a thigh's angle either way, mm


def walker(frames: int = 200) -> np.ndarray:
    """(frames, 17, 3) mm, world, z up: in a loop about the origin."""
    return act(_WALK, REST.astype(float), frames, np.random.default_rng(0))


def marching(seconds=8, fps=100, heading=0.3, knee=0.0, slower_left=1.0):
    """Somebody with legs that swing like pendulums: (T, 17, 3) mm; knee: flexion of the right one, radians."""
    t = np.arange(int(seconds * fps)) / fps
    pose = np.zeros((len(t), 17, 3))
    rest = {1: (0, -100, 0), 4: (0, 100, 0), 7: (0, 0, 250), 8: (0, 0, 500), 9: (0, 0, 600), 10: (0, 0, 700),
            11: (0, 180, 480), 12: (0, 200, 200), 13: (0, 200, -50), 14: (0, -180, 480), 15: (0, -200, 200),
            16: (0, -200, -50)}  # fmt: skip
    for joint, place in rest.items():
        pose[:, joint] = place
    for hip, sign in ((1, 1), (4, -1)):
        thigh = sign * SWING * np.cos(2 * np.pi * t / STRIDE) * (1 if hip == 1 else slower_left)
        shank = thigh - (knee if hip == 1 else 0)
        pose[:, hip + 1] = pose[:, hip] + LEG / 2 * np.stack([np.sin(thigh), 0 * t, -np.cos(thigh)], axis=1)
        pose[:, hip + 2] = pose[:, hip + 1] + LEG / 2 * np.stack([np.sin(shank), 0 * t, -np.cos(shank)], axis=1)
    pose += np.stack([1200 * t, 0 * t, 0 * t + 950], axis=1)[:, None]
    turn = np.array([[np.cos(heading), np.sin(heading), 0], [-np.sin(heading), np.cos(heading), 0], [0, 0, 1]])
    return pose @ turn


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
