"""Human3.6M in the files of VideoPose3D (Pavllo et al. 2019): see `baselines.data.formats.videopose3d_schema`.

A source is one take seen by one camera. An action is the first word of a take's name, as that repository groups them.
Frame numbers run over subjects, takes and cameras, in this order. The network answers in metres, camera frame,
root-relative. Every frame counts, as the centre of its window. See `baselines.data.dataset` for what all data sets
share.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.data.cache import Format
from liftbench.baselines.data.cameras import CAMERAS, SUBJECTS, load_cameras, project_to_2d
from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.data.formats.videopose3d_schema import RELEASE_FRAMES, SHAPES, read
from liftbench.baselines.data.normalization import MM_PER_M, normalize, root_relative
from liftbench.baselines.errors import InputError

DETECTIONS = {"cpn": "data_2d_h36m_cpn_ft_h36m_dbb.npz", "gt": "data_2d_h36m_gt.npz"}
SUMMARY_FRAMES = 20_000


class VideoPose3D(Dataset):
    """A folder with data_3d_h36m.npz and 2D of the chosen input, checked and cached on first use.

    input: "cpn", detections of a cascaded pyramid network tuned on Human3.6M, or "gt", the projected ground truth; both
    come without confidence. It has the attributes of `Dataset` and raises InputError as it does.
    """

    protocol, MARK = "h36m_videopose3d", "data_3d_h36m.npz"
    FORMAT = Format(layout=2, shapes=SHAPES, read=read)
    INPUTS = {"cpn": "detections", "gt": "ground truth"}
    RELEASE_FRAMES = RELEASE_FRAMES

    def _files(self) -> list[Path]:
        """Return the two files, the 2D first, so that each input has its own cache."""
        for name, file in ((self.input, DETECTIONS[self.input]), ("", self.MARK)):
            if not (self.path / file).is_file():
                others = [other for other in self.INPUTS if name and (self.path / DETECTIONS[other]).is_file()]
                advice = f"Choose input {others[0]}, which is there, or add it" if others else "Add it"
                raise InputError(f"Cannot read {self.path}: it has no file {file}. {advice}.")
        return [self.path / DETECTIONS[self.input], self.path / self.MARK]

    def inputs(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the network input, index.shape + (17, 3) float32: x, y normalised to [-1, 1] by the resolution,
        confidence 1.
        """
        xy = normalize(self._split(split).arrays["joints_2d"][index], self.camera_resolution(split, index))
        return np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)

    def targets(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the ground truth, index.shape + (17, 3) float32, metres, camera frame, root-relative."""
        return root_relative(self._split(split).arrays["joints_3d"][index])

    def ground_truth_mm(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the pose that errors are measured against, index.shape + (17, 3) float32, mm, camera frame."""
        return self._split(split).arrays["joints_3d"][index] * np.float32(MM_PER_M)

    def millimetres(self, split: str, index: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Convert predictions (..., 17, 3) in metres, root at zero, to root-relative mm."""
        return predicted * MM_PER_M

    def evaluated(self, split: str) -> np.ndarray:
        """Return which frames count, (N,) bool: all of them."""
        return np.ones(self.frames(split), bool)

    def camera_resolution(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return image width and height, index.shape + (2,) float32, pixels."""
        codes, names = self.cameras(split)
        sizes = dict(zip(CAMERAS, (camera.size for camera in load_cameras(SUBJECTS[0])), strict=True))
        return np.array([sizes[name] for name in names], np.float32)[codes[index]]

    def _measured(self, split: str) -> dict[str, Any]:
        """Measure how far the 2D lies from the projected 3D, in frames spread over the split."""
        frames = np.arange(0, self.frames(split), -(-self.frames(split) // SUMMARY_FRAMES))
        codes, names = self.cameras(split)
        lenses = dict(zip(CAMERAS, load_cameras(SUBJECTS[0]), strict=True))  # each camera's is one for all subjects
        part, errors = self._split(split), []
        for code, name in enumerate(names):
            seen = frames[codes[frames] == code]
            exact = project_to_2d(self.ground_truth_mm(split, seen).astype(np.float64), lenses[name])
            errors.append(np.linalg.norm(part.arrays["joints_2d"][seen] - exact, axis=-1).ravel())
        return {"mean_detector_error_px": float(np.concatenate(errors).mean())}

    @staticmethod
    def _subjects(sources: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"S{n}" for n in sorted({int(source.split()[0][1:]) for source in sources}))
