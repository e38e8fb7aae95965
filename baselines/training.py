"""Training by a recipe: batches cut from the mapped arrays, published losses, resumable, atomic checkpoints.

All randomness of an epoch (order, mirrored clips, stochastic depth) follows from the recipe's seed and the epoch's
number, so a run that is interrupted and resumed reaches the weights of one that was not.
"""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch
import yaml
from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter

from pose3dm import fractional_total_variation

from . import losses
from .errors import InputError
from .evaluation import mirror, quick_mpjpe
from .files import replacing
from .normalization import root_relative
from .registry import create_model, entry


class Examples(torch.utils.data.Dataset):
    """Training clips: a batch of row numbers -> (keypoints (B, T, 17, C), root-relative targets (B, T or 1, 17, 3))."""

    def __init__(self, dataset, recipe):
        kind = entry(recipe.model)
        self.dataset, self.frames, self.channels = dataset, recipe.frames, kind.channels
        self.centre = kind.output == "centre"
        if self.centre:
            self.rows = np.arange(0, dataset.frames("train"), recipe.stride)[:, None]
        else:
            self.rows = dataset.clips("train", recipe.frames, recipe.stride)
        if not len(self.rows):
            raise InputError(
                f"No training source of {dataset.path} yields a clip; use a shorter clip than {recipe.frames}."
            )

    def __len__(self):
        return len(self.rows)

    def __getitems__(self, numbers):
        rows = self.rows[numbers]
        index = self.dataset.windows("train", self.frames, centres=rows[:, 0]) if self.centre else rows
        keypoints = self.dataset.inputs("train", index)[..., : self.channels]
        targets = root_relative(self.dataset.targets("train", rows))
        return torch.from_numpy(np.ascontiguousarray(keypoints)), torch.from_numpy(targets)


def train(recipe, dataset, folder, device="auto", resume=False, on_epoch=None, on_step=None):
    """Train by `recipe` on `dataset` into the run folder; returns (history, trained): one dict per epoch, and whether
    any of them was trained by this call.

    The folder receives recipe.yaml, log.csv, TensorBoard events, last.ckpt (everything needed to resume) and
    last.safetensors and best.safetensors; "best" has the lowest test MPJPE, as the papers choose. on_epoch(row) and
    on_step(done, of) report progress. With `resume` an interrupted run goes on, and a missing one is begun.

    Raises InputError when the folder holds another run, or the loss is no longer finite.
    """
    folder = Path(folder)
    checkpoint = folder / "last.ckpt"
    if checkpoint.exists() and not resume:
        raise InputError(f"{folder} already holds a run; resume it with --resume or choose another folder with --run.")
    fabric = Fabric(accelerator=device, devices=1)
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, frames=recipe.frames, **recipe.numbers)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    optimizer = kind(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    history, best = [], None
    if checkpoint.exists():
        history, best = _restore(checkpoint, recipe, dataset, model, optimizer)
    if len(history) >= recipe.epochs:
        return history, False
    model, optimizer = fabric.setup(model, optimizer)
    examples = Examples(dataset, recipe)
    with replacing(folder / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(recipe.model_dump(), sort_keys=False), encoding="utf-8")

    with SummaryWriter(folder, purge_step=len(history)) as board:
        for epoch in range(len(history), recipe.epochs):
            row = _epoch(fabric, model, optimizer, examples, recipe, epoch, on_step)
            row["test_mpjpe_mm"] = quick_mpjpe(model, recipe.model, dataset, recipe.frames, device=fabric.device)
            history.append(row)
            for key in ("loss", "total_variation", "test_mpjpe_mm", "learning_rate"):
                if key in row:
                    board.add_scalar(key, row[key], epoch)
            if best is None or row["test_mpjpe_mm"] < history[best]["test_mpjpe_mm"]:
                best = epoch
                _save_weights(folder / "best.safetensors", model, recipe, epoch, "lowest MPJPE on the test subjects")
            _save_weights(folder / "last.safetensors", model, recipe, epoch, "last epoch")
            state = {
                "model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history, "best": best,
                "recipe": recipe.model_dump(), "data": dataset.digest,
            }  # fmt: skip
            with replacing(checkpoint) as temporary:
                torch.save(state, temporary)
            with replacing(folder / "log.csv") as temporary:
                pd.DataFrame(history).to_csv(temporary, index=False)
            if on_epoch:
                on_epoch(row)
    return history, True


def _epoch(fabric, model, optimizer, examples, recipe, epoch, on_step):
    start = time.perf_counter()
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)
    draw = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    rate = recipe.learning_rate * recipe.learning_rate_decay**epoch
    for group in optimizer.param_groups:
        group["lr"] = rate
    loader = fabric.setup_dataloaders(
        torch.utils.data.DataLoader(
            examples, recipe.batch_size, shuffle=True, generator=draw, collate_fn=lambda batch: batch
        )
    )
    model.train()
    total, variations, clips = 0.0, 0.0, 0
    for step, (keypoints, targets) in enumerate(loader):
        if recipe.flip:
            flipped = (torch.rand(len(keypoints), 1, 1, 1, generator=draw) < 0.5).to(keypoints.device)
            keypoints = torch.where(flipped, mirror(keypoints), keypoints)
            targets = torch.where(flipped, mirror(targets), targets)
        optimizer.zero_grad()
        predicted = model(keypoints)
        loss = losses.total(predicted, targets, recipe.loss)
        if recipe.total_variation:
            variation = fractional_total_variation(predicted, recipe.total_variation.order)
            loss = loss + recipe.total_variation.weight * variation
            variations += variation.item() * len(keypoints)
        if not torch.isfinite(loss):
            raise InputError(
                f"The loss is not finite in epoch {epoch}, step {step}; lower learning_rate in the recipe."
            )
        fabric.backward(loss)
        optimizer.step()
        total, clips = total + loss.item() * len(keypoints), clips + len(keypoints)
        if on_step:
            on_step(step + 1, len(loader))
    seconds = time.perf_counter() - start
    row = {
        "epoch": epoch, "loss": total / clips, "learning_rate": rate, "epoch_s": seconds, "clips_per_s": clips / seconds
    }  # fmt: skip
    return row | ({"total_variation": variations / clips} if recipe.total_variation else {})


def _save_weights(path, model, recipe, epoch, chosen_by):
    """Weights as safetensors; its metadata says how to build the model and where the weights come from."""
    metadata = {"model": recipe.model, "frames": recipe.frames, "numbers": recipe.numbers, "input": recipe.input}
    metadata |= {"epoch": epoch, "chosen_by": chosen_by}
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(path) as temporary:
        safetensors.torch.save_file(state, temporary, {key: json.dumps(value) for key, value in metadata.items()})


def _restore(checkpoint, recipe, dataset, model, optimizer):
    try:
        state = torch.load(checkpoint, weights_only=True)
        same = state["recipe"] == recipe.model_dump() and state["data"] == dataset.digest
    except Exception as error:
        raise InputError(
            f"{checkpoint} cannot be resumed from, it is damaged; remove its folder to start again."
        ) from error
    if not same:
        raise InputError(
            f"{checkpoint.parent} holds a run of another recipe or data file; choose another folder with --run."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["history"], state["best"]
