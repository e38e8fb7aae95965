"""Measure how cost and time grow with the clip's frames, the batch and the depth: Mamba models against attention.

Models: MODELS, or the named models beside ATTENTION, a Transformer that attends over the frames of a clip (as published
it attends across the clips of a batch). It has about as many parameters as PoseMamba-S, but its token is a frame and
not a joint of a frame, so its projections cost a thirtieth; and it answers a clip with one pose, not one per frame. A
model whose registry row names no depth, such as your own, is left out of that axis.

MACs are those of `bench.measure.cost`, at every length. Times are those of forward passes in float32, eager, as in
`bench.measure.calls`, which also checks the scans first; the models take turns at every point. Two neighbouring points
extrapolate to the next one; a model whose call would take too long or too much memory is skipped there. Times are
refused as in `bench.measure.speed`.

`bench.records.readings` fits exponents and finds crossovers in the record.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from liftbench.baselines import own
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import Entry, create_model, entry
from liftbench.bench.measure import timing
from liftbench.bench.measure.calls import Timed, macs_per_clip
from liftbench.bench.records import ScalingPoint, ScalingRecord, environment, readings
from liftbench.bench.records.readings import ATTENTION

MODELS = ("posemamba_s", "posemamba_toy", "pose3dm_s", "mdtf_tiny", ATTENTION)
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
    names: Sequence[str] = (),
    device: str | torch.device = "cpu",
    longest_call_s: float | None = None,
    quick: bool = False,
    progress: timing.Progress | None = None,
) -> ScalingRecord:
    """Measure models on all axes.

    names: registered models, or your own, `path/to/file.py:build`, to be measured beside ATTENTION; default: MODELS.
    longest_call_s: models are skipped if one call would take longer (default 30; 0.5 if quick). quick: fewer places,
    fewer and shorter rounds. progress is called before every place.

    Raises InputError for a time that is not positive and as `bench.measure.speed.measure` does;
    `kernels.ScanUnavailable` for a scan that fails the parity check.
    """
    longest_call_s = (QUICK_CALL_S if quick else LONGEST_CALL_S) if longest_call_s is None else longest_call_s
    timing.check_seconds(longest_call_s, "the longest call")
    device = timing.ready_device(device)
    models = {name: entry(name) for name in dict.fromkeys([*names, ATTENTION] if names else MODELS)}
    checked = {row.name: Timed(name, BATCH_FRAMES, device) for name, row in models.items()}
    contest = _contest(device, longest_call_s, quick)
    points, todo = [], list(places(quick))
    for i, place in enumerate(todo):
        if progress:
            progress(f"{place.axis} {place.x:,}", i, len(todo))
        points += _measure(contest, place, models)
    return ScalingRecord(
        **environment.stamp(device, next(filter(None, (one.scan for one in checked.values())), None)),
        device=device.type,
        clock=contest.meter.clock,
        quick=quick,
        longest_call_s=longest_call_s,
        parameters={
            row.name: sum(one.numel() for one in create_model(name).parameters()) for name, row in models.items()
        },
        differences={name: one.difference for name, one in checked.items()},
        points=points,
    )


def _contest(device: torch.device, longest_call_s: float, quick: bool) -> timing.Contest:
    rounds = (ROUNDS[0], ROUNDS[0]) if quick else ROUNDS
    return timing.Contest(device, longest_call_s, rounds, ROUND_S[quick])


def _measure(contest: timing.Contest, place: _Place, models: dict[str, Entry]) -> list[ScalingPoint]:
    """Measure one point of each model that has the axis. models: {what `create_model` takes: its entry}."""
    present = {name: row for name, row in models.items() if place.depth is None or row.depth}
    makers = {name: functools.partial(_forward, name, row, place, contest.device) for name, row in present.items()}
    outcomes, _ = contest.meet(makers, timing.Size(place.x, place.x), (place.axis,))
    points = []
    for name, outcome in outcomes.items():
        row, macs = present[name], _macs(name, place.frames, place.depth)
        depth = place.depth or (row.numbers[row.depth] if row.depth else None)
        points.append(
            ScalingPoint(
                axis=place.axis, model=row.name, frames=place.frames, batch=place.batch, depth=depth,
                macs=macs and place.batch * macs, **outcome.fields,
            )
        )  # fmt: skip
    return points


@functools.cache
def _macs(name: str, frames: int, depth: int | None) -> int | None:
    """Count the MACs of one clip; return None if a user's own model cannot be counted without values."""
    row = entry(name)
    try:
        model = create_model(name, frames=frames, **_numbers(row, depth))
        return macs_per_clip(model, torch.zeros(1, frames, 17, row.channels))
    except Exception:
        if row.file is None:
            raise
        return None


def _numbers(row: Entry, depth: int | None) -> dict[str, int]:
    return {} if depth is None else {row.depth: depth}


def _forward(name: str, row: Entry, place: _Place, device: torch.device) -> Callable[[], torch.Tensor]:
    try:
        model = create_model(name, frames=place.frames, **_numbers(row, place.depth)).to(device).eval()
        clips = (torch.rand(place.batch, place.frames, 17, row.channels) * 2 - 1).to(device)
        call = torch.inference_mode()(lambda: model(clips))
        call()  # warms up
    except Exception as error:
        if row.file is None or isinstance(error, InputError):
            raise
        raise InputError(  # a user's own module may raise anything
            f"Cannot run {row.name} on {place.frames} frames: {own.reason(error, row.file)}. Correct the module."
        ) from error
    return call


def crossovers(record: ScalingRecord) -> list[str]:
    """Return a sentence for each other model: from how many frames on attention needs more MACs and more time
    than it.
    """
    sentences = []
    values = {
        what: readings.series(record, "frames", value) for what, value in (("MACs", "macs"), ("time", "median_ms"))
    }
    for name in record.parameters:
        if name == ATTENTION:
            continue
        found = []
        for what, by_model in values.items():
            points, attention = by_model.get(name, []), by_model.get(ATTENTION, [])
            common = sorted(dict(points).keys() & dict(attention).keys())
            if not common:
                found.append(f"{what} unknown, as no length was measured for both")
            elif x := readings.crossover(points, attention):
                found.append(f"{what} from {x:,.0f} frames on")
            else:
                found.append(f"{what} not up to {common[-1]:,} frames")
        sentences.append(f"{ATTENTION} takes more than {name}: {', '.join(found)}.")
    return sentences
