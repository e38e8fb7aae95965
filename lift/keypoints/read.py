"""Keypoints from any file: what it is, is seen from its content."""

import os
from pathlib import Path

from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints import alphapose, arrays, mmpose, openpose, tables
from liftbench.lift.keypoints.detections import Detections, read_json

_KINDS = (".csv", ".json", ".npy", ".npz")


def is_video(path: str | Path) -> bool:
    """Whether a path is that of a video (see `liftbench.lift.video`): a file that is none of the kinds read here."""
    return not os.path.isdir(path) and Path(path).suffix.lower() not in _KINDS


def read_keypoints(path: str | Path, layout: str = "auto", names: str | Path | None = None) -> Detections:
    """Read 2D keypoints: OpenPose's folder of JSON files; JSON of AlphaPose, of COCO results or of MMPose; CSV of
    DeepLabCut or SLEAP; .npz and .npy arrays.

    layout: one of `layouts.LAYOUTS`, or "auto" to tell it from the file and the number of points. names: YAML file that
    names the points of a CSV table (see `tables`). Raises InputError, one sentence, where the file cannot be read, is
    another program's, or leaves a choice of layouts.
    """
    path = Path(path)
    if names and path.suffix != ".csv":
        raise InputError(f"Cannot use --names with {path}: it names the points of a CSV table. Leave it out.")
    if os.path.isdir(path):
        return openpose.read(path, layout)
    if not os.path.exists(path):
        raise InputError(f"Cannot read {path}: there is no such file. Check the path.")
    if path.suffix == ".csv" and layout != "auto":
        raise InputError(
            f"Cannot use --format with {path}: a CSV table names its points. Give --names, or leave it out."
        )
    if path.suffix == ".csv":
        return tables.read(path, names and Path(names))
    if path.suffix in (".npz", ".npy"):
        return arrays.read(path, layout)
    if path.suffix != ".json":
        raise InputError(
            f"Cannot read {path}: its kind is not known. Give a .json, .csv, .npz or .npy file, or OpenPose's folder; "
            "of a video what `liftbench.lift.video.detect.detect` returns."
        )
    content = read_json(path)
    if alphapose.is_alphapose(content):
        return alphapose.read(path, content, layout)
    if frames := mmpose.frames_in(content):
        return mmpose.read(path, frames, layout)
    if isinstance(content, dict) and "people" in content:
        raise InputError(f"Cannot read {path}: it is one frame of OpenPose. Give the folder with all frames.")
    if content == []:
        raise InputError(f"Cannot lift {path}: no person was found in it. Check the detector's output.")
    raise InputError(
        f"Cannot read {path}: it is not the JSON of OpenPose, AlphaPose, MMPose or COCO results. Give a detector's own "
        "file."
    )
