"""Replay real motion capture in front of Human3.6M's cameras or any others, in place of the synthetic people.

The input is an npz of 17-joint clips: `positions` (N, 17, 3) metres, world, z up, 50 Hz, joints in the order of
liftbench.baselines.skeleton; `offsets` (C + 1,), so that clip i is positions[offsets[i] : offsets[i + 1]]; `subject`
and `action` (C,), strings. Optional: `fps` and `credit`, a string that travels with the data. Other arrays are
ignored.
"""

from collections import Counter
from collections.abc import Iterator
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
from liftbench.baselines.data.gaps import fill
from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import PARENTS
from liftbench.baselines.synthetic import detector
from liftbench.baselines.synthetic.body import FPS
from liftbench.baselines.synthetic.capture import Split, columns, millimetres_per_pixel, record, save
from liftbench.baselines.synthetic.random_cameras import draw_camera
from liftbench.baselines.synthetic.variation import vary

REQUIRED = ("positions", "offsets", "subject", "action")
CMU_CREDIT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
# Numbers in the source strings, beyond Human3.6M's own, so that nobody confuses the two.
FIRST_SUBJECT, FIRST_ACTION = 12, 17
HOLD_OUT = 4  # every fourth subject is a test subject
MOST_VIEWS = 99  # two digits number them
RANDOM = 1  # separates the draws of random cameras from those of the room's
TRUNCATED = 0.15  # of the varied views: the person may be partly outside the image
H36M_MM_PER_PIXEL = 4.5  # the scale at which the detector model was tuned
NEAREST = 1000.0  # mm from the camera
MARGIN = 50.0  # pixels by which a joint may leave the image
SHORTEST = 27  # frames of a view worth keeping
LONGEST_BONE = 1.0  # metres; a longer one means another unit
SHORTEST_BONE = 0.05  # metres; a pose whose longest bone is shorter is not a person
LONGEST_CREDIT = 10_000  # characters
FARTHEST = 1000.0  # metres from the origin


def convert(npz_path: str | Path, out_path: str | Path, seed: int = 0, cameras: str = "room", views: int = 4) -> Path:
    """Write the clips of npz_path as a MotionBERT pickle at out_path, seen by cameras and the detector model.

    Every fourth subject in sorted order (the 2nd, 6th, ...) is a test subject; the others train.

    cameras="room": Human3.6M's four; a clip is moved so that the middle of its path is the middle of the room.
    cameras="random": `views` cameras for each clip, see `random_cameras`. Their detector also loses joints, which are
    filled as `liftbench lift` fills them. Training clips are varied: other speeds and bodies, worse and better
    detections, and people who are partly outside the image.

    Each camera's view keeps its longest run of frames in which the joints are far enough from the camera and in the
    image, give or take 50 pixels; views of fewer than 27 such frames are dropped. Key "origin" says what was kept, and
    whom to credit. Raises InputError if npz_path does not hold such clips or out_path cannot be written.
    """
    if cameras not in ("room", "random") or not 1 <= views <= MOST_VIEWS or (cameras == "room" and views != 4):
        raise InputError(
            f"Cannot make {views} views with the cameras {short(cameras)}: they do not exist. Choose room, which has "
            f"4, or random with up to {MOST_VIEWS}."
        )
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

    tested = held_out(subjects)
    splits = {"train": Split(), "test": Split()}
    seen_by = Counter()
    counts = Counter(frames_given=0, frames_kept=0, views_dropped=0)
    for index, (subject, action, world) in enumerate(clips):
        number = subjects.index(subject)
        split = "test" if subject in tested else "train"
        seen_by[subject, action] += 1
        take = (
            f"s_{FIRST_SUBJECT + number:02d}_act_{FIRST_ACTION + actions.index(action):02d}"
            f"_subact_{seen_by[subject, action]:02d}"
        )
        if cameras == "room":
            seen = in_room(world, SUBJECTS[number % len(SUBJECTS)], (seed, index))
        else:
            seen = at_random(world, views, split == "train", (seed, index))
        for view, (frames, recorded) in enumerate(seen, start=1):
            counts["frames_given"] += frames
            if recorded is None:
                counts["views_dropped"] += 1
                continue
            counts["frames_kept"] += len(recorded["camera_name"])
            splits[split].add(recorded, f"{take}_ca_{view:02d}", action)
    for name, split in splits.items():
        if not split.source:
            raise InputError(
                f"Cannot convert {npz_path}: no {name} subject is in view for {SHORTEST} frames. Give longer clips."
            )
    origin = {"kind": "mocap", "name": Path(npz_path).name, "credit": credit, "seed": seed, **counts}
    if cameras == "random":
        origin |= {"cameras": cameras, "views": views}
    return save({name: split.schema() for name, split in splits.items()} | {"origin": origin}, out_path)


def held_out(subjects: list[str]) -> list[str]:
    """Return the test subjects of all sorted subjects: the 2nd, the 6th, ..."""
    return subjects[1::HOLD_OUT]


def in_room(world: np.ndarray, room: int, seed: tuple[int, int]) -> Iterator[tuple[int, dict | None]]:
    """Yield what each of Human3.6M's cameras records of a clip, (T, 17, 3) mm: (frames given, columns or None)."""
    path = world[:, 0, :2]
    world[..., :2] += room_centre(room) - (path.min(axis=0) + path.max(axis=0)) / 2
    for view, camera in enumerate(load_cameras(room), start=1):
        points = world_to_camera(world, camera)
        begin, end = longest_run(visible(points, camera).all(axis=-1))
        rng = np.random.default_rng((*seed, view))
        yield len(points), record(points[begin:end], camera, rng) if end - begin >= SHORTEST else None


def at_random(world: np.ndarray, views: int, varied: bool, seed: tuple[int, int]) -> Iterator[tuple[int, dict | None]]:
    """Yield what random cameras record of a clip, as `in_room` does; varied: see `convert`.

    The detector's errors grow with the person's size in the image.
    """
    for view in range(1, views + 1):
        rng = np.random.default_rng((*seed, view, RANDOM))
        moved = vary(world, rng) if varied else world
        camera, image = draw_camera(moved, rng)
        points = world_to_camera(moved, camera)
        inside = visible(points, camera, image)
        partly = varied and rng.random() < TRUNCATED
        begin, end = longest_run(inside.sum(axis=-1) >= 10 if partly else inside.all(axis=-1))
        if end - begin < SHORTEST:
            yield len(points), None
            continue
        points = points[begin:end]
        spread = np.exp(0.3 * rng.standard_normal()) if varied else 1.0
        pixels, detected = detect(points, camera, rng, spread)
        detected[detector.lose(pixels, image, rng), 2] = 0
        keypoints = fill(detected, FPS, scored=True).keypoints
        yield len(moved), columns(points, pixels, keypoints[..., :2], keypoints[..., 2], camera.name)


def detect(
    points: np.ndarray, camera: Camera, rng: np.random.Generator, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Apply the detector model to a person of any size in the image.

    points: (T, 17, 3) mm, camera frame; spread: how much larger the errors are. Returns the exact projections,
    (T, 17, 2), and the detections, (T, 17, 3): pixels and confidence.
    """
    pixels = project_to_2d(points, camera)
    scale = spread * (H36M_MM_PER_PIXEL / np.median(millimetres_per_pixel(pixels, points)))
    seen, confidence = detector.detect(pixels / scale, points, rng)
    return pixels, np.concatenate([seen * scale, confidence[..., None]], axis=-1)


def visible(points: np.ndarray, camera: Camera, image: np.ndarray | None = None) -> np.ndarray:
    """Return whether each joint is in or near the image and the whole person far enough away.

    points: (T, 17, 3) mm, camera frame -> (T, 17) bool. image: (2, 2), its lowest and highest x and y, if it is smaller
    than the camera's size.
    """
    low, high = ((0, 0), camera.size) if image is None else image
    far = points[..., 2] >= NEAREST
    pixels = project_to_2d(np.where(far[..., None], points, (0, 0, NEAREST)), camera)
    inside = (pixels > np.array(low) - MARGIN) & (pixels < np.array(high) + MARGIN)
    return inside.all(axis=-1) & far.all(axis=-1, keepdims=True)


def longest_run(good: np.ndarray) -> tuple[int, int]:
    """Return begin and end of the first of the longest runs of True in good, (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int))).reshape(-1, 2)
    return tuple(edges[np.diff(edges)[:, 0].argmax()].tolist()) if len(edges) else (0, 0)


def read(path: Path) -> tuple[list[tuple[str, str, np.ndarray]], str]:
    """Return the clips in the npz at path, (subject, action, (T, 17, 3) mm) each, and whom to credit.

    Raises InputError if the file does not have the form that this module describes.
    """
    arrays = npz.load(path, REQUIRED, optional=("fps", "credit"))
    for name in REQUIRED:
        if not isinstance(arrays[name], np.ndarray):
            raise InputError(f"Cannot read {path}: {name} is {kind(arrays[name])}. Save a plain array.")
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
            f"Cannot read {path}: offsets do not rise from clip to clip. Give rising ones within the {len(positions)} "
            "frames."
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
        fps = arrays["fps"]
        stated = short(fps.tolist() if isinstance(fps, (np.ndarray, np.generic)) else fps)
        raise InputError(f"Cannot read {path}: fps is {stated}. Resample to {FPS}.")

    starts = zip(subject, action, offsets[:-1], offsets[1:], strict=True)
    clips = [(str(s), str(a), 1000 * positions[begin:end].astype(np.float64)) for s, a, begin, end in starts]
    credit = arrays.get("credit", np.array(CMU_CREDIT))
    if not isinstance(credit, np.ndarray) or credit.dtype.kind != "U" or credit.size != 1:
        raise InputError(f"Cannot read {path}: the credit is {kind(credit)}, not one string. Save np.array(text).")
    credit = str(credit.item())
    if len(credit) > LONGEST_CREDIT:
        raise InputError(f"Cannot read {path}: the credit has {len(credit):,} characters. Shorten it.")
    return clips, credit
