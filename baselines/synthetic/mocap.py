"""Motion capture in place of the synthetic people: real motion, replayed before Human3.6M's cameras.

The input is an npz of 17-joint clips: `positions` (N, 17, 3) metres, world, z up, 50 Hz, joints in the order of
liftbench.baselines.skeleton; `offsets` (C + 1,), so that clip i is positions[offsets[i] : offsets[i + 1]]; `subject`
and `action` (C,), strings. Optional: `fps` and `credit`, a string that travels with the data. Other arrays are
ignored.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from liftbench.baselines.data.cameras import (
    SUBJECTS,
    Camera,
    load_cameras,
    project_to_2d,
    room_centre,
    world_to_camera,
)
from liftbench.baselines.data.formats import npz
from liftbench.baselines.data.formats.checks import is_name, kind, short
from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import PARENTS
from liftbench.baselines.synthetic.body import FPS
from liftbench.baselines.synthetic.capture import Split, record, save

REQUIRED = ("positions", "offsets", "subject", "action")
CMU_CREDIT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
# Numbers in the source strings, beyond Human3.6M's own, so that nobody takes the one for the other.
FIRST_SUBJECT, FIRST_ACTION = 12, 17
HOLD_OUT = 4  # every fourth subject is a test subject
NEAREST = 1000.0  # mm from the camera
MARGIN = 50.0  # pixels by which a joint may leave the image
SHORTEST = 27  # frames of a view worth keeping
LONGEST_BONE = 1.0  # metres; a longer one means another unit
SHORTEST_BONE = 0.05  # metres; a pose whose longest bone is shorter is no person
LONGEST_CREDIT = 10_000  # characters
FARTHEST = 1000.0  # metres from the origin


def convert(npz_path: str | Path, out_path: str | Path, seed: int = 0) -> Path:
    """Write the clips of npz_path as a MotionBERT pickle at out_path, seen by four cameras and the detector model.

    Every fourth subject in sorted order (the 2nd, 6th, ...) is a test subject; the others train. A clip is
    moved so that the middle of its path is the middle of the room. Of each camera's view the longest run of frames is
    kept in which every joint is a metre or more away and in the image, give or take 50 pixels; views of fewer than 27
    such frames are dropped. Key "origin" says what was kept, and whom to credit.
    Raises InputError where npz_path is not such a file or out_path cannot be written.
    """
    clips, credit = read(Path(npz_path))
    subjects = sorted({subject for subject, _, _ in clips})
    actions = sorted({action for _, action, _ in clips})
    repeats = Counter((subject, action) for subject, action, _ in clips)
    if len(subjects) < 2:
        raise InputError(
            f"Cannot convert {npz_path}: it has one subject only. Give two or more, to train on and to test on."
        )
    if max(FIRST_SUBJECT + len(subjects), FIRST_ACTION + len(actions), 1 + max(repeats.values())) > 100:
        raise InputError(
            f"Cannot convert {npz_path}: it has more subjects, actions or repeats than two digits can number. Split it."
        )

    splits = {"train": Split(), "test": Split()}
    seen_by = Counter()
    counts = Counter(frames_given=0, frames_kept=0, views_dropped=0)
    for index, (subject, action, world) in enumerate(clips):
        number = subjects.index(subject)
        room = SUBJECTS[number % len(SUBJECTS)]
        seen_by[subject, action] += 1
        take = (
            f"s_{FIRST_SUBJECT + number:02d}_act_{FIRST_ACTION + actions.index(action):02d}"
            f"_subact_{seen_by[subject, action]:02d}"
        )
        path = world[:, 0, :2]
        world[..., :2] += room_centre(room) - (path.min(axis=0) + path.max(axis=0)) / 2
        for view, camera in enumerate(load_cameras(room), start=1):
            points = world_to_camera(world, camera)
            begin, end = longest_run(visible(points, camera))
            counts["frames_given"] += len(points)
            if end - begin < SHORTEST:
                counts["views_dropped"] += 1
                continue
            counts["frames_kept"] += end - begin
            recorded = record(points[begin:end], camera, np.random.default_rng((seed, index, view)))
            splits["test" if number % HOLD_OUT == 1 else "train"].add(recorded, f"{take}_ca_{view:02d}", action)
    for name, split in splits.items():
        if not split.source:
            raise InputError(
                f"Cannot convert {npz_path}: no {name} subject is in view for {SHORTEST} frames. Give longer clips."
            )
    origin = {"kind": "mocap", "name": Path(npz_path).name, "credit": credit, "seed": seed, **counts}
    return save({name: split.schema() for name, split in splits.items()} | {"origin": origin}, out_path)


def visible(points: np.ndarray, camera: Camera) -> np.ndarray:
    """(T, 17, 3) mm, camera frame -> (T,) bool: every joint is far enough from the camera and in or near the image."""
    far = points[..., 2] >= NEAREST
    pixels = project_to_2d(np.where(far[..., None], points, (0, 0, NEAREST)), camera)
    inside = (pixels > -MARGIN) & (pixels < np.array(camera.size) + MARGIN)
    return (far & inside.all(axis=-1)).all(axis=-1)


def longest_run(good: np.ndarray) -> tuple[int, int]:
    """(T,) bool -> begin and end of the first of the longest runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int))).reshape(-1, 2)
    return tuple(edges[np.diff(edges)[:, 0].argmax()].tolist()) if len(edges) else (0, 0)


def read(path: Path) -> tuple[list[tuple[str, str, np.ndarray]], str]:
    """The clips in the npz at path, (subject, action, (T, 17, 3) mm) each, and whom to credit.

    Raises InputError where the file is not as this module says.
    """
    arrays = npz.load(path, REQUIRED, optional=("fps", "credit"))
    for name in REQUIRED:
        if not isinstance(arrays[name], np.ndarray):
            raise InputError(f"Cannot read {path}: {name} is a {kind(arrays[name])}. Save a plain array.")
    positions, offsets, subject, action = (arrays[name] for name in REQUIRED)
    if positions.ndim != 3 or positions.shape[1:] != (17, 3) or positions.dtype.kind != "f":
        raise InputError(
            f"Cannot read {path}: positions are {positions.dtype} {positions.shape}. Give floats of shape (N, 17, 3)."
        )
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 2:
        raise InputError(
            f"Cannot read {path}: offsets are {offsets.dtype} {offsets.shape}. Give C + 1 integers for C clips."
        )
    if offsets[0] < 0 or offsets[-1] > len(positions) or (offsets[1:] <= offsets[:-1]).any():
        raise InputError(
            f"Cannot read {path}: offsets must rise from clip to clip and stay within the {len(positions)} frames."
        )
    for name, labels in (("subject", subject), ("action", action)):
        if labels.shape != (len(offsets) - 1,) or labels.dtype.kind != "U":
            raise InputError(
                f"Cannot read {path}: {name} is {labels.dtype} {labels.shape}. Give one string for each clip."
            )
        if strange := [label for label in np.unique(labels).tolist() if not is_name(label)]:
            raise InputError(f"Cannot read {path}: {name} holds {short(strange[0])}. Give short printable names.")
    if not np.isfinite(positions).all():
        raise InputError(f"Cannot read {path}: positions are not finite everywhere. Leave out or repair those frames.")
    if (far := np.abs(positions).max()) > FARTHEST:
        raise InputError(f"Cannot read {path}: a position is {far:.3g} from the origin. Give metres.")
    bones = np.linalg.norm(positions[:, 1:] - positions[:, PARENTS[1:]], axis=-1)
    if (longest := bones.max()) > LONGEST_BONE:
        raise InputError(f"Cannot read {path}: a bone is {longest:.3g} long. Give metres.")
    if (bones.max(axis=1) < SHORTEST_BONE).any():
        frame = int((bones.max(axis=1) < SHORTEST_BONE).argmax())
        raise InputError(f"Cannot read {path}: frame {frame} is a single point, not a person. Leave that frame out.")
    if "fps" in arrays and not np.array_equal(arrays["fps"], FPS):
        raise InputError(f"Cannot read {path}: fps is {short(np.asarray(arrays['fps']).tolist())}. Resample to {FPS}.")

    starts = zip(subject, action, offsets[:-1], offsets[1:], strict=True)
    clips = [(str(s), str(a), 1000 * positions[begin:end].astype(np.float64)) for s, a, begin, end in starts]
    credit = arrays.get("credit", np.array(CMU_CREDIT))
    if not isinstance(credit, np.ndarray) or credit.dtype.kind != "U" or credit.size != 1:
        raise InputError(f"Cannot read {path}: the credit is {kind(credit)}, not one string. Save np.array(text).")
    credit = str(credit.item())
    if len(credit) > LONGEST_CREDIT:
        raise InputError(f"Cannot read {path}: the credit has {len(credit):,} characters. Shorten it.")
    return clips, credit
