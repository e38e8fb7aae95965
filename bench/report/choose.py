"""Which models keep up with a camera on a machine, by measured times, and how large is their published error?"""

import math
from typing import NamedTuple

from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import MODELS
from liftbench.bench.report.results import Key, Missing, Results, published_error
from liftbench.bench.report.tables.at_a_glance import at_a_glance


class Choice(NamedTuple):
    """A model at one clip length that keeps up. published: its error in mm, or why there is none."""

    key: Key
    poses_per_s: float
    ms_per_new_frame: float
    parameters: int
    published_mm: float | Missing


def choose(
    results: Results, machine: str, fps: float, max_parameters: float | None = None, frames: int | None = None
) -> tuple[list[Choice], list[str]]:
    """The models that answer at least `fps` poses a second on a machine, lowest published error first; and those that
    were never timed on it, "name" or "name --frames N".

    machine: as `results.speed` names it, without the mark of reference records; frames: a clip length, default all that
    were timed. Only forward passes in float32 count. Raises InputError where nothing was timed on the machine.
    """
    timed = {}
    for name in (f"{machine} (reference)", machine):  # the user's own last
        timed |= results.speed.get(name, {})
    if not timed:
        known = "; ".join(sorted({name.removesuffix(" (reference)") for name in results.speed})) or "none"
        raise InputError(
            f"Cannot choose: no speed was measured on {machine}. Run `liftbench measure speed MODEL...`, or take the "
            f"times of a machine that has some with --machine: {known}."
        )
    choices = []
    for key, record in timed.items():
        parameters = _parameters(results, key)
        keeps_up = record.throughput_output_frames_per_s >= fps and _asked_for(key, frames)
        if keeps_up and parameters is not None and parameters <= (max_parameters or parameters):
            latency = record.latency.median_ms / record.output_frames
            error = published_error(results.published_row(key))
            choices.append(Choice(key, record.throughput_output_frames_per_s, latency, parameters, error))
    choices.sort(key=lambda one: math.inf if isinstance(one.published_mm, Missing) else one.published_mm)
    wanted = [Key(name, frames or MODELS[name].frames, "{}") for name in _of_papers(results) if _takes(name, frames)]
    fits = [key for key in wanted if max_parameters is None or (MODELS[key.model].parameters or 0) <= max_parameters]
    return choices, [_argument(key) for key in fits if key not in timed]


def _of_papers(results: Results) -> list[str]:
    """The models of the table "At a glance"."""
    return list(dict.fromkeys(row["model, frames"].split(",")[0] for row in at_a_glance(results).rows))


def _asked_for(key: Key, frames: int | None) -> bool:
    entry = MODELS.get(key.model)
    if entry is None:
        return frames in (None, key.frames)
    return key.frames == (frames or entry.frames) and "scan" not in entry.numbers


def _takes(name: str, frames: int | None) -> bool:
    """Whether a name is a registered model, and not one that is named after another clip length."""
    return name in MODELS and (frames in (None, MODELS[name].frames) or not name.endswith(f"_{MODELS[name].frames}"))


def _parameters(results: Results, key: Key) -> int | None:
    if key in results.cost:
        return results.cost[key].parameters
    entry = MODELS.get(key.model)
    return entry.parameters if entry and key.numbers == "{}" else None


def _argument(key: Key) -> str:
    usual = key.frames == MODELS[key.model].frames
    return key.model if usual else f"{key.model} --frames {key.frames}"
