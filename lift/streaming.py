"""Lifting frame by frame, while they come."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftbench.baselines.data import gaps
from liftbench.baselines.data.clips import online_windows
from liftbench.baselines.data.normalization import root_relative
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import entry
from liftbench.baselines.weights.trained import Weights, open_weights
from liftbench.lift.geometry import body, filters
from liftbench.lift.keypoints import layouts
from liftbench.lift.lifting import MEAN_FOCAL, answers_in_metres, model_inputs, which_joint_9
from liftbench.lift.weights import shipped
from liftbench.lift.windows import answering

_STEADY = 1.0  # Hz, of the low-pass of a person's depth, as in `body`


@dataclass(frozen=True)
class Pose:
    """One frame, counted from 0; nan where nothing is known.

    pose: (17, 3) mm, camera frame (x right, y down, z forward), root-relative. root: (3,) mm, camera frame.
    valid: (17,) bool, joints that were seen with enough confidence.
    """

    frame: int
    pose: np.ndarray
    root: np.ndarray
    valid: np.ndarray


class Lifter:
    """Lifts one person's keypoints as they come, each frame with a fixed delay.

    `delay`, in frames, is how far the model looks ahead; `delay_s` is the same in seconds. What a model of T frames
    would see beyond that is taken to be as the last frame seen. With half a window, T // 2, which is the default, a
    model of centre frames answers as it does offline; with 0 it answers at once.

    Other than offline, where the whole recording is known: a joint that is lost stays where it was for 0.25 s and is
    nan from then on; the body's depth is low-passed at 1 Hz, with the delay of that; a point that jumps away is not
    noticed, nor are legs or arms that are swapped; poses are not refined; there is no world, since a floor and the
    vertical take a recording.
    """

    def __init__(
        self,
        weights: str | Path | Weights = "fast",
        *,
        size: tuple[int, int],
        fps: float,
        layout: str = "h36m17",
        delay: int | None = None,
        joint_9: str | None = None,
        height: float = body.MEAN_HEIGHT,
        focal: float | None = None,
        smooth: str | None = None,
        flip: bool = True,
        device: str = "cpu",
    ):
        """weights, size, fps, layout, joint_9, height, focal: as for `lift`; layout is a name in `layouts.LAYOUTS`.

        smooth: None, "one-euro" or "one-euro:HZ". flip: average with the mirrored answer, for twice the time.
        Raises InputError for a delay that is negative or beyond T // 2, and for options that cannot be used.
        """
        weights = weights if isinstance(weights, Weights) else open_weights(shipped(weights))
        model = entry(weights.model_name, weights.frames)
        self.assumed: list[str] = []
        self.frames, self._centre, self._channels = weights.frames, model.output == "centre", model.channels
        self.delay = weights.frames // 2 if delay is None else delay
        if not 0 <= self.delay <= weights.frames // 2:
            raise InputError(
                f"Cannot lift with a delay of {delay} frames: the clips are too short. Give 0 to {weights.frames // 2}."
            )
        if layout not in layouts.LAYOUTS:
            raise InputError(
                f"Cannot read {layout!r} keypoints: there is no such format. Choose {', '.join(layouts.LAYOUTS)}."
            )
        self._names, self._joint_9 = layouts.LAYOUTS[layout], which_joint_9(weights, joint_9, self.assumed)
        self._size, self._fps, self.delay_s = size, fps, self.delay / fps
        self._focal, self._height = focal or MEAN_FOCAL * max(size), 1000 * height
        self._metric, self._device = answers_in_metres(weights), device
        weights.model.to(device).eval()
        self._run = answering(weights.model, device, flip)
        self._smooth = None
        if smooth is not None:
            cutoff, name = filters.smoothing(smooth, fps)
            if name != "one-euro":
                raise InputError(f"Cannot smooth by {smooth} while frames come: it looks ahead. Give one-euro.")
            self._smooth = filters.OneEuro(fps, cutoff), filters.OneEuro(fps, cutoff)
        self._seen, self._inputs = deque(maxlen=weights.frames + 1), deque(maxlen=weights.frames + 1)
        self._last, self._lost = np.zeros((17, 3)), np.full(17, np.inf)  # keypoints, and frames since they were seen
        self._pushed = self._popped = 0
        self._depth = self._scale = None

    def push(self, keypoints: np.ndarray | Sequence | None) -> Pose | None:
        """Take a frame, and give the pose of the frame `delay` before it; None as long as there is none.

        keypoints: (J, 2) pixels or (J, 3) with confidence, 0 where a point was not seen; None where nobody was. Raises
        InputError for another shape, numbers that are not finite, and where the model needs a confidence.
        """
        self._seen.append(self._take(keypoints))
        self._inputs.append(model_inputs(self._seen[-1][0][None], self._size, self._channels)[0])
        self._pushed += 1
        return self._pop() if self._pushed > self.delay else None

    def finish(self) -> list[Pose]:
        """The poses of the last `delay` frames, when no more come."""
        return [self._pop() for _ in range(self._pushed - self._popped)]

    def _take(self, keypoints: np.ndarray | Sequence | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(keypoints (17, 3) with lost joints where they were, valid (17,), known (17,))"""
        try:
            points = np.zeros((len(self._names), 3)) if keypoints is None else np.array(keypoints, np.float64)
        except (ValueError, TypeError):
            raise InputError("Cannot lift this frame: it is not an array of numbers. Give one, or None.") from None
        if points.shape not in {(len(self._names), 2), (len(self._names), 3)}:
            raise InputError(
                f"Cannot lift a frame of shape {points.shape}: it is no person. Give ({len(self._names)}, 2 or 3)."
            )
        if not np.isfinite(points).all():
            raise InputError("Cannot lift this frame: a keypoint is not finite. Give it the confidence 0.")
        if points.shape[1] == 2:
            if self._channels == 3:
                raise InputError("Cannot lift this frame: the weights expect a confidence for each keypoint. Give it.")
            points = np.concatenate([points, (points != 0).any(axis=1, keepdims=True)], axis=1)
        joints = layouts.to_h36m(points[None], self._names, self._joint_9)[0]
        detected, valid = joints[:, 2] > 0, joints[:, 2] >= gaps.CONFIDENCE
        self._lost = np.where(detected, 0, self._lost + 1)
        held = np.where(detected[:, None], joints, self._last * [1, 1, 0])
        self._last = gaps.grown(held[None], np.isfinite(self._lost))[0]
        return self._last, valid, self._lost <= gaps.LONGEST_GAP * self._fps

    def _pop(self) -> Pose:
        """The pose of the next frame."""
        frame, newest = self._popped, self._pushed - 1
        self._popped += 1
        oldest = self._pushed - len(self._inputs)
        (window,), place = online_windows(
            np.array([oldest, newest + 1]), self.frames, np.array([frame]), newest - frame, self._centre
        )
        answer = self._run(np.stack([self._inputs[index] for index in window - oldest])[None])[0]
        answer = root_relative(answer[[0] if self._centre else place]).astype(np.float64)
        keypoints, valid, known = self._seen[frame - oldest]
        if known.sum() < body.FEWEST_JOINTS or not np.isfinite(body.body_height(answer, known[None])[0]):
            self._depth = None
            return Pose(frame, np.full((17, 3), np.nan), np.full(3, np.nan), valid)
        pose, root = self._place(answer, keypoints, known)
        pose[~known] = np.nan
        root[~known[:1].repeat(3)] = np.nan
        if self._smooth:
            pose, root = (step(values) for step, values in zip(self._smooth, (pose, root)))
        return Pose(frame, pose, root, valid)

    def _place(self, answer: np.ndarray, keypoints: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose and root in mm, of a steady size and depth; the root is nan as long as its depth is unknown."""
        if self._metric:
            self._scale = self._low_passed(self._scale, self._height / body.body_height(answer, known[None])[0])
            pose = answer * self._scale
            depth = body.root_depth(pose, keypoints[None, :, :2], known[None], self._focal, self._size)[0]
            if np.isfinite(depth):
                self._depth = self._low_passed(self._depth, depth)
            ray = np.append((keypoints[0, :2] - np.array(self._size) / 2) / self._focal, 1)
            return pose[0], ray * (np.nan if self._depth is None else self._depth)
        image = answer / 2 * self._size[0]
        image[..., :2] += keypoints[0, :2]
        pose, root = body.place_image_poses(image, known[None], self._height, self._focal, self._size, self._fps)
        self._depth = self._low_passed(self._depth, root[0, 2])
        return pose[0] * self._depth / root[0, 2], root[0] * self._depth / root[0, 2]

    def _low_passed(self, before: float | None, now: float) -> float:
        """The next value, of its logarithm; before: the last one, None at first."""
        turn = 2 * np.pi * min(_STEADY, self._fps / 4) / self._fps
        return now if before is None else np.exp((np.log(before) + turn * np.log(now)) / (1 + turn))
