"""Records of several machines: merge them into one folder, or compare what both measured."""

import collections
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.bench.records.store import Record, read


class Comparison(NamedTuple):
    """One quantity that both folders hold; ratio: second over first, None if the first is zero."""

    what: str
    quantity: str
    first: float
    second: float
    ratio: float | None


def merge(folders: Sequence[Path], out: Path) -> int:
    """Write the records of all folders into a new one, without duplicates, in order of time, one file per kind.

    Either all files are written or none. Returns the number of records. Raises InputError for folders that cannot be
    read, and if `out` already holds records or cannot be written.
    """
    out = Path(out)
    if any(out.glob("*.jsonl")):
        raise InputError(f"Cannot merge into {out}: it holds records already. Choose a new folder.")
    lines = collections.defaultdict(dict)  # kind: its lines, as keys
    for record in sorted((one for folder in folders for one in read(folder)), key=lambda one: one.created_utc):
        lines[record.kind][record.model_dump_json(by_alias=True)] = record
    with contextlib.ExitStack() as files:
        temporary = {kind: files.enter_context(replacing(out / f"{kind}.jsonl")) for kind in lines}
        for kind, unique in lines.items():
            temporary[kind].write_text("".join(f"{line}\n" for line in unique), encoding="utf-8")
    return sum(map(len, lines.values()))


def compare(first: Path, second: Path) -> list[Comparison]:
    """Pair the newest records of two folders that have the same kind, model, frames and settings.

    Accuracies are compared on the same data only, speeds across any machines; see `machines`. Raises InputError for
    folders that cannot be read or have nothing in common.
    """
    found = [_newest(folder) for folder in (first, second)]
    both = [key for key in found[0] if key in found[1]]
    if not both:
        raise InputError(
            f"Cannot compare {first} and {second}: they hold no record of the same kind, model, frames and settings. "
            "Measure the same models in both."
        )
    return [
        Comparison(" ".join(filter(None, key[:4])), quantity, a, b, b / a if a else None)
        for key in both
        for quantity, a, b in _paired(_quantities(found[0][key]), _quantities(found[1][key]))
    ]


def machines(folder: Path) -> str:
    """Name the machines on which the speeds of a folder were measured."""
    found = {one.environment.machine for one in read(folder) if one.kind == "speed"}
    return "; ".join(sorted(found)) or "no machine"


def _newest(folder: Path) -> dict[tuple, Record]:
    """(kind, model, frames, settings, ...) -> record, for the kinds that have quantities."""
    newest = {}
    for record in sorted(read(folder), key=lambda one: one.created_utc):
        if record.kind in ("cost", "speed", "accuracy"):
            numbers = json.dumps(record.numbers, sort_keys=True) if record.numbers else ""
            settings = [numbers, record.setting if record.kind == "speed" else ""]
            data = getattr(record, "data", None)
            identity = (data.sha256, getattr(data, "input", "")) if data else None
            key = (record.kind, record.model, f"{record.frames} frames", ", ".join(filter(None, settings)), identity)
            newest[key] = record
    return newest


def _quantities(record: Record) -> dict[str, float | None]:
    if record.kind == "cost":
        return {
            "parameters": record.parameters, "MACs per clip": record.macs_per_clip,
            "elementwise operations per clip": record.elementwise_operations, "MACs per clip by thop": record.thop.macs,
        }  # fmt: skip
    if record.kind == "speed":
        return {"latency, ms": record.latency.median_ms, "clips/s": record.throughput_clips_per_s}
    return {"MPJPE, mm": record.mpjpe_mm, "P-MPJPE, mm": record.p_mpjpe_mm}


def _paired(first: dict[str, float | None], second: dict[str, float | None]) -> list[tuple[str, float, float]]:
    return [(name, first[name], second[name]) for name in first if None not in (first[name], second[name])]
