"""Records of several machines: merged into one folder, or compared, each thing measured with its counterpart."""

import collections
import json
from pathlib import Path
from typing import NamedTuple

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.bench.records import records


class Comparison(NamedTuple):
    """One quantity of what both folders hold; ratio: of the second to the first, None where that is zero."""

    what: str
    quantity: str
    first: float
    second: float
    ratio: float | None


def merge(folders, out):
    """Write the records of all folders into a new one, a file a kind, in order of time and each once -> their number.

    Raises InputError for folders that cannot be read, and where `out` holds records already.
    """
    out = Path(out)
    if any(out.glob("*.jsonl")):
        raise InputError(f"{out} holds records already; choose a new folder.")
    lines = collections.defaultdict(dict)  # kind -> its lines, as keys
    for record in sorted((one for folder in folders for one in records.read(folder)), key=lambda one: one.created_utc):
        lines[record.kind][record.model_dump_json(by_alias=True)] = record
    for kind, unique in lines.items():
        with replacing(out / f"{kind}.jsonl") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in unique), encoding="utf-8")
    return sum(map(len, lines.values()))


def compare(first, second):
    """The newest records of the same kind, model, frames and settings of two folders -> [Comparison].

    Accuracies are compared on the same data only; speeds whatever the machines are, see `machines`. Raises InputError
    for folders that cannot be read, and where they hold nothing of the same.
    """
    found = [_newest(folder) for folder in (first, second)]
    both = [key for key in found[0] if key in found[1]]
    if not both:
        raise InputError(f"{first} and {second} hold no record of the same kind, model, frames and settings.")
    return [
        Comparison(" ".join(filter(None, key[:4])), quantity, a, b, b / a if a else None)
        for key in both
        for quantity, a, b in _paired(_quantities(found[0][key]), _quantities(found[1][key]))
    ]


def machines(folder):
    """What the speeds of a folder were measured on, as one text."""
    found = {one.environment.machine for one in records.read(folder) if one.kind == "speed"}
    return "; ".join(sorted(found)) or "no machine"


def _newest(folder):
    """(kind, model, frames, settings, ...) -> record, for the kinds that have quantities."""
    newest = {}
    for record in sorted(records.read(folder), key=lambda one: one.created_utc):
        if record.kind in ("cost", "speed", "accuracy"):
            numbers = json.dumps(record.numbers, sort_keys=True) if record.numbers else ""
            settings = [numbers, record.setting if record.kind == "speed" else ""]
            data = getattr(record, "data", None)
            identity = (data.sha256, getattr(data, "input", "")) if data else None
            key = (record.kind, record.model, f"{record.frames} frames", ", ".join(filter(None, settings)), identity)
            newest[key] = record
    return newest


def _quantities(record):
    if record.kind == "cost":
        return {
            "parameters": record.parameters, "MACs per clip": record.macs_per_clip,
            "elementwise operations per clip": record.elementwise_operations, "MACs per clip by thop": record.thop.macs,
        }  # fmt: skip
    if record.kind == "speed":
        return {"latency, ms": record.latency.median_ms, "clips/s": record.throughput_clips_per_s}
    return {"MPJPE, mm": record.mpjpe_mm, "P-MPJPE, mm": record.p_mpjpe_mm}


def _paired(first, second):
    return [(name, first[name], second[name]) for name in first if None not in (first[name], second[name])]
