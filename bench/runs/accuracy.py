"""Training and evaluation as records."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from liftbench import kernels
from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import inference
from liftbench.baselines.files import sha256
from liftbench.baselines.registry import create_model
from liftbench.baselines.training.recipe import Recipe
from liftbench.baselines.weights.trained import Weights, of_forward_pass
from liftbench.bench import records
from liftbench.bench.records import environment


def evaluate(
    weights: Weights,
    dataset: Dataset,
    device: str,
    scan_implementation: str,
    progress: Callable[[int, int], None] | None = None,
) -> records.AccuracyRecord:
    """Evaluate on the test split -> AccuracyRecord. progress(done, of) counts poses or clips.

    Raises InputError for weights trained on another kind of data, whose answers have other units.
    """
    check_units(weights, dataset)
    model = weights.model.to(device)
    result = inference.evaluate(model, weights.model_name, dataset, weights.frames, device=device, progress=progress)
    return records.AccuracyRecord(
        **environment.stamp(device, scan_of(model, scan_implementation)),
        **facts(weights),
        data=data_of(dataset, result.test_frames, result.test_clips),
        **{key: result[key] for key in result.keys() if key not in ("test_frames", "test_clips")},
    )


def check_units(weights: Weights, dataset: Dataset) -> None:
    """Raise InputError for weights that were trained on another kind of data."""
    if weights.data not in (None, dataset.protocol):
        raise InputError(
            f"Cannot evaluate {weights.path} on {dataset.path}: it was trained on {weights.data}, this is "
            f"{dataset.protocol}, and their answers have different units. Choose other data."
        )


def facts(weights: Weights) -> dict[str, Any]:
    """Return the fields of a record that say which model was evaluated, with which weights."""
    checkpoint = records.Checkpoint(
        file=weights.path.name, sha256=sha256(weights.path), epoch=weights.epoch, chosen_by=weights.chosen_by
    )
    names = {"model": weights.name, "frames": weights.frames, "numbers": weights.numbers}
    return names | {"checkpoint": checkpoint}


def record_training(
    folder: str | Path, recipe: Recipe, dataset: Dataset, history: list[dict], device: str, scan_implementation: str
):
    """Append the TrainingRecord of a finished run unless it is there already: a run may be killed before it
    is written.
    """
    clips = inference.official_clips(recipe.model, dataset, recipe.frames)
    columns = {key: [row[key] for row in history] for key in history[0]}
    model = create_model(recipe.model, frames=recipe.frames, **recipe.numbers)
    record = records.TrainingRecord(
        **environment.stamp(device, scan_of(model, scan_implementation)),
        model=recipe.entry.name,
        frames=recipe.frames,
        numbers=of_forward_pass(recipe.numbers),
        data=data_of(dataset, int(np.unique(clips).size), len(clips)),
        recipe=recipe.model_dump(),
        epochs=columns["epoch"],
        loss=columns["loss"],
        total_variation=columns.get("total_variation"),
        test_mpjpe_mm=columns["test_mpjpe_mm"],
        learning_rate=columns["learning_rate"],
        epoch_s=columns["epoch_s"],
        data_wait_share=columns["data_wait_share"],
        clips_per_s=float(np.median(columns["clips_per_s"])),
        processes=int(os.environ.get("WORLD_SIZE", 1)),
    )
    path = Path(folder) / "training.jsonl"
    if not _is_recorded(path, record):
        records.append(path, record)


def _is_recorded(path: Path, record: records.TrainingRecord) -> bool:
    """Return whether the file holds this run. The exact seconds of its epochs identify it."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, AttributeError):  # a line cut short by a kill, or no record
            if json.loads(line).get("epoch_s") == record.epoch_s:
                return True
    return False


def scan_of(model: nn.Module, implementation: str) -> str | None:
    """Return the scan that ran, or None for a model without one."""
    return implementation if kernels.scans(model) else None


def data_of(dataset: Dataset, test_frames: int, test_clips: int) -> records.Data:
    """Return the data of a record. A file that does not say how it was made counts as the public data set only if it is
    as long.
    """
    released = dataset.RELEASE_FRAMES and all(
        dataset.frames(split) == frames for split, frames in dataset.RELEASE_FRAMES.items()
    )
    origin = dataset.origin or ({} if released else {"kind": "unidentified"})
    return records.Data(
        name=dataset.path.name, sha256=dataset.digest, origin=origin, protocol=dataset.protocol, input=dataset.input,
        test_frames=test_frames, test_clips=test_clips,
    )  # fmt: skip
