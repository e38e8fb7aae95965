"""Check the files of Human3.6M in VideoPose3D's format.

data_3d_h36m.npz: `positions_3d`, a dict subject -> action -> (frames, 32, 3), metres, world frame.
data_2d_h36m_cpn_ft_h36m_dbb.npz and data_2d_h36m_gt.npz: `positions_2d`, a dict subject -> action -> list of the four
cameras in the order of `baselines.data.cameras.CAMERAS`, each (frames, 17, 2), pixels, at least as long as the 3D; and
`metadata`, a dict. An `origin` (dict) in the metadata is optional: synthetic files say there how they were made.
Subjects are S1, S5, S6, S7, S8, S9, S11; actions have names like "Directions" or "Directions 1".

The released 3D has no S11 Directions, because its video is damaged. The take is left out if either file lacks a part of
it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from liftbench.baselines.data.cache import Content, Names, SplitContent
from liftbench.baselines.data.cameras import CAMERAS, SUBJECTS, load_cameras, project_to_2d, world_to_camera
from liftbench.baselines.data.formats import npz
from liftbench.baselines.data.formats.checks import (
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
from liftbench.baselines.data.normalization import MM_PER_M
from liftbench.baselines.errors import InputError

RELEASE_FRAMES = {"train": 1_559_752, "test": 543_344}  # of the released files
TEST_SUBJECTS = (9, 11)
JOINTS_3D = 32
KEPT_JOINTS = (
    0,
    1,
    2,
    3,
    6,
    7,
    8,
    12,
    13,
    14,
    15,
    17,
    18,
    19,
    25,
    26,
    27,
)  # in the order of `baselines.skeleton`
SHAPES = {"joints_2d": (17, 2), "joints_3d": (17, 3)}  # pixels; metres, camera frame
DAMAGED = ("S11", "Directions")
LARGEST_DISTANCE = 0.25  # of the image, between the 2D and the projected 3D; detectors are off by 1 %
FARTHEST_M = 100  # from the origin of the capture room


class _Run(NamedTuple):
    """One take as one camera saw it: detections (frames or more, 17, 2), and the world (frames, 32, 3) of the take."""

    subject: int
    action: str
    camera: int
    pixels: np.ndarray
    world: np.ndarray

    def place(self, path: Path) -> str:
        return f"{path}: S{self.subject}/{self.action}"


def read(files: Sequence[Path]) -> Content:
    """Return the Content of [2D file, 3D file]: joints_2d in pixels, and joints_3d in metres in each camera's frame.

    Raises InputError naming file, subject, action, what was expected and what was found. Wrong numbers are found later,
    when the blocks are read.
    """
    file_2d, file_3d = files
    members = npz.load(file_2d, ["positions_2d", "metadata"])
    members |= npz.load(file_3d, ["positions_3d"])
    positions_2d = _subjects(members, "positions_2d", file_2d)
    positions_3d = _subjects(members, "positions_3d", file_3d)
    metadata = members["metadata"]
    _require(isinstance(metadata, dict), f"{file_2d}: metadata is {kind(metadata)}, expected a dict")
    origin = check_origin(metadata.get("origin", {}), file_2d)

    runs, left_out = {"train": [], "test": []}, []
    for subject in SUBJECTS:
        name = f"S{subject}"
        found, left_out_here = _runs(subject, positions_3d[name], positions_2d[name], file_3d, file_2d)
        runs["test" if subject in TEST_SUBJECTS else "train"] += found
        left_out += left_out_here
    unknown = {*positions_3d} - {f"S{subject}" for subject in SUBJECTS}
    left_out += [f"subject {name}: its cameras are not known" for name in sorted(map(short, unknown))]
    splits = {}
    for split, part in runs.items():
        _require(part, f"{file_3d}: the subjects of {split} have no action")
        splits[split] = _split(part, file_3d, file_2d)
    longer = [len(run.pixels) - len(run.world) for part in runs.values() for run in part]
    if any(longer):
        recordings = np.count_nonzero(longer)
        left_out.append(f"{sum(longer):,} frames of 2D after the end of the 3D, in {recordings} recordings")
    return Content(splits, origin, left_out)


def _runs(
    subject: int, takes_3d: dict[str, Any], takes_2d: dict[str, Any], file_3d: Path, file_2d: Path
) -> tuple[list[_Run], list[str]]:
    """Return the runs of one subject, and sentences on the takes left out."""
    runs, left_out = [], []
    name = f"S{subject}"
    for action, world in takes_3d.items():
        place_3d, place_2d = f"{file_3d}: {name}/{action}", f"{file_2d}: {name}/{action}"
        _check_pose(world, (JOINTS_3D, 3), place_3d)
        if (name, action) == DAMAGED and not _is_whole(world, takes_2d.get(action)):
            left_out.append(f"{name}/{action}: its video is damaged, and a part of its 2D is missing")
            continue
        _require(action in takes_2d, f"{file_2d}: {name} has no action {action!r}, only {listed(takes_2d)}")
        views = takes_2d[action]
        _require(_is_list(views), f"{place_2d} is {kind(views)}, expected a list of {len(CAMERAS)} cameras")
        _require(len(views) == len(CAMERAS), f"{place_2d} has {len(views)} cameras, expected {len(CAMERAS)}")
        for camera, view in enumerate(views):
            place = f"{place_2d}, camera {CAMERAS[camera]}"
            _check_pose(view, (17, 2), place)
            enough = len(view) >= len(world)
            _require(enough, f"{place} has {len(view)} frames, expected {len(world)} or more, as the 3D has")
            runs.append(_Run(subject, action, camera, view, world))
    for action in takes_2d:
        if action not in takes_3d:
            left_out.append(f"{name}/{action}: there is no 3D of it")
    return runs, left_out


def _is_whole(world: np.ndarray, views: Any) -> bool:
    """Return whether there are four cameras with as many frames as the 3D."""
    if not _is_list(views) or len(views) != len(CAMERAS):
        return False
    return all(isinstance(view, np.ndarray) and view.ndim and len(view) >= len(world) for view in views)


def _is_list(views: Any) -> bool:
    return isinstance(views, (list, tuple)) or (isinstance(views, np.ndarray) and views.ndim > 0)


def _split(runs: Sequence[_Run], file_3d: Path, file_2d: Path) -> SplitContent:
    bounds = np.concatenate([[0], np.cumsum([len(run.world) for run in runs])])
    names = {
        "camera": [CAMERAS[run.camera] for run in runs],
        "source": [f"S{run.subject} {run.action}.{CAMERAS[run.camera]}" for run in runs],
        "action": [run.action.split()[0] for run in runs],
    }
    arrays = {"joints_2d": _joints_2d(runs, file_2d), "joints_3d": _joints_3d(runs, file_3d)}
    return SplitContent(int(bounds[-1]), arrays, {key: Names.of_runs(bounds, values) for key, values in names.items()})


def _joints_2d(runs: Sequence[_Run], path: Path) -> Iterator[np.ndarray]:
    """(frames, 17, 2) float32, pixels, of one run after another."""
    for run in runs:
        place = f"{run.place(path)}, camera {CAMERAS[run.camera]}"
        size = max(load_cameras(run.subject)[run.camera].size)
        block = pixels(run.pixels[: len(run.world)], place, size)
        if (apart := _typical_distance(block, run)) > LARGEST_DISTANCE * size:
            raise InputError(
                f"Cannot read {place}: the 2D lies {apart:,.0f} pixels off the 3D. Save pixels, and the cameras in the "
                f"order {', '.join(CAMERAS)}."
            )
        yield block


def _typical_distance(block: np.ndarray, run: _Run) -> float:
    """Return the median distance, in pixels, of the 2D from the projected 3D in some frames; 0 if the 3D will
    be refused.
    """
    some = slice(None, None, max(1, len(block) // 20))
    camera, world = load_cameras(run.subject)[run.camera], run.world[some, KEPT_JOINTS].astype(np.float64)
    joints = world_to_camera(world * MM_PER_M, camera)
    if not ((joints[..., 2] > 0).all() and (np.abs(world) <= FARTHEST_M).all()):
        return 0.0
    return float(np.median(np.linalg.norm(project_to_2d(joints, camera) - block[some], axis=-1)))


def _joints_3d(runs: Sequence[_Run], path: Path) -> Iterator[np.ndarray]:
    """(frames, 17, 3) float32, metres, camera frame, of one run after another."""
    for run in runs:
        world = finite(run.world[:, KEPT_JOINTS], run.place(path)).astype(np.float64)
        far = np.abs(world) > FARTHEST_M
        if far.any():
            frame = first_frame(far)
            where = f"{run.place(path)}: frame {frame} is {np.abs(world[frame]).max():,.0f} m from the origin"
            _require(False, f"{where}, expected metres in the world frame")
        camera = load_cameras(run.subject)[run.camera]
        joints = world_to_camera(world * MM_PER_M, camera) / MM_PER_M
        behind = joints[..., 2] <= 0
        if behind.any():
            where = f"{run.place(path)}: frame {first_frame(behind)} lies behind camera {camera.name}"
            _require(False, f"{where}, expected metres in the world frame of Human3.6M's cameras")
        yield joints.astype(np.float32)


def _subjects(members: dict[str, Any], name: str, path: Path) -> dict[str, dict]:
    """Check and return one of the members: subject -> action -> content."""
    positions = members[name]
    _require(isinstance(positions, dict), f"{path}: {name} is {kind(positions)}, expected a dict of subjects")
    missing = [f"S{subject}" for subject in SUBJECTS if f"S{subject}" not in positions]
    _require(not missing, f"{path}: it has no subject {' and no '.join(missing)}, only {listed(positions)}")
    for subject in (f"S{number}" for number in SUBJECTS):
        takes = positions[subject]
        _require(isinstance(takes, dict), f"{path}: {subject} is {kind(takes)}, expected a dict of actions")
        for action in takes:
            _require(
                is_name(action), f"{path}: {subject} has an action {short(action)}, expected a name like 'Directions 1'"
            )
    return positions


def _check_pose(array: Any, shape: tuple[int, int], place: str):
    _require(isinstance(array, np.ndarray), f"{place} is {kind(array)}, expected a numpy array")
    expected = f"(frames, {shape[0]}, {shape[1]})"
    _require(array.ndim == 3 and array.shape[1:] == shape, f"{place} has shape {array.shape}, expected {expected}")
    _require(len(array) > 0, f"{place} holds no frame")
    _require(is_float(array), f"{place} has dtype {array.dtype}, expected float16, float32 or float64")


def _require(condition: Any, problem: str):
    if not condition:
        raise InputError(f"Cannot read {problem}. Use the files of VideoPose3D.")
