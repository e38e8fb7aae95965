"""Human3.6M in the MotionBERT format: clips, network inputs and targets, and what evaluation needs.

See `baselines.data.dataset` for what all data sets share.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from liftbench.baselines.data.cache import Content, Format
from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.data.formats import unpickle
from liftbench.baselines.data.formats.motionbert_schema import (
    CAMERA_RESOLUTION,
    JOINT_SHAPES,
    RELEASE_FRAMES,
    SOURCE_PATTERN,
    check,
    check_numbers,
)
from liftbench.baselines.data.normalization import denormalize, normalize, root_relative

# Takes whose ground truth is shifted against the video (Human3.6M release, left out by VideoPose3D and MotionBERT).
EXCLUDED_TAKES = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")

SUMMARY_BLOCK_FRAMES = 1 << 15


class Human36M(Dataset):
    """A Human3.6M file, checked and cached on first use.

    path: the pickle file. input: "sh", the 2D detections of the file, or "gt", the ground truth projected to 2D with
    confidence 1 (as MotionBERT makes it: x, y of the normalised targets). It has the attributes of `Dataset` and raises
    InputError as it does.
    """

    protocol = "h36m"
    FORMAT = Format(
        layout=2,
        shapes=JOINT_SHAPES,
        read=lambda files: Content(*check(unpickle.load(files[0]), files[0])),
        check_numbers=check_numbers,
    )
    INPUTS = {"sh": "detections", "gt": "ground truth"}
    RELEASE_FRAMES = RELEASE_FRAMES

    def inputs(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the network input, index.shape + (17, 3) float32: x, y normalised to [-1, 1], confidence in [0, 1]."""
        part = self._split(split)
        pose = part.arrays["joint_2d"][index] if self.input == "sh" else part.arrays["joint3d_image"][index][..., :2]
        xy = normalize(pose, self.camera_resolution(split, index))
        score = part.arrays["confidence"][index] if self.input == "sh" else np.ones(xy.shape[:-1], np.float32)
        return np.concatenate([xy, score[..., None]], axis=-1)

    def targets(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the ground truth, index.shape + (17, 3) float32: image coordinates normalised like the input, and
        z / w * 2 relative to the root.

        x and y are not root-relative: training subtracts the root, see `baselines.data.normalization.root_relative`.
        """
        pose = self._split(split).arrays["joint3d_image"][index]
        return normalize(pose, self.camera_resolution(split, index))

    def ground_truth_mm(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the pose that errors are measured against, index.shape + (17, 3) float32, mm, not root-relative."""
        return self._split(split).arrays["joints_2.5d_image"][index]

    def millimetres(self, split: str, index: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Convert predictions (..., T, 17, 3), normalised like the targets with the root at zero, to root-relative mm.

        Like the official evaluation, it takes pixels by the camera of each clip's first frame, times each frame's
        factor.
        """
        pose = denormalize(predicted, self.camera_resolution(split, index[..., :1]))
        return root_relative(pose * self.factors(split, index)[..., None, None])

    def evaluated(self, split: str) -> np.ndarray:
        """Return the frames that count, (N,) bool: all but those of the excluded takes."""
        sources, names = self.sources(split)
        return ~np.isin([name[: -len("_ca_01")] for name in names], EXCLUDED_TAKES)[sources]

    def factors(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the millimetres per pixel of each frame, index.shape float32; taken from the ground truth."""
        return self._split(split).arrays["2.5d_factor"][index]

    def camera_resolution(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return image width and height, index.shape + (2,) float32, pixels."""
        part = self._split(split)
        table = np.array([CAMERA_RESOLUTION[camera] for camera in part.names["camera"]], np.float32)
        return table[part.codes["camera"][index]]

    def _measured(self, split: str) -> dict[str, Any]:
        part, frames = self._split(split), self.frames(split)
        error, low, high, total = 0.0, np.inf, -np.inf, 0.0
        for start in range(0, frames, SUMMARY_BLOCK_FRAMES):
            block = slice(start, start + SUMMARY_BLOCK_FRAMES)
            offset = part.arrays["joint_2d"][block] - part.arrays["joint3d_image"][block, :, :2]
            error += np.linalg.norm(offset, axis=-1).sum(dtype=np.float64)
            confidence = part.arrays["confidence"][block]
            low, high = min(low, confidence.min()), max(high, confidence.max())
            total += confidence.sum(dtype=np.float64)
        values = frames * 17
        return {
            "mean_detector_error_px": float(error) / values,
            "confidence": {"min": float(low), "mean": float(total) / values, "max": float(high)},
        }

    @staticmethod
    def _subjects(sources: Iterable[str]) -> tuple[str, ...]:
        numbers = {int(SOURCE_PATTERN.fullmatch(source)["subject"]) for source in sources}
        return tuple(f"S{number}" for number in sorted(numbers))
