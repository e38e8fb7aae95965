"""Compare the gait of held-out walks: true 3D against poses lifted from the front, at 45 degrees and from the side.

The camera is level, 1 m above the floor, 4 m from the nearest point of the path, and sees 70 degrees across 1920 x 1080
pixels. The keypoints are those of the detector model, which here loses no joints. The lifter is told the body's height
and the focal length, but not the vertical. Both sides of a comparison are ankle-based and come from
`liftbench.lift.gait`; each side of the body counts as one.
"""

import numpy as np

from liftbench.baselines.data.cameras import Camera, world_to_camera
from liftbench.baselines.errors import InputError
from liftbench.baselines.synthetic import mocap
from liftbench.baselines.synthetic.random_cameras import looking
from liftbench.baselines.weights.trained import Weights
from liftbench.bench.measure import timing
from liftbench.bench.records.lift import GaitError, GaitView
from liftbench.lift import lifting
from liftbench.lift.gait import Gait, analyse, symmetry
from liftbench.lift.geometry import body

VIEWS = {"front": 0.0, "oblique": 45.0, "side": 90.0}  # degrees from the walking direction to the camera
_SIZE, _FOCAL = (1920, 1080), 960 / np.tan(np.radians(35))
_DISTANCE, _HEIGHT = 4000.0, 1000.0  # mm
_STRAIGHT, _FEWEST_FRAMES = 0.9, 100  # net over whole path
_MATCH = 0.25  # the longest time, s, between a true event and the lifted one
# Quantity of the record -> that of `Gait.parameters`, and the factor to its unit.
QUANTITIES = {
    "stride time, ms": ("stride time, s", 1000), "step time, ms": ("step time, s", 1000),
    "cadence, steps/min": ("cadence, steps/min", 1), "stance, %": ("stance, %", 1), "swing, %": ("swing, %", 1),
    "double support, %": ("double support, %", 1), "step length, cm": ("step length, mm", 0.1),
    "stride length, cm": ("stride length, mm", 0.1), "step width, cm": ("step width, mm", 0.1),
    "speed, m/s": ("speed, m/s", 1), "walk ratio, mm min/step": ("walk ratio, mm min/step", 1),
    "largest knee flexion, degrees": ("largest knee flexion, degrees", 1),
    "range of knee flexion, degrees": ("range of knee flexion, degrees", 1),
    "range of hip flexion, degrees": ("range of hip flexion, degrees", 1),
}  # fmt: skip
_CURVES = {"knee flexion curve, degrees": "knee flexion", "hip flexion curve, degrees": "hip flexion"}
_SYMMETRIES = {
    f"symmetry index of {parameter.partition(',')[0]}, %": parameter
    for parameter in ("step time, s", "step length, mm", "range of knee flexion, degrees")
}


def measure(
    weights: Weights,
    held_out: list[tuple[int, str, np.ndarray]],
    device: str,
    refined: bool,
    smooth: float | None,
    rigid: bool,
    say: timing.Progress,
) -> list[GaitView]:
    """Compare the straight walks among [(number, action, (T, 17, 3) mm)] in every view; [] if there is no walk."""
    chosen = [(number, world) for number, action, world in held_out if action == "walk" and _is_straight(world)]
    views = []
    for place, (view, degrees) in enumerate(VIEWS.items() if chosen else ()):
        pairs, failed = [], 0
        for done, (number, world) in enumerate(chosen):
            say(f"walks, {view}", place * len(chosen) + done, len(VIEWS) * len(chosen))
            true, keypoints, size = film(world, degrees, np.random.default_rng((number, place)))
            try:
                truth = analyse(true, mocap.FPS)
            except InputError:  # too short a part of the walk is in view
                continue
            height = float(np.median(body.body_height(true, np.ones(true.shape[:2], bool)))) / 1000
            lifted = lifting.lift(
                keypoints, size, mocap.FPS, weights, layout="h36m17", height=height, focal=_FOCAL,
                refined=refined, smooth=smooth, rigid=rigid, device=device,
            )  # fmt: skip
            try:
                pairs.append((truth, analyse(lifted.poses_world, mocap.FPS)))
            except InputError:
                failed += 1
        views.append(compare(view, pairs, failed))
    return views


def film(world: np.ndarray, degrees: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Film a walk, (T, 17, 3) mm, world -> the frames in view, (t, 17, 3) mm; their keypoints, (t, 17, 3);
    image size.
    """
    path = world[:, 0, :2]
    forward = path[-1] - path[0]
    heading = np.arctan2(forward[1], forward[0]) + np.radians(degrees)
    towards = np.array([np.cos(heading), np.sin(heading)])
    middle = (path.min(axis=0) + path.max(axis=0)) / 2
    nearest = ((path - middle) @ towards).max()
    position = np.array([*(middle + (_DISTANCE + nearest) * towards), _HEIGHT])
    camera = Camera(
        name="level", size=_SIZE, focal=np.full(2, _FOCAL), centre=np.array(_SIZE) / 2, radial=np.zeros(3),
        tangential=np.zeros(2), rotation=looking(np.array([*-towards, 0.0]), 0, 0, 0), position=position,
    )  # fmt: skip
    points = world_to_camera(world, camera)
    begin, end = mocap.longest_run(mocap.visible(points, camera).all(axis=-1))
    if end - begin < 2:
        begin, end = 0, len(world)
    return world[begin:end], mocap.detect(points[begin:end], camera, rng)[1], _SIZE


def compare(view: str, pairs: list[tuple[Gait, Gait]], failed: int) -> GaitView:
    """Return the errors over pairs of (true, lifted) gaits."""
    differences, timing, events, missed, extra = {}, [], 0, 0, 0
    for true, lifted in pairs:
        for side in range(2):
            for kind in ("heel_strikes", "toe_offs"):
                a, b = getattr(true, kind)[side], getattr(lifted, kind)[side]
                found = _matched(a, b)
                timing += [(kind, value) for value in found]
                events, missed, extra = events + len(a), missed + len(a) - len(found), extra + len(b) - len(found)
            for name, (parameter, factor) in QUANTITIES.items():
                change = factor * (lifted.parameters[parameter][side] - true.parameters[parameter][side])
                differences.setdefault(name, []).append((change, abs(change)))
            for name, angle in _CURVES.items():
                if len(true.curves[angle][side]) and len(lifted.curves[angle][side]):
                    change = lifted.curves[angle][side].mean(axis=0) - true.curves[angle][side].mean(axis=0)
                    differences.setdefault(name, []).append((change.mean(), np.abs(change).mean()))
        for name, parameter in _SYMMETRIES.items():
            sides = true.parameters[parameter], lifted.parameters[parameter]
            if all(value > 0 for side in sides for value in side):
                before, after = (symmetry(*side)["symmetry index, %"] for side in sides)
                differences.setdefault(name, []).append((after - before, abs(after - before)))
    for name, kind in (("heel strike, ms", "heel_strikes"), ("toe off, ms", "toe_offs")):
        differences[name] = [(1000 * value, 1000 * abs(value)) for which, value in timing if which == kind]
    quantities = {}
    for name, rows in differences.items():
        rows = np.array([row for row in rows if np.isfinite(row).all()]).reshape(-1, 2)
        if len(rows):
            quantities[name] = GaitError(
                n=len(rows), mean=float(rows[:, 0].mean()), mean_absolute=float(rows[:, 1].mean())
            )
    return GaitView(
        view=view, walks=len(pairs), failed=failed, events=events, missed=missed, extra=extra, quantities=quantities
    )


def _matched(true: np.ndarray, lifted: np.ndarray) -> list[float]:
    """Return how much later each true event was found, s; an event counts once, the nearest first."""
    found, left = [], list(lifted)
    for event in true:
        nearest = min(left, key=lambda other: abs(other - event), default=None)
        if nearest is not None and abs(nearest - event) <= _MATCH:
            left.remove(nearest)
            found.append(nearest - event)
    return found


def _is_straight(world: np.ndarray) -> bool:
    steps = np.diff(world[:, 0, :2], axis=0)
    whole = np.linalg.norm(steps, axis=1).sum()
    return len(world) >= _FEWEST_FRAMES and np.linalg.norm(steps.sum(axis=0)) > _STRAIGHT * whole
