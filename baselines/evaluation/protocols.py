"""The protocols of the data sets: the official row of each, and beside it the rows that users confuse with it.

All of them average the predictions for a clip and its mirrored copy, set the root to zero, convert to millimetres with
the data set, and measure root-relative errors. A frame covered more than once counts with its mean error. The official
row is:

h36m (MotionBERT and its descendants): leaves out three takes with shifted labels; mean per action, then over actions;
    does not evaluate the frames behind a source's last full clip. The camera of the clip's first frame and each frame's
    2.5d factor, both from the ground truth, give the millimetres: every method is told the absolute scale.
h36m_videopose3d (VideoPose3D and its descendants): every frame counts; mean per action, then over actions. The network
    answers in metres. The LSTM/Transformer repository uses the same files and prints the mean over all frames: the row
    "frame-wise".
mpi_inf_3dhp (as the P-STMO scripts prepare it): every valid frame counts; mean over frames; the "actions" are the test
    sequences. PCK and AUC stand beside the errors.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.data.normalization import root_relative
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import metrics
from liftbench.baselines.skeleton import JOINTS

_ERRORS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_per_frame", "acceleration_error_mm_per_frame2")
_BLOCK = 50_000  # frames scored at a time, to bound the memory


@dataclass(frozen=True)
class Protocol:
    """What the protocols differ in."""

    by_action: bool  # the official row is a mean per action, then over actions; else over frames
    every_frame: bool  # the official row counts every frame; else only those of full clips
    leaves_takes_out: bool = False  # if so, another row includes them
    fps: float | None = None  # frames per second of its recordings; None: they differ, or do not say
    columns: tuple = _ERRORS  # the quantities in each row of `variants`
    headlines: tuple = ("mpjpe_mm", "p_mpjpe_mm")  # given for the official row as a whole and per action


_SHARES = ("pck_150mm_percent", "auc_percent")
PROTOCOLS = {
    "h36m": Protocol(by_action=True, every_frame=False, leaves_takes_out=True, fps=50),
    "h36m_videopose3d": Protocol(by_action=True, every_frame=True, fps=50),
    "mpi_inf_3dhp": Protocol(
        by_action=False, every_frame=True, columns=_ERRORS + _SHARES, headlines=("mpjpe_mm", "p_mpjpe_mm", *_SHARES)
    ),
}


@dataclass(frozen=True, kw_only=True)
class Score:
    """The errors of one evaluation, mm; `score["mpjpe_mm"]` is `score.mpjpe_mm`.

    The headlines are those of the official row, as a whole and per action. variants: {row: {quantity: value or None}};
    `score` lists the rows. PCK and AUC, in percent, exist for the protocol mpi_inf_3dhp only; elsewhere they are None
    and not among the keys.
    """

    mpjpe_mm: float
    p_mpjpe_mm: float
    mpjpe_mm_per_action: dict[str, float]
    p_mpjpe_mm_per_action: dict[str, float]
    mpjpe_mm_per_joint: dict[str, float]
    variants: dict[str, dict[str, float | None]]
    pck_150mm_percent: float | None = None
    auc_percent: float | None = None
    pck_150mm_percent_per_action: dict[str, float] | None = None
    auc_percent_per_action: dict[str, float] | None = None

    def __getitem__(self, key: str) -> float | dict:
        if key not in self.keys():
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        """Return the names of the values that exist, so that `{**score}` is a dict of them."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


def score(dataset: Dataset, predictions: np.ndarray, clips: np.ndarray) -> Score:
    """Score normalised predictions of test clips by the protocol of the data set and its common variations.

    predictions: (clips, T, 17, 3), normalised like `dataset.targets` (camera frame, roots are set to zero);
    clips: (clips, T), their frame numbers, as `dataset.clips` returns them (T = 1 for a centre-frame model).

    The rows of `variants` are "official", "action-wise" or "frame-wise" (whichever the official one is not) and, if
    the protocol leaves takes out, "with excluded takes". They hold mpjpe_mm, p_mpjpe_mm, n_mpjpe_mm,
    mpjve_mm_per_frame and acceleration_error_mm_per_frame2; mpi_inf_3dhp adds pck_150mm_percent and auc_percent.
    Velocities and accelerations cover consecutive evaluated frames of a source, seams between clips included.

    Raises InputError for shapes that do not fit and for predictions that are not finite.
    """
    protocol = PROTOCOLS[dataset.protocol]
    predictions, clips = np.asarray(predictions), np.asarray(clips)
    if predictions.shape != clips.shape + (len(JOINTS), 3):
        raise InputError(
            f"Cannot score predictions of shape {predictions.shape}: the clips have shape {clips.shape}. "
            f"Give shape {clips.shape + (len(JOINTS), 3)}."
        )
    if not np.isfinite(predictions).all():
        raise InputError("Cannot score the predictions: they are not finite. Use weights that have not diverged.")
    errors = _errors_by_frame(dataset, predictions, clips)
    errors |= _motion_errors(dataset, errors)

    kept = dataset.evaluated("test")[errors["frame"]]
    if not kept.any():
        raise InputError(
            f"Cannot score on {dataset.path}: no frame counts in the protocol {dataset.protocol}, all are of excluded "
            "takes or not valid. Use a file with others."
        )
    actions, names = dataset.actions("test")
    actions = actions[errors["frame"]]

    def per_action(values: np.ndarray) -> dict[str, Any]:
        valid = kept & np.isfinite(values).reshape(len(values), -1).all(-1)
        return {names[code]: values[valid & (actions == code)].mean(0) for code in np.unique(actions[valid])}

    by_action = {key: per_action(errors[key]) for key in protocol.columns}
    action_wise = {key: _mean_of_actions(values) for key, values in by_action.items()}
    frame_wise = {key: _mean(errors[key][kept]) for key in protocol.columns}
    if protocol.by_action:
        official, other = action_wise, {"frame-wise": frame_wise}
        joints = np.mean(list(per_action(errors["joints_mm"]).values()), axis=0)
    else:
        official, other = frame_wise, {"action-wise": action_wise}
        joints = errors["joints_mm"][kept].mean(0)
    variants = {"official": official} | other
    if protocol.leaves_takes_out:
        variants["with excluded takes"] = {
            key: _mean_of_actions({code: errors[key][actions == code] for code in np.unique(actions)})
            for key in protocol.columns
        }
    return Score(
        **{key: official[key] for key in protocol.headlines},
        **{f"{key}_per_action": {name: float(v) for name, v in by_action[key].items()} for key in protocol.headlines},
        mpjpe_mm_per_joint=dict(zip(JOINTS, joints.tolist(), strict=True)),
        variants=variants,
    )


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _mean_of_actions(by_action: dict[str, Any]) -> float | None:
    means = [mean for values in by_action.values() if (mean := _mean(np.atleast_1d(values))) is not None]
    return float(np.mean(means)) if means else None


def _errors_by_frame(dataset: Dataset, predictions: np.ndarray, clips: np.ndarray) -> dict[str, np.ndarray]:
    """Return the errors of every covered frame, in mm, and the mean root-relative pose predicted for it."""
    covered, slot = np.unique(clips, return_inverse=True)
    slot = slot.reshape(clips.shape)
    joints = np.zeros((len(covered), len(JOINTS)))
    aligned, scaled = np.zeros(len(covered)), np.zeros(len(covered))
    poses = np.zeros((len(covered), len(JOINTS), 3))
    for rows in np.array_split(np.arange(len(clips)), max(1, clips.size // _BLOCK)):
        index = clips[rows]
        pose = predictions[rows].astype(np.float64)
        pose[..., 0, :] = 0
        pose = dataset.millimetres("test", index, pose)
        truth = root_relative(dataset.ground_truth_mm("test", index).astype(np.float64))
        at = slot[rows].ravel()
        np.add.at(joints, at, metrics.joint_errors(pose, truth).reshape(-1, len(JOINTS)))
        np.add.at(aligned, at, metrics.p_mpjpe(pose, truth).ravel())
        np.add.at(scaled, at, metrics.n_mpjpe(pose, truth).ravel())
        np.add.at(poses, at, pose.reshape(-1, len(JOINTS), 3))
    times = np.bincount(slot.ravel(), minlength=len(covered))
    joints /= times[:, None]
    return {
        "frame": covered,
        "joints_mm": joints,
        "mpjpe_mm": joints.mean(-1),
        "p_mpjpe_mm": aligned / times,
        "n_mpjpe_mm": scaled / times,
        "pck_150mm_percent": 100 * metrics.pck(joints),
        "auc_percent": 100 * metrics.auc(joints),
        "poses_mm": poses / times[:, None, None],
    }


def _motion_errors(dataset: Dataset, errors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return velocity and acceleration errors of the covered frames. They are NaN for a frame without neighbours in its
    source that count, or do not count, as it does."""
    frame, poses = errors["frame"], errors["poses_mm"]
    truth = root_relative(dataset.ground_truth_mm("test", frame).astype(np.float64))
    source = dataset.sources("test")[0][frame]
    counts = dataset.evaluated("test")[frame]
    follows = (np.diff(frame) == 1) & (np.diff(source) == 0) & (counts[1:] == counts[:-1])
    velocity, acceleration = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    velocity[1:][follows] = metrics.velocity_errors(poses, truth)[follows]
    both = follows[1:] & follows[:-1]
    acceleration[2:][both] = metrics.acceleration_errors(poses, truth)[both]
    return {"mpjve_mm_per_frame": velocity, "acceleration_error_mm_per_frame2": acceleration}


def mean_pose_mpjpe(dataset: Dataset, frames: np.ndarray) -> float:
    """Return the official MPJPE, mm, of always answering the mean root-relative training pose. Any model must
    beat it.
    """
    every = np.arange(0, dataset.frames("train"), max(1, dataset.frames("train") // 20_000))
    mean = root_relative(dataset.targets("train", every)).mean(0)
    return score(dataset, np.broadcast_to(mean, (*frames.shape, *mean.shape)), frames).mpjpe_mm
