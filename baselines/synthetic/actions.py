"""The fifteen Human3.6M actions as a table: what the legs do, and which gestures the upper body makes in sequence.

Everything is written for a right-handed body of the size of body.REST; act() mirrors and scales it. Hands are wrist
positions relative to the thorax joint, in metres: forward, outward (away from the body's middle, on the hand's own
side), up.
"""

from typing import NamedTuple

import numpy as np

from liftbench.baselines.synthetic.body import (
    ARMS,
    CHAIRS,
    FLOORS,
    FPS,
    REST,
    SIDES,
    Torso,
    drift,
    ease,
    pose,
    sit,
    stand,
    walk,
)

UPRIGHT, CHEST, HEAD = 0, 1, 2  # a hand's frame: the trunk's without its lean, the chest's, the head's


class Hand(NamedTuple):
    """One place for a wrist, and how the wrist swings about it."""

    at: tuple[float, float, float]
    frame: int = CHEST
    elbow: float = 0.0  # degrees by which the elbow is raised from its natural place
    sway: tuple[float, float, float] = (0, 0, 0)  # amplitude, metres
    rate: float = 0.0  # swings per second
    hangs: float = 0.0  # share of the gait's arm swing


class Gesture(NamedTuple):
    """Both hands, and the trunk and head that go with them. Angles in degrees."""

    right: Hand
    left: Hand
    lean: float = 0.0  # trunk forward
    twist: float = 0.0  # trunk to the left
    nod: float = 0.0  # head down
    look: float = 0.0  # head to the left
    crouch: float = 0.0  # share of the leg length


class Action(NamedTuple):
    """legs: what they do, one drawn per take; gestures: made in sequence, each held for hold (least, most) seconds."""

    legs: tuple[str, ...]
    gestures: tuple[Gesture, ...]
    hold: tuple[float, float] = (0.6, 1.8)
    pace: float = 1000.0  # mm/s where the legs walk
    uneven: float = 0.05
    restless: float = 3.0  # seconds between steps where they stand


HANG = Hand((0.04, 0.21, -0.51), UPRIGHT, hangs=1.0)
HIP = Hand((0.0, 0.21, -0.40), CHEST, elbow=40)
POCKET = Hand((0.07, 0.19, -0.46), CHEST)
LAP = Hand((0.34, 0.12, -0.42), UPRIGHT)
BEHIND = Hand((-0.16, 0.05, -0.42), CHEST, elbow=20)
PROP = Hand((-0.28, 0.26, -0.42), UPRIGHT, elbow=-15)
KNEE = Hand((0.40, 0.16, -0.30), UPRIGHT)
FOLD = Hand((0.22, -0.08, -0.24), CHEST, elbow=38)
FOLD_OVER = Hand((0.26, -0.04, -0.20), CHEST, elbow=38)
FRONT = Hand((0.32, 0.12, -0.24), sway=(0.03, 0.02, 0.03), rate=0.9)
WIDE = Hand((0.30, 0.33, -0.16), sway=(0.03, 0.05, 0.06), rate=1.1)
RAISED = Hand((0.33, 0.18, 0.0), sway=(0.04, 0.03, 0.07), rate=1.4)
COUNTING = Hand((0.28, 0.04, -0.14), sway=(0.01, 0.02, 0.05), rate=1.7)
POINT_AHEAD = Hand((0.55, 0.10, 0.03), sway=(0.0, 0.02, 0.02), rate=0.8)
POINT_SIDE = Hand((0.20, 0.60, 0.02), sway=(0.02, 0.0, 0.02), rate=0.7)
POINT_UP = Hand((0.30, 0.28, 0.36), elbow=30)
POINT_ACROSS = Hand((0.42, -0.16, -0.02))
STOP = Hand((0.44, 0.16, 0.08), elbow=15)
WAVE = Hand((0.12, 0.36, 0.24), sway=(0.0, 0.13, 0.02), rate=1.7)
WAVE_HIGH = Hand((0.06, 0.26, 0.46), elbow=55, sway=(0.0, 0.17, 0.0), rate=1.3)
SHAKE = Hand((0.46, 0.06, -0.20), sway=(0.0, 0.0, 0.05), rate=2.1)
SALUTE = Hand((0.12, 0.13, 0.19), HEAD, elbow=65)
EAR = Hand((0.09, 0.12, 0.09), HEAD, elbow=10)
MOUTH = Hand((0.19, 0.06, 0.0), HEAD, elbow=12)
SMOKE = Hand((0.18, 0.08, 0.03), HEAD)
ASIDE = Hand((0.30, 0.26, -0.22))
PLATE = Hand((0.34, 0.06, -0.28), sway=(0.02, 0.03, 0.01), rate=1.2)
BOWL = Hand((0.30, 0.08, -0.24))
CAMERA = Hand((0.23, 0.09, 0.07), HEAD, elbow=16)
CAMERA_HIGH = Hand((0.33, 0.10, 0.14), HEAD, elbow=26)
CAMERA_LOW = Hand((0.34, 0.09, -0.14))
CHIN = Hand((0.15, 0.05, 0.0), HEAD)
NAPE = Hand((0.0, 0.13, 0.22), HEAD, elbow=75)
SPREAD = Hand((0.10, 0.64, 0.05))
OVERHEAD = Hand((0.06, 0.16, 0.52), elbow=78)
FLEX = Hand((0.12, 0.36, 0.22), elbow=15)
SHELF = Hand((0.52, 0.12, 0.10), UPRIGHT, sway=(0.02, 0.03, 0.03), rate=0.8)
SHELF_HIGH = Hand((0.40, 0.12, 0.38), UPRIGHT, elbow=50)
COUNTER = Hand((0.46, 0.14, -0.28), UPRIGHT, sway=(0.03, 0.05, 0.01), rate=0.9)
GROUND = Hand((0.22, 0.12, -0.52), UPRIGHT)
BAG = Hand((0.10, 0.20, -0.46), UPRIGHT)
LEASH = Hand((0.34, 0.12, -0.35), UPRIGHT, sway=(0.05, 0.03, 0.03), rate=1.5)
LEASH_TIGHT = Hand((0.42, 0.10, -0.31), UPRIGHT, sway=(0.03, 0.03, 0.03), rate=2.0)
WATCH = Hand((0.24, 0.0, -0.12), elbow=48)

REST_POSE = Gesture(HANG, HANG)
WALKING = ("walk",)
STANDING = ("stand",)

# Keyed by Human3.6M's action number, names as in the MotionBERT file.
ACTIONS = {
    2: Action(
        STANDING,
        (
            Gesture(POINT_AHEAD, HANG, lean=4),
            Gesture(POINT_SIDE, HANG, twist=-12, look=-40),
            Gesture(POINT_ACROSS, HIP, twist=22, look=25),
            Gesture(POINT_UP, HANG, nod=-18, look=-15),
            Gesture(STOP, HANG),
            Gesture(POINT_SIDE, POINT_SIDE),
            Gesture(HANG, POINT_SIDE, twist=12, look=40),
        ),
    ),
    3: Action(
        STANDING,
        (
            Gesture(FRONT, FRONT, lean=4),
            Gesture(WIDE, WIDE),
            Gesture(RAISED, FRONT, nod=-4, look=10),
            Gesture(COUNTING, COUNTING, nod=14),
            Gesture(WIDE, HIP, look=-18),
            Gesture(HANG, RAISED, look=12),
        ),
        hold=(0.3, 1.2),
    ),
    4: Action(
        ("chair", "stand"),
        (
            Gesture(PLATE, BOWL, lean=14, nod=24),
            Gesture(MOUTH, BOWL, lean=10, nod=10),
            Gesture(PLATE, BOWL, lean=12, nod=18, look=8),
            Gesture(MOUTH, BOWL, lean=6, nod=2, look=-6),
            Gesture(PLATE, MOUTH, lean=8, nod=6),
        ),
        hold=(0.3, 1.0),
        restless=6,
    ),
    5: Action(
        STANDING,
        (
            Gesture(WAVE, HANG, nod=-4),
            Gesture(WAVE_HIGH, HANG, nod=-8),
            Gesture(SHAKE, HANG, lean=8),
            Gesture(WAVE, WAVE),
            Gesture(SALUTE, HANG),
            Gesture(HANG, HANG, lean=38, nod=15),
        ),
        hold=(0.8, 1.9),
        restless=2.5,
    ),
    6: Action(
        ("stand", "walk", "chair"),
        (
            Gesture(EAR, HANG, look=-4, nod=6),
            Gesture(EAR, HIP, look=14, nod=-2),
            Gesture(EAR, WIDE, look=-12),
            Gesture(EAR, POCKET, nod=16),
        ),
        hold=(1.0, 2.6),
        pace=650,
        uneven=0.2,
    ),
    7: Action(
        STANDING,
        (
            Gesture(CAMERA, CAMERA, lean=4),
            Gesture(CAMERA, CAMERA, lean=16, twist=14, crouch=0.14),
            Gesture(CAMERA_HIGH, CAMERA_HIGH, lean=-8, nod=-14),
            Gesture(CAMERA_LOW, CAMERA_LOW, lean=6, nod=26),
            Gesture(CAMERA, CAMERA, lean=8, twist=-16, crouch=0.28),
        ),
        restless=2,
    ),
    8: Action(
        STANDING,
        (
            Gesture(HIP, HIP, twist=10, look=-20),
            Gesture(NAPE, HIP, twist=-12, nod=-8),
            Gesture(SPREAD, SPREAD, nod=-12),
            Gesture(OVERHEAD, OVERHEAD, nod=-14),
            Gesture(FLEX, FLEX),
            Gesture(CHIN, FOLD, lean=6, nod=10),
            Gesture(HIP, OVERHEAD, twist=-8),
        ),
    ),
    9: Action(
        STANDING,
        (
            Gesture(SHELF, BAG, lean=14),
            Gesture(SHELF_HIGH, BAG, lean=2, nod=-18),
            Gesture(COUNTER, COUNTER, lean=24, nod=18),
            Gesture(GROUND, HANG, lean=72, nod=-8, crouch=0.24),
            Gesture(GROUND, GROUND, lean=58, crouch=0.36),
            Gesture(COUNTING, BOWL, nod=26),
        ),
        hold=(0.4, 1.2),
        restless=2.2,
    ),
    10: Action(
        ("chair",),
        (
            Gesture(LAP, LAP, lean=2),
            Gesture(KNEE, KNEE, lean=26, nod=-6),
            Gesture(CHIN, LAP, lean=20, nod=4),
            Gesture(WIDE, LAP, look=-20),
            Gesture(FOLD, FOLD_OVER, lean=-6),
            Gesture(NAPE, NAPE, lean=-14),
            Gesture(PROP, LAP, twist=-18, look=-24),
        ),
        hold=(0.8, 2.4),
    ),
    11: Action(
        ("floor", "down"),
        (
            Gesture(PROP, PROP, lean=-14, nod=6),
            Gesture(KNEE, KNEE, lean=14),
            Gesture(LAP, PROP, twist=16, look=14),
            Gesture(KNEE, LAP, lean=24, nod=12),
            Gesture(PROP, KNEE, twist=-12),
        ),
        hold=(1.0, 2.4),
    ),
    12: Action(
        ("stand", "chair", "walk"),
        (
            Gesture(SMOKE, POCKET, nod=4),
            Gesture(ASIDE, POCKET, nod=-10, look=12),
            Gesture(ASIDE, HIP, look=-16),
            Gesture(SMOKE, FOLD, nod=2, look=6),
            Gesture(HANG, HANG, nod=-4),
        ),
        hold=(0.7, 2.0),
        pace=600,
        uneven=0.2,
    ),
    13: Action(
        STANDING,
        (
            Gesture(FOLD, FOLD_OVER),
            Gesture(HANG, HANG, look=-30),
            Gesture(HIP, HANG, look=24),
            Gesture(WATCH, HANG, nod=30),
            Gesture(POCKET, POCKET, nod=-6),
            Gesture(BEHIND, BEHIND, nod=8, look=10),
        ),
        hold=(1.2, 2.8),
        restless=2.5,
    ),
    14: Action(
        WALKING,
        (REST_POSE, Gesture(HANG, HANG, look=18), Gesture(HANG, HANG, nod=8)),
        hold=(1.5, 3.0),
        pace=1080,
    ),
    15: Action(
        WALKING,
        (
            Gesture(LEASH, HANG, lean=4, nod=14, look=-8),
            Gesture(LEASH_TIGHT, HANG, lean=-6, twist=16, nod=10),
            Gesture(LEASH_TIGHT, LEASH_TIGHT, lean=-10, nod=8),
            Gesture(LEASH, HANG, lean=20, twist=12, nod=16),
        ),
        hold=(0.4, 1.4),
        pace=950,
        uneven=0.4,
    ),
    16: Action(
        WALKING,
        (
            Gesture(HANG, HANG, look=48),
            Gesture(HANG, RAISED, look=40),
            Gesture(POCKET, HANG, look=20),
            Gesture(HANG, WIDE, twist=10, look=52),
        ),
        hold=(0.8, 2.0),
        pace=820,
    ),
}
NAMES = {
    2: "Direction", 3: "Discuss", 4: "Eating", 5: "Greet", 6: "Phone", 7: "Photo", 8: "Pose", 9: "Purchase",
    10: "Sitting", 11: "SittingDown", 12: "Smoke", 13: "Wait", 14: "Walk", 15: "WalkDog", 16: "WalkTwo",
}  # fmt: skip


def string(rng: np.random.Generator, t: np.ndarray, count: int, hold: tuple[float, float]) -> np.ndarray:
    """Blend count gestures in random order: times (T,) s -> the share of each, (T, count); rows sum to 1."""
    share = np.zeros((len(t), count))
    now = rng.integers(count)
    share[:, now] = 1
    clock = -rng.uniform(0, hold[1])
    while count > 1:
        clock += rng.uniform(*hold)
        if clock > t[-1]:
            break
        move = rng.uniform(0.45, 0.8)
        following = (now + rng.integers(1, count)) % count
        part = ease((t - clock) / move)
        passed = share[:, now] * part
        share[:, now] -= passed
        share[:, following] += passed
        clock, now = clock + move, following
    return share


def act(action: int, body: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return one take of a subject who performs one of ACTIONS about the origin.

    body: (17, 3) mm from body.make_body -> (frames, 17, 3) mm, world frame, floor at z = 0, FPS frames per second.
    """
    plan = ACTIONS[action]
    t = np.arange(frames) / FPS
    share = string(rng, t, len(plan.gestures), plan.hold)
    mirror = rng.random() < 0.3
    manner = plan.legs[rng.integers(len(plan.legs))]
    tempo = rng.uniform(0.85, 1.15)

    def blend(name: str) -> np.ndarray:
        return share @ np.array([getattr(g, name) for g in plan.gestures], dtype=float)

    if manner == "walk":
        legs = walk(body, rng, t, plan.pace * tempo, plan.uneven)
    elif manner == "stand":
        legs = stand(body, rng, t, plan.restless, blend("crouch"))
    elif manner == "chair":
        legs = sit(body, rng, t, CHAIRS)
    elif manner == "floor":
        legs = sit(body, rng, t, FLOORS)
    else:
        start = rng.uniform(-0.9, max(0.1, t[-1] - 2.0))
        legs = sit(body, rng, t, FLOORS, np.clip((t - start) / rng.uniform(1.5, 2.2), 0, 1))

    given = [[g.left, g.right] if mirror else [g.right, g.left] for g in plan.gestures]
    table = {name: np.array([[getattr(h, name) for h in pair] for pair in given], dtype=float) for name in Hand._fields}
    size = np.linalg.norm(body[list(ARMS[0][1:])], axis=1).sum() / np.linalg.norm(REST[list(ARMS[0][1:])], axis=1).sum()
    wave = np.sin(2 * np.pi * table["rate"] * tempo * t[:, None, None] + rng.uniform(0, 2 * np.pi, (1, 1, 2)))
    wave = wave * (1 + 0.25 * drift(rng, t, 1.5, 1)[:, :, None])
    at = table["at"] + wave[..., None] * table["sway"]  # (T, gesture, side, 3)
    at[..., 0] += 0.24 * table["hangs"] * legs.swing[:, None]
    at[..., 2] += 0.07 * table["hangs"] * np.maximum(legs.swing, 0)[:, None]
    middle = np.einsum("tg,tgsd->tsd", share, at)
    apart = np.einsum("tg,tgsd->ts", share, (at - middle[:, None]) ** 2)
    at[..., 0] += 1.6 * apart[:, None]  # a hand moves around the shoulder, not through it
    at = 1000 * size * at + 14 * drift(rng, t, 1.2, 6).reshape(-1, 1, 2, 3)  # hands are never quite still
    onto = table["frame"][..., None] == np.arange(3)  # (gesture, side, frame)
    hands = np.einsum("tg,gsf,tgsd->tsfd", share, onto, at)
    hands[..., 1] *= SIDES[:, None]
    side = -1 if mirror else 1
    habit = np.radians(drift(rng, t, 2.5, 6) * [2, 2.5, 3, 3, 4, 6])
    bend = np.radians(np.stack([0 * t, blend("lean"), side * blend("twist")], axis=1)) + habit[:, :3]
    neck = np.radians(np.stack([0 * t, blend("nod"), side * blend("look")], axis=1)) + habit[:, 3:]
    world = pose(body, legs, Torso(bend, neck, hands, share @ np.radians(table["elbow"])))
    if manner != "walk":
        world[..., :2] += rng.uniform(-400, 400, 2)
    return world
