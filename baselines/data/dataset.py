"""One interface to the data sets that models are trained and evaluated on, whatever files they come from.

A data set has two splits, train and test, of poses of 17 joints in Human3.6M's order; joint 0 is the root. The frames
of a split have numbers 0 .. N - 1. Every method takes frame numbers as an int array of any shape and returns arrays
that begin with that shape. All data stay in memory-mapped files (`baselines.data.cache`), which processes share.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from liftbench.baselines.data import cache
from liftbench.baselines.data.clips import centred_windows, cover_clips, split_clips
from liftbench.baselines.errors import InputError


class Dataset(ABC):
    """What all data sets share. Each format adds how its files are read and what its arrays mean.

    FORMAT: the `cache.Format` of its files; protocol: a key of `baselines.evaluation.protocols.PROTOCOLS`; INPUTS:
    {name: meaning} of the 2D inputs, the default first; RELEASE_FRAMES: {split: N} of the public files, which
    identifies them among files that do not say how they were made.

    Attributes: path; input; digest, a SHA-256 of the files; origin, their own account of how they were made, or {};
    subjects, {split: ("S9", "S11")}; left_out, sentences on the parts of the files that are not used.
    Raises InputError if a file cannot be read or does not fit its schema, the cache cannot be written, or `input` is
    unknown.
    """

    FORMAT: ClassVar[cache.Format]
    protocol: ClassVar[str]
    INPUTS: ClassVar[dict[str, str]]
    RELEASE_FRAMES: ClassVar[dict[str, int]] = {}

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if absent := [name for name in ("FORMAT", "protocol", "INPUTS") if not hasattr(cls, name)]:
            raise TypeError(f"{cls.__name__} lacks {', '.join(absent)}, which every data set has")

    def __init__(self, path: str | Path, input: str | None = None, progress: Callable[[int, int], Any] | None = None):
        """progress(done, of) is called while the files are read for the first time."""
        input = input or next(iter(self.INPUTS))
        if input not in self.INPUTS:
            known = " or ".join(f"{name} ({meaning})" for name, meaning in self.INPUTS.items())
            raise InputError(f"Cannot read {path}: there is no 2D input {input!r}. Choose {known}.")
        self.path, self.input = Path(path), input
        self._open(cache.prepare(self._files(), self.FORMAT, progress))

    def _files(self) -> list[Path]:
        """Return the files to read. The cache lies beside the first of them."""
        return [self.path]

    def _open(self, opened: cache.Cache):
        self._folder, self._splits = opened.folder, opened.splits
        self.digest, self.origin, self.left_out = opened.digest, opened.origin, opened.left_out
        self.subjects = {split: self._subjects(part.names["source"]) for split, part in opened.splits.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the arrays; a worker process maps the same files again."""
        opened = ("_folder", "_splits", "digest", "origin", "left_out", "subjects")
        return {"folder": self._folder} | {key: value for key, value in vars(self).items() if key not in opened}

    def __setstate__(self, state: dict[str, Any]):
        folder = state.pop("folder")
        vars(self).update(state)
        opened = cache.open_cache(folder, self.FORMAT)
        if opened is None:
            raise InputError(
                f"Cannot read the cache {folder} of {self.path}: it was changed while in use. Start again."
            )
        self._open(opened)

    @abstractmethod
    def inputs(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the network input, index.shape + (17, 3) float32: normalised x and y, and confidence (1 if absent)."""

    @abstractmethod
    def targets(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the target poses, index.shape + (17, 3) float32, in network units. Training subtracts the root."""

    @abstractmethod
    def ground_truth_mm(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return the true poses for scoring, index.shape + (17, 3), mm, camera frame, not root-relative."""

    @abstractmethod
    def millimetres(self, split: str, index: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Convert predictions in network units, index.shape + (17, 3), root at zero, to root-relative mm;
        keep the dtype.
        """

    @abstractmethod
    def evaluated(self, split: str) -> np.ndarray:
        """Return which frames count in the protocol, (N,) bool."""

    @abstractmethod
    def camera_resolution(self, split: str, index: np.ndarray) -> np.ndarray:
        """Return width and height in pixels, index.shape + (2,) float32."""

    @staticmethod
    @abstractmethod
    def _subjects(sources: list[str]) -> tuple[str, ...]:
        """Return the people of the named sources."""

    def frames(self, split: str) -> int:
        """N, the number of frames."""
        return int(self._split(split).bounds[-1])

    def bounds(self, split: str) -> np.ndarray:
        """Return where each run of frames of one source starts, then N: (R + 1,) int64."""
        return self._split(split).bounds

    def clips(self, split: str, frames: int, stride: int | None = None) -> np.ndarray:
        """Return frame numbers of the protocol's clips, (clips, T) int64; see `baselines.data.clips.split_clips`.

        frames: T. stride: frames from one clip to the next, by default T // 3 in train and T in test.
        """
        part = self._split(split)
        if stride is None:
            stride = max(1, frames // 3) if split == "train" else frames
        return split_clips(part.bounds, part.codes["source"][part.bounds[:-1]].tolist(), frames, stride)

    def every_frame_clips(self, split: str, frames: int) -> np.ndarray:
        """Return frame numbers of clips that cover every frame, (clips, T) int64; see
        `baselines.data.clips.cover_clips`.
        """
        return cover_clips(self._split(split).bounds, frames)

    def windows(self, split: str, frames: int, centres: np.ndarray | None = None) -> np.ndarray:
        """Return frame numbers around each centre (every frame by default), centres.shape + (T,) int64.

        For models that predict the centre frame; see `baselines.data.clips.centred_windows`.
        """
        return centred_windows(self._split(split).bounds, frames, centres)

    def cameras(self, split: str) -> tuple[np.ndarray, list[str]]:
        """Return each frame's camera: (N,) int32 codes, and the list of names they index."""
        return self._named(split, "camera")

    def sources(self, split: str) -> tuple[np.ndarray, list[str]]:
        """Return each frame's source, one take of one camera: (N,) int32 codes, and the list of names they index."""
        return self._named(split, "source")

    def actions(self, split: str) -> tuple[np.ndarray, list[str]]:
        """Return each frame's action: (N,) int32 codes, and the list of names they index."""
        return self._named(split, "action")

    def summary(self) -> dict[str, dict]:
        """Summarise the files: {split: {quantity: value}}, in numbers, strings, lists and dicts only."""
        return {
            split: {
                "frames": self.frames(split),
                "sources": len(self.sources(split)[1]),
                "subjects": list(self.subjects[split]),
                **self._measured(split),
                "frame_share_of_action": self._shares(split, "action"),
                "frame_share_of_camera": self._shares(split, "camera"),
            }
            for split in self._splits
        }

    def _measured(self, split: str) -> dict[str, Any]:
        """Return what a format adds to its summary."""
        return {}

    def _shares(self, split: str, kind: str) -> dict[str, float]:
        codes, names = self._named(split, kind)
        counts = np.bincount(codes, minlength=len(names))
        return {name: count / len(codes) for name, count in sorted(zip(names, counts.tolist(), strict=True))}

    def _named(self, split: str, kind: str) -> tuple[np.ndarray, list[str]]:
        part = self._split(split)
        return part.codes[kind], part.names[kind]

    def _split(self, split: str) -> cache.Split:
        if split not in self._splits:
            raise InputError(f"Cannot read {self.path}: there is no split {split!r}. Choose train or test.")
        return self._splits[split]


def open_dataset(
    path: str | Path, input: str | None = None, progress: Callable[[int, int], Any] | None = None
) -> Dataset:
    """Open the data set in `path`, with the 2D `input` of that name (None: the format's default).

    A file is Human3.6M in the MotionBERT format; a folder holds the files of VideoPose3D or of MPI-INF-3DHP.
    progress(done, of) is called while the files are read for the first time. Raises InputError if it is neither, and
    what `Dataset` raises.
    """
    path = Path(path)
    try:
        kind = _kind_of(path)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Make it readable.") from None
    return kind(path, input, progress)


def _kind_of(path: Path) -> type["Dataset"]:
    if path.is_file():
        from liftbench.baselines.data.formats.motionbert import Human36M  # builds on this module, as do the others

        return Human36M
    from liftbench.baselines.data.formats.mpi_inf_3dhp import MPIINF3DHP
    from liftbench.baselines.data.formats.videopose3d import VideoPose3D

    for kind in (VideoPose3D, MPIINF3DHP):
        if (path / kind.MARK).is_file():
            return kind
    what = "a folder" if path.is_dir() else "missing"
    raise InputError(
        f"Cannot read {path}: it is {what}. Give the path of the .pkl file of MotionBERT's Human3.6M, or of a folder "
        f"that holds {VideoPose3D.MARK} (Human3.6M as VideoPose3D has it) or {MPIINF3DHP.MARK} (MPI-INF-3DHP); "
        "to try without any, make a file with `liftbench data synthetic`."
    )
