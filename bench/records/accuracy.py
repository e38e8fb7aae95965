"""Records of `liftbench evaluate`, `liftbench train` and `liftbench measure online`."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from liftbench.bench.records.base import ModelRecord, NonNegativeInt, PositiveInt, Strict, Times


class Data(Strict):
    """The file or folder that a model was trained or evaluated on. `baselines.evaluation.protocols` describes
    protocols.

    origin: how it was made, {} for a file that does not say.
    """

    name: str
    sha256: str
    origin: dict
    protocol: Literal["h36m", "h36m_videopose3d", "mpi_inf_3dhp"]
    input: Literal["sh", "cpn", "gt"]
    test_frames: PositiveInt
    test_clips: PositiveInt


class Checkpoint(Strict):
    """The weights that were evaluated, and how their epoch was chosen."""

    file: str
    sha256: str
    epoch: NonNegativeInt | None
    chosen_by: str | None


class AccuracyRecord(ModelRecord):
    """One evaluation: the official protocol of its data, and beside it the variants that users confuse with it.

    pck and auc: for mpi_inf_3dhp only, whose "actions" are the test sequences.
    """

    kind: Literal["accuracy"] = "accuracy"
    data: Data
    checkpoint: Checkpoint
    mpjpe_mm: NonNegativeFloat
    p_mpjpe_mm: NonNegativeFloat
    mpjpe_mm_per_action: dict[str, NonNegativeFloat]
    p_mpjpe_mm_per_action: dict[str, NonNegativeFloat]
    pck_150mm_percent: NonNegativeFloat | None = None
    auc_percent: NonNegativeFloat | None = None
    pck_150mm_percent_per_action: dict[str, NonNegativeFloat] | None = None
    auc_percent_per_action: dict[str, NonNegativeFloat] | None = None
    mpjpe_mm_per_joint: dict[str, NonNegativeFloat]
    variants: dict[str, dict[str, NonNegativeFloat | None]]
    mean_pose_mpjpe_mm: NonNegativeFloat | None

    @model_validator(mode="after")
    def _official_is_the_mean_over_actions(self) -> "AccuracyRecord":
        """Refuse old records of VideoPose3D's files: the official row was the mean over frames beside "action-wise"."""
        if self.data.protocol == "h36m_videopose3d" and "action-wise" in self.variants:
            raise ValueError("its official row is a mean over frames; it is one over actions now, so evaluate again")
        return self


class TrainingRecord(ModelRecord):
    """One finished training run, one list entry per epoch."""

    kind: Literal["training"] = "training"
    data: Data
    recipe: dict
    epochs: list[NonNegativeInt]
    loss: list[float]
    total_variation: list[NonNegativeFloat] | None = None  # unweighted, if the recipe asks for it
    test_mpjpe_mm: list[NonNegativeFloat | None]
    learning_rate: list[NonNegativeFloat]
    epoch_s: list[NonNegativeFloat]
    data_wait_share: list[NonNegativeFloat] | None = None  # of epoch_s; None: not measured
    clips_per_s: NonNegativeFloat
    processes: PositiveInt  # that trained together

    @model_validator(mode="after")
    def _one_entry_an_epoch(self) -> "TrainingRecord":
        for key in ("loss", "total_variation", "test_mpjpe_mm", "learning_rate", "epoch_s", "data_wait_share"):
            values = getattr(self, key)
            if values is not None and len(values) != len(self.epochs):
                raise ValueError(f"{key} has {len(values)} entries for {len(self.epochs)} epochs")
        return self


class OnlineErrors(Strict):
    """The official row of the scored frames, with the mirrored average unless the name says otherwise."""

    mpjpe_mm: NonNegativeFloat
    p_mpjpe_mm: NonNegativeFloat
    mpjve_mm_per_frame: NonNegativeFloat | None  # None: no scored frame follows another
    mpjpe_mm_without_flip: NonNegativeFloat


class OnlineWindow(OnlineErrors):
    """Errors where each frame is answered as soon as `look_ahead_frames` more have come."""

    look_ahead: Literal["0", "1/4", "1/2"]  # of a clip
    look_ahead_frames: NonNegativeInt
    repeated_frames: NonNegativeInt  # of a window, that have not come yet: the newest one stands for them


class OnlineRecord(ModelRecord):
    """What it costs that frames come one by one; see `bench.measure.online`."""

    kind: Literal["online"] = "online"
    device: Literal["cpu", "cuda"]
    data: Data
    checkpoint: Checkpoint
    fps: PositiveFloat  # of the recordings
    step: PositiveInt  # every n-th frame of the official row is scored
    scored_frames: PositiveInt
    offline: OnlineErrors  # as `evaluate`, on the same frames
    windows: list[OnlineWindow]  # by look-ahead, the shortest first
    difference: NonNegativeFloat | None  # found by the parity check, relative to the largest value
    clock: Literal["perf_counter", "CUDA events"]
    other_processes_share: NonNegativeFloat | None  # of this process's processors, while timing
    time: Times  # a window by itself
    time_with_flip: Times  # and its mirrored copy

    def keeps_up(self, time: Times) -> bool:
        """Whether a window that takes so long is done before the next frame comes."""
        return time.p80_ms <= 1e3 / self.fps

    @property
    def weights(self) -> str | None:
        """The name of the weights file, None if it is one of a run folder."""
        name = self.checkpoint.file.removesuffix(".safetensors")
        return None if name in ("last", "best") else name
