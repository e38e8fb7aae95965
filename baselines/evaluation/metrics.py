"""Errors of 3D poses, per frame or per joint, batched, in numpy. The result has the unit of the poses.

Poses are (..., 17, 3), root-relative where that matters. Names are those of VideoPose3D.
"""

import numpy as np

# The joints that the MATLAB scripts of MPI-INF-3DHP count (`mpii_get_pck_auc_joint_groups`): all but pelvis, spine and
# neck (their "head"). The pelvis is the root, whose error is always 0.
PCK_JOINTS = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16)
AUC_THRESHOLDS_MM = np.arange(0.0, 151.0, 5.0)


def joint_errors(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Distance of every joint: (..., 17)."""
    return np.linalg.norm(predicted - target, axis=-1)


def mpjpe(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean per joint position error of every frame (Protocol 1): (...,)."""
    return joint_errors(predicted, target).mean(-1)


def n_mpjpe(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """MPJPE of every frame after its best scale (Rhodin et al. 2018): (...,)."""
    product, size = (predicted * target).sum((-2, -1)), (predicted**2).sum((-2, -1))
    return mpjpe(_ratio(product, size)[..., None, None] * predicted, target)


def p_mpjpe(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """MPJPE of every frame after its best similarity transform (Protocol 2): (...,)."""
    return mpjpe(align(predicted, target), target)


def align(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Move each predicted pose onto its target by the best rotation, scale and translation, without reflection.

    Umeyama 1991: with X the centred target and Y the centred prediction, X^T Y = U S V^T and R = V U^T. Where that
    would be a reflection, the last singular direction is flipped. A prediction whose joints coincide moves to the
    target's centre.
    """
    centre = target.mean(-2, keepdims=True)
    X, Y = target - centre, predicted - predicted.mean(-2, keepdims=True)
    U, S, Vt = np.linalg.svd(np.swapaxes(X, -2, -1) @ Y)
    sign = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0)
    Vt = np.concatenate([Vt[..., :-1, :], Vt[..., -1:, :] * sign[..., None, None]], axis=-2)
    trace = S[..., :-1].sum(-1) + S[..., -1] * sign
    size = (Y**2).sum((-2, -1))
    return _ratio(trace, size)[..., None, None] * (Y @ np.swapaxes(Vt, -2, -1) @ np.swapaxes(U, -2, -1)) + centre


def _ratio(numerator: np.ndarray, size: np.ndarray) -> np.ndarray:
    """numerator / size, and 0 for a pose without size."""
    return np.divide(numerator, size, out=np.zeros_like(size), where=size > 0)


def velocity_errors(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """MPJVE of consecutive frames (Pavllo et al. 2019), unit per frame. (T, 17, 3) -> (T - 1,)."""
    return mpjpe(np.diff(predicted, axis=0), np.diff(target, axis=0))


def acceleration_errors(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean distance of the second differences (Kanazawa et al. 2019), unit per frame^2. (T, 17, 3) -> (T - 2,)."""
    return mpjpe(np.diff(predicted, n=2, axis=0), np.diff(target, n=2, axis=0))


def pck(errors: np.ndarray, threshold: float = 150.0) -> np.ndarray:
    """Return the share, in [0, 1], of the 14 PCK_JOINTS that are less than `threshold` mm off (3D PCK, Mehta et al.
    2017).

    errors: (..., 17) mm, from `joint_errors` -> (...,). The published numbers come from the MATLAB scripts of the data
    set; this follows the rules of `mpii_compute_3d_pck` (those joints, strictly less) in plain Python.
    """
    return (errors[..., PCK_JOINTS] < threshold).mean(-1)


def auc(errors: np.ndarray) -> np.ndarray:
    """Area under the PCK curve: the mean of `pck` over the 31 AUC_THRESHOLDS_MM, 0 to 150 mm in steps of 5 mm.

    errors: (..., 17) mm -> (...,). No error is less than 0, so a perfect pose reaches 30 / 31, as in the MATLAB
    scripts.
    """
    return np.mean([pck(errors, threshold) for threshold in AUC_THRESHOLDS_MM], axis=0)
