"""An articulated 17-joint body: its bones, its kinematics, and how it stands, walks and sits.

Frames: world is millimetres, z up, floor at z = 0; the body looks along x, its left is y, up is z. Sides are ordered
(right, left). Joint angles pose the torso and head (forward kinematics). Arms and legs reach for wrists and ankles
(two-bone inverse kinematics), so a planted foot stays planted and a hand finds the ear. Bone lengths are always exactly
those of the body. T is the number of frames, at 50 Hz.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from liftbench.baselines.skeleton import PARENTS

FPS = 50
LEGS = ((1, 2, 3), (4, 5, 6))  # hip, knee, ankle
ARMS = ((14, 15, 16), (11, 12, 13))  # shoulder, elbow, wrist
SIDES = np.array([-1.0, 1.0])  # y of the right and of the left side
ANKLE_HEIGHT = 85.0  # mm above the floor, foot flat
SHARPEST_BEND = np.radians(30)  # smallest angle an elbow or a knee closes to

# An arm's easiest direction, and where its elbow then points: forward, outward, up.
EASY_ARM = np.array([0.807, -0.202, -0.555])
EASY_ELBOW = np.array([-0.411, 0.482, -0.774])

# Joint minus parent in the rest pose, mm, body frame: lengths near those of Human3.6M's subjects.
REST = np.array(
    [
        [0, 0, 0],
        [0, -132, 0], [0, 0, -450], [0, 0, -450],
        [0, 132, 0], [0, 0, -450], [0, 0, -450],
        [-8, 0, 238], [-6, 0, 253], [62, 0, 100], [-22, 0, 113],
        [0, 148, -22], [0, 0, -282], [0, 0, -250],
        [0, -148, -22], [0, 0, -282], [0, 0, -250],
    ]
)  # fmt: skip


def make_body(rng: np.random.Generator) -> np.ndarray:
    """Draw one subject's bones: (17, 3) mm, REST scaled as a whole and bone by bone, left and right alike."""
    scale = rng.uniform(0.93, 1.05)
    legs, arms = rng.uniform(0.97, 1.03, 2)
    part = rng.uniform(0.97, 1.03, 17)
    part[list(LEGS[0] + LEGS[1])] *= legs
    part[list(ARMS[0] + ARMS[1])] *= arms
    part[list(LEGS[1] + ARMS[1])] = part[list(LEGS[0] + ARMS[0])]
    return REST * (scale * part)[:, None]


def leg_length(body: np.ndarray) -> float:
    """Return the length of thigh plus shin, mm."""
    return float(-body[2, 2] - body[3, 2])


@dataclass
class Legs:
    """What the lower body does. Lengths in mm, angles in radians."""

    pelvis: np.ndarray  # (T, 3) world; it sinks if an ankle would be out of reach
    heading: np.ndarray  # (T,) about z, 0 looks along x
    tilt: np.ndarray  # (T, 3) of the pelvis: roll to the right, pitch forward, yaw to the left
    ankles: np.ndarray  # (T, 2, 3) world
    knees: np.ndarray  # (T, 2, 3) or (1, 2, 3) directions the knees point to, frame of the heading
    swing: np.ndarray = field(default_factory=lambda: np.zeros((1, 2)))  # (T, 2) hanging arms forward, in [-1, 1]
    lean: np.ndarray = field(default_factory=lambda: np.zeros((1, 3)))  # (T, 3) of the trunk, as tilt


@dataclass
class Torso:
    """What the upper body does. Hands have a share in each of three frames, so that a hand can follow the head."""

    bend: np.ndarray  # (T, 3) trunk: roll to the right, pitch forward, yaw to the left
    neck: np.ndarray  # (T, 3) likewise, head against chest
    hands: np.ndarray  # (T, 2, 3, 3) wrist minus thorax, mm, already weighted: upright frame, chest frame, head frame
    elbows: np.ndarray  # (T, 2) radians by which the elbow is raised from its natural place


def rotation(roll_pitch_yaw: np.ndarray) -> np.ndarray:
    """(..., 3) radians about x, y, z -> (..., 3, 3): first roll, then pitch, then yaw."""
    (cx, cy, cz), (sx, sy, sz) = (np.moveaxis(f(roll_pitch_yaw), -1, 0) for f in (np.cos, np.sin))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def turned(heading: np.ndarray) -> np.ndarray:
    """(T,) radians about z -> (T, 3, 3)."""
    return rotation(np.stack([np.zeros_like(heading), np.zeros_like(heading), heading], axis=-1))


def apply(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) and (..., 3) -> (..., 3), broadcasting."""
    return np.einsum("...ij,...j->...i", rotations, vectors)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return (..., 3) scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def ease(x: np.ndarray) -> np.ndarray:
    """Return 0 before 0, 1 after 1, and the minimum-jerk curve in between."""
    x = np.clip(x, 0, 1)
    return x**3 * (10 + x * (6 * x - 15))


def drift(rng: np.random.Generator, t: np.ndarray, period: float, channels: int) -> np.ndarray:
    """Draw smooth unit-variance noise at times t: (T,) s -> (T, channels), at most one wave per period (s)."""
    waves = 6
    rate = 2 * np.pi * rng.uniform(0.15, 1, (waves, channels)) / period  # radians per second
    phase = rng.uniform(0, 2 * np.pi, (waves, channels))
    return np.sqrt(2 / waves) * np.cos(rate * t[:, None, None] + phase).sum(axis=1)


def reach(
    start: np.ndarray, target: np.ndarray, pole: np.ndarray, upper: float, lower: float
) -> tuple[np.ndarray, np.ndarray]:
    """Place a limb by two-bone inverse kinematics.

    start, target: (T, 3) mm, the limb's first joint and the goal of its last; pole: (T, 3), where the middle joint
    points; upper, lower: the bones' lengths, mm. Returns the middle and the last joint, (T, 3) mm each. If the target
    is too far or too near, the limb comes as close as it can on the straight line.
    """
    offset = target - start
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    along = offset / distance
    nearest = np.sqrt(upper**2 + lower**2 - 2 * upper * lower * np.cos(SHARPEST_BEND))
    distance = np.clip(distance, nearest, 0.999 * (upper + lower))
    side = unit(pole - (pole * along).sum(axis=-1, keepdims=True) * along)
    foot = (upper**2 - lower**2 + distance**2) / (2 * distance)
    middle = start + foot * along + np.sqrt(upper**2 - foot**2) * side
    return middle, start + distance * along


def within(vectors: np.ndarray, limit: float) -> np.ndarray:
    """Shorten vectors, (T, 3) mm, to lengths below limit, smoothly over about the last centimetre."""
    blur = 12.0
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors * (limit - blur * np.logaddexp(0, (limit - length) / blur)) / length


def elbow_side(arm: np.ndarray, raised: np.ndarray, side: int) -> np.ndarray:
    """Return where an elbow points: EASY_ELBOW, turned by `raised` about EASY_ARM, then rotated the shortest way that
    takes EASY_ARM onto the arm. Undefined only for an arm that points straight back.

    arm: (T, 3) shoulder to wrist; raised: (T,) radians; both in the chest's frame -> (T, 3) at right angles to the arm.
    """
    mirror = np.array([1, SIDES[side], 1])
    arm = unit(arm * mirror)
    start = np.outer(np.cos(raised), EASY_ELBOW) + np.outer(np.sin(raised), np.cross(EASY_ARM, EASY_ELBOW))
    along = (arm * start).sum(axis=-1, keepdims=True) / (1 + arm @ EASY_ARM)[:, None]
    return (start - along * (arm + EASY_ARM)) * mirror


def pose(body: np.ndarray, legs: Legs, torso: Torso) -> np.ndarray:
    """Pose a body, (17, 3) mm from make_body -> (T, 17, 3) mm, world frame."""
    joints = np.empty((len(legs.pelvis), 17, 3))
    heading = turned(legs.heading)
    hips = heading @ rotation(legs.tilt)
    lower_spine = hips @ rotation((torso.bend + legs.lean) / 2)
    chest = lower_spine @ rotation((torso.bend + legs.lean) / 2)
    head = chest @ rotation(torso.neck)

    # The pelvis sinks, smoothly, until both ankles are within reach of the hips.
    span = 0.998 * leg_length(body)
    to_hips = apply(hips[:, None], body[[1, 4]])
    across = ((legs.ankles - legs.pelvis[:, None] - to_hips)[..., :2] ** 2).sum(axis=-1)
    highest = legs.ankles[..., 2] + np.sqrt(np.maximum(span**2 - across, 0)) - to_hips[..., 2]
    limits = np.concatenate([highest, legs.pelvis[:, 2:]], axis=1)
    lowest = limits.min(axis=1)
    joints[:, 0] = legs.pelvis
    joints[:, 0, 2] = lowest - 10 * np.log(np.exp((lowest[:, None] - limits) / 10).sum(axis=1))

    frames = {1: hips, 4: hips, 7: lower_spine, 8: chest, 9: head, 10: head, 11: chest, 14: chest}
    for joint, frame in frames.items():
        joints[:, joint] = joints[:, PARENTS[joint]] + frame @ body[joint]
    upright = turned(legs.heading + legs.tilt[:, 2] + (torso.bend + legs.lean)[:, 2])
    for side, (hip, knee, ankle) in enumerate(LEGS):
        pole = apply(heading, legs.knees[:, side])
        joints[:, knee], joints[:, ankle] = reach(
            joints[:, hip], legs.ankles[:, side], pole, *np.linalg.norm(body[[knee, ankle]], axis=-1)
        )
    for side, (shoulder, elbow, wrist) in enumerate(ARMS):
        hand = joints[:, 8] + sum(apply(f, torso.hands[:, side, k]) for k, f in enumerate((upright, chest, head)))
        arm = apply(chest.swapaxes(1, 2), hand - joints[:, shoulder])
        pole = apply(chest, elbow_side(arm, torso.elbows[:, side], side))
        lengths = np.linalg.norm(body[[elbow, wrist]], axis=-1)
        hand = joints[:, shoulder] + within(hand - joints[:, shoulder], 0.99 * lengths.sum())
        joints[:, elbow], joints[:, wrist] = reach(joints[:, shoulder], hand, pole, *lengths)
    return joints


def walk(body: np.ndarray, rng: np.random.Generator, t: np.ndarray, speed: float, uneven: float) -> Legs:
    """Walk about the origin in a loop. t: (T,) s; speed: mm/s; uneven: how far the speed wanders, as a share of it.

    A foot is planted where the body passes in the middle of its stance, and stays there until its heel lifts. The toes
    leave the floor at about 0.62 of the cycle.
    """
    margin = 3.0
    clock = np.arange(t[0] - margin, t[-1] + margin, 1 / FPS)
    pace = speed * np.maximum(1 + uneven * drift(rng, clock, 2.5, 1)[:, 0], 0.25)
    turn = rng.choice([-1, 1])
    size, oval, skew = rng.uniform(850, 1100), rng.uniform(0.05, 0.2), rng.uniform(0, np.pi)
    angle = rng.uniform(0, 2 * np.pi) + turn * np.cumsum(pace) / FPS / size
    ring = (size * (1 + oval * np.cos(2 * angle + skew)))[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    step = np.gradient(ring, axis=0)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    cadence = 0.88 * np.sqrt(pace / 1000 * 900 / leg_length(body))  # cycles per second
    phase = np.cumsum(cadence) / FPS + rng.uniform(0, 1)

    def at(values: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(times, clock, v) for v in values.T], axis=-1)

    cycles = np.interp(t, clock, phase)
    ankles = np.empty((len(t), 2, 3))
    width = 85 * leg_length(body) / 900
    middle = 0.28  # of a cycle: the body is above the planted foot
    for side in range(2):
        cycle = cycles + 0.5 * side
        whole = np.floor(cycle)
        share = cycle - whole

        def plant(n: np.ndarray, side: int = side) -> np.ndarray:
            passing = np.interp(n + middle - 0.5 * side, phase, clock)
            facing = np.interp(passing, clock, heading)
            left = np.stack([-np.sin(facing), np.cos(facing)], axis=-1)
            return at(ring, passing) + SIDES[side] * width * left

        here, there = plant(whole), plant(whole + 1)
        ankles[:, side, :2] = here + ease(np.clip((share - 0.4) / 0.6, 0, 1) ** 1.6)[:, None] * (there - here)
        heel = np.clip((share - 0.36) / 0.64, 0, 1)
        ankles[:, side, 2] = ANKLE_HEIGHT + 120 * heel**3 * (1 - heel) ** 4 / 0.0084

    wave = 2 * np.pi * cycles
    where, facing = at(ring, t), np.interp(t, clock, heading)
    left = np.stack([-np.sin(facing), np.cos(facing)], axis=-1)
    where = where - 22 * np.sin(wave + 0.2)[:, None] * left
    height = ANKLE_HEIGHT + 0.968 * leg_length(body) + 16 * np.cos(2 * (wave - 2 * np.pi * middle))
    yaw = np.radians(5) * np.cos(wave)
    zero = np.zeros_like(t)
    arms = np.clip(np.interp(t, clock, pace) / 1000, 0.3, 1.2)[:, None] * np.stack(
        [-np.cos(wave), np.cos(wave)], axis=1
    )
    return Legs(
        pelvis=np.concatenate([where, height[:, None]], axis=1),
        heading=facing,
        tilt=np.stack([-np.radians(3) * np.sin(wave), zero + np.radians(4), yaw], axis=1),
        ankles=ankles,
        knees=np.array([[[1, -0.06, 0], [1, 0.06, 0]]]),
        swing=arms,
        lean=np.stack([np.radians(3) * np.sin(wave), zero, -2.2 * yaw], axis=1),
    )


def stand(body: np.ndarray, rng: np.random.Generator, t: np.ndarray, restless: float, crouch: np.ndarray) -> Legs:
    """Stand near the origin, shift weight, and step round about every `restless` seconds.

    crouch: (T,) share of the leg length by which the pelvis is lowered.
    """
    moves = np.cumsum(rng.uniform(0.5, 1.5, int(t[-1] / restless * 2) + 3) * restless) - rng.uniform(0, 1.5) * restless
    turns = rng.normal(0, 0.6, len(moves))
    spots = rng.normal(0, 100, (len(moves) + 1, 2))
    first, wide, toes = rng.uniform(-np.pi, np.pi), rng.uniform(95, 160), rng.uniform(0.1, 0.35)

    def progress(begin: float, end: float) -> np.ndarray:
        """Return how far each move has come, (T, moves), between the given shares of its 1.1 seconds."""
        return ease(((t[:, None] - moves) / 1.1 - begin) / (end - begin))

    def station(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return spots[0] + part @ np.diff(spots, axis=0), first + part @ turns

    ankles = np.empty((len(t), 2, 3))
    for side, window in enumerate(((0.0, 0.5), (0.42, 0.95))):
        part = progress(*window)
        spot, heading = station(part)
        left = np.stack([-np.sin(heading), np.cos(heading)], axis=-1)
        ankles[:, side, :2] = spot + SIDES[side] * wide * left
        ankles[:, side, 2] = ANKLE_HEIGHT + 55 * (4 * part * (1 - part)).sum(axis=1)
    spot, heading = station(progress(0.05, 0.9))
    settled = 1 - (4 * progress(0, 1) * (1 - progress(0, 1))).sum(axis=1)
    weight = np.tanh(1.2 * drift(rng, t, 3, 1)[:, 0]) * settled  # +1: all on the left foot
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=-1)
    sway = 6 * drift(rng, t, 2, 2)
    height = ANKLE_HEIGHT + leg_length(body) * (0.996 - crouch)
    back = 0.25 * crouch * leg_length(body)
    ahead = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    where = spot + (0.45 * wide * weight)[:, None] * left + sway - back[:, None] * ahead
    zero = np.zeros_like(t)
    return Legs(
        pelvis=np.concatenate([where, height[:, None]], axis=1),
        heading=heading,
        tilt=np.stack(
            [np.radians(5) * weight, zero + np.radians(3), np.radians(4) * drift(rng, t, 4, 1)[:, 0]], axis=1
        ),
        ankles=ankles,
        knees=np.array([[[1, -toes, 0], [1, toes, 0]]]),
        lean=np.stack([-np.radians(5) * weight, zero, zero], axis=1),
    )


# Seats: height of the pelvis above the floor, in leg lengths; its pitch, degrees; the right and left ankle, ahead and
# outward of the pelvis in leg lengths and above the floor in mm; where the knees point: ahead, outward, up.
CHAIRS = (
    (0.53, -8, ((0.46, 0.17, 85), (0.46, 0.17, 85)), ((1, 0.2, 1), (1, 0.2, 1))),
    (0.53, -4, ((0.34, 0.18, 100), (0.42, 0.17, 85)), ((1, 0.3, 1), (1, 0.3, 1))),
    (0.52, -14, ((0.72, 0.12, 85), (0.60, 0.16, 85)), ((1, 0.1, 1), (1, 0.2, 1))),
    (0.53, -10, ((0.62, -0.10, 330), (0.45, 0.12, 85)), ((1, 0.3, 1), (1, 0.2, 1))),  # right leg over the left
)
FLOORS = (
    (0.13, -18, ((0.55, 0.15, 85), (0.55, 0.18, 85)), ((0.3, 0.2, 1), (0.3, 0.2, 1))),  # knees up
    (0.13, -12, ((0.95, 0.14, 75), (0.93, 0.16, 75)), ((0, 0.3, 1), (0, 0.3, 1))),  # legs stretched
    (0.12, -10, ((0.33, -0.08, 60), (0.26, -0.10, 70)), ((0.6, 1, 0.35), (0.6, 1, 0.35))),  # cross-legged
    (0.13, -12, ((0.90, 0.12, 75), (0.50, 0.16, 85)), ((0, 0.2, 1), (0.3, 0.2, 1))),  # one knee up
)


def sit(
    body: np.ndarray, rng: np.random.Generator, t: np.ndarray, seats: Sequence[tuple], down: np.ndarray | None = None
) -> Legs:
    """Sit on one of the seats. down: (T,) from 0, standing in front of it, to 1, seated; None: seated throughout."""
    height, pitch, feet, knees = seats[rng.integers(len(seats))]
    order = rng.permutation(2)
    leg = leg_length(body)
    seated = np.array(feet)[order] * [leg, leg, 1] + rng.normal(0, 12, (2, 3)) * [1, 1, 0]
    seated[:, 1] *= SIDES
    bent = np.array(knees, dtype=float)[order] * np.stack([np.ones(2), SIDES, np.ones(2)], axis=1)
    standing = np.array([[0.12 * leg, -0.13 * leg, ANKLE_HEIGHT], [0.12 * leg, 0.13 * leg, ANKLE_HEIGHT]])
    upright = np.array([[1, -0.2, 0.2], [1, 0.2, 0.2]])
    part = np.ones_like(t) if down is None else down
    lower, place = ease(part), ease((part - 0.55) / 0.45)  # the pelvis comes down first, then the feet move
    fidget = drift(rng, t, 2.5, 4) * [6, 6, 0.02, 0.03]

    ankles = standing + place[:, None, None] * (seated - standing)
    ankles[..., 2] += 60 * (4 * place * (1 - place))[:, None]
    ankles[:, 0, :2] += 8 * drift(rng, t, 3, 2) * place[:, None]
    pelvis = np.stack([fidget[:, 0], fidget[:, 1], leg * (1.06 + lower * (height - 1.06))], axis=1)
    pelvis[:, 0] += 0.1 * leg * (1 - lower)
    heading = rng.uniform(-np.pi, np.pi)
    stoop = np.radians(38) * 4 * lower * (1 - lower)
    around = turned(np.array([heading]))
    return Legs(
        pelvis=apply(around, pelvis),
        heading=heading + np.zeros_like(t),
        tilt=np.stack([fidget[:, 2], np.radians(pitch) * lower + stoop / 2, fidget[:, 3]], axis=1),
        ankles=apply(around[:, None], ankles),
        knees=upright + place[:, None, None] * (bent - upright),
        lean=np.stack([np.zeros_like(t), stoop - np.radians(pitch) * lower / 2, np.zeros_like(t)], axis=1),
    )
