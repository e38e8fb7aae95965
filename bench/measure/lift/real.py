"""Compare each camera's lifted keypoints with the triangulated 3D of a real recording by several cameras.

The file is an npz: `keypoints2d` (C, T, 25, 3), BODY_25B pixels and confidence; `points3d` (T, 25, 3) metres, world;
`K` (C, 3, 3), `R` (C, 3, 3) and `t` (C, 3), world to camera; `image_size` (width, height); `fps`. Errors are over the
12 joints of the limbs, frame by frame, after the best similarity (P) or the best scale (N, limbs against the pelvis).
"""

from pathlib import Path

import numpy as np

from liftbench.baselines.data.formats import npz
from liftbench.baselines.data.normalization import root_relative
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import metrics
from liftbench.baselines.weights.trained import Weights
from liftbench.bench.measure import timing
from liftbench.bench.records.lift import RealCamera
from liftbench.lift import lifting
from liftbench.lift.keypoints import layouts

_KEYS = ("keypoints2d", "points3d", "K", "R", "t", "image_size", "fps")
_LAYOUT, _LIMBS = "body25b", [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]


def measure(weights: Weights, path: Path, device: str, refined: bool, say: timing.Progress) -> list[RealCamera]:
    """Return the errors of every camera. Raises InputError if the file has another form."""
    found = npz.load(path, _KEYS)
    seen, points = np.asarray(found["keypoints2d"]), np.asarray(found["points3d"])
    cameras, frames = seen.shape[0], seen.shape[1] if seen.ndim == 4 else 0
    shapes = {"keypoints2d": (cameras, frames, 25, 3), "points3d": (frames, 25, 3), "K": (cameras, 3, 3)}
    shapes |= {"R": (cameras, 3, 3), "t": (cameras, 3), "image_size": (2,), "fps": ()}
    for name, shape in shapes.items():
        if np.shape(found[name]) != shape:
            raise InputError(f"Cannot read {path}: {name} is of shape {np.shape(found[name])}. Give {shape}.")
    size, fps, rows = tuple(np.asarray(found["image_size"]).tolist()), float(found["fps"]), []
    for camera in range(cameras):
        say("real recording", camera, cameras)
        focal = float(found["K"][camera][0, 0])
        lifted = lifting.lift(
            np.nan_to_num(seen[camera]), size, fps, weights, layout=_LAYOUT, focal=focal, refined=refined, device=device
        )
        true = 1000 * (points @ found["R"][camera].T + found["t"][camera])
        true = _h36m(true, lifted.metadata["joint_9"])
        known = np.isfinite(lifted.poses_3d[:, [0, *_LIMBS]]).all(axis=(1, 2))
        known &= np.isfinite(true[:, [0, *_LIMBS]]).all(axis=(1, 2))
        if not known.any():
            raise InputError(f"Cannot measure on {path}: camera {camera + 1} shows no whole body. Leave it out.")
        pose, true = (root_relative(values[known])[:, _LIMBS] for values in (lifted.poses_3d, true))
        rows.append(
            RealCamera(
                camera=camera + 1,
                frames=int(known.sum()),
                limb_p_mpjpe_mm=float(metrics.p_mpjpe(pose, true).mean()),
                limb_n_mpjpe_mm=float(metrics.n_mpjpe(pose, true).mean()),
            )
        )
    return rows


def _h36m(points: np.ndarray, joint_9: str) -> np.ndarray:
    """Convert points of BODY_25B, (T, 25, 3) -> (T, 17, 3). `to_h36m` takes x, y and confidence, so it runs
    per axis.
    """
    names = layouts.LAYOUTS[_LAYOUT]
    axes = [layouts.to_h36m(points[..., [axis, axis, axis]], names, joint_9)[..., 0] for axis in range(3)]
    return np.stack(axes, axis=-1)
