"""What weights make of people they never saw: errors on held-out motion beside those of the gait."""

from liftbench.bench.records import LiftRecord
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Row, Table

# Column -> quantity of a view of the record.
_GAIT = {
    "cadence, steps/min": ".1f", "step time, ms": ".0f", "step length, cm": ".1f", "speed, m/s": ".2f",
    "knee flexion curve, degrees": ".1f", "range of knee flexion, degrees": ".1f",
    "hip flexion curve, degrees": ".1f", "heel strike, ms": ".0f", "toe off, ms": ".0f",
}  # fmt: skip
_NOTE = (
    "Held-out subjects of motion capture before random cameras, keypoints of the detector model: mean per action, then "
    "over actions; millimetres by each frame's true scale, as in the h36m protocol. Gait: mean absolute difference of "
    "true and lifted 3D of straight walks, each side of the body on its own, ankle-based both; height and focal length "
    "given, the vertical not. Real recording: joints of the limbs against triangulated 3D, the worst camera. "
    "`liftbench measure lift` says how in full."
)


def lift(results: Results) -> Table:
    """One row for each set of weights and each view of the walks."""
    columns = {
        "model": "s", "frames": "d", "weights": "s", "view": "s", "MPJPE, mm": ".1f", "P-MPJPE, mm": ".1f",
        "N-MPJPE, mm": ".1f", "MPJVE, mm/frame": ".2f", **_GAIT, "events missed": "s", "walks": "d",
        "real recording, P-MPJPE, mm": ".1f", "real recording, N-MPJPE, mm": ".1f", "lifted frames/s": ",.0f",
    }  # fmt: skip
    columns |= {"whose": "s"} if results.has_reference else {}

    def whose(record: LiftRecord) -> str:
        return "reference" if results.is_reference(record) else "own"

    newest = {_identity(one): one for one in sorted(_records(results), key=lambda one: one.created_utc)}
    rows = [row | {"whose": whose(record)} for record in newest.values() for row in _rows(record)]
    notes = [_NOTE, results.provenance("lift")]
    for record in newest.values():
        notes.append(
            f"{_weights(record)}: other processes took {record.other_processes_share or 0:.0%} of the processors "
            f"while it was timed. {record.motion.credit}"
        )
    return Table("lift", "Lifting people that the weights never saw", columns, rows, notes, naming=4)


def _records(results: Results) -> list[LiftRecord]:
    return [record for record in results.records if record.kind == "lift"]


def _identity(record: LiftRecord) -> tuple:
    how = record.refined, record.smooth_hz, record.rigid
    return record.checkpoint.sha256, record.motion.sha256, how, record.environment.machine


def _weights(record: LiftRecord) -> str:
    name = record.checkpoint.file.removesuffix(".safetensors")
    name += f", epoch {record.checkpoint.epoch}" if record.checkpoint.epoch is not None else ""
    name += "" if record.refined else ", not refined"
    name += f", {record.smooth_hz:g} Hz" if record.smooth_hz else ""
    return f"{name}, rigid" if record.rigid else name


def _rows(record: LiftRecord) -> list[Row]:
    held_out, none = record.held_out, Missing("no real recording was given")
    real = {
        "real recording, P-MPJPE, mm": max((one.limb_p_mpjpe_mm for one in record.real), default=none),
        "real recording, N-MPJPE, mm": max((one.limb_n_mpjpe_mm for one in record.real), default=none),
    }
    row = {
        "model": record.model, "frames": record.frames, "weights": _weights(record), "MPJPE, mm": held_out.mpjpe_mm,
        "P-MPJPE, mm": held_out.p_mpjpe_mm, "N-MPJPE, mm": held_out.n_mpjpe_mm,
        "MPJVE, mm/frame": held_out.mpjve_mm_per_frame, "lifted frames/s": record.lifted_frames_per_s, **real,
    }  # fmt: skip
    unseen = Missing("no held-out walk shows it")
    if not record.gait:
        return [row | {name: unseen for name in ("view", *_GAIT, "events missed", "walks")}]
    return [
        row
        | {"view": view.view, "walks": view.walks, "events missed": f"{view.missed} of {view.events}"}
        | {name: view.quantities[name].mean_absolute if name in view.quantities else unseen for name in _GAIT}
        for view in record.gait
    ]
