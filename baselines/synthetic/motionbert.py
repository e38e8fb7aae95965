"""The embedded default data: synthetic people performing Human3.6M's actions before Human3.6M's cameras.

The real recordings are licence-gated; this writes a file of the same schema, so that the same loader, training and
evaluation run on it. Its numbers say nothing about real people.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liftbench.baselines.data.cameras import CAMERAS, SUBJECTS, load_cameras, room_centre, world_to_camera
from liftbench.baselines.errors import InputError
from liftbench.baselines.synthetic.actions import ACTIONS, NAMES, act
from liftbench.baselines.synthetic.body import make_body
from liftbench.baselines.synthetic.capture import Split, record, save

VERSION = 1  # of the generator: raised whenever the same seed would give other data
TEST_SUBJECTS = (9, 11)
FEWEST_FRAMES = 10_000


class Take(NamedTuple):
    subject: int
    action: int
    subact: int


def takes() -> list[Take]:
    """Every take, in the order of the file.

    One take of every action by every subject; subject 9 performs actions 5, 10 and 13 twice, so that the takes which
    the protocol excludes (s_09_act_05_subact_02, s_09_act_10_subact_02, s_09_act_13_subact_01) exist beside others.
    """
    twice = {(9, 5), (9, 10), (9, 13)}
    return [
        Take(subject, action, subact)
        for subject in SUBJECTS
        for action in ACTIONS
        for subact in ((1, 2) if (subject, action) in twice else (1 + (subject + action) % 2,))
    ]


def lengths(frames: int, seed: int) -> list[int]:
    """Frames per take and camera, never a multiple of 27.

    About every third take is some three times as long as the others, so that a file of 60,000 frames already holds
    takes of 243 frames and more.
    """
    rng = np.random.default_rng((seed, VERSION))
    plan = takes()
    share = np.array(
        [
            3.2 * rng.uniform(0.985, 1.03) if (SUBJECTS.index(s) + a) % 3 == 0 else rng.uniform(0.75, 1.25)
            for s, a, _ in plan
        ]
    )
    count = np.rint(frames / len(CAMERAS) * share / share.sum()).astype(int)
    return list(count + (count % 27 == 0))


def motions(frames: int, seed: int) -> Iterator[tuple[Take, np.ndarray]]:
    """Every take with its motion, (T, 17, 3) mm, world frame of the capture room.

    frames: about how many all takes hold together, over all cameras.
    Raises InputError for too few frames or a negative seed.
    """
    if frames < FEWEST_FRAMES:
        raise InputError(
            f"Cannot make data: {frames} frames are too few for {len(takes())} takes. Ask for {FEWEST_FRAMES} or more."
        )
    if seed < 0:
        raise InputError(f"Cannot make data: seed {seed} is negative. Choose 0 or more.")
    for take, length in zip(takes(), lengths(frames, seed), strict=True):
        body = make_body(np.random.default_rng((seed, take.subject)))
        world = act(take.action, body, length, np.random.default_rng((seed, *take)))
        world[..., :2] += room_centre(take.subject)
        yield take, world


def detector_draw(take: Take, camera: int, seed: int) -> np.random.Generator:
    """Of the detector's errors in one take; camera: 1 .. 4, as ca_01 .. ca_04."""
    return np.random.default_rng((seed, *take, camera))


def write(path: str | Path, frames: int = 60_000, seed: int = 0) -> Path:
    """Write the synthetic data set to path as a MotionBERT pickle, with an extra key "origin" that says what it is.

    frames: about how many train and test hold together, over all cameras. The content depends on frames and seed only.
    Raises InputError for too few frames, a negative seed, or where path cannot be written.
    """
    splits = {"train": Split(), "test": Split()}
    for take, world in motions(frames, seed):
        split = splits["test" if take.subject in TEST_SUBJECTS else "train"]
        for number, camera in enumerate(load_cameras(take.subject), start=1):
            source = f"s_{take.subject:02d}_act_{take.action:02d}_subact_{take.subact:02d}_ca_{number:02d}"
            seen = record(world_to_camera(world, camera), camera, detector_draw(take, number, seed))
            split.add(seen, source, NAMES[take.action])
    origin = {"kind": "synthetic", "version": VERSION, "frames": frames, "seed": seed}
    return save({name: split.schema() for name, split in splits.items()} | {"origin": origin}, Path(path))
