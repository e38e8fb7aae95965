"""Predict with a model, and compute everything that an evaluation reports."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation.protocols import PROTOCOLS, Score, mean_pose_mpjpe, score
from liftbench.baselines.registry import Entry, entry
from liftbench.baselines.skeleton import FLIP


@torch.inference_mode()
def predict(
    model: nn.Module,
    dataset: Dataset,
    index: np.ndarray,
    channels: int,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    flip: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict the normalised poses of the test clips `index`, (clips, T) frame numbers.

    Returns (own, averaged), each (clips, T, 17, 3) float32, or (clips, 1, 17, 3) from a centre-frame model. own: the
    plain predictions; averaged: their mean with those of the mirrored clips, None without flip. progress(done, of) is
    called after every batch, in clips.
    """
    model.eval()
    own, averaged = [], []
    for start in range(0, len(index), batch_size):
        keypoints = dataset.inputs("test", index[start : start + batch_size])[..., :channels]
        keypoints = torch.from_numpy(np.ascontiguousarray(keypoints)).to(device)
        pose = model(keypoints)
        own.append(pose.cpu().numpy())
        if flip:
            averaged.append(((pose + mirror(model(mirror(keypoints)))) / 2).cpu().numpy())
        if progress:
            progress(min(start + batch_size, len(index)), len(index))
    return np.concatenate(own), np.concatenate(averaged) if flip else None


def mirror(pose: torch.Tensor) -> torch.Tensor:
    """Mirror a pose or its keypoints, (..., 17, 2 or 3): negate x and swap left and right joints."""
    joints, sign = _mirror_tables(pose.device)
    return pose.index_select(-2, joints) * sign[: pose.shape[-1]].to(pose.dtype)


@functools.cache
@torch.inference_mode(False)  # training uses them too
def _mirror_tables(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the order of joints and the signs, kept on the device: an upload at each call would make it wait."""
    return torch.tensor(FLIP, device=device), torch.tensor([-1.0, 1.0, 1.0], device=device)


@dataclass(frozen=True, kw_only=True)
class Evaluation(Score):
    """A Score, what it was computed on, and the error that any model must beat."""

    mean_pose_mpjpe_mm: float  # the error of always answering the mean training pose
    test_frames: int
    test_clips: int


def evaluate(
    model: torch.nn.Module,
    name: str,
    dataset: Dataset,
    frames: int,
    batch_size: int = 64,
    device: str = "cpu",
    progress: Callable[[int, int], Any] | None = None,
) -> Evaluation:
    """Evaluate a registered model: `score`, with more rows under `variants`.

    "without flip" is the official row without the mirrored average. "every frame" exists where the official row has
    full clips only: it adds the frames behind the last full clip of a source, by clips that end with the source. A
    centre-frame model predicts every frame from the window around it, with the edges repeated; where only full clips
    count, it is scored on the frames that clips of T cover.
    """
    registered, official = entry(name), official_clips(name, dataset, frames)
    everything = _every_frame(registered, dataset, frames)
    own, averaged = predict(
        model,
        dataset,
        _inputs_of(registered, dataset, everything, frames),
        registered.channels,
        batch_size,
        device,
        True,
        progress,
    )
    rows = _rows_in(everything, official)
    result = score(dataset, averaged[rows], everything[rows])
    variants = result.variants | {"without flip": score(dataset, own[rows], everything[rows]).variants["official"]}
    if not PROTOCOLS[dataset.protocol].every_frame:
        variants["every frame"] = score(dataset, averaged, everything).variants["official"]
    return Evaluation(
        **{**result} | {"variants": variants},
        mean_pose_mpjpe_mm=mean_pose_mpjpe(dataset, official),
        test_frames=int(np.unique(official).size),
        test_clips=len(official),
    )


def quick_mpjpe(
    model: nn.Module,
    name: str,
    dataset: Dataset,
    frames: int,
    device: torch.device | str = "cpu",
    predict: Callable[..., tuple[np.ndarray, np.ndarray | None]] = predict,
    stride: int = 1,
) -> float:
    """Return the official MPJPE, mm, but without the mirrored average, to follow a training run.

    predict: a function with the arguments of `predict`, such as one that divides the clips among processes. stride:
    score every n-th clip; 1 scores all.
    """
    registered, official = entry(name), official_clips(name, dataset, frames)[::stride]
    index = _inputs_of(registered, dataset, official, frames)
    own, _ = predict(model, dataset, index, registered.channels, device=device, flip=False)
    return score(dataset, own, official).mpjpe_mm


def official_clips(name: str, dataset: Dataset, frames: int) -> np.ndarray:
    """Return the frames that the official row of a registered model counts: (clips, T), or (frames, 1) for a
    centre-frame model.

    Raises InputError if there are none.
    """
    registered = entry(name)
    if PROTOCOLS[dataset.protocol].every_frame:
        return _every_frame(registered, dataset, frames)
    clips = dataset.clips("test", frames)
    if not len(clips):
        raise InputError(
            f"Cannot evaluate on {dataset.path}: no test source yields a clip of {frames} frames. Use a shorter clip."
        )
    return np.unique(clips)[:, None] if registered.output == "centre" else clips


def _every_frame(registered: Entry, dataset: Dataset, frames: int) -> np.ndarray:
    """Return all frames of the test split, shaped as in `official_clips`."""
    clips = dataset.every_frame_clips("test", frames)
    return np.unique(clips)[:, None] if registered.output == "centre" else clips


def _inputs_of(registered: Entry, dataset: Dataset, clips: np.ndarray, frames: int) -> np.ndarray:
    return dataset.windows("test", frames, centres=clips[:, 0]) if registered.output == "centre" else clips


def _rows_in(clips: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return which rows of `clips` are rows of `wanted`."""
    wanted = {row.tobytes() for row in np.ascontiguousarray(wanted)}
    return np.array([row.tobytes() in wanted for row in np.ascontiguousarray(clips)])
