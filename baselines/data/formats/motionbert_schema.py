"""Check that a Human3.6M file follows the MotionBERT schema.

A dict of two splits, each a dict over the N frames of the split:
joint_2d (N, 17, 2) detections, pixels; confidence (N, 17) or (N, 17, 1); joint3d_image (N, 17, 3) ground truth, pixels,
depth relative to the root; 2.5d_factor (N,) mm per pixel; joints_2.5d_image (N, 17, 3) ground truth, mm;
camera_name, source, action: N strings. Root-relative, joints_2.5d_image = joint3d_image x 2.5d_factor; confidences lie
in [0, 1]; 2D lies in the image or near it. A top-level `origin` (dict) is optional: synthetic files say there how they
were made. Other keys are ignored.
"""

import itertools
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.data.cache import BLOCK_FRAMES, SPLITS, Names, SplitContent
from liftbench.baselines.data.formats.checks import (
    LONGEST_NAME,
    check_origin,
    finite,
    first_frame,
    is_float,
    is_name,
    kind,
    listed,
    pixels,
    short,
)
from liftbench.baselines.data.normalization import root_relative
from liftbench.baselines.errors import InputError

RELEASE_FRAMES = {"train": 1_559_752, "test": 566_920}  # of the licensed file
JOINT_SHAPES = {
    "joint_2d": (17, 2),
    "confidence": (17,),
    "joint3d_image": (17, 3),
    "2.5d_factor": (),
    "joints_2.5d_image": (17, 3),
}  # the shape of one frame
NAME_KEYS = {"camera_name": "camera", "source": "source", "action": "action"}  # key of the file: name in the cache
CAMERA_RESOLUTION = {
    "54138969": (1000, 1002),
    "55011271": (1000, 1000),
    "58860488": (1000, 1000),
    "60457274": (1000, 1002),
    "random": (1000, 1000),  # any other camera; its image is scaled to this width and centred in the square
}  # width, height in pixels
IMAGE_SIZE = 1002  # of the larger side, pixels
# Lowest and highest value. Confidences are peaks of heat maps, which exceed 1 a little; percentages exceed it more.
# A person of 1.7 m would fill the image at 1.7 mm per pixel, and be 17 pixels tall at 100.
RANGES = {
    "confidence": (-0.25, 1.25, "a confidence in [0, 1]"),
    "2.5d_factor": (0.5, 100, "0.5 to 100 mm per pixel"),
}
TOLERANCE_MM = 0.1
SOURCE_PATTERN = re.compile(r"s_(?P<subject>\d\d)_act_(?P<action>\d\d)_subact_(?P<subaction>\d\d)_ca_(?P<camera>\d\d)")


def check(content: Any, path: Path) -> tuple[dict[str, SplitContent], dict[str, Any]]:
    """Return the splits of a file's `content` as {split: SplitContent}, and its origin, {} if it states none.

    Raises InputError naming split, key, what was expected and what was found.
    """
    _require(isinstance(content, dict), f"{path}: it holds {kind(content)}, not a dict of the splits train and test")
    origin = check_origin(content.get("origin", {}), path)
    return {split: _check_split(content, split, path) for split in SPLITS}, origin


def check_numbers(block: np.ndarray, place: str, start: int):
    """Raise InputError for values that no frame may hold.

    block: (n, ...) float32, the frames from `start` on. place: file, split and key, for the message.
    """
    finite(block, place, start)
    key = place.rpartition("/")[2]
    if key in ("joint_2d", "joint3d_image"):
        pixels(block, place, IMAGE_SIZE, start)
    elif key in RANGES:
        low, high, what = RANGES[key]
        bad = (block < low) | (block > high)
        if bad.any():
            frame = first_frame(bad)
            value = block[frame][bad[frame]].flat[0]
            raise InputError(f"Cannot read {place}: frame {start + frame} has {value:g}, expected {what}. Repair it.")


def _consistent(arrays: dict[str, np.ndarray], frames: int, place: str) -> Iterator[np.ndarray]:
    """Yield the blocks of joints_2.5d_image, checked against joint3d_image and 2.5d_factor: errors are measured against
    one, and predictions are converted with the others.

    They may differ by rounding. In float32 that is below 0.001 mm (1,000 pixels of 5 mm); values computed another way
    and stored in float32 stay below the 0.1 mm that is allowed. Half precision adds its own rounding.
    """
    coarsest = max(np.finfo(arrays[key].dtype).eps for key in ("joint3d_image", "2.5d_factor", "joints_2.5d_image"))
    for start in range(0, frames, BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        image, factor, given = (
            arrays[key][block].astype(np.float64) for key in ("joint3d_image", "2.5d_factor", "joints_2.5d_image")
        )
        finite(given, place, start)
        expected = image * factor[:, None, None]
        difference = np.abs(root_relative(given) - root_relative(expected)).max(axis=(1, 2))
        scale = np.maximum(np.abs(given), np.abs(expected)).max(axis=(1, 2))
        bad = difference > TOLERANCE_MM + 4 * coarsest * scale
        if bad.any():
            frame = first_frame(bad)
            raise InputError(
                f"Cannot read {place}: frame {start + frame} is {difference[frame]:.3g} mm off joint3d_image times "
                "2.5d_factor, root-relative. Save millimetres that agree with the pixels."
            )
        yield arrays["joints_2.5d_image"][block]


def _check_split(content: Any, split: str, path: Path) -> SplitContent:
    _require(split in content, f"{path}: it has no split {split!r}, only {listed(content)}")
    split_content = content[split]
    place = f"{path}: {split}"
    _require(isinstance(split_content, dict), f"{place} is {kind(split_content)}, expected a dict")
    missing = [key for key in (*JOINT_SHAPES, *NAME_KEYS) if key not in split_content]
    _require(not missing, f"{place} has no {' and no '.join(map(repr, missing))}, only {listed(split_content)}")

    frames = _length(split_content["joint_2d"], f"{place}/joint_2d")
    _require(frames > 0, f"{place}/joint_2d holds no frame")
    arrays = {
        key: _check_array(split_content[key], shape, frames, f"{place}/{key}") for key, shape in JOINT_SHAPES.items()
    }
    arrays["joints_2.5d_image"] = _consistent(dict(arrays), frames, f"{place}/joints_2.5d_image")
    names = {key: _check_names(split_content[key], frames, f"{place}/{key}") for key in NAME_KEYS}

    for key, valid, expected in (
        ("camera_name", CAMERA_RESOLUTION.__contains__, "one of " + ", ".join(CAMERA_RESOLUTION)),
        ("source", SOURCE_PATTERN.fullmatch, "a name like s_09_act_05_subact_02_ca_01"),
    ):
        for start, code in zip(names[key].bounds, names[key].codes, strict=False):
            name = names[key].table[code]
            _require(valid(name), f"{place}/{key}: frame {start} is {short(name)}, expected {expected}")
    return SplitContent(frames, arrays, {NAME_KEYS[key]: values for key, values in names.items()})


def _check_array(array: Any, shape: tuple[int, ...], frames: int, place: str) -> np.ndarray:
    _require(isinstance(array, np.ndarray), f"{place} is {kind(array)}, expected a numpy array")
    if place.endswith("confidence") and array.shape == (frames, 17, 1):
        array = array[..., 0]
    _require(array.shape == (frames, *shape), f"{place} has shape {array.shape}, expected {(frames, *shape)}")
    _require(
        is_float(array),
        f"{place} has dtype {array.dtype}, expected float16, float32 or float64",
    )
    return array


def _check_names(values: Any, frames: int, place: str) -> Names:
    found = _length(values, place)
    _require(found == frames, f"{place} has {found} entries, expected {frames}, one for each frame of joint_2d")
    if isinstance(values, np.ndarray) and values.dtype.kind == "U" and values.ndim == 1:
        changes = values[1:] != values[:-1]
    else:
        values = values.tolist() if isinstance(values, np.ndarray) else list(values)
        wrong = next(
            (
                frame
                for frame, value in enumerate(values)
                if not (isinstance(value, str) and len(value) <= LONGEST_NAME)
            ),
            None,
        )
        if wrong is not None:
            _require(False, f"{place}: frame {wrong} is {short(values[wrong])}, expected a short string")
        changes = np.fromiter(map(operator.ne, values, itertools.islice(values, 1, None)), bool, frames - 1)
    bounds = np.concatenate([[0], np.flatnonzero(changes) + 1, [frames]])
    names = Names.of_runs(bounds, [str(values[start]) for start in bounds[:-1]])
    strange = next((name for name in names.table if not is_name(name)), None)
    _require(strange is None, f"{place} has {short(strange)}, expected a short printable name")
    return names


def _length(values: Any, place: str) -> int:
    sized = isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.ndim > 0)
    _require(sized, f"{place} is {kind(values)}, expected one entry for each frame")
    return len(values)


def _require(condition: Any, problem: str):
    if not condition:
        raise InputError(f"Cannot read {problem}. Use a file of the MotionBERT schema.")
