"""Check the two files of MPI-INF-3DHP that the P-STMO scripts make.

Each has one member `data`, a dict. data_train_3dhp.npz: "S1 Seq1" -> [{camera "0" -> {data_2d (n, 17, 2), data_3d
(n, 17, 3)}}, frames per second]. data_test_3dhp.npz: TS1 .. TS6 -> {data_2d, data_3d, valid (n,) or (n, 1)}. data_2d
are annotated pixels, data_3d millimetres in the camera frame (of the universal skeleton), valid is 1 for frames that
count in the evaluation. A member `origin` (dict) of the training file is optional: synthetic files say there how they
were made. Other members and keys are ignored.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.data.cache import Content, Names, SplitContent
from liftbench.baselines.data.formats import npz
from liftbench.baselines.data.formats.checks import check_origin, finite, is_float, kind, listed, pixels, short
from liftbench.baselines.errors import InputError

RELEASE_FRAMES = {"train": 8 * 131_592}  # eight of the cameras, and the frames that the scripts name for the sequences
TRAIN, TEST = "data_train_3dhp.npz", "data_test_3dhp.npz"
TEST_SEQUENCES = ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6")
SEQUENCE_PATTERN = re.compile(r"S\d{1,4} Seq\d{1,4}")
SHAPES = {"data_2d": (17, 2), "data_3d": (17, 3), "valid": (), "fps": ()}  # for one frame; fps is 0 where not stated

# The joint of these files that stands for each joint of `baselines.skeleton`. Theirs are 0 head top, 1 neck, 2-4 right
# shoulder, elbow, wrist, 5-7 left ones, 8-10 right hip, knee, ankle, 11-13 left ones, 14 pelvis, 15 spine, 16 head.
# "neck" (1) is where the clavicles meet the spine, our thorax; "head" (16) lies between it and the head top, our neck.
JOINT_ORDER = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)

LEG_BONES = (((8, 9), (11, 12)), ((9, 10), (12, 13)))  # right and left thigh, right and left shin
IMAGE_SIZE = 2048  # the larger side of the studio's images, pixels
BONE_MM = (150, 800)
LARGEST_RATIO = 1.5  # largest ratio of a right and a left bone

_Run = tuple[str, str, dict[str, np.ndarray], str]  # sequence, camera, arrays by key, place for messages


def read(files: Sequence[Path]) -> Content:
    """Return the Content of [training file, test file], joints in JOINT_ORDER.

    Raises InputError naming file, sequence, key, what was expected and what was found. Wrong numbers are found later,
    when the blocks are read.
    """
    train, test = files
    testing = npz.load(test, ["data"])
    training = npz.load(train, ["data"], optional=["origin"])
    splits = {"train": _training_runs(training["data"], train), "test": _test_runs(testing["data"], test)}
    origin = check_origin(training.get("origin", {}), train)
    return Content({name: _split(runs) for name, runs in splits.items()}, origin)


def _training_runs(data: Any, path: Path) -> list[_Run]:
    """Return (sequence, camera, {key: array}, place) of every camera of every sequence."""
    _require(isinstance(data, dict), f"{path}: data is {kind(data)}, expected a dict of sequences")
    _require(data, f"{path}: data holds no sequence")
    runs = []
    for sequence, content in data.items():
        named = isinstance(sequence, str) and SEQUENCE_PATTERN.fullmatch(sequence)
        _require(named, f"{path}: data has a sequence {short(sequence)}, expected names like 'S1 Seq1'")
        place = f"{path}: {sequence}"
        pair = isinstance(content, (list, tuple)) and len(content) == 2
        _require(pair, f"{place} is {kind(content)}, expected a list of the cameras and the frames per second")
        cameras, fps = content
        _require(isinstance(cameras, dict), f"{place}: the cameras are {kind(cameras)}, expected a dict")
        _require(cameras, f"{place} holds no camera")
        rate = isinstance(fps, (int, float, np.integer, np.floating)) and 0 < fps < 1000
        _require(rate, f"{place}: the frame rate is {short(fps)}, expected a number such as 25 or 50")
        for camera, pose in cameras.items():
            named = isinstance(camera, str) and re.fullmatch("[0-9]{1,4}", camera)
            _require(named, f"{place} has a camera {short(camera)}, expected names like '0'")
            where = f"{place}, camera {camera}"
            arrays = _poses(pose, where)
            frames = len(arrays["data_2d"])
            arrays |= {"valid": np.ones(frames, np.float32), "fps": np.full(frames, fps, np.float32)}
            runs.append((sequence, camera, arrays, where))
    return runs


def _test_runs(data: Any, path: Path) -> list[_Run]:
    """Return what `_training_runs` returns; a test sequence is its own camera."""
    _require(isinstance(data, dict), f"{path}: data is {kind(data)}, expected a dict of sequences")
    missing = [name for name in TEST_SEQUENCES if name not in data]
    _require(not missing, f"{path}: data has no {' and no '.join(missing)}, only {listed(data)}")
    unknown = [name for name in data if name not in TEST_SEQUENCES]
    _require(not unknown, f"{path}: data has {listed(unknown)} beside TS1 to TS6")
    runs = []
    for sequence in TEST_SEQUENCES:
        place = f"{path}: {sequence}"
        arrays = _poses(data[sequence], place, "valid")
        frames = len(arrays["data_2d"])
        valid = _valid(data[sequence]["valid"], frames, f"{place}/valid")
        runs.append((sequence, sequence, arrays | {"valid": valid, "fps": np.zeros(frames, np.float32)}, place))
    return runs


def _poses(content: Any, place: str, *further) -> dict[str, np.ndarray]:
    _require(isinstance(content, dict), f"{place} is {kind(content)}, expected a dict")
    missing = [key for key in ("data_2d", "data_3d", *further) if key not in content]
    _require(not missing, f"{place} has no {' and no '.join(map(repr, missing))}, only {listed(content)}")
    arrays = {key: content[key] for key in ("data_2d", "data_3d")}
    for key, array in arrays.items():
        _require(isinstance(array, np.ndarray), f"{place}/{key} is {kind(array)}, expected a numpy array")
        _require(is_float(array), f"{place}/{key} has dtype {array.dtype}, expected float16, float32 or float64")
        shape = f"(n, {', '.join(map(str, SHAPES[key]))})"
        _require(array.shape[1:] == SHAPES[key], f"{place}/{key} has shape {array.shape}, expected {shape}")
    frames = {key: len(array) for key, array in arrays.items()}
    _require(
        frames["data_2d"] == frames["data_3d"],
        f"{place}: data_2d has {frames['data_2d']} frames and data_3d {frames['data_3d']}, expected as many",
    )
    _require(frames["data_2d"] > 0, f"{place} holds no frame")
    return arrays


def _valid(array: Any, frames: int, place: str) -> np.ndarray:
    """Check the flags and return them as (n,) float32 of 0 and 1."""
    _require(isinstance(array, np.ndarray), f"{place} is {kind(array)}, expected a numpy array")
    column = array.shape in ((frames, 1), (1, frames))
    _require(
        array.shape == (frames,) or column, f"{place} has shape {array.shape}, expected {(frames,)} or {(frames, 1)}"
    )
    _require(array.dtype.kind in "biuf", f"{place} has dtype {array.dtype}, expected numbers")
    array = array.reshape(frames)
    _require(np.isin(array, (0, 1)).all(), f"{place} holds more than 0 and 1")
    _require(array.any(), f"{place} counts no frame")
    return array.astype(np.float32)


def _split(runs: Sequence[_Run]) -> SplitContent:
    sequences, cameras, arrays, places = zip(*runs, strict=True)
    bounds = np.cumsum([0, *(len(part["valid"]) for part in arrays)])
    sources = [
        sequence if sequence == camera else f"{sequence} camera {camera}"
        for sequence, camera in zip(sequences, cameras, strict=True)
    ]
    names = {"camera": cameras, "source": sources, "action": sequences}
    return SplitContent(
        int(bounds[-1]),
        {key: _blocks(key, arrays, places) for key in SHAPES},
        {key: Names.of_runs(bounds, values) for key, values in names.items()},
    )


def _blocks(key: str, runs: Sequence[dict[str, np.ndarray]], places: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield the arrays of all runs under one key, float32, run by run; check each first."""
    for arrays, place in zip(runs, places, strict=True):
        block = arrays[key]
        if key in ("data_2d", "data_3d"):
            block = finite(block, f"{place}/{key}")
            if key == "data_2d":
                pixels(block, f"{place}/{key}", IMAGE_SIZE)
            else:
                _check_anatomy(block[arrays["valid"] > 0], f"{place}/{key}")
            block = block[:, JOINT_ORDER]
        yield block


def _check_anatomy(poses: np.ndarray, place: str):
    """Refuse poses in another unit or joint order: the typical leg has the length of a leg, and both sides agree."""
    for right, left in LEG_BONES:
        with np.errstate(over="ignore"):
            lengths = [float(np.median(np.linalg.norm(poses[:, a] - poses[:, b], axis=-1))) for a, b in (right, left)]
        if not (BONE_MM[0] <= min(lengths) and max(lengths) <= min(BONE_MM[1], LARGEST_RATIO * min(lengths))):
            raise InputError(
                f"Cannot read {place}: joints {right[0]} and {right[1]} are {lengths[0]:.3g} apart and joints "
                f"{left[0]} and {left[1]} {lengths[1]:.3g}, expected the bones of two legs, {BONE_MM[0]} to "
                f"{BONE_MM[1]} mm. Save millimetres, and joints in the order of MPI-INF-3DHP's test set."
            )


def _require(condition: Any, problem: str):
    if not condition:
        raise InputError(f"Cannot read {problem}. Use the files that the P-STMO scripts make of MPI-INF-3DHP.")
