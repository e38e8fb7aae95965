"""Records of `liftbench measure lift`; the rules stand in the modules of `bench.measure.lift`."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from liftbench.bench.records.accuracy import Checkpoint
from liftbench.bench.records.base import ModelRecord, NonNegativeInt, PositiveInt, Strict


class LiftedData(Strict):
    """The file that was lifted. subjects: those in it that no weights were trained on."""

    name: str
    sha256: str
    credit: str | None = None
    subjects: list[str] = []


class HeldOut(Strict):
    """Errors on held-out subjects seen by random cameras: mean over the frames of an action, then over actions."""

    views: PositiveInt
    seed: NonNegativeInt
    frames: PositiveInt
    mpjpe_mm: NonNegativeFloat
    p_mpjpe_mm: NonNegativeFloat
    n_mpjpe_mm: NonNegativeFloat
    mpjve_mm_per_frame: NonNegativeFloat


class GaitError(Strict):
    """The error of one quantity, lifted against true, over n walks and sides."""

    n: PositiveInt
    mean_absolute: NonNegativeFloat
    mean: float  # lifted minus true


class GaitView(Strict):
    """Errors of the gait from one view. Units stand in the names of the quantities."""

    view: Literal["front", "oblique", "side"]
    walks: NonNegativeInt  # in which both the truth and the lifted poses have strides
    failed: NonNegativeInt  # in which the lifted poses have none
    events: NonNegativeInt  # true heel strikes and toe offs
    missed: NonNegativeInt
    extra: NonNegativeInt
    quantities: dict[str, GaitError]


class RealCamera(Strict):
    """Errors of one camera's lifted keypoints against triangulated 3D. Joints of limbs: hips to ankles, shoulders to
    wrists."""

    camera: PositiveInt
    frames: PositiveInt
    limb_p_mpjpe_mm: NonNegativeFloat
    limb_n_mpjpe_mm: NonNegativeFloat


class LiftRecord(ModelRecord):
    """How well one set of weights lifts held-out motion, walks, and a real recording if one was given."""

    kind: Literal["lift"] = "lift"
    device: Literal["cpu", "cuda"]
    checkpoint: Checkpoint
    clips_seen: PositiveInt | None = None  # in training, by the log beside the weights; None: there is none
    motion: LiftedData
    refined: bool  # the walks and the real recording; held-out errors are those of the model alone
    smooth_hz: PositiveFloat | None  # of the walks
    rigid: bool  # likewise
    held_out: HeldOut
    gait: list[GaitView]
    poses: LiftedData | None = None
    real: list[RealCamera] = []
    lifted_frames_per_s: PositiveFloat  # keypoints to poses, the whole pipeline, one recording
    timed_frames: PositiveInt
    other_processes_share: NonNegativeFloat | None = None  # of this process's processors, while timing
