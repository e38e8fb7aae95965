"""Measure what real time costs: errors and delay when frames come one by one, and how long a window takes.

A frame is answered as soon as its look-ahead has come: no frame, a quarter of a clip, or half of it, counted from the
frame itself. The model slides over a take frame by frame and answers each window anew. `data.clips.online_windows` says
which frames a window holds; `liftbench.lift.Lifter` lifts a stream by the same rule. At the start of a take its first
frame is repeated. A sequence model's window ends with the newest frame, and the pose of the frame that is due is taken
out of it: the last, or one before it. A centre-frame model has one look-ahead, half a clip. With less, the newest frame
is repeated in place of those that have not come; the record counts these.

The frames that are scored are those of the official row of `evaluate`, or every n-th of them, and so is the rule. Its
offline errors on the same frames stand beside: clips side by side, the whole take known. A window is timed alone, as a
stream brings it, from keypoints in memory to a pose in memory. Windows are answered in batches for the errors, unless
that changes a model's answers.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from liftbench.baselines.data.clips import online_windows
from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation.inference import official_clips, predict
from liftbench.baselines.evaluation.protocols import PROTOCOLS, score
from liftbench.baselines.registry import entry
from liftbench.baselines.weights.trained import Weights
from liftbench.bench.measure import timing
from liftbench.bench.measure.calls import Timed
from liftbench.bench.records import OnlineErrors, OnlineRecord, OnlineWindow, Times, environment
from liftbench.bench.runs.accuracy import check_units, data_of, facts
from liftbench.lift.windows import answering

LOOK_AHEADS = {"0": 0.0, "1/4": 0.25, "1/2": 0.5}  # of a clip's other frames
_BATCH, _TRIED = 64, 3  # windows
_SAME = 1e-4  # of the largest value: what rounding may change in a larger batch
_LONGEST_CALL_S, _ROUNDS, _ROUND_S, _CALLS = 10.0, (7, 15), 0.1, 20


def measure(
    weights: Weights,
    dataset: Dataset,
    device: str = "cpu",
    step: int = 1,
    fps: float | None = None,
    progress: timing.Progress | None = None,
) -> OnlineRecord:
    """Measure weights on the test split, with all look-aheads.

    step: score every n-th frame. fps: frames per second of the recordings (default: those of the data's protocol).
    progress(text, done, of).

    Raises InputError for weights of another unit, for a step below 1, without a frame rate, for an unusable device and
    for idle threads that sleep, and `kernels.ScanUnavailable` for a scan that fails the parity check. Times that must
    not be used leave their reason in the record.
    """
    say, fps = progress or (lambda *_: None), fps or PROTOCOLS[dataset.protocol].fps
    check_units(weights, dataset)
    if step < 1:
        raise InputError(f"Cannot score every {step}-th frame: a step is at least 1. Choose 1 or more.")
    if not fps:
        raise InputError(f"Cannot measure on {dataset.path}: it does not state its frames per second. Give --fps.")
    timed = Timed(weights.model_name, weights.frames, timing.ready_device(device), model=weights.model)
    stream = Stream(timed.model, dataset, weights, device)
    clips = official_clips(weights.model_name, dataset, weights.frames)
    at = np.unique(clips)[::step]
    say("timing", 0, 1)
    times = _times(stream, at[len(at) // 2])
    offline = stream.offline(clips, at, lambda done, of: say(f"{weights.name}, offline", done, of))
    windows = []
    for ahead, name in look_aheads(weights.frames).items():
        text = f"{weights.name}, look-ahead {name}"
        errors = stream.online(at, ahead, lambda done, of: say(text, done, of))  # noqa: B023
        repeated = (weights.frames - 1) // 2 - ahead if stream.centre else 0
        windows.append(
            OnlineWindow(look_ahead=name, look_ahead_frames=ahead, repeated_frames=repeated, **errors.model_dump())
        )
    return OnlineRecord(
        **environment.stamp(device, timed.scan),
        **facts(weights),
        **times,
        device=timed.device.type,
        data=data_of(dataset, np.unique(clips).size, len(clips)),
        fps=fps,
        step=step,
        scored_frames=len(at),
        offline=offline,
        windows=windows,
        difference=timed.difference,
    )


def look_aheads(frames: int) -> dict[int, str]:
    """{frames: name} of LOOK_AHEADS in a clip of T frames, the shortest first; of those with equal frames the first."""
    found = {int(share * (frames - 1)): name for name, share in reversed(LOOK_AHEADS.items())}
    return dict(sorted(found.items()))


class Stream:
    """A model and the test split whose frames come one by one."""

    def __init__(self, model: nn.Module, dataset: Dataset, weights: Weights, device: str):
        registered = entry(weights.model_name, weights.frames)
        self.model, self.dataset, self.device = model, dataset, device
        self.frames, self.channels, self.centre = weights.frames, registered.channels, registered.output == "centre"
        self.bounds = dataset.bounds("test")

    def windows(self, at: np.ndarray, look_ahead: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the windows (N, T) in which the frames `at`, (N,), are answered, and the place of each answer."""
        windows, places = online_windows(self.bounds, self.frames, at, look_ahead, self.centre)
        return windows, np.zeros_like(places) if self.centre else places

    def answers(
        self, at: np.ndarray, look_ahead: int, progress: Callable[[int, int], None] = lambda *_: None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the poses of the frames `at`, (N, 17, 3) float32, normalised: the plain ones, and those averaged with
        the mirrored answers."""
        batch = self._batch(at, look_ahead)
        found = np.empty((2, len(at), 17, 3), np.float32)
        for start in range(0, len(at), batch):
            windows, places = self.windows(at[start : start + batch], look_ahead)
            for poses, answer in zip(found, self._predict(windows, batch)):
                poses[start : start + batch] = answer[np.arange(len(places)), places]
            progress(min(start + batch, len(at)), len(at))
        return found[0], found[1]

    def online(self, at: np.ndarray, look_ahead: int, progress: Callable[[int, int], None]) -> OnlineErrors:
        """Return the errors of the frames `at`."""
        return self._errors(*self.answers(at, look_ahead, progress), at)

    def offline(self, clips: np.ndarray, at: np.ndarray, progress: Callable[[int, int], None]) -> OnlineErrors:
        """Return the errors of the frames `at` as `evaluate` finds them. clips: those of the official row."""
        clips = clips[np.isin(clips, at).any(axis=1)]
        index = self.dataset.windows("test", self.frames, centres=clips[:, 0]) if self.centre else clips
        own, averaged = predict(
            self.model, self.dataset, index, self.channels, _BATCH, self.device, progress=progress
        )  # fmt: skip
        scored = np.isin(clips, at)
        return self._errors(own[scored], averaged[scored], clips[scored])

    def answer(self, flip: bool, at: int) -> Callable[[], np.ndarray]:
        """Return a call that answers one window, which is in memory."""
        windows, _ = self.windows(np.array([at]), 0)
        clip, run = self.dataset.inputs("test", windows)[..., : self.channels], answering(self.model, self.device, flip)
        return lambda: run(clip)

    def _predict(self, windows: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
        return predict(self.model, self.dataset, windows, self.channels, batch, self.device)

    def _batch(self, at: np.ndarray, look_ahead: int) -> int:
        """Return how many windows to answer at a time: one, if a model's answer depends on others in the batch."""
        windows, _ = self.windows(at[:: max(1, len(at) // _TRIED)][:_TRIED], look_ahead)
        (together, _), (alone, _) = self._predict(windows, _TRIED), self._predict(windows, 1)
        return _BATCH if np.abs(together - alone).max() <= _SAME * np.abs(alone).max() else 1

    def _errors(self, own: np.ndarray, averaged: np.ndarray, frames: np.ndarray) -> OnlineErrors:
        official, plain = (score(self.dataset, poses[:, None], frames[:, None]) for poses in (averaged, own))
        return OnlineErrors(
            mpjpe_mm=official.mpjpe_mm,
            p_mpjpe_mm=official.p_mpjpe_mm,
            mpjve_mm_per_frame=official.variants["official"]["mpjve_mm_per_frame"],
            mpjpe_mm_without_flip=plain.mpjpe_mm,
        )


def _times(stream: Stream, at: int) -> dict[str, object]:
    """Return the fields of a record on the time of one window, with and without its mirrored copy, which take turns."""
    contest = timing.Contest(torch.device(stream.device), _LONGEST_CALL_S, _ROUNDS, _ROUND_S, _CALLS)
    makers = {"time": lambda: stream.answer(False, at), "time_with_flip": lambda: stream.answer(True, at)}
    outcomes, share = contest.meet(makers, timing.Size(1, stream.frames))
    times = {name: Times(**outcome.fields) for name, outcome in outcomes.items()}
    return times | {"clock": contest.meter.clock, "other_processes_share": share}
