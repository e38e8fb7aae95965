"""What weights make of people they never saw: errors on held-out motion, and what is left of the gait."""

from liftbench.bench.records import LiftRecord
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Row, Table

# Column -> quantity of a view of the record.
_GAIT = {
    "cadence, steps/min": ".1f", "step time, ms": ".0f", "step length, cm": ".1f", "speed, m/s": ".2f",
    "knee flexion curve, degrees": ".1f", "range of knee flexion, degrees": ".1f",
    "hip flexion curve, degrees": ".1f", "heel strike, ms": ".0f", "toe off, ms": ".0f",
}  # fmt: skip
_HELD_OUT = (
    "Held-out subjects of motion capture before random cameras, keypoints of the detector model: mean per action, then "
    "over actions; millimetres by each frame's true scale, as in the h36m protocol. Real recording: joints of the "
    "limbs against triangulated 3D, the worst camera. Clips seen: in training, each as often as it came up; a clip "
    "trains all frames of a model that answers with a sequence, and the middle one of another. After training of "
    "minutes the errors tell how fast a model learns, not how good it can become. `liftbench measure lift` says how in "
    "full."
)
_WALKS = (
    "Mean absolute difference of true and lifted 3D of straight walks of people that the weights never saw, each side "
    "of the body on its own, ankle-based both; height and focal length given, the vertical not. `liftbench measure "
    "lift` says how in full."
)


def lift(results: Results) -> Table:
    """One row for each set of weights, the smallest error first."""
    columns = {
        "weights": "s", "model": "s", "frames": "d", "sees": "s", "clips seen": ",.0f", "MPJPE, mm": ".1f",
        "P-MPJPE, mm": ".1f", "N-MPJPE, mm": ".1f", "MPJVE, mm/frame": ".2f", "real recording, P-MPJPE, mm": ".1f",
        "real recording, N-MPJPE, mm": ".1f", "lifted frames/s": ",.0f", **_whose(results),
    }  # fmt: skip
    shown = _newest(results)
    rows = [_held_out(record) | _whose(results, record) for record in shown]
    notes = [_HELD_OUT, results.provenance("lift"), *dict.fromkeys(one.motion.credit or "" for one in shown)]
    notes += [
        f"{_weights(record)}: other processes took {record.other_processes_share:.0%} of the processors while it was "
        "timed."
        for record in shown
        if (record.other_processes_share or 0) >= 0.05
    ]
    return Table("lift/errors", "Lifting people that the weights never saw", columns, rows, notes, naming=4)


def lift_gait(results: Results) -> Table:
    """One row for each set of weights and each view of the walks."""
    columns = {"weights": "s", "view": "s", **_GAIT, "events missed": "s", "walks": "d", **_whose(results)}
    shown = _newest(results)
    rows = [row | _whose(results, record) for record in shown for row in _walks(record)]
    notes = [_WALKS, results.provenance("lift"), *dict.fromkeys(one.motion.credit or "" for one in shown)]
    return Table("lift/gait", "What lifting leaves of the gait", columns, rows, notes)


def _newest(results: Results) -> list[LiftRecord]:
    """The newest record of each way to lift, the smallest error first."""
    records = sorted((one for one in results.records if one.kind == "lift"), key=lambda one: one.created_utc)
    return sorted({_identity(one): one for one in records}.values(), key=lambda one: one.held_out.mpjpe_mm)


def _identity(record: LiftRecord) -> tuple:
    how = record.refined, record.smooth_hz, record.rigid
    return record.checkpoint.sha256, record.motion.sha256, how, record.environment.machine


def _whose(results: Results, record: LiftRecord | None = None) -> dict[str, str]:
    """The last column, or its cell, where the table also holds the user's own."""
    if not results.has_reference:
        return {}
    return {"whose": "s" if record is None else "reference" if results.is_reference(record) else "own"}


def _weights(record: LiftRecord) -> str:
    name = record.checkpoint.file.removesuffix(".safetensors").removesuffix("/last")
    name += f", epoch {record.checkpoint.epoch}" if record.checkpoint.epoch is not None else ""
    name += "" if record.refined else ", not refined"
    name += f", {record.smooth_hz:g} Hz" if record.smooth_hz else ""
    return f"{name}, rigid" if record.rigid else name


def _held_out(record: LiftRecord) -> Row:
    errors, none = record.held_out, Missing("no real recording was given")
    return {
        "weights": _weights(record), "model": record.model, "frames": record.frames,
        "sees": f"the {record.numbers.get('normalization', 'image')}",
        "clips seen": record.clips_seen or Missing("no log of the training was read"),
        "MPJPE, mm": errors.mpjpe_mm, "P-MPJPE, mm": errors.p_mpjpe_mm, "N-MPJPE, mm": errors.n_mpjpe_mm,
        "MPJVE, mm/frame": errors.mpjve_mm_per_frame,
        "real recording, P-MPJPE, mm": max((one.limb_p_mpjpe_mm for one in record.real), default=none),
        "real recording, N-MPJPE, mm": max((one.limb_n_mpjpe_mm for one in record.real), default=none),
        "lifted frames/s": record.lifted_frames_per_s,
    }  # fmt: skip


def _walks(record: LiftRecord) -> list[Row]:
    unseen, weights = Missing("no held-out walk shows it"), {"weights": _weights(record)}
    if not record.gait:
        return [weights | {name: unseen for name in ("view", *_GAIT, "events missed", "walks")}]
    return [
        weights
        | {"view": view.view, "walks": view.walks, "events missed": f"{view.missed} of {view.events}"}
        | {name: view.quantities[name].mean_absolute if name in view.quantities else unseen for name in _GAIT}
        for view in record.gait
    ]
