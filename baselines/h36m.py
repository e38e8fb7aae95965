"""Human3.6M in the MotionBERT format: clips, network inputs and targets, and what evaluation needs beside them.

Frames of a split are numbered 0 .. N - 1 as in the file; every method takes frame numbers as an int array of any shape
and returns arrays that begin with that shape. J = 17 joints, joint 0 the pelvis. All data stay in memory-mapped files
(`baselines.h36m_cache`), shared by the processes that use them.
"""

from pathlib import Path

import numpy as np

from baselines import h36m_cache
from baselines.clips import centred_windows, cover_clips, split_clips
from baselines.errors import InputError
from baselines.h36m_schema import CAMERA_RESOLUTION, SOURCE_PATTERN, SPLITS
from baselines.normalization import normalize

SUMMARY_BLOCK_FRAMES = 1 << 15


class Human36M:
    """A Human3.6M file, checked and cached on first use.

    path: the pickle file. input: "sh", the 2D detections of the file, or "gt", the ground truth projected to 2D with
    confidence 1 (as MotionBERT makes it: x, y of the normalised targets). confidence: whether inputs carry the
    detection confidence as a third channel.
    Raises InputError if the file cannot be read or does not fit the schema, its cache cannot be written, or `input` is
    unknown.

    Attributes: path; input; confidence; digest, the SHA-256 of the file; origin, the file's own account of how it was
    made, {} if it has none; subjects, {split: ("S9", "S11")}.
    """

    def __init__(self, path, input="sh", confidence=True):
        if input not in ("sh", "gt"):
            raise InputError(f"unknown 2D input {input!r}: choose sh (detections) or gt (ground truth)")
        self.path, self.input, self.confidence = Path(path), input, confidence
        self._open(h36m_cache.prepare(path))

    def _open(self, cache):
        self._folder, self._splits = cache.folder, cache.splits
        self.digest, self.origin = cache.digest, cache.origin
        self.subjects = {split: _subjects(cache.splits[split].names["source"]) for split in SPLITS}

    def __getstate__(self):
        """Without the arrays: a worker process maps the same files again."""
        return {"path": self.path, "input": self.input, "confidence": self.confidence, "folder": self._folder}

    def __setstate__(self, state):
        self.path, self.input, self.confidence = state["path"], state["input"], state["confidence"]
        cache = h36m_cache.open_cache(state["folder"])
        if cache is None:
            raise InputError(f"the cache {state['folder']} of {self.path} was changed while in use: start again")
        self._open(cache)

    def frames(self, split):
        """N, the number of frames."""
        return int(self._split(split).bounds[-1])

    def bounds(self, split):
        """(R + 1,) int64: where each run of frames of one source starts, then N."""
        return self._split(split).bounds

    def clips(self, split, frames, stride=None):
        """Frame numbers of the protocol's clips, (clips, T) int64; see `baselines.clips.split_clips`.

        frames: T. stride: frames from one clip to the next, by default T // 3 in train and T in test.
        """
        part = self._split(split)
        if stride is None:
            stride = max(1, frames // 3) if split == "train" else frames
        return split_clips(part.bounds, part.codes["source"][part.bounds[:-1]].tolist(), frames, stride)

    def every_frame_clips(self, split, frames):
        """Frame numbers of clips that cover every frame, (clips, T) int64; see `baselines.clips.cover_clips`."""
        return cover_clips(self._split(split).bounds, frames)

    def windows(self, split, frames, centres=None):
        """Frame numbers around each centre (every frame by default), centres.shape + (T,) int64.

        For models that predict the centre frame; see `baselines.clips.centred_windows`.
        """
        return centred_windows(self._split(split).bounds, frames, centres)

    def inputs(self, split, index):
        """Network input, index.shape + (17, 3) float32: x, y normalised to [-1, 1], confidence in [0, 1].

        (17, 2) for a data set made with confidence=False.
        """
        part = self._split(split)
        pose = part.arrays["joint_2d"][index] if self.input == "sh" else part.arrays["joint3d_image"][index][..., :2]
        xy = normalize(pose, self.camera_resolution(split, index))
        if not self.confidence:
            return xy
        score = part.arrays["confidence"][index] if self.input == "sh" else np.ones(xy.shape[:-1], np.float32)
        return np.concatenate([xy, score[..., None]], axis=-1)

    def targets(self, split, index):
        """Ground truth, index.shape + (17, 3) float32, image coordinates normalised as the input, z / w * 2 relative to
        the root.

        x and y are not root-relative: training subtracts the root, see `baselines.normalization.root_relative`.
        """
        pose = self._split(split).arrays["joint3d_image"][index]
        return normalize(pose, self.camera_resolution(split, index))

    def ground_truth_mm(self, split, index):
        """The pose that errors are measured against, index.shape + (17, 3) float32, mm, not root-relative."""
        return self._split(split).arrays["joints_2.5d_image"][index]

    def factors(self, split, index):
        """Millimetres per pixel of each frame, index.shape float32; taken from the ground truth."""
        return self._split(split).arrays["2.5d_factor"][index]

    def camera_resolution(self, split, index):
        """Image width and height, index.shape + (2,) float32, pixels."""
        part = self._split(split)
        table = np.array([CAMERA_RESOLUTION[camera] for camera in part.names["camera"]], np.float32)
        return table[part.codes["camera"][index]]

    def cameras(self, split):
        """Each frame's camera: (N,) int32 codes, and the list of names they index."""
        return self._named(split, "camera")

    def sources(self, split):
        """Each frame's source: (N,) int32 codes, and the list of names (s_09_act_05_subact_02_ca_01) they index."""
        return self._named(split, "source")

    def actions(self, split):
        """Each frame's action: (N,) int32 codes, and the list of names they index."""
        return self._named(split, "action")

    def summary(self):
        """What the file holds, {split: {quantity: value}}, in numbers, strings, lists and dicts only."""
        return {split: self._summary(split) for split in SPLITS}

    def _summary(self, split):
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
            "frames": frames,
            "sources": len(part.names["source"]),
            "subjects": list(self.subjects[split]),
            "mean_detector_error_px": float(error) / values,
            "confidence": {"min": float(low), "mean": float(total) / values, "max": float(high)},
            "frame_share_of_action": self._shares(split, "action"),
            "frame_share_of_camera": self._shares(split, "camera"),
        }

    def _shares(self, split, kind):
        codes, names = self._named(split, kind)
        counts = np.bincount(codes, minlength=len(names))
        return {name: count / len(codes) for name, count in sorted(zip(names, counts.tolist(), strict=True))}

    def _named(self, split, kind):
        part = self._split(split)
        return part.codes[kind], part.names[kind]

    def _split(self, split):
        if split not in self._splits:
            raise InputError(f"unknown split {split!r}: choose train or test")
        return self._splits[split]


def _subjects(sources):
    numbers = {int(SOURCE_PATTERN.fullmatch(source)["subject"]) for source in sources}
    return tuple(f"S{number}" for number in sorted(numbers))
