"""The size of a body in its bones: from the unit of a pose to millimetres, and the depth that follows from it."""

import numpy as np

from liftbench.baselines.data import scratch
from liftbench.baselines.skeleton import PARENTS
from liftbench.lift.geometry.filters import low_pass, runs

MEAN_HEIGHT = 1.70  # m, of Human3.6M's subjects by the bones below; for people whose height is not given
ANKLE_HEIGHT = 0.039  # of the body height, floor to ankle (Drillis and Contini 1966)
# Bones from the head to the ankles by the joint they end in: length in mm of Human3.6M's subject 1, and weight, so that
# two legs count as one.
_CHAIN = {7: (233.4, 1.0), 8: (257.1, 1.0), 9: (121.1, 1.0), 10: (115.0, 1.0)} | {
    joint: length for knee in (2, 5) for joint, length in ((knee, (442.9, 0.5)), (knee + 1, (454.2, 0.5)))
}
_DEPTH_CUTOFF = 1.0  # Hz; a person's depth changes slowly, what is faster is the error of the lifter
FEWEST_JOINTS = 6  # that place a pose


def body_height(poses: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How tall a person with the bones of each pose stands, in the unit of the poses.

    poses: (T, 17, 3); known: (T, 17) bool. The bones that are known are compared with those of Human3.6M's subject 1.
    Returns (T,), nan where none of them is known.
    """
    joints = list(_CHAIN)
    parents = [PARENTS[joint] for joint in joints]
    length, weight = np.array(list(_CHAIN.values())).T
    share = length * weight / (length @ weight) * (1 - ANKLE_HEIGHT)
    usable = known[:, joints] & known[:, parents]
    bones = np.linalg.norm(poses[:, joints] - poses[:, parents], axis=-1) * weight
    with np.errstate(invalid="ignore"):
        return np.where(usable, bones, 0).sum(axis=1) / (usable @ share)


def place_image_poses(
    image: np.ndarray, known: np.ndarray, height: float, focal: float, size: tuple[int, int], fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Poses in image coordinates -> (poses, roots) in millimetres of the camera frame (x right, y down, z forward).

    image: (T, 17, 3) pixels, x and y in the image and depth relative to the pelvis, as a 2.5D model answers; float32
    gives float32, to save memory.
    height: of the body, mm. focal: pixels. Every joint is put on its viewing ray; the depth of the pelvis is the one
    that makes the body as tall as it is, low-passed over time. Returns (T, 17, 3) root-relative and (T, 3); frames
    without a known bone take the depth of their neighbours.
    """
    centre = np.array(size, image.dtype) / 2
    camera, heights = scratch.zeros(image.shape, image.dtype), np.empty(len(image))
    for block in scratch.blocks(len(image)):
        z = 1 + image[block, :, 2:] / focal  # in depths of the pelvis
        camera[block] = np.concatenate([(image[block, :, :2] - centre) / focal * z, z], axis=-1)
        heights[block] = body_height(camera[block], known[block])
    camera *= (height / _steady(heights, fps))[:, None, None]
    root = camera[:, 0].copy()
    camera -= root[:, None]
    return camera, root


def place_metric_poses(
    poses: np.ndarray, pixels: np.ndarray, known: np.ndarray, height: float, focal: float, size: tuple[int, int],
    fps: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Root-relative poses of any metric unit -> (poses, roots) in millimetres of the camera frame.

    poses: (T, 17, 3); pixels: (T, 17, 2), where the joints were seen. One factor makes the body `height` mm tall. The
    depth of the root is that of the translation which brings the known joints onto their viewing rays, in least
    squares, low-passed over time; the root lies on the pelvis's ray. Returns as `place_image_poses`.
    """
    poses = scratch.copy(poses)
    poses *= height / np.nanmedian(scratch.by_blocks(body_height, poses, known))

    def depths(poses: np.ndarray, pixels: np.ndarray, known: np.ndarray) -> np.ndarray:
        return root_depth(poses, pixels, known, focal, size)

    depth = _steady(scratch.by_blocks(depths, poses, pixels, known), fps)
    rays = (pixels[:, 0] - np.array(size) / 2) / focal
    return poses, np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth[:, None]


def root_depth(
    poses: np.ndarray, pixels: np.ndarray, known: np.ndarray, focal: float, size: tuple[int, int]
) -> np.ndarray:
    """(T,) depth of the root, in the unit of the poses, that brings the known joints onto their viewing rays.

    poses: (T, 17, 3) root-relative; the others as for `place_metric_poses`. nan where it cannot be told.
    """
    rays = (pixels - np.array(size) / 2) / focal
    w = known.astype(float)
    # minimise sum of w |x + tx - u (z + tz)|^2 + w |y + ty - v (z + tz)|^2
    u, v = rays[..., 0], rays[..., 1]
    a, b = u * poses[..., 2] - poses[..., 0], v * poses[..., 2] - poses[..., 1]
    count, su, sv = w.sum(1), (w * u).sum(1), (w * v).sum(1)
    squares = (w * (u * u + v * v)).sum(1)
    top = -(w * (u * a + v * b)).sum(1) + (su * (w * a).sum(1) + sv * (w * b).sum(1)) / np.maximum(count, 1)
    bottom = squares - (su * su + sv * sv) / np.maximum(count, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = top / bottom
    depth[(count < FEWEST_JOINTS) | ~(depth > 0)] = np.nan
    return depth


def _steady(size: np.ndarray, fps: float) -> np.ndarray:
    """(T,) positive numbers, low-passed on their logarithm; nan is filled from its neighbours, 1 where all are."""
    good = np.isfinite(size) & (size > 0)
    if not good.any():
        return np.ones_like(size)
    frames = np.arange(len(size))
    logarithm = np.interp(frames, frames[good], np.log(size[good]))
    for run in runs(good):
        logarithm[run] = low_pass(logarithm[run], fps, min(_DEPTH_CUTOFF, fps / 4))
    return np.exp(np.interp(frames, frames[good], logarithm[good]))
