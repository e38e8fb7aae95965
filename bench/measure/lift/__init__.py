"""Measure weights on people they never saw: errors on held-out motion, the gait of walks, a real recording, speed.

The held-out people are the test subjects of `baselines.synthetic.mocap`, every fourth. With random cameras the detector
also loses joints, which are filled as `liftbench lift` fills them.
"""

import csv
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from liftbench import kernels
from liftbench.baselines.data.normalization import root_relative
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import metrics
from liftbench.baselines.files import sha256
from liftbench.baselines.registry import Entry, entry
from liftbench.baselines.synthetic import mocap, random_cameras
from liftbench.baselines.weights.trained import Weights
from liftbench.bench import records
from liftbench.bench.measure import timing
from liftbench.bench.measure.lift import real, walks
from liftbench.bench.records import environment
from liftbench.bench.records.lift import HeldOut, LiftedData, LiftRecord
from liftbench.lift import lifting
from liftbench.lift.windows import lift_windows

_TIMED_S, _RUNS = 20, 3  # seconds of motion to lift for the timing, and how often
_OF_A_RUN = ("last.safetensors", "best.safetensors")


def measure(
    weights: Weights, motion: Path, poses: Path | None = None, views: int = 2, device: str = "cpu",
    refined: bool = True, smooth: float | None = None, rigid: bool = False, progress: timing.Progress | None = None,
) -> LiftRecord:  # fmt: skip
    """Measure one set of weights.

    motion: motion capture as `liftbench data mocap` reads it; views: random cameras for each of its clips. poses: a
    real recording with its 3D, see `real`. refined, smooth (Hz), rigid: how the walks are lifted; refined: the real
    recording too. progress(text, done, of).
    Raises InputError for files of another form, for weights of another unit, and if nobody is held out.
    """
    say = progress or (lambda *_: None)
    model = entry(weights.model_name, weights.frames)
    if weights.data != "h36m":
        raise InputError(
            f"Cannot measure {weights.path}: it answers as data {weights.data or 'that it does not name'}, not in "
            "image coordinates. Give weights that `liftbench train` made of data in MotionBERT's format."
        )
    clips, credit = mocap.read(motion)
    held_out, subjects = _held_out(clips)
    if not held_out:
        raise InputError(f"Cannot measure on {motion}: it has one subject only, so none is held out. Give more.")
    errors = _errors(weights, model, held_out, views, device, say)
    gait = walks.measure(weights, held_out, device, refined, smooth, rigid, say)
    cameras = [] if poses is None else real.measure(weights, poses, device, refined, say)
    say("timing", 0, 1)
    speed, frames, share = _speed(weights, held_out, device, refined)
    return LiftRecord(
        **environment.stamp(device, kernels.choose(device) if kernels.scans(weights.model) else None),
        model=weights.name, frames=weights.frames, numbers=weights.numbers, device=device,
        checkpoint=records.Checkpoint(
            file="/".join(weights.path.absolute().parts[-2 if weights.path.name in _OF_A_RUN else -1 :]),
            sha256=sha256(weights.path), epoch=weights.epoch, chosen_by=weights.chosen_by,
        ),
        clips_seen=_clips_seen(weights),
        motion=LiftedData(name=Path(motion).name, sha256=sha256(motion), credit=credit, subjects=subjects),
        refined=refined, smooth_hz=smooth, rigid=rigid, held_out=errors, gait=gait,
        poses=None if poses is None else LiftedData(name=Path(poses).name, sha256=sha256(poses)),
        real=cameras, lifted_frames_per_s=speed, timed_frames=frames, other_processes_share=share,
    )  # fmt: skip


def _clips_seen(weights: Weights) -> int | None:
    """How many clips the weights were trained on, each as often as it was seen, by log.csv of their run or by the log
    beside the file; None without one."""
    path = weights.path
    log = path.with_name("log.csv") if path.name in _OF_A_RUN else path.with_suffix(".csv")
    if not log.is_file() or weights.epoch is None:
        return None
    with open(log, newline="") as file:
        epochs = list(csv.DictReader(file))[: weights.epoch + 1]
    return round(sum(float(epoch["epoch_s"]) * float(epoch["clips_per_s"]) for epoch in epochs))


def _held_out(
    clips: list[tuple[str, str, np.ndarray]],
) -> tuple[list[tuple[int, str, np.ndarray]], list[str]]:
    """[(number, action, (T, 17, 3) mm)] of the test subjects, and their names."""
    chosen = mocap.held_out(sorted({subject for subject, _, _ in clips}))
    return [(number, action, world) for number, (who, action, world) in enumerate(clips) if who in chosen], chosen


def _errors(
    weights: Weights,
    model: Entry,
    held_out: list[tuple[int, str, np.ndarray]],
    views: int,
    device: str,
    say: timing.Progress,
) -> HeldOut:
    """Return the errors of all views: means over the frames of an action, then over actions."""
    columns = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_per_frame")
    by_action, size = defaultdict(list), (random_cameras.WIDTH, random_cameras.WIDTH)
    network = weights.model.to(device)
    for done, (number, action, world) in enumerate(held_out):
        say("held-out clips", done, len(held_out))
        for _, seen in mocap.at_random(world, views, False, (0, number)):
            if seen is None:
                continue
            keypoints = np.concatenate([seen["joint_2d"], seen["confidence"][..., None]], axis=-1)
            inputs = lifting.model_inputs(keypoints, size, model.channels)
            answer = lift_windows(network, inputs, weights.frames, model.output == "centre", device)
            pose = root_relative(answer.astype(np.float64)) * size[0] / 2 * seen["2.5d_factor"][:, None, None]
            true = root_relative(seen["joints_2.5d_image"].astype(np.float64))
            errors = [error(pose, true) for error in (metrics.mpjpe, metrics.p_mpjpe, metrics.n_mpjpe)]
            by_action[action].append([*errors, metrics.velocity_errors(pose, true)])
    if not by_action:
        raise InputError("Cannot measure: no held-out clip stays in view of a random camera. Give longer clips.")
    means = {
        name: float(np.mean([np.concatenate([clip[place] for clip in clips]).mean() for clips in by_action.values()]))
        for place, name in enumerate(columns)
    }
    frames = sum(len(clip[0]) for clips in by_action.values() for clip in clips)
    return HeldOut(views=views, seed=0, frames=frames, **means)


def _speed(
    weights: Weights, held_out: list[tuple[int, str, np.ndarray]], device: str, refined: bool
) -> tuple[float, int, float | None]:
    """Return (frames per second of the whole pipeline, frames, share of other processes) for the best of some runs."""
    longest = max((world for _, _, world in held_out), key=len)[: _TIMED_S * mocap.FPS]
    keypoints, size = walks.film(longest, 45.0, np.random.default_rng(0))[1:3]
    seconds, share = [], timing.Share()
    for _ in range(_RUNS):
        begun = time.perf_counter()
        lifting.lift(keypoints, size, mocap.FPS, weights, layout="h36m17", refined=refined, device=device)
        seconds.append(time.perf_counter() - begun)
    return len(keypoints) / min(seconds), len(keypoints), share.so_far()
