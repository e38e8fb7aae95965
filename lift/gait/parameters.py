"""Spatiotemporal parameters of each stride, by ankles, and how alike both sides are."""

import numpy as np

from liftbench.lift.gait.angles import ANKLES

PARAMETERS = (
    "stride time, s", "step time, s", "cadence, steps/min", "stance, %", "swing, %", "double support, %",
    "step length, mm", "stride length, mm", "step width, mm", "speed, m/s", "walk ratio, mm min/step",
    "largest knee flexion, degrees", "range of knee flexion, degrees", "range of hip flexion, degrees",
)  # fmt: skip
NOT_OBSERVABLE = (
    "ankle flexion", "foot progression", "foot clearance", "pelvic tilt", "hip rotation", "knee rotation", "knee varus",
    "Gait Profile Score", "Gait Deviation Index", "forces", "moments",
)  # fmt: skip


def of_stride(
    pose: np.ndarray, forward: np.ndarray, left: np.ndarray, side: int, stride: tuple[float, float],
    strikes: tuple[np.ndarray, np.ndarray], offs: tuple[np.ndarray, np.ndarray], fps: float,
) -> dict[str, float]:  # fmt: skip
    """Times and lengths of one stride of one side, those of PARAMETERS that its events allow.

    pose: (T, 17, 3) mm; forward, left: (T, 3); stride: its heel strikes, frames; strikes, offs: all events by side,
    frames. Within the stride one heel strike of the other foot and one toe off of each are needed.
    """
    (first, last), other = stride, 1 - side
    time = (last - first) / fps
    row = {"stride time, s": time, "cadence, steps/min": 120 / time}
    hs, to, other_to = (_only(events, first, last) for events in (strikes[other], offs[side], offs[other]))
    if hs is not None:
        start, end = round(hs), round(last)
        gap = pose[end, ANKLES[side]] - pose[end, ANKLES[other]]
        before = pose[start, ANKLES[other]] - pose[start, ANKLES[side]]
        step, stride_length = gap @ forward[end], gap @ forward[end] + before @ forward[start]
        across = abs((pose[end, ANKLES[side]] - pose[start, ANKLES[other]]) @ left[end])
        row |= {"step time, s": (last - hs) / fps, "step length, mm": step, "stride length, mm": stride_length}
        row |= {"speed, m/s": stride_length / time / 1000, "step width, mm": across}
        row |= {"walk ratio, mm min/step": step * time / 120}
    if to is not None:
        stance = 100 * (to - first) / (last - first)
        row |= {"stance, %": stance, "swing, %": 100 - stance}
    if None not in (hs, to, other_to) and first <= other_to <= hs <= to:
        row["double support, %"] = 100 * (other_to - first + to - hs) / (last - first)
    return row


def of_curves(knee: np.ndarray, hip: np.ndarray) -> dict[str, float]:
    """What is said of the curves (101,) of one stride, degrees."""
    return {
        "largest knee flexion, degrees": knee.max(),
        "range of knee flexion, degrees": np.ptp(knee),
        "range of hip flexion, degrees": np.ptp(hip),
    }


def symmetry(right: float, left: float) -> dict[str, float]:
    """Symmetry index and gait asymmetry in %, 0 when alike, and the ratio right / left, of two positive quantities.

    Index by Robinson et al. (1987), asymmetry by Plotnik et al. (2005).
    """
    return {
        "symmetry index, %": 100 * (right - left) / ((right + left) / 2),
        "gait asymmetry, %": 100 * abs(np.log(right / left)),
        "ratio": right / left,
    }


def _only(events: np.ndarray, first: float, last: float) -> float | None:
    """The event between two frames; None where there is none or several."""
    inside = events[(events > first) & (events < last)]
    return float(inside[0]) if len(inside) == 1 else None
