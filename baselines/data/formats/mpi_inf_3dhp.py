"""MPI-INF-3DHP (Mehta et al. 2017) in the files that the P-STMO scripts make: see
`baselines.data.formats.mpi_inf_3dhp_schema`.

A source is one camera of one training sequence, or one test sequence. Joints have the order of `baselines.skeleton`
(`JOINT_ORDER` says which joint stands for which), so models, mirroring and losses are those of Human3.6M. The 2D input
is the annotation ("gt"); the network answers in metres, camera frame, root-relative. The network sees all frames of a
test sequence; the valid ones count. See `baselines.data.dataset` for what all data sets share.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.data.cache import SPLITS, Format
from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.data.formats.mpi_inf_3dhp_schema import RELEASE_FRAMES, SHAPES, TEST, TRAIN, read
from liftbench.baselines.data.normalization import MM_PER_M, normalize, root_relative
from liftbench.baselines.errors import InputError

RESOLUTION = {"TS5": (1920, 1080), "TS6": (1920, 1080)}  # width, height in pixels
STUDIO_RESOLUTION = (2048, 2048)  # of all other cameras


class MPIINF3DHP(Dataset):
    """A folder with data_train_3dhp.npz and data_test_3dhp.npz, checked and cached on first use.

    It has the attributes of `Dataset` and raises InputError as it does.
    """

    protocol, MARK = "mpi_inf_3dhp", TRAIN
    FORMAT = Format(layout=2, shapes=SHAPES, read=read)
    INPUTS = {"gt": "annotated 2D"}
    RELEASE_FRAMES = RELEASE_FRAMES

    def _files(self) -> list[Path]:
        files = [self.path / TRAIN, self.path / TEST]
        for file in files:
            if not file.is_file():
                raise InputError(
                    f"Cannot read {self.path}: it has no file {file.name}. "
                    f"Give the folder that holds {TRAIN} and {TEST}."
                )
        return files

    def clips(self, split: str, frames: int, stride: int | None = None) -> np.ndarray:
        """Return frame numbers of the protocol's clips, (clips, T) int64; see `baselines.data.clips.split_clips`.

        frames: T. stride: frames from one clip to the next, by default T // 9 in train (81 and 9 in MDTF's recipe) and
        T in test.
        """
        if stride is None and split == "train":
            stride = max(1, frames // 9)
        return super().clips(split, frames, stride)

    def inputs(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the network input, index.shape + (17, 3) float32: x, y normalised to [-1, 1] by the resolution,
        confidence 1.
        """
        xy = normalize(self._split(split).arrays["data_2d"][index], self.camera_resolution(split, index))
        return np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)

    def targets(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the ground truth, index.shape + (17, 3) float32, metres, camera frame, root-relative."""
        return root_relative(self.ground_truth_mm(split, index)) / MM_PER_M

    def ground_truth_mm(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the pose that errors are measured against, index.shape + (17, 3) float32, mm, not root-relative."""
        return self._split(split).arrays["data_3d"][index]

    def millimetres(self, split: str, index: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Convert predictions (..., 17, 3) in metres, root at zero, to root-relative mm."""
        return predicted * MM_PER_M

    def evaluated(self, split: str) -> np.ndarray:
        """Return the frames that count, (N,) bool: all of train, the valid ones of test."""
        return self._split(split).arrays["valid"] > 0

    def camera_resolution(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return image width and height, index.shape + (2,) float32, pixels."""
        codes, names = self.cameras(split)
        table = np.array([RESOLUTION.get(camera, STUDIO_RESOLUTION) for camera in names], np.float32)
        return table[codes[index]]

    def summary(self) -> dict[str, dict[str, Any]]:
        """Summarise the files: {split: {quantity: value}}, in numbers, strings, lists and dicts only."""
        return {split: self._summary(split) for split in SPLITS}

    def _summary(self, split: str) -> dict[str, Any]:
        part, frames = self._split(split), self.frames(split)
        sources, first = part.names["source"], part.bounds[:-1]
        rates = part.arrays["fps"][first].tolist()
        return {
            "frames": frames,
            "valid_frames": int(self.evaluated(split).sum()),
            "sources": len(sources),
            "subjects": list(self.subjects[split]),
            "frames_of_sequence": dict(
                zip(part.names["action"], np.bincount(part.codes["action"]).tolist(), strict=True)
            ),
            "sources_at_fps": {f"{rate:g}" if rate else "not stated": rates.count(rate) for rate in sorted(set(rates))},
        }

    @staticmethod
    def _subjects(sources: Iterable[str]) -> tuple[str, ...]:
        """Return the subjects: S1 for "S1 Seq1 camera 0"; each test sequence is a subject of its own."""
        return tuple(sorted({source.split()[0] for source in sources}, key=lambda name: (len(name), name)))
