"""poses.c3d: markers in millimetres, z up, through the extra liftbench[c3d]."""

import errno
from pathlib import Path

import numpy as np

from liftbench.baselines.errors import InputError
from liftbench.lift.files.axes import check_known
from liftbench.lift.lifted import Lifted


def write(lifted: Lifted, path: Path) -> None:
    """Write a marker at each joint; where unknown its residual is -1, as C3D says it.

    Raises InputError where ezc3d is not installed, or all of them would be unknown.
    """
    try:
        import ezc3d
    except ImportError:
        raise InputError("Cannot write C3D: ezc3d is not installed. Run `pip install liftbench[c3d]`.") from None
    check_known(lifted, "C3D")
    known = np.isfinite(lifted.poses_world).all(axis=-1)
    points = np.concatenate([lifted.poses_world, np.ones_like(known)[..., None]], axis=-1)
    points[~known] = 0
    c3d = ezc3d.c3d()
    c3d["parameters"]["POINT"]["RATE"]["value"] = [lifted.fps]
    c3d["parameters"]["POINT"]["LABELS"]["value"] = list(lifted.joint_names)
    c3d["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    c3d["data"]["points"] = points.transpose(2, 1, 0)
    c3d["data"]["meta_points"]["residuals"] = np.where(known, 0.0, -1.0).T[None]
    written = path.with_name(f"{path.name}.c3d")  # the only ending that ezc3d writes
    try:
        c3d.write(str(written))
        if written.stat().st_size < 4 * points.size:  # ezc3d does not say when the disk is full
            raise OSError(errno.ENOSPC, "the file was cut short")
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
