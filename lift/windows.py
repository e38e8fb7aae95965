"""A recording of any length through a model of clips: overlapping windows, blended, in batches."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from liftbench.baselines.data.clips import centred_windows
from liftbench.baselines.evaluation.inference import mirror

_CLIPS, _CENTRES = 16, 256  # in a batch


def lift_windows(
    model: nn.Module,
    inputs: np.ndarray,
    frames: int,
    centre: bool,
    device: str = "cpu",
    flip: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """A model's poses of one recording.

    inputs: (N, 17, C) float32, image coordinates in [-1, 1] and for C = 3 the confidence. progress(frames done since
    the last call). The others as for `lift_blocks`. Returns (N, 17, 3) float32, in the model's own unit.
    """
    poses = np.empty((len(inputs), 17, 3), np.float32)
    for block, pose in lift_blocks(
        model, lambda start, stop: inputs[start:stop], len(inputs), frames, centre, device, flip
    ):
        poses[block] = pose
        progress(len(pose))
    return poses


def lift_blocks(
    model: nn.Module,
    inputs: Callable[[int, int], np.ndarray],
    length: int,
    frames: int,
    centre: bool,
    device: str = "cpu",
    flip: bool = True,
) -> Iterator[tuple[slice, np.ndarray]]:
    """A model's poses of one recording of any length, some frames at a time, in memory that does not grow with it.

    inputs(start, stop): (stop - start, 17, C) float32 of those frames; length: N, of the recording. frames: T of the
    model. centre: whether it answers a clip with the pose of its middle frame only. flip: average with the mirrored
    answer. Yields (frames, their poses (.., 17, 3) float32), one block after the other.

    A sequence model sees windows that overlap by half. A frame's pose is their mean, with weights that fall to the ends
    of a window, so that there is no seam. Past the ends of the recording its first and last frames are repeated, for a
    sequence model only where the recording is shorter than T.
    """
    model.eval()
    run = answering(model, device, flip)
    if centre:
        yield from _centres(run, inputs, length, frames)
    elif length <= frames:
        before = (frames - length) // 2
        repeated = np.clip(np.arange(frames) - before, 0, length - 1)
        yield slice(0, length), run(inputs(0, length)[repeated][None])[0, before : before + length]
    else:
        yield from _blended(run, inputs, length, frames)


def _centres(
    run: Callable[[np.ndarray], np.ndarray], inputs: Callable[[int, int], np.ndarray], length: int, frames: int
) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, length, _CENTRES):
        stop = min(start + _CENTRES, length)
        window = centred_windows(np.array([0, length]), frames, np.arange(start, stop))
        first = window.min()
        yield slice(start, stop), run(inputs(first, window.max() + 1)[window - first])[:, 0]


def _blended(
    run: Callable[[np.ndarray], np.ndarray], inputs: Callable[[int, int], np.ndarray], length: int, frames: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Frames are done as soon as no window that is still to come holds them."""
    weight = np.minimum(np.arange(1, frames + 1), np.arange(frames, 0, -1)).astype(np.float32)[:, None, None]
    starts = np.append(np.arange(0, length - frames, max(1, frames // 2)), length - frames)
    done, sums, weights = 0, np.zeros((0, 17, 3), np.float32), np.zeros((0, 1, 1), np.float32)
    for number in range(0, len(starts), _CLIPS):
        batch = starts[number : number + _CLIPS]
        stop = batch[-1] + frames
        sums, weights = (np.pad(array, ((0, stop - done - len(array)), (0, 0), (0, 0))) for array in (sums, weights))
        clips = inputs(batch[0], stop)[(batch - batch[0])[:, None] + np.arange(frames)]
        for start, pose in zip(batch - done, run(clips)):
            sums[start : start + frames] += weight * pose
            weights[start : start + frames] += weight
        ready = (starts[number + _CLIPS] if number + _CLIPS < len(starts) else length) - done
        yield slice(int(done), int(done + ready)), sums[:ready] / weights[:ready]
        done, sums, weights = done + ready, sums[ready:], weights[ready:]


def answering(model: nn.Module, device: str, flip: bool) -> Callable[[np.ndarray], np.ndarray]:
    """A function from clips (B, T, 17, C) to the model's poses of them, (B, T or 1, 17, 3) float32.

    flip: average with the mirrored answer.
    """

    @torch.inference_mode()
    def run(clips: np.ndarray) -> np.ndarray:
        clips = torch.from_numpy(np.ascontiguousarray(clips, np.float32)).to(device)
        pose = model(clips)
        if flip:
            pose = (pose + mirror(model(mirror(clips)))) / 2
        return pose.float().cpu().numpy()

    return run
