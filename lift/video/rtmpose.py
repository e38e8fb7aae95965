"""RTMPose: everybody in an image, by rtmlib and ONNX files.

Jiang et al., "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose" (2023). Without your own files,
rtmlib downloads those that it takes for bodies with feet.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from liftbench.baselines.errors import InputError

_LAYOUTS = {17: "coco17", 26: "halpe26", 133: "wholebody133"}


class RTMPose:
    """Finds the people in an image, (H, W, 3) uint8 RGB.

    Called with it, it returns (N, J, 3) float64: x right and y down in pixels, and confidence. `layout` names the
    points.
    """

    def __init__(self, files: Sequence[Path] = ()):
        """files: the ONNX files of a person detector (YOLOX) and of RTMPose; of RTMPose only, to take the whole image
        for one person; or none, for rtmlib's own download.

        Raises InputError where rtmlib is not installed, nothing can be downloaded, or a file is of another kind.
        """
        try:
            import rtmlib
        except ImportError:
            raise InputError(
                "Cannot run RTMPose: rtmlib is not installed. Install it with `pip install liftbench[rtmpose]`."
            ) from None
        if len(files) > 2:
            raise InputError(
                "Cannot use more than two ONNX files: RTMPose has two. Give a person detector and RTMPose."
            )
        for path in files:
            if not path.is_file():  # rtmlib would take it for an address
                raise InputError(f"Cannot read {path}: there is no such file. Check the path.")
        what = files[-1] if files else "what rtmlib downloads"
        try:
            with contextlib.redirect_stdout(sys.stderr):  # rtmlib prints what it loads
                self._detector, self._pose = _load(rtmlib, files)
                places, _ = self._pose(np.zeros((64, 64, 3), np.uint8))
        except OSError as error:
            raise InputError(
                f"Cannot download the networks of RTMPose: {str(error)[:160].rstrip('.')}. Check the network, or "
                "give ONNX files by --detector-weights."
            ) from None
        except Exception as error:  # each version of ONNX Runtime has errors of its own
            said = " ".join(str(error).split())[:160]
            raise InputError(f"Cannot use {what} as RTMPose: {said}. Give YOLOX first, RTMPose last.") from None
        if places.shape[1] not in _LAYOUTS:
            raise InputError(f"Cannot use {what}: it has {places.shape[1]} points. Give RTMPose of 17, 26 or 133.")
        self.layout = _LAYOUTS[places.shape[1]]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        image = np.ascontiguousarray(image[..., ::-1])  # BGR, as OpenCV reads
        boxes = [[0, 0, image.shape[1], image.shape[0]]] if self._detector is None else self._detector(image)
        if not len(boxes):  # rtmlib would take the whole image for a person
            return np.zeros((0, 1, 3))
        places, scores = self._pose(image, bboxes=boxes)
        return np.concatenate([places, np.clip(scores, 0, 1)[..., None]], axis=-1)


def _load(rtmlib: ModuleType, files: Sequence[Path]) -> tuple[Any, Any]:
    """(person detector or None, RTMPose), with the sizes of their own input."""
    if not files:
        both = rtmlib.BodyWithFeet()
        return both.det_model, both.pose_model
    pose = rtmlib.RTMPose(str(files[-1]))
    pose.model_input_size = tuple(pose.session.get_inputs()[0].shape[:1:-1])  # width, height
    if len(files) == 1:
        return None, pose
    detector = rtmlib.YOLOX(str(files[0]))
    detector.model_input_size = tuple(detector.session.get_inputs()[0].shape[2:])  # height, width
    return detector, pose
