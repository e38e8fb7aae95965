"""Small files in the format of MPI-INF-3DHP: the synthetic people of `baselines.synthetic.motionbert` in another
studio.

Three of the studio's fourteen cameras see sixteen training sequences; one camera sees each of six test sequences. The
last two of these have outdoor images of 1920 x 1080. Numbers on this data say nothing about real people.
"""

from pathlib import Path

import numpy as np

from liftbench.baselines.data.cameras import Camera, project_to_2d, world_to_camera
from liftbench.baselines.data.formats.mpi_inf_3dhp_schema import JOINT_ORDER, TEST, TEST_SEQUENCES, TRAIN
from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.baselines.synthetic.actions import ACTIONS, act
from liftbench.baselines.synthetic.body import FPS, make_body

VERSION = 1  # of the generator: raised whenever the same seed would give other data
FEWEST_FRAMES = 6_000  # training sequences of 90 frames and more, for clips of 81
TEST_SHARE = 0.2
CAMERAS = ("0", "4", "7")
SEQUENCES = tuple(f"S{subject} Seq{number}" for subject in range(1, 9) for number in (1, 2))
FAST = ("S1 Seq2", "S3 Seq1", "S3 Seq2", "S5 Seq1", "S5 Seq2")  # at 50 frames per second, as in the real data; else 25


def write(folder: str | Path, frames: int = 60_000, seed: int = 0) -> Path:
    """Write data_train_3dhp.npz, with a further member "origin" that says what it is, and data_test_3dhp.npz.

    frames: about how many both hold in all, over all cameras. The content depends on frames and seed only.
    Raises InputError for too few frames or a negative seed, and if the folder cannot be written to.
    """
    if frames < FEWEST_FRAMES:
        raise InputError(
            f"Cannot make data: {frames} frames are too few for {len(SEQUENCES)} sequences. "
            f"Ask for {FEWEST_FRAMES} or more."
        )
    if seed < 0:
        raise InputError(f"Cannot make data: seed {seed} is negative. Choose 0 or more.")
    folder = Path(folder)
    origin = {"kind": "synthetic", "version": VERSION, "frames": frames, "seed": seed}
    share = {
        TRAIN: (1 - TEST_SHARE) * frames / len(SEQUENCES) / len(CAMERAS),
        TEST: TEST_SHARE * frames / len(TEST_SEQUENCES),
    }
    train = {name: _training_sequence(name, share[TRAIN], seed) for name in SEQUENCES}
    test = {name: _test_sequence(name, share[TEST], seed) for name in TEST_SEQUENCES}
    for name, members in ((TEST, {"data": test}), (TRAIN, {"data": train, "origin": origin})):
        with replacing(folder / name) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **members)
    return folder


def _training_sequence(name: str, frames: int, seed: int) -> list:
    rng = np.random.default_rng((seed, SEQUENCES.index(name)))
    rate = 50 if name in FAST else 25
    body = make_body(np.random.default_rng((seed, 100, int(name[1]))))  # both sequences show one person
    world = _motion(body, round(frames * rng.uniform(0.9, 1.1)), rate, rng)
    start = rng.uniform(0, 2 * np.pi)
    cameras = {}
    for number, camera in enumerate(CAMERAS):
        cameras[camera] = _seen(world, _studio_camera(camera, start + number * 2 * np.pi / len(CAMERAS), rng))
    return [cameras, rate]


def _test_sequence(name: str, frames: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng((seed, 200, TEST_SEQUENCES.index(name)))
    world = _motion(make_body(rng), round(frames * rng.uniform(0.9, 1.1)), 25, rng)
    outdoors = name in ("TS5", "TS6")
    camera = (_outdoor_camera if outdoors else _studio_camera)(name, rng.uniform(0, 2 * np.pi), rng)
    sequence = _seen(world, camera)
    valid = np.ones(len(world))
    for _ in range(2):
        start = rng.integers(1, len(valid) * 9 // 10)
        stretch = slice(start, start + len(valid) // 10)
        valid[stretch] = 0
        sequence["data_3d"][stretch] = sequence["data_3d"][start - 1]  # lost from sight: the annotation stands still
    return sequence | {"valid": valid}


def _motion(body: np.ndarray, frames: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Draw motion about the origin: (frames, 17, 3) mm, world frame, `rate` frames per second."""
    step = FPS // rate
    return act(rng.choice(list(ACTIONS)), body, frames * step, rng)[::step]


def _seen(world: np.ndarray, camera: Camera) -> dict[str, np.ndarray]:
    points = world_to_camera(world, camera)
    order = np.argsort(JOINT_ORDER)
    return {"data_2d": project_to_2d(points, camera)[:, order], "data_3d": points[:, order]}


def _studio_camera(name: str, angle: float, rng: np.random.Generator) -> Camera:
    return _camera(name, (2048, 2048), 1500, 3800, angle, rng.uniform(800, 2000))


def _outdoor_camera(name: str, angle: float, rng: np.random.Generator) -> Camera:
    return _camera(name, (1920, 1080), 1680, 6500, angle, rng.uniform(1200, 1600))


def _camera(name: str, size: tuple[int, int], focal: float, distance: float, angle: float, height: float) -> Camera:
    """Return a pinhole camera that looks at the middle of a person at the origin. Lengths in mm, focal in pixels."""
    position = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
    forward = np.array([0, 0, 900.0]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return Camera(
        name=name, size=size, focal=np.full(2, float(focal)), centre=np.array(size) / 2, radial=np.zeros(3),
        tangential=np.zeros(2), rotation=np.stack([right, np.cross(forward, right), forward], axis=1),
        position=position,
    )  # fmt: skip
