"""Training by a recipe: published losses, one loop for every model and stage, resumable at any step.

The recipe's seed and the step's place in the run determine all randomness of a step (order, mirrored clips, stochastic
depth) and the learning rate. A checkpoint's epoch and step are therefore the whole state of the sampler, the schedule
and the random generators, and a run that is killed and resumed reaches the weights of one that was not.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.baselines.registry import create_model, entry
from liftbench.baselines.training import checkpoint, distributed
from liftbench.baselines.training.batches import Batches, order_of_epoch
from liftbench.baselines.training.gradient_checkpointing import recompute_blocks
from liftbench.baselines.training.recipe import Recipe
from liftbench.baselines.training.schedule import learning_rate
from liftbench.baselines.training.stages import Stage, first_stage, pose_stage
from liftbench.baselines.training.tracking import tracking

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
EXPLODED = 1e6  # normalised poses are of order 1, so such a loss no longer belongs to them
STEPS_BETWEEN_CHECKS = 50  # for values that are not finite, on a GPU, where a check makes it wait


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: str | Path,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    checkpoint_minutes: float = 10,
    services: Sequence[str] = ("tensorboard",),
) -> tuple[list[dict], bool]:
    """Train by `recipe` on `dataset` into the run folder. Return (history, trained): one dict per epoch, and whether
    this call trained any of them.

    The folder receives recipe.yaml, log.csv, what the tracking `services` write, last.ckpt (everything needed to
    resume, written after every epoch and, within one, every `checkpoint_minutes`), last.safetensors and
    best.safetensors; "best" has the lowest test MPJPE, as in the papers. If the model has two stages, the first is
    trained into folder/stage_1, and the second builds on its last epoch. `resume` continues an interrupted run and
    begins a missing one. Under torchrun all processes train together; only the first one writes and reports.

    on_epoch(row) is called after every epoch; on_progress(what, done, of) after every step ("epoch 2 of 5") and every
    batch of the test clips ("test of epoch 2 of 5").

    Raises InputError if the folder holds another run or cannot be written, if the recipe is for other data, or if a
    loss or gradient is no longer finite. A KeyboardInterrupt says what the folder keeps and how to go on.
    """
    folder = Path(folder)
    begun = any((path / "last.ckpt").exists() for path in (folder, folder / "stage_1"))
    if begun and not resume:
        raise InputError(
            f"Cannot train in {folder}: it holds a run. Resume it with --resume, or choose another with --run."
        )
    if dataset.protocol != recipe.data:
        raise InputError(
            f"Cannot train on {dataset.path}: the recipe is for data {recipe.data}, this is {dataset.protocol}. "
            "Choose other data or another recipe."
        )
    fabric = distributed.start(device)
    if recipe.precision == "float16" and fabric.device.type == "cpu":
        raise InputError("Cannot train in float16: only GPUs can. Choose --device cuda, or precision: bfloat16.")
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, frames=recipe.frames, **recipe.numbers)
    if recipe.precision in AUTOCAST and fabric.device.type == "cpu":
        _refuse_missing_precision(model, recipe)

    with _named_disk_errors(folder), distributed.end_together():
        if fabric.is_global_zero and not begun:
            with replacing(folder / "recipe.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(recipe.model_dump(), sort_keys=False), encoding="utf-8")
        if recipe.stage_1 and not (folder / "last.ckpt").exists():
            stage = first_stage(recipe, model, dataset)
            first = _Run(fabric, stage, recipe, dataset, folder / "stage_1")
            first.train(on_epoch, on_progress, checkpoint_minutes, services)
            stage.model.load_state_dict(first.evaluated.state_dict())
        run = _Run(fabric, pose_stage(recipe, model, dataset), recipe, dataset, folder)
        trained = run.train(on_epoch, on_progress, checkpoint_minutes, services)
    return run.history, trained


class _Run:
    """One stage in training: the state that its steps change, and how its folder keeps it."""

    def __init__(self, fabric: Fabric, stage: Stage, whole_recipe: Recipe, dataset: Dataset, folder: Path):
        self.fabric, self.stage, self.recipe, self.dataset, self.folder = fabric, stage, stage.recipe, dataset, folder
        self.identity = {"recipe": whole_recipe.model_dump(), "data": dataset.digest}
        recipe, device = self.recipe, fabric.device
        self.model = stage.model.to(device)
        if fabric.world_size > 1 and device.type == "cuda":
            self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        average = get_ema_multi_avg_fn(recipe.ema) if recipe.ema else None
        self.averaged = AveragedModel(self.model, multi_avg_fn=average) if average else None
        self.evaluated = self.averaged.module if average else self.model
        if recipe.gradient_checkpointing:
            recompute_blocks(self.model)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            self.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True,
            amsgrad=recipe.optimizer == "adam_amsgrad",
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.name = "" if recipe is whole_recipe else "stage 1, "
        self.history, self.best = [], None
        self.kept = None  # (epochs, steps) of the checkpoint on the disk
        self._begin_epoch()

    def _begin_epoch(self):
        self.step = 0
        self.seconds = self.waited = 0.0
        self.sums = {}  # of the losses, clip by clip, float64 on the device
        self.first_bad = torch.full((), -1, device=self.fabric.device)  # the first step that was not finite

    def train(
        self,
        on_epoch: Callable[[dict], None] | None,
        on_progress: Callable[[str, int, int], None] | None,
        checkpoint_minutes: float,
        services: Sequence[str],
    ) -> bool:
        """Train until the recipe's last epoch; returns whether there was anything to train."""
        writes = self.fabric.is_global_zero
        state = checkpoint.read_state(self.folder / "last.ckpt", self.identity)
        if state:
            self._restore(state)
        distributed.begin_together(self.fabric, (self.stage.headline, len(self.history), self.step), self.folder)
        finished = len(self.history) == self.recipe.epochs
        with self._tracking(services) if writes else contextlib.nullcontext() as log:
            if finished:
                return False
            self.module = self.fabric.setup_module(self.model)
            self.batches = Batches(self.dataset, self.recipe, self.fabric.device)
            self.saved = time.monotonic()
            try:
                for _ in range(len(self.history), self.recipe.epochs):
                    self._epoch(on_progress if writes and on_progress else _silent, checkpoint_minutes)
                    if writes:
                        self._save()
                        self._write_weights()
                        log(self.history)
                    if writes and on_epoch:
                        on_epoch(self.history[-1])
            except KeyboardInterrupt as stop:
                raise KeyboardInterrupt(self._what_is_kept()) from stop
        return True

    @contextlib.contextmanager
    def _tracking(self, services: Sequence[str]) -> Iterator[Callable[[list[dict]], None]]:
        """Start `tracking`, after bringing log.csv and the weights up to the last epoch: a kill right after its
        checkpoint leaves them behind, and they may have been damaged or removed since."""
        logged = self._logged()
        complete = logged == len(self.history) and (self.folder / "last.safetensors").exists()
        if self.history and not complete and self.step == 0:
            self._write_weights()
        if logged == self.recipe.epochs:
            yield
            return
        with tracking(self.folder, self.identity["recipe"], self.history[:logged], services) as log:
            for rows in range(logged, len(self.history)):
                log(self.history[: rows + 1])
            yield log

    def _logged(self) -> int:
        """Return how many epochs log.csv holds; 0 if it is not a beginning of the history and has to be
        written anew.
        """
        path = self.folder / "log.csv"
        found = path.read_bytes().splitlines() if path.exists() else []
        expected = pd.DataFrame(self.history).to_csv(index=False).encode().splitlines()
        return len(found) - 1 if found and found == expected[: len(found)] else 0

    def _epoch(self, progress: Callable[[str, int, int], None], checkpoint_minutes: float):
        """Train the rest of an epoch, from `self.step` on, and add its row to the history."""
        epoch, recipe, fabric = len(self.history), self.recipe, self.fabric
        title = f"{self.name}epoch {epoch + 1} of {recipe.epochs}"
        self.order, self.mirrored = order_of_epoch(recipe.seed, epoch, len(self.batches), recipe.flip)
        steps = math.ceil(len(self.order) / recipe.batch_size)
        plan = [
            distributed.parts_of(self._clips_of(step), recipe.accumulate, fabric.global_rank, fabric.world_size)
            for step in range(self.step, steps)
        ]
        batches = self.batches.each([numbers for parts in plan for numbers, _ in parts], self.mirrored)
        self.module.train()
        started = time.perf_counter() - self.seconds
        for parts in plan:
            rate = learning_rate(recipe, epoch, self.step, steps)
            self._step(batches, [share for _, share in parts], rate)
            self.step += 1
            self.seconds = time.perf_counter() - started
            progress(title, self.step, steps)
            if fabric.is_global_zero and self.step < steps and self._is_due(checkpoint_minutes):
                self._check()
                self._save()
        self._check()
        self.seconds = time.perf_counter() - started
        row = {"epoch": epoch, "learning_rate": rate, "epoch_s": self.seconds}
        row |= {name: total.item() / len(self.order) for name, total in self.sums.items()}
        row |= {"clips_per_s": len(self.order) / self.seconds, "data_wait_share": self.waited / self.seconds}
        distributed.equal_buffers(fabric, self.evaluated)
        predict = distributed.predict_together(fabric, functools.partial(progress, f"test of {title}"))
        row |= self.stage.scores(self.evaluated, predict)
        headline = self.stage.headline
        if self.best is None or self.stage.better(row[headline], self.history[self.best][headline]):
            self.best = epoch
        self.history.append(row)
        self._begin_epoch()

    def _clips_of(self, step: int) -> np.ndarray:
        return self.order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]

    def _step(self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], shares: Sequence[float], rate: float):
        """One step of the optimiser; shares: one per part that `batches` yields, of the whole batch."""
        recipe, fabric, device = self.recipe, self.fabric, self.fabric.device
        draw = np.random.SeedSequence((recipe.seed, len(self.history), self.step + 1, fabric.global_rank))
        torch.manual_seed(int(draw.generate_state(1, np.uint64)[0]))
        self.optimizer.zero_grad()
        measured = {}
        for part, share in enumerate(shares, start=1):
            asked = time.perf_counter()
            keypoints, targets = next(batches)
            self.waited += time.perf_counter() - asked
            with fabric.no_backward_sync(self.module, enabled=part < len(shares)):
                with torch.autocast(device.type, AUTOCAST.get(recipe.precision), recipe.precision in AUTOCAST):
                    predicted = self.module(keypoints)
                losses = self.stage.losses(predicted.float(), targets)
                # DistributedDataParallel takes the mean over the processes.
                fabric.backward(self.scaler.scale(losses["loss"] * (share * fabric.world_size)))
            for name, value in losses.items():
                measured[name] = measured.get(name, 0) + value.detach() * share
        measured = {name: fabric.all_reduce(value, reduce_op="sum") for name, value in measured.items()}
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm(
            [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        )
        finite = (measured["loss"] < EXPLODED) & (norm.isfinite() | self.scaler.is_enabled())
        self.first_bad = torch.where(finite | (self.first_bad >= 0), self.first_bad, self.step)
        if device.type == "cpu" or self.step % STEPS_BETWEEN_CHECKS == 0:
            self._check()
        if recipe.clip_gradient:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, recipe.clip_gradient, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged:
            self.averaged.update_parameters(self.model)
        clips = len(self._clips_of(self.step))
        self.sums = {name: self.sums.get(name, 0) + value.double() * clips for name, value in measured.items()}

    def _check(self):
        """Raise InputError if a loss or gradient of this epoch was not finite; keep the batch beside the run."""
        step = int(self.first_bad)
        if step < 0:
            return
        path = self.folder / "not_finite.safetensors"
        if self.fabric.is_global_zero:
            clips = self._clips_of(step)
            ((keypoints, targets),) = self.batches.each([clips], self.mirrored)
            tensors = {"keypoints": keypoints, "targets": targets, "clips": torch.from_numpy(clips)}
            checkpoint.write_weights(path, tensors, {"epoch": len(self.history), "step": step})
        raise InputError(
            f"Cannot go on: in {self.name}epoch {len(self.history) + 1}, step {step + 1}, the loss or its gradient is "
            f"not finite, or the loss is above {EXPLODED:,.0f} ({path} keeps the batch). Lower learning_rate in the "
            "recipe, or set clip_gradient."
        )

    def _is_due(self, minutes: float) -> bool:
        return time.monotonic() - self.saved >= 60 * minutes

    def _save(self):
        """Write last.ckpt."""
        state = self.identity | {name: getattr(self, name) for name in _PLAIN}
        state |= {name: getattr(self, name).state_dict() for name in _STATEFUL if getattr(self, name) is not None}
        checkpoint.write_state(self.folder / "last.ckpt", state)
        self.saved, self.kept = time.monotonic(), (len(self.history), self.step)

    def _what_is_kept(self) -> str:
        if self.kept is None:
            before = (self.folder / "stage_1/last.ckpt").exists()
            return f"{self.folder} keeps stage 1; go on with --resume" if before else "nothing is kept yet; start again"
        epochs, steps = self.kept
        within = f" and {steps} steps of the next one" if steps else ""
        return f"{self.folder} keeps {self.name}{epochs} of {self.recipe.epochs} epochs{within}; go on with --resume"

    def _restore(self, state: dict[str, Any]):
        with checkpoint.named_damage(self.folder / "last.ckpt"):
            for name in _PLAIN:
                setattr(self, name, state[name])
            for name in _STATEFUL:
                if getattr(self, name) is not None:
                    getattr(self, name).load_state_dict(state[name])
            self.sums = {name: value.to(self.fabric.device) for name, value in self.sums.items()}
        self.kept = len(self.history), self.step

    def _write_weights(self):
        """Write the evaluated weights; their metadata says how to build the model and where they come from."""
        recipe, epoch = self.recipe, len(self.history) - 1
        metadata = {"model": recipe.model, "frames": recipe.frames, "numbers": recipe.numbers, "input": recipe.input}
        metadata |= {"data": recipe.data, "epoch": epoch}
        mocap = (self.dataset.origin or {}).get("kind") == "mocap"
        metadata |= {"joint_9": "neck" if mocap else "nose"}  # for lifting: joint 9 of Human3.6M lies in the face
        weights = self.evaluated.state_dict()
        if self.best == epoch:
            chosen = {"chosen_by": self.stage.chosen_by}
            checkpoint.write_weights(self.folder / "best.safetensors", weights, metadata | chosen)
        checkpoint.write_weights(self.folder / "last.safetensors", weights, metadata | {"chosen_by": "last epoch"})


def _silent(what: str, done: int, of: int):
    pass


# What a checkpoint holds of a run: plain values, and what has a state_dict.
_PLAIN = ("step", "seconds", "waited", "sums", "history", "best")
_STATEFUL = ("model", "averaged", "optimizer", "scaler")


def _refuse_missing_precision(model: torch.nn.Module, recipe: Recipe) -> None:
    """Raise InputError if this processor cannot run the model in the recipe's precision. One clip shows it."""
    clip = torch.zeros(1, recipe.frames, 17, entry(recipe.model).channels)
    try:
        with torch.no_grad(), torch.autocast("cpu", AUTOCAST[recipe.precision]):
            model.eval()(clip)
    except NotImplementedError as error:
        raise InputError(str(error)) from error
    finally:
        model.train()


@contextlib.contextmanager
def _named_disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Cannot write to {folder}, or read the data: {error.strerror or error}. Free the disk or choose another "
            "folder, then go on with --resume."
        ) from error
