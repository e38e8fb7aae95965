"""How cost and time grow with the clip's frames, the batch and the depth: Mamba models against attention.

Models: those of SIZES, of which `transformer` is the only registered one whose attention spans frames (as published it
attends across the clips of a batch). It has as many parameters as PoseMamba-S, but its token is a frame and not a joint
of a frame, so that its projections cost a thirtieth; and it answers a clip with one pose, the others with one a frame.

MACs: those of `bench.measure.cost`, at every length. Time: forward passes in float32, eager, as in
`bench.measure.calls`, which also checks the scans first; the models take turns at every point. Two neighbouring
points extrapolate to the next one, and a model whose call would take too long or too much memory is given up there.
Times are refused as in `bench.measure.speed`.

`bench.records.readings` fits exponents and finds crossovers in the record.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch

from liftbench.baselines.registry import create_model, entry
from liftbench.bench.measure import timing
from liftbench.bench.measure.calls import Timed, macs_per_clip
from liftbench.bench.records import ScalingPoint, ScalingRecord, environment, readings

SIZES = {
    "posemamba_s": "depth",
    "posemamba_toy": "depth",
    "pose3dm_s": "blocks",
    "mdtf_tiny": "depth",
    "transformer": "num_encoder_layers",
}  # model: the number that is its depth
FRAMES = tuple(27 * 3**k for k in range(8))  # 27 .. 59,049
BATCHES, BATCH_FRAMES = tuple(2**k for k in range(7)), 27
DEPTHS, DEPTH_FRAMES = (1, 2, 4, 8, 16), 81
LONGEST_CALL_S, QUICK_CALL_S = 30.0, 0.5
ROUNDS = (3, 7)  # at least and at most
ROUND_S = {False: 0.2, True: 0.02}  # quick or not


class _Place(NamedTuple):
    """One point to measure, of all models."""

    axis: str
    x: int
    frames: int
    batch: int
    depth: int | None  # None: as registered


def places(quick: bool = False) -> Iterator[_Place]:
    """Every place on every axis, rising; quick: every second batch and depth."""
    step = 2 if quick else 1
    yield from (_Place("frames", frames, frames, 1, None) for frames in FRAMES)
    yield from (_Place("batch", batch, BATCH_FRAMES, batch, None) for batch in BATCHES[::step])
    yield from (_Place("depth", depth, DEPTH_FRAMES, 1, depth) for depth in DEPTHS[::step])


def measure(
    device: str | torch.device = "cpu",
    longest_call_s: float | None = None,
    quick: bool = False,
    progress: timing.Progress | None = None,
) -> ScalingRecord:
    """Measure all models of SIZES on all axes.

    longest_call_s: models are given up where one call would take longer (default 30; 0.5 if quick). quick: fewer
    places, fewer and shorter rounds. progress is called before every place.

    Raises InputError for a time that is not positive and as `bench.measure.speed.measure` does;
    `kernels.ScanUnavailable` for a scan that fails the parity check.
    """
    longest_call_s = (QUICK_CALL_S if quick else LONGEST_CALL_S) if longest_call_s is None else longest_call_s
    timing.check_seconds(longest_call_s, "the longest call")
    device = timing.ready_device(device)
    checked = {name: Timed(name, BATCH_FRAMES, device) for name in SIZES}
    contest = _contest(device, longest_call_s, quick)
    points, todo = [], list(places(quick))
    for i, place in enumerate(todo):
        if progress:
            progress(f"{place.axis} {place.x:,}", i, len(todo))
        points += _measure(contest, place)
    return ScalingRecord(
        **environment.stamp(device, next(filter(None, (one.scan for one in checked.values())), None)),
        device=device.type,
        clock=contest.meter.clock,
        quick=quick,
        longest_call_s=longest_call_s,
        parameters={name: sum(one.numel() for one in create_model(name).parameters()) for name in SIZES},
        differences={name: one.difference for name, one in checked.items()},
        points=points,
    )


def _contest(device, longest_call_s, quick):
    rounds = (ROUNDS[0], ROUNDS[0]) if quick else ROUNDS
    return timing.Contest(device, longest_call_s, rounds, ROUND_S[quick])


def _measure(contest, place):
    """The ScalingPoints of all models at one place."""
    makers = {name: functools.partial(_forward, name, place, contest.device) for name in SIZES}
    outcomes, _ = contest.meet(makers, timing.Size(place.x, place.x), (place.axis,))
    return [
        ScalingPoint(
            axis=place.axis, model=name, frames=place.frames, batch=place.batch,
            depth=place.depth or _registered_depth(name), macs=place.batch * _macs(name, place.frames, place.depth),
            **outcome.fields,
        )
        for name, outcome in outcomes.items()
    ]  # fmt: skip


@functools.cache
def _macs(name, frames, depth):
    """Of one clip."""
    model = create_model(name, frames=frames, **_numbers(name, depth))
    return macs_per_clip(model, torch.zeros(1, frames, 17, entry(name).channels))


def _numbers(name, depth):
    return {} if depth is None else {SIZES[name]: depth}


def _registered_depth(name):
    return entry(name).numbers[SIZES[name]]


def _forward(name, place, device):
    model = create_model(name, frames=place.frames, **_numbers(name, place.depth)).to(device).eval()
    clips = (torch.rand(place.batch, place.frames, 17, entry(name).channels) * 2 - 1).to(device)
    call = torch.inference_mode()(lambda: model(clips))
    call()  # warms up
    return call


def crossovers(record: ScalingRecord) -> list[str]:
    """A sentence for each Mamba model: from how many frames on attention needs more MACs and more time than it."""
    sentences = []
    values = {
        what: readings.series(record, "frames", value) for what, value in (("MACs", "macs"), ("time", "median_ms"))
    }
    for name in SIZES:
        if name == readings.ATTENTION:
            continue
        found = []
        for what, by_model in values.items():
            points, attention = by_model.get(name, []), by_model.get(readings.ATTENTION, [])
            common = sorted(dict(points).keys() & dict(attention).keys())
            x = readings.crossover(points, attention)
            never = f"not up to {max(common, default=0):,} frames"
            found.append(f"{what} from {x:,.0f} frames on" if x else f"{what} {never}")
        sentences.append(f"{readings.ATTENTION} takes more than {name}: {', '.join(found)}.")
    return sentences
