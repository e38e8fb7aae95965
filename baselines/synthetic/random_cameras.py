"""Draw cameras at random, as people hold them, so that a model trained on them does not learn one room.

An image of any size is scaled to a width of 1000 pixels and centred in a square of 1000 by 1000. Normalised coordinates
depend only on the distance from the image's middle over its width, so they stay the same.
"""

import numpy as np

from liftbench.baselines.data.cameras import Camera

NAME = "random"  # in the camera_name of the MotionBERT schema
WIDTH = 1000  # pixels of every image
SIZES = ((1920, 1080), (1080, 1920), (1280, 720), (720, 1280), (1000, 1000), (640, 480), (480, 640))
ANGLE = (30, 90)  # degrees across the longer side
TALL = (0.3, 0.9)  # the height of a person of PERSON, as a share of the image's
PERSON = 1700  # mm
HEIGHT = (500, 3000)  # mm above the floor
NEAREST = 1500  # mm
WIDE_ROLL = 0.1  # the share of cameras that lean by up to 25 degrees; the others lean by about 4


def draw_camera(world: np.ndarray, rng: np.random.Generator) -> tuple[Camera, np.ndarray]:
    """Return a camera that looks at the middle of a person's path, and the image in its pixels.

    world: (T, 17, 3) mm, z up, floor at 0 -> the camera, and (2, 2): the image's lowest and highest x and y.
    """
    width, height = SIZES[rng.integers(len(SIZES))]
    focal = WIDTH * max(width, height) / width / 2 / np.tan(np.radians(rng.uniform(*ANGLE)) / 2)
    share = height / width
    distance = max(NEAREST, focal * PERSON / (rng.uniform(*TALL) * share * WIDTH))
    path = world[:, 0]
    middle = (path.min(axis=0) + path.max(axis=0)) / 2
    heading = rng.uniform(0, 2 * np.pi)
    position = np.array([*middle[:2], rng.uniform(*HEIGHT)])
    position[:2] += distance * np.array([np.cos(heading), np.sin(heading)])
    roll = rng.uniform(-25, 25) if rng.random() < WIDE_ROLL else rng.normal(0, 4)
    rotation = looking(middle - position, *np.radians([*rng.normal(0, 2, 2), roll]))
    half = WIDTH / 2 * np.array([1, share])
    camera = Camera(
        name=NAME, size=(WIDTH, WIDTH), focal=np.full(2, focal), centre=np.full(2, WIDTH / 2), radial=np.zeros(3),
        tangential=np.zeros(2), rotation=rotation, position=position,
    )  # fmt: skip
    return camera, np.stack([WIDTH / 2 - half, WIDTH / 2 + half])


def looking(direction: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return (3, 3), columns are the axes of a camera that looks along direction, (3,) world, then turned by
    radians.
    """
    forward = direction / np.linalg.norm(direction)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    level = np.stack([right, np.cross(forward, right), forward], axis=1)
    return level @ about(1, yaw) @ about(0, pitch) @ about(2, roll)


def about(axis: int, angle: float) -> np.ndarray:
    """Return (3, 3) rotation about one of the coordinate axes."""
    turn = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return turn
