"""The embedded default data: synthetic people performing Human3.6M's actions before Human3.6M's cameras.

The real recordings are licence-gated; this writes a file of the same schema, so that the same loader, training and
evaluation run on it. Its numbers say nothing about real people.
"""

from pathlib import Path

import numpy as np

from baselines.actions import ACTIONS, NAMES, act
from baselines.cameras import CAMERAS, SUBJECTS, load_cameras, room_centre, world_to_camera
from baselines.capture import Split, record, save
from baselines.errors import InputError
from baselines.motion import make_body

VERSION = 1  # of the generator: raised whenever the same seed would give other data
TEST_SUBJECTS = (9, 11)
FEWEST_FRAMES = 10_000


def takes() -> list[tuple[int, int, int]]:
    """(subject, action, subact) of every take, in the order of the file.

    One take of every action by every subject; subject 9 performs actions 5, 10 and 13 twice, so that the takes which
    the protocol excludes (s_09_act_05_subact_02, s_09_act_10_subact_02, s_09_act_13_subact_01) exist beside others.
    """
    twice = {(9, 5), (9, 10), (9, 13)}
    return [
        (subject, action, subact)
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


def write(path: str | Path, frames: int = 60_000, seed: int = 0) -> Path:
    """Write the synthetic data set to path as a MotionBERT pickle, with an extra key "origin" that says what it is.

    frames: about how many train and test hold together, over all cameras. The content depends on frames and seed only.
    Raises InputError for too few frames, a negative seed, or where path cannot be written.
    """
    if frames < FEWEST_FRAMES:
        raise InputError(f"{frames} frames are too few for {len(takes())} takes: ask for {FEWEST_FRAMES} or more")
    if seed < 0:
        raise InputError(f"seed {seed} is negative: choose 0 or more")
    splits = {"train": Split(), "test": Split()}
    for (subject, action, subact), length in zip(takes(), lengths(frames, seed), strict=True):
        body = make_body(np.random.default_rng((seed, subject)))
        world = act(action, body, length, np.random.default_rng((seed, subject, action, subact)))
        world[..., :2] += room_centre(subject)
        split = splits["test" if subject in TEST_SUBJECTS else "train"]
        for number, camera in enumerate(load_cameras(subject), start=1):
            rng = np.random.default_rng((seed, subject, action, subact, number))
            source = f"s_{subject:02d}_act_{action:02d}_subact_{subact:02d}_ca_{number:02d}"
            split.add(record(world_to_camera(world, camera), camera, rng), source, NAMES[action])
    origin = {"kind": "synthetic", "version": VERSION, "frames": frames, "seed": seed}
    return save({name: split.schema() for name, split in splits.items()} | {"origin": origin}, Path(path))
