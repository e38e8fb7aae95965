"""A recording of any length through a model of clips: overlapping windows, blended, in batches."""

from collections.abc import Callable

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

    inputs: (N, 17, C) float32, image coordinates in [-1, 1] and for C = 3 the confidence. frames: T of the model.
    centre: whether it answers a clip with the pose of its middle frame only. flip: average with the mirrored answer.
    progress(frames done since the last call). Returns (N, 17, 3) float32, in the model's own unit.

    A sequence model sees windows that overlap by half. A frame's pose is their mean, with weights that fall to the ends
    of a window, so that there is no seam. Past the ends of the recording its first and last frames are repeated, for a
    sequence model only where the recording is shorter than T. Besides inputs and poses, memory is that of a batch.
    """
    model.eval()
    run = answering(model, device, flip)
    if centre:
        poses = np.empty((len(inputs), 17, 3), np.float32)
        for start in range(0, len(inputs), _CENTRES):
            centres = np.arange(start, min(start + _CENTRES, len(inputs)))
            poses[centres] = run(inputs[centred_windows(np.array([0, len(inputs)]), frames, centres)])[:, 0]
            progress(len(centres))
        return poses
    if len(inputs) <= frames:
        before = (frames - len(inputs)) // 2
        repeated = np.clip(np.arange(frames) - before, 0, len(inputs) - 1)
        pose = run(inputs[repeated][None])[0, before : before + len(inputs)]
        progress(len(inputs))
        return pose
    poses, total = np.zeros((len(inputs), 17, 3), np.float32), np.zeros((len(inputs), 1, 1), np.float32)
    weight = np.minimum(np.arange(1, frames + 1), np.arange(frames, 0, -1)).astype(np.float32)[:, None, None]
    starts, done = np.append(np.arange(0, len(inputs) - frames, max(1, frames // 2)), len(inputs) - frames), 0
    for batch in np.split(starts, range(_CLIPS, len(starts), _CLIPS)):
        for start, pose in zip(batch, run(inputs[batch[:, None] + np.arange(frames)])):
            poses[start : start + frames] += weight * pose
            total[start : start + frames] += weight
        progress(int(batch[-1]) + frames - done)
        done = int(batch[-1]) + frames
    poses /= total
    return poses


def answering(model: nn.Module, device: str, flip: bool) -> Callable[[np.ndarray], np.ndarray]:
    """A function from clips (B, T, 17, C) to the model's poses of them, (B, T or 1, 17, 3) float32.

    flip: average with the mirrored answer.
    """

    @torch.inference_mode()
    def run(clips):
        clips = torch.from_numpy(np.ascontiguousarray(clips, np.float32)).to(device)
        pose = model(clips)
        if flip:
            pose = (pose + mirror(model(mirror(clips)))) / 2
        return pose.float().cpu().numpy()

    return run
