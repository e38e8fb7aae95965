"""What does real time cost in mm? Errors and delays when frames come one by one, beside the offline errors."""

from collections.abc import Iterator

from liftbench.bench.records import OnlineErrors, OnlineRecord, OnlineWindow, Times
from liftbench.bench.report.results import Missing, Results, in_order
from liftbench.bench.report.tables.table import Cell, Row, Table

_NOTES = (
    "Look-ahead: the share of a clip that is awaited before a frame is answered. Delay: the same at the frame rate of "
    "the data; a window's own time comes on top. Over offline: MPJPE against that of the same frames in clips side by "
    "side, the whole take known, as `liftbench evaluate` measures it. Errors are those of the official row, with the "
    "mirrored average unless the column says otherwise. Offline a sequence model answers many frames near the end of "
    "their clip, and velocities are taken across the seams too: a window that looks ahead can be better.",
    "A model that answers for the centre frame of its clip has one look-ahead, half a clip, and offline it sees the "
    "same. With less, the newest frame is repeated in place of those that have not come, as many as the table says.",
    "Window: one clip by itself, from keypoints in memory to a pose in memory, median. Keeps up: the p80 of a window "
    "with its mirrored copy is shorter than the time between two frames; if only that of the window is: not mirrored.",
)
_WHOLE = Missing("offline, the whole take is known")
_ITSELF = Missing("the others are compared with it")
_APART = Missing("a velocity takes two frames in a row, and not every frame was scored")


def online(results: Results) -> Table:
    """One row for each look-ahead of each model, and one for offline."""
    columns = {
        "model": "s", "frames": "d", "look-ahead": "s", "data": "s", "frames repeated": "d", "delay, frames": "d",
        "delay, ms": ",.0f", "MPJPE, mm": ".1f", "over offline, mm": "+.1f", "P-MPJPE, mm": ".1f",
        "MPJVE, mm/frame": ".2f", "MPJPE not mirrored, mm": ".1f", "machine": "s", "window, ms": ",.2f",
        "with mirrored copy, ms": ",.2f", "windows/s": ",.0f", "keeps up": "s",
    }  # fmt: skip
    rows, notes = [], list(_NOTES)
    for label, group in results.online.items():
        for key in in_order(group):
            record = group[key]
            same = {"model": key.name, "frames": key.frames, "data": label} | _times(record)
            rows += [same | cells for cells in _rows(record)]
            if facts := _facts(record):
                notes.append(f"{key.label}, {label}: {facts}.")
    credits = {one.data.origin.get("credit"): None for group in results.online.values() for one in group.values()}
    notes += [results.provenance("online"), *filter(None, credits)]
    return Table("lift/online", "What real time costs", columns, rows, notes, naming=3)


def _facts(record: OnlineRecord) -> str:
    """What sets a record apart from the last epoch of a run, scored on every frame; "" if nothing does."""
    file = record.checkpoint.file
    return ", ".join(
        [f"weights {file}"] * (file != "last.safetensors")
        + [f"one frame in {record.step} was scored"] * (record.step > 1)
    )


def _rows(record: OnlineRecord) -> Iterator[Row]:
    for window in record.windows:
        delay, cost = window.look_ahead_frames, window.mpjpe_mm - record.offline.mpjpe_mm
        yield _errors(window) | {
            "look-ahead": look_ahead(window), "frames repeated": window.repeated_frames, "delay, frames": delay,
            "delay, ms": 1e3 * delay / record.fps, "over offline, mm": cost,
        }  # fmt: skip
    yield _errors(record.offline) | {
        "look-ahead": "offline", "frames repeated": _WHOLE, "delay, frames": _WHOLE, "delay, ms": _WHOLE,
        "over offline, mm": _ITSELF,
    }  # fmt: skip


def look_ahead(window: OnlineWindow) -> str:
    """How the table names a look-ahead: `1/4 clip`."""
    return window.look_ahead if window.look_ahead == "0" else f"{window.look_ahead} clip"


def _errors(errors: OnlineErrors) -> Row:
    velocity = errors.mpjve_mm_per_frame
    return {
        "MPJPE, mm": errors.mpjpe_mm, "P-MPJPE, mm": errors.p_mpjpe_mm,
        "MPJVE, mm/frame": _APART if velocity is None else velocity,
        "MPJPE not mirrored, mm": errors.mpjpe_mm_without_flip,
    }  # fmt: skip


def _times(record: OnlineRecord) -> Row:
    one, both = record.time, record.time_with_flip
    return {
        "machine": record.environment.machine, "window, ms": _known(one, one.median_ms),
        "with mirrored copy, ms": _known(both, both.median_ms),
        "windows/s": _known(one, one.median_ms and 1e3 / one.median_ms), "keeps up": keeps_up(record),
    }  # fmt: skip


def _known(time: Times, value: float | None) -> Cell:
    return Missing(time.missing) if time.missing else value


def keeps_up(record: OnlineRecord) -> str | Missing:
    """Whether a window is done before the next frame comes: yes, not mirrored (only without the mirrored copy), no."""
    if missing := record.time.missing or record.time_with_flip.missing:
        return Missing(missing)
    if record.keeps_up(record.time_with_flip):
        return "yes"
    return "not mirrored" if record.keeps_up(record.time) else "no"
