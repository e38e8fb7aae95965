"""MMPose predictions: JSON with the instances of each frame, their scores apart from their points."""

from pathlib import Path

import numpy as np

from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints import layouts
from liftbench.lift.keypoints.detections import Detections, choose_layout, gather, numbers_of

_LAYOUTS = ("coco17", "halpe26", "wholebody133")


def frames_in(content: object) -> list[tuple[object, object]] | None:
    """(frame number, instances) of each frame in the content of a JSON file; None where it is not MMPose's."""
    if isinstance(content, dict):
        content = content.get("instance_info")
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        return None
    if "keypoint_scores" in content[0]:  # the instances of a single image
        return [(0, content)]
    if "instances" not in content[0]:
        return None
    return [(entry.get("frame_id", place), entry.get("instances")) for place, entry in enumerate(content)]


def read(path: Path, frames: list, layout: str) -> Detections:
    """Instances with `keypoints` [[x, y], ...] and `keypoint_scores` [c, ...] of every frame that `frames_in` found.

    Raises InputError for instances that lack one of the two.
    """
    numbers, points, scores, every = [], [], [], [number for number, _ in frames]
    for number, instances in frames:
        if not isinstance(instances, list) or not isinstance(number, int) or abs(number) >= 2**53:
            raise InputError(f"Cannot read {path}: a frame has no instances or no number. Give MMPose's own file.")
        for instance in instances:
            if not isinstance(instance, dict) or not {"keypoints", "keypoint_scores"} <= set(instance):
                raise InputError(
                    f"Cannot read {path}: an instance lacks keypoints or keypoint_scores. Give MMPose's own file."
                )
            numbers.append(number)
            points.append(instance["keypoints"])
            scores.append(instance["keypoint_scores"])
    if not points:
        return gather(path, "MMPose", layout, (), [], [], [])
    points, scores = numbers_of(points, path), numbers_of(scores, path)
    if points.ndim != 3 or points.shape[2] != 2 or scores.shape != points.shape[:2]:
        raise InputError(
            f"Cannot read {path}: its keypoints are {points.shape[1:]} a person, with {scores.shape[1:]} scores. "
            "Give x and y, and a score, for each."
        )
    layout = choose_layout(path, points.shape[1], layout, _LAYOUTS)
    points = np.concatenate([points, scores[..., None]], axis=-1)
    return gather(path, "MMPose", layout, layouts.LAYOUTS[layout], numbers, points, [-1] * len(points), every=every)
