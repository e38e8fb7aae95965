"""The points of each detector by name, and the 17 joints of `liftbench.baselines.skeleton` made of them.

Indices were checked against published skeleton tables, MediaPipe's and BODY_25B's also on a recording that has both.
"""

from collections.abc import Sequence

import numpy as np

from liftbench.baselines.skeleton import JOINTS

_COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
_FEET = (
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
_OPENPOSE = (
    "nose", "thorax", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_OPENPOSE_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_OPENPOSE_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_HALPE = (
    *_COCO, "head_top", "thorax", "pelvis", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
    "left_heel", "right_heel",
)  # fmt: skip

# Names of the points in their order; "" for one that no joint is made of. The eyes of MediaPipe are left out, because
# its ears are nearer to the middle of the head.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "h36m17": JOINTS,
    "coco17": _COCO,
    "coco18": (*_OPENPOSE, *_OPENPOSE_LEGS, *_OPENPOSE_FACE),
    "body25": (*_OPENPOSE, "pelvis", *_OPENPOSE_LEGS, *_OPENPOSE_FACE, *_FEET),
    "body25b": (*_COCO, "upper_neck", "head_top", *_FEET),
    "halpe26": _HALPE,
    "mediapipe33": (
        "nose", *[""] * 6, "left_ear", "right_ear", "", "", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", *[""] * 6, "left_hip", "right_hip", "left_knee", "right_knee",
        "left_ankle", "right_ankle", "left_heel", "right_heel", "left_big_toe", "right_big_toe",
    ),
    "wholebody133": (*_COCO, *_FEET, *[""] * 110),
    "halpe136": (*_HALPE, *[""] * 110),
}  # fmt: skip
POINTS = sorted({name for names in LAYOUTS.values() for name in names if name} - {"spine", "neck", "head"})
REQUIRED = ("nose", *(name for name in _COCO if name.split("_")[-1] not in ("nose", "eye", "ear")))

# Places on the line from mid-shoulder (0) to the middle of the eyes or ears (1). The neck of the CMU skeletons lies
# 89 mm above mid-shoulder, the ears about 200 mm; the top of the head is half as far again as the eyes.
_NECK, _HEAD_TOP = 0.45, 1.5


def to_h36m(points: np.ndarray, names: Sequence[str], joint_9: str = "nose") -> np.ndarray:
    """The 17 joints made of named points.

    points: (N, J, 3) pixels and confidence; names: of the J points, all of REQUIRED among them, or JOINTS themselves.
    joint_9: "nose" for models trained on Human3.6M, whose joint 9 lies at the face, or "neck" for models trained on
    CMU motion capture, where it is the upper neck. Returns (N, 17, 3); the confidence of a joint is the lowest of the
    points that it is made of.
    """
    if tuple(names) == JOINTS:
        return points
    at = {name: points[:, index] for index, name in enumerate(names) if name}
    shoulders = _between(at["left_shoulder"], at["right_shoulder"])
    pelvis = at["pelvis"] if "pelvis" in at else _between(at["left_hip"], at["right_hip"])
    thorax = at["thorax"] if "thorax" in at else shoulders
    eyes, ears = (
        [_between(at[f"left_{name}"], at[f"right_{name}"]), at[f"left_{name}"], at[f"right_{name}"]]
        if f"left_{name}" in at
        else []
        for name in ("eye", "ear")
    )
    top = [at["head_top"]] if "head_top" in at else []
    head = _first_seen(*top, *(_between(shoulders, point, _HEAD_TOP) for point in (*eyes, *ears, at["nose"])))
    upper = [at["upper_neck"]] if "upper_neck" in at else []
    neck = _first_seen(*upper, *(_between(shoulders, point, _NECK) for point in (*ears, *eyes, at["nose"])))
    made = at | {
        "pelvis": pelvis,
        "spine": _between(pelvis, thorax),
        "thorax": thorax,
        "neck": at["nose"] if joint_9 == "nose" else neck,
        "head": head,
    }
    return np.stack([made[name] for name in JOINTS], axis=1)


def _between(start: np.ndarray, end: np.ndarray, share: float = 0.5) -> np.ndarray:
    """The point at `share` of the way from start to end, (N, 3) each, with the lower confidence of the two."""
    place = start[:, :2] + share * (end[:, :2] - start[:, :2])
    return np.concatenate([place, np.minimum(start[:, 2:], end[:, 2:])], axis=1)


def _first_seen(*candidates: np.ndarray) -> np.ndarray:
    """For each person the first candidate, (N, 3) each, that was seen at all; the first one where none was."""
    chosen = candidates[0].copy()
    for candidate in candidates[1:]:
        unseen = chosen[:, 2] == 0
        chosen[unseen] = candidate[unseen]
    return chosen
