"""Batches of training clips: cut, made root-relative, mirrored, and ready before the model asks for them.

A GPU with enough room keeps the whole split, and a batch is one gather. Otherwise a thread reads ahead and cuts batches
from the data set's mapped arrays. The values are the same either way.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.data.normalization import root_relative
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation.inference import mirror
from liftbench.baselines.training.recipe import Recipe

READ_AHEAD = 4  # batches
_BLOCK = 1 << 16  # frames moved to the device at a time


class Batches:
    """The training clips of a recipe; `len` is their number. Raises InputError if no source yields a clip."""

    def __init__(self, dataset: Dataset, recipe: Recipe, device: torch.device | str = "cpu"):
        registered = recipe.entry
        self.dataset, self.frames, self.channels = dataset, recipe.frames, registered.channels
        self.device = torch.device(device)
        self.centre = registered.output == "centre"
        if self.centre:
            self.rows = np.arange(0, dataset.frames("train"), recipe.stride)[:, None]
        else:
            self.rows = dataset.clips("train", recipe.frames, recipe.stride)
        if not len(self.rows):
            raise InputError(
                f"Cannot train on {dataset.path}: no training source has {recipe.frames} frames. Use shorter clips."
            )
        fits = fits_on_device(4 * dataset.frames("train") * 17 * (self.channels + 3), self.device)
        self.split = self._whole_split() if fits else None

    def __len__(self) -> int:
        return len(self.rows)

    def each(self, parts: Sequence[Sequence[int]], mirrored: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (keypoints (B, T, 17, C), root-relative targets (B, T or 1, 17, 3)) for each of `parts`.

        parts: lists of clip numbers; mirrored: (clips,) bool, which clips to mirror. The batches are on the device.
        """
        for numbers, batch in zip(parts, self._gathered(parts) if self.split else self._read_ahead(parts)):
            chosen = torch.from_numpy(mirrored[numbers])[:, None, None, None].to(self.device, non_blocking=True)
            yield tuple(torch.where(chosen, mirror(poses), poses) for poses in batch)

    def _gathered(self, parts: Sequence[Sequence[int]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        inputs, targets = self.split
        for numbers in parts:
            rows = self.rows[numbers]
            frames = torch.from_numpy(self._input_frames(rows)).to(self.device, non_blocking=True)
            answers = torch.from_numpy(rows).to(self.device, non_blocking=True) if self.centre else frames
            yield inputs[frames], targets[answers]

    def _read_ahead(self, parts: Sequence[Sequence[int]]) -> Iterator[list[torch.Tensor]]:
        ahead = deque()
        with ThreadPoolExecutor(1, "batches") as reader:
            for numbers in parts:
                ahead.append(reader.submit(self._read, numbers))
                if len(ahead) > READ_AHEAD:
                    yield self._on_device(ahead.popleft().result())
            while ahead:
                yield self._on_device(ahead.popleft().result())

    def _read(self, numbers: Sequence[int]) -> tuple[torch.Tensor, ...]:
        rows = self.rows[numbers]
        return self._values(self._input_frames(rows), rows)

    def _input_frames(self, rows: np.ndarray) -> np.ndarray:
        return self.dataset.windows("train", self.frames, centres=rows[:, 0]) if self.centre else rows

    def _values(self, input_frames: np.ndarray, target_frames: np.ndarray) -> tuple[torch.Tensor, ...]:
        inputs = self.dataset.inputs("train", input_frames)[..., : self.channels]
        targets = root_relative(self.dataset.targets("train", target_frames))
        return tuple(torch.from_numpy(np.ascontiguousarray(values)) for values in (inputs, targets))

    def _on_device(self, values: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        if self.device.type == "cuda":
            values = (tensor.pin_memory() for tensor in values)
        return [tensor.to(self.device, non_blocking=True) for tensor in values]

    def _whole_split(self) -> list[torch.Tensor]:
        frames = self.dataset.frames("train")
        split = [torch.empty(frames, 17, width, device=self.device) for width in (self.channels, 3)]
        for start in range(0, frames, _BLOCK):
            block = np.arange(start, min(start + _BLOCK, frames))
            for whole, values in zip(split, self._values(block, block)):
                whole[start : start + len(block)] = values.to(self.device)
        return split


def fits_on_device(size: int, device: torch.device) -> bool:
    """Return whether to keep `size` bytes on the device: on a GPU, if they take less than half of its free memory."""
    return device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 2


def order_of_epoch(seed: int, epoch: int, clips: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the clips of an epoch in random order, (clips,) int64, and which of them are mirrored, (clips,) bool.

    They depend on the arguments alone, so every process and every resumed run draws the same.
    """
    draw = np.random.default_rng((seed, epoch))
    return draw.permutation(clips), (draw.random(clips) < 0.5) & flip
