"""The embedded default data: synthetic people perform Human3.6M's actions in front of Human3.6M's cameras.

The real recordings need a licence. This writes a file of the same schema, so that the same loader, training and
evaluation run on it. Its numbers say nothing about real people.

Takes last a minute or more, like the real ones, so clips of 243 frames are cut out of them and none is stretched. To
fit into 60,000 frames there are few takes, and one camera sees each.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liftbench.baselines.data.cameras import CAMERAS, load_cameras, room_centre, world_to_camera
from liftbench.baselines.errors import InputError
from liftbench.baselines.synthetic.actions import NAMES, act
from liftbench.baselines.synthetic.body import make_body
from liftbench.baselines.synthetic.capture import Split, record, save

VERSION = 2  # of the generator: raised whenever the same seed would give other data
TEST_SUBJECTS = (9, 11)
FEWEST_FRAMES = 10_000  # takes of 500 frames, for clips of 243

# Subject: actions. Each action is trained on once, and the ones to test on are among them. The protocol excludes
# s_09_act_13_subact_01; subject 11 performs that action too.
PLAN = {1: (2, 9, 14), 5: (3, 10, 15), 6: (4, 13), 7: (6, 16), 8: (8, 11), 9: (14, 10, 13), 11: (2, 6, 13)}


class Take(NamedTuple):
    """A subject performs an action; camera: 1 .. 4, for ca_01 .. ca_04."""

    subject: int
    action: int
    camera: int


def takes() -> list[Take]:
    """List every take, in the order of the file; the cameras take turns."""
    plan = [(subject, action) for subject, actions in PLAN.items() for action in actions]
    return [Take(*pair, 1 + number % len(CAMERAS)) for number, pair in enumerate(plan)]


def lengths(count: int, frames: int, seed: int) -> list[int]:
    """Draw the frames of each of `count` takes: about `frames` in all, and never a multiple of 27, so some
    are left over.
    """
    share = np.random.default_rng((seed, VERSION)).uniform(0.93, 1.07, count)
    length = np.rint(frames * share / share.sum()).astype(int)
    return (length + (length % 27 == 0)).tolist()


def motions(plan: list[Take], frames: int, seed: int) -> Iterator[tuple[Take, np.ndarray]]:
    """Yield every take of a plan with its motion, (T, 17, 3) mm, world frame of the capture room.

    frames: about how many the takes hold in all, each counted once.
    """
    for take, length in zip(plan, lengths(len(plan), frames, seed), strict=True):
        body = make_body(np.random.default_rng((seed, take.subject)))
        world = act(take.action, body, length, np.random.default_rng((seed, take.subject, take.action)))
        world[..., :2] += room_centre(take.subject)
        yield take, world


def check_size(frames: int, seed: int) -> None:
    """Raise InputError for too few frames or a negative seed."""
    if frames < FEWEST_FRAMES:
        raise InputError(f"Cannot make data: {frames} frames are too few. Ask for {FEWEST_FRAMES} or more.")
    if seed < 0:
        raise InputError(f"Cannot make data: seed {seed} is negative. Choose 0 or more.")


def detector_draw(take: Take, camera: int, seed: int) -> np.random.Generator:
    """Return the source of the detector's errors in one take seen by camera 1 .. 4."""
    return np.random.default_rng((seed, take.subject, take.action, camera))


def write(path: str | Path, frames: int = 60_000, seed: int = 0) -> Path:
    """Write the synthetic data set to path as a MotionBERT pickle, with an extra key "origin" that says what it is.

    frames: about how many train and test hold in all. The content depends on frames and seed only.
    Raises InputError for too few frames or a negative seed, and if path cannot be written.
    """
    check_size(frames, seed)
    splits = {"train": Split(), "test": Split()}
    for take, world in motions(takes(), frames, seed):
        camera = load_cameras(take.subject)[take.camera - 1]
        source = f"s_{take.subject:02d}_act_{take.action:02d}_subact_01_ca_{take.camera:02d}"
        seen = record(world_to_camera(world, camera), camera, detector_draw(take, take.camera, seed))
        splits["test" if take.subject in TEST_SUBJECTS else "train"].add(seen, source, NAMES[take.action])
    origin = {"kind": "synthetic", "version": VERSION, "frames": frames, "seed": seed}
    return save({name: split.schema() for name, split in splits.items()} | {"origin": origin}, Path(path))
