"""What a Human3.6M file of the MotionBERT schema must hold, and the refusal of one that does not.

A dict of two splits, each a dict over the N frames of the split:
joint_2d (N, 17, 2) detections, pixels; confidence (N, 17) or (N, 17, 1); joint3d_image (N, 17, 3) ground truth, pixels,
depth relative to the root; 2.5d_factor (N,) mm per pixel; joints_2.5d_image (N, 17, 3) ground truth, mm;
camera_name, source, action: N strings. A top-level `origin` (dict) is optional: synthetic files say there how they were
made. Other keys are ignored.
"""

import itertools
import operator
import re

import numpy as np

from liftbench.baselines.data.cache import SPLITS, Names, SplitContent
from liftbench.baselines.data.formats.checks import (
    LONGEST_NAME,
    check_origin,
    finite,
    first_frame,
    is_float,
    is_name,
    kind,
    listed,
    short,
)
from liftbench.baselines.errors import InputError

RELEASE_FRAMES = {"train": 1_559_752, "test": 566_920}  # of the licensed file
JOINT_SHAPES = {
    "joint_2d": (17, 2),
    "confidence": (17,),
    "joint3d_image": (17, 3),
    "joints_2.5d_image": (17, 3),
    "2.5d_factor": (),
}  # the shape of one frame
NAME_KEYS = {"camera_name": "camera", "source": "source", "action": "action"}  # key of the file: name in the cache
CAMERA_RESOLUTION = {
    "54138969": (1000, 1002),
    "55011271": (1000, 1000),
    "58860488": (1000, 1000),
    "60457274": (1000, 1002),
}  # width, height in pixels
SOURCE_PATTERN = re.compile(r"s_(?P<subject>\d\d)_act_(?P<action>\d\d)_subact_(?P<subaction>\d\d)_ca_(?P<camera>\d\d)")


def check(content, path):
    """The splits of a file's `content` as {split: SplitContent}, and its origin, {} if it states none.

    Raises InputError naming split, key, what was expected and what was found.
    """
    _require(isinstance(content, dict), f"{path} holds a {kind(content)}, not a dict of the splits train and test")
    origin = check_origin(content.get("origin", {}), path)
    return {split: _check_split(content, split, path) for split in SPLITS}, origin


def check_numbers(block, key, start):
    """Refuse what no frame may hold.

    block: (n, ...) float32, the frames from `start` on. key: file, split and key, for the InputError.
    """
    finite(block, key, start)
    if key.endswith("2.5d_factor") and not (block > 0).all():
        frame = first_frame(block <= 0)
        raise InputError(f"{key}: frame {start + frame} is {block[frame]:g}, expected mm per pixel above 0: repair it")


def _check_split(content, split, path):
    _require(split in content, f"{path} has no split {split!r}, only {listed(content)}")
    split_content = content[split]
    place = f"{path}: {split}"
    _require(isinstance(split_content, dict), f"{place} is a {kind(split_content)}, expected a dict")
    missing = [key for key in (*JOINT_SHAPES, *NAME_KEYS) if key not in split_content]
    _require(not missing, f"{place} has no {' and no '.join(map(repr, missing))}, only {listed(split_content)}")

    frames = _length(split_content["joint_2d"], f"{place}/joint_2d")
    _require(frames > 0, f"{place}/joint_2d holds no frame")
    arrays = {
        key: _check_array(split_content[key], shape, frames, f"{place}/{key}") for key, shape in JOINT_SHAPES.items()
    }
    names = {key: _check_names(split_content[key], frames, f"{place}/{key}") for key in NAME_KEYS}

    for key, valid, expected in (
        ("camera_name", CAMERA_RESOLUTION.__contains__, "one of " + ", ".join(CAMERA_RESOLUTION)),
        ("source", SOURCE_PATTERN.fullmatch, "a name like s_09_act_05_subact_02_ca_01"),
    ):
        for start, code in zip(names[key].bounds, names[key].codes, strict=False):
            name = names[key].table[code]
            _require(valid(name), f"{place}/{key}: frame {start} is {short(name)}, expected {expected}")
    return SplitContent(frames, arrays, {NAME_KEYS[key]: values for key, values in names.items()})


def _check_array(array, shape, frames, place):
    _require(isinstance(array, np.ndarray), f"{place} is a {kind(array)}, expected a numpy array")
    if place.endswith("confidence") and array.shape == (frames, 17, 1):
        array = array[..., 0]
    _require(array.shape == (frames, *shape), f"{place} has shape {array.shape}, expected {(frames, *shape)}")
    _require(
        is_float(array),
        f"{place} has dtype {array.dtype}, expected float16, float32 or float64",
    )
    return array


def _check_names(values, frames, place):
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


def _length(values, place):
    sized = isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.ndim > 0)
    _require(sized, f"{place} is a {kind(values)}, expected one entry for each frame")
    return len(values)


def _require(condition, problem):
    if not condition:
        raise InputError(f"{problem}: use a file of the MotionBERT schema")
