"""What records of `measure lift` say of the gait of one recording: the errors to expect of its values."""

from collections.abc import Sequence

from liftbench.bench.measure.lift.walks import QUANTITIES, VIEWS
from liftbench.bench.records import LiftRecord, Record
from liftbench.lift.gait.analysis import Gait
from liftbench.lift.gait.report import Validation, view_angle
from liftbench.lift.lifted import Lifted

_NEAR = 22.5  # degrees, from the view of the recording to one that was measured


def validation(lifted: Lifted, gait: Gait, records: Sequence[Record]) -> Validation | None:
    """The errors of the same weights, by their SHA-256, from the view nearest to the recording's.

    A record that is refined and smoothed as the recording comes before a newer one that is not. Returns None where
    there is no record, or no measured view within 22.5 degrees.
    """
    angle, weights = view_angle(lifted, gait), lifted.metadata.get("weights_sha256")
    name = next((name for name, at in VIEWS.items() if angle is not None and abs(at - angle) <= _NEAR), None)
    about = lifted.metadata
    own = about.get("refined", False), about.get("smooth_hz"), about.get("rigid", False)
    found = [
        ((record.refined, record.smooth_hz, record.rigid) == own, record.created_utc, record, view)
        for record in records
        if isinstance(record, LiftRecord) and record.checkpoint.sha256 == weights
        for view in record.gait
        if view.view == name and view.quantities
    ]
    if not found:
        return None
    *_, record, view = max(found, key=lambda one: one[:2])
    errors = {}
    for quantity, error in view.quantities.items():
        parameter, factor = QUANTITIES.get(quantity, (quantity, 1))
        errors[parameter] = error.mean_absolute / factor
    how = "" if record.refined else ", not refined"
    how += f", smoothed at {record.smooth_hz:g} Hz" if record.smooth_hz else ""
    return Validation(
        f"`liftbench measure lift` of {record.checkpoint.file}{how}, {view.walks} walks of people it never saw "
        f"({record.motion.name}), view: {name}, height and focal length given",
        errors,
    )
