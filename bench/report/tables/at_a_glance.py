"""One row for each model at its published clip length: size, cost, speed and error, eight columns."""

import json
from collections.abc import Iterable, Iterator

import pandas as pd

from liftbench.baselines.registry import MODELS
from liftbench.bench.report.results import Key, Missing, Results, measured_error, published_error
from liftbench.bench.report.tables.table import Cell, Table

# Twelve that show the range: the reproduced systems, and the largest of each lifter that they are compared with.
SHOWN = (
    "posemamba_s", "posemamba_l", "pose3dm_s", "mdtf_tiny", "lstm", "transformer", "mixste", "motionbert",
    "motionagformer_l", "stcformer_243", "poseformerv2_243", "videopose3d_243",
)  # fmt: skip
_ABLATION = "scan"  # the number that only ablations override
PUBLISHED = "MPJPE published, mm"


def at_a_glance(results: Results) -> Table:
    """All models at their published clip length; below them what the user measured otherwise."""
    names = [name for name, one in MODELS.items() if _ABLATION not in one.numbers and one.published or name in SHOWN]
    return _table("at_a_glance", "At a glance", results, names)


def overview(results: Results) -> Table:
    """The twelve models of SHOWN, and below them what the user measured otherwise."""
    return _table("overview", "Overview", results, SHOWN)


def chosen_machine(results: Results) -> str | None:
    """The machine whose times are shown: the user's own before the reference, the one with the most models, lengths."""
    own = {name for name, group in results.speed.items() if not any(map(results.is_reference, group.values()))}

    def rank(name: str) -> tuple[bool, int, int]:
        return name in own, len({key.model for key in results.speed[name]}), len(results.speed[name])

    return max(results.speed, key=rank, default=None)


def chosen_data(results: Results) -> tuple[str, int] | None:
    """(data, frames) of the measured errors that are shown: public data first, then the user's own, then the one with
    the most models."""
    sizes = {}
    for label, group in results.accuracy.items():
        own = not any(map(results.is_reference, group.values()))
        for key in group:
            rank = label in results.real, own
            sizes[label, key.frames] = (*rank, sizes.get((label, key.frames), (0, 0, 0))[2] + 1)
    return max(sizes, key=lambda pair: (sizes[pair], pair), default=None)


def _table(name: str, title: str, results: Results, names: Iterable[str]) -> Table:
    machine, data = chosen_machine(results), chosen_data(results)
    of_data = f"{data[0]}, {data[1]} frames" if data else "no data"
    measured = f"MPJPE measured, mm ({of_data})"
    columns = {
        "model, frames": "s", "parameters, M": ",.2f", "MACs per frame, M": ",.1f", "latency of a clip, ms": ",.1f",
        "poses/s": ",.1f", "peak memory, MiB": ",.0f", PUBLISHED: "s", measured: ".1f",
    }  # fmt: skip
    keys = [Key(one, MODELS[one].frames, "{}") for one in names]
    keys += [key for key in results.keys if key not in keys and is_own(results, key)]
    rows = [dict(zip(columns, _row(results, key, machine, data))) for key in keys]
    rows = [row for row in rows if any(not isinstance(cell, Missing) for cell in list(row.values())[1:])]
    notes = [
        "MACs per frame: contractions and scans per pose of the answer, by one rule for all. Peak memory: parameters "
        "and activations of one clip in float32, counted. Latency: one clip of the frames beside the name; poses/s: of "
        "the best batch, all poses that it answers. " + (f"Times: {machine}." if machine else "No times are recorded."),
        "Published errors are those of the epoch that was best on the test subjects, of different 2D detections (SH "
        "or CPN) and test frames; the papers' own tables keep them apart.",
        "The measured column is of other data and shorter training than the published one: it shows that the path "
        "works, and ranks nothing."
        if data and data[0] not in results.real
        else "",
        results.provenance("cost", "accuracy", "speed"),
    ]
    best = {header: "most" if header == "poses/s" else "least" for header in list(columns)[1:]}
    return Table(name, title, columns, rows, [*filter(None, notes)], naming=1, best=best)


def is_own(results: Results, key: Key) -> bool:
    """Whether the user measured this beside the reference records."""
    groups = [results.cost, *results.speed.values(), *results.accuracy.values()]
    own = any(key in group and not results.is_reference(group[key]) for group in groups)
    return results.has_reference and own


def _row(results: Results, key: Key, machine: str | None, data: tuple[str, int] | None) -> Iterator[Cell]:
    cost, speed = results.cost.get(key), results.speed.get(machine, {}).get(key)
    uncounted = Missing("its cost was not measured: `liftbench measure cost`")
    untimed = Missing("not timed on this machine: `liftbench measure speed`")
    yield f"{key.name}, {key.frames}"
    yield cost.parameters / 1e6 if cost else uncounted
    yield cost.macs_per_output_frame / 1e6 if cost else uncounted
    yield speed.latency.median_ms if speed else untimed
    yield speed.throughput_output_frames_per_s if speed else untimed
    yield (cost.activation_bytes_peak_inference + 4 * cost.parameters) / 2**20 if cost else uncounted
    error = published_error(results.published_row(key))
    yield error if isinstance(error, Missing) else f"{error:.1f}"
    record = results.accuracy[data[0]].get(Key(key.model, data[1], key.numbers)) if data else None
    yield record.mpjpe_mm if record else Missing("not trained on these data here")


def lengths(results: Results) -> Table:
    """Every model that was measured at several clip lengths: cost and time of one pose."""
    models = by_length(results)
    machine = _longest(results, [key for keys in models.values() for key in keys])
    columns = {
        "model": "s", "frames": "d", "MACs of a clip, G": ",.3f", "MACs per frame, M": ",.1f",
        "latency of a clip, ms": ",.2f", "ms per new frame": ",.3f", "poses/s": ",.1f",
    }  # fmt: skip
    rows = []
    for key in (key for keys in models.values() for key in keys):
        cost, speed = results.cost.get(key), results.speed.get(machine, {}).get(key)
        row = [key.model, key.frames]
        row += [cost.macs_per_clip / 1e9, cost.macs_per_output_frame / 1e6] if cost else [Missing("not counted")] * 2
        if speed:
            ms = speed.latency.median_ms
            row += [ms, ms / speed.output_frames, speed.throughput_output_frames_per_s]
        else:
            row += [Missing("not timed at this length on the machine of this table")] * 3
        rows.append(dict(zip(columns, row)))
    note = (
        "ms per new frame: the latency of a clip over the poses that it answers; a centre-frame model runs a whole "
        f"clip for each. Times: {machine}, which timed most of these lengths."
    )
    return Table("lengths", "Clip length", columns, rows, [note, results.provenance("cost", "speed")])


def _longest(results: Results, keys: list[Key]) -> str | None:
    """The machine that timed most of the keys, the user's own before a reference one."""

    def rank(name: str) -> tuple[bool, int]:
        timed = [results.speed[name][key] for key in keys if key in results.speed[name]]
        return any(not results.is_reference(record) for record in timed), len(timed)

    return max(results.speed, key=rank, default=None)


def by_length(results: Results) -> dict[str, list[Key]]:
    """model -> its Keys without overridden numbers, from short to long, where there are several."""
    found = {}
    for key in results.keys:  # in the registry's order, from short to long
        if json.loads(key.numbers) == {} and (key in results.cost or any(key in g for g in results.speed.values())):
            found.setdefault(key.model, []).append(key)
    return {model: keys for model, keys in found.items() if len(keys) > 1}


def error_measured(
    results: Results, published: pd.Series, protocol: str, given: str, key: Key, quantity: str
) -> float | Missing:
    """A measured error that a published one may stand beside: on the public data, of the same protocol and 2D input."""
    for label in sorted(results.real & results.accuracy.keys()):
        record = results.accuracy[label].get(key)
        if record and (record.data.protocol, record.data.input) == (protocol, given):
            value = measured_error(record, published, quantity)
            return Missing("not defined") if value is None else value
    return Missing("no run on these data, which are licensed and not shipped")
