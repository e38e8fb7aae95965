"""Choose the frames of a clip or a window, as arrays of frame numbers.

A run is an unbroken stretch of frames of one source; `bounds` (R + 1,) holds where each of the R runs starts, and the
number of frames last. T = `frames` is the length of a clip.
"""

from collections.abc import Sequence

import numpy as np

from liftbench.baselines.errors import InputError


def split_clips(bounds: np.ndarray, names: Sequence[str], frames: int, stride: int) -> np.ndarray:
    """Clips as MotionBERT's `split_clips` takes them: every `stride` frames inside each run.

    bounds: (R + 1,) int; names: (R,), the source of each run.
    Returns (clips, T) int64. A source that has yielded no clip so far is resampled to T frames: frame
    floor(i * length / T) for clip position i.
    Departures: the official code draws the resampled frames at random, and loses the last source when it is shorter
    than T. Here both are deterministic and nothing is lost.
    Raises InputError if `frames` or `stride` is below 1.
    """
    _check_positive(frames=frames, stride=stride)
    clips, seen = [], set()
    for start, stop, name in zip(bounds[:-1], bounds[1:], names, strict=True):
        if stop - start >= frames:
            clips.append(np.arange(start, stop - frames + 1, stride)[:, None] + np.arange(frames))
        elif name not in seen:
            clips.append(_resampled(start, stop, frames))
        seen.add(name)
    return np.concatenate(clips).astype(np.int64)


def cover_clips(bounds: np.ndarray, frames: int) -> np.ndarray:
    """Clips that cover every frame: side by side in each run, then the run's last T frames if some are left over.

    bounds: (R + 1,) int. Returns (clips, T) int64; a run shorter than T is resampled as in `split_clips`, which keeps
    each of its frames. Raises InputError if `frames` is below 1.
    """
    _check_positive(frames=frames)
    clips = []
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        if stop - start < frames:
            clips.append(_resampled(start, stop, frames))
        else:
            first = np.arange(start, stop - frames + 1, frames)
            if first[-1] + frames < stop:
                first = np.append(first, stop - frames)
            clips.append(first[:, None] + np.arange(frames))
    return np.concatenate(clips).astype(np.int64)


def centred_windows(bounds: np.ndarray, frames: int, centres: np.ndarray | None = None) -> np.ndarray:
    """Return the T frames around each centre f, from f - T // 2 on. Past the ends of a run its first and last frames
    repeat.

    bounds: (R + 1,) int; centres: int array of any shape, every frame by default. Returns centres.shape + (T,) int64.
    Raises InputError if `frames` is below 1, IndexError if a centre is not a frame of the data.
    """
    _check_positive(frames=frames)
    centres = np.arange(bounds[-1]) if centres is None else np.asarray(centres)
    if centres.size and not 0 <= centres.min() <= centres.max() < bounds[-1]:
        raise IndexError(f"a centre lies outside the {bounds[-1]} frames")
    run = np.searchsorted(bounds, centres, side="right") - 1
    window = centres[..., None] + (np.arange(frames) - frames // 2)
    return np.clip(window, bounds[run][..., None], bounds[run + 1][..., None] - 1)


def online_windows(
    bounds: np.ndarray, frames: int, at: np.ndarray, look_ahead: int, centre: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the T frames that a model sees when frames come one by one, and frame f is answered as soon as the
    `look_ahead` frames after it have come, or the run has ended.

    A sequence model sees the newest T frames; a model that answers for its centre frame (`centre`) sees those around f,
    from f - T // 2 on. The run's first frame stands for those before it, the newest one for those that have not come.

    bounds: (R + 1,) int; at: (N,) int, the frames f. Returns windows (N, T) int64, and (N,) int64, the place of f in
    each. Raises InputError if `frames` is below 1 or `look_ahead` is not in 0 .. T - 1.
    """
    _check_positive(frames=frames)
    if not 0 <= look_ahead < frames:
        raise InputError(f"Cannot look {look_ahead} frames ahead: clips have {frames}. Choose 0 to {frames - 1}.")
    run = np.searchsorted(bounds, at, side="right") - 1
    newest = np.minimum(at + look_ahead, bounds[run + 1] - 1)
    first = at - frames // 2 if centre else newest - frames + 1
    return np.clip(first[:, None] + np.arange(frames), bounds[run][:, None], newest[:, None]), at - first


def stretched_share(clips: np.ndarray) -> float:
    """Return the share of clips that were stretched: takes shorter than a clip, resampled to its length.

    clips: (clips, T) frame numbers, as `split_clips` and `cover_clips` give them. Returns 0 for no clip.
    """
    return float((np.diff(clips, axis=1) != 1).any(axis=1).mean()) if len(clips) else 0.0


def _resampled(start: int, stop: int, frames: int) -> np.ndarray:
    return start + np.floor(np.linspace(0, stop - start, frames, endpoint=False)).astype(np.int64)[None]


def _check_positive(**lengths):
    for name, value in lengths.items():
        if value < 1:
            raise InputError(f"Cannot make clips: {name} is {value}. Choose 1 or more.")
