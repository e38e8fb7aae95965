"""Training and evaluation as records."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from liftbench import kernels
from liftbench.baselines.data.formats.checks import short
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import inference
from liftbench.baselines.files import sha256
from liftbench.baselines.registry import create_model, entry
from liftbench.baselines.weights.read import load_weights
from liftbench.bench import records
from liftbench.bench.records import environment

# What a weights file may say about itself.
_METADATA = {
    "model": str, "frames": int, "numbers": dict, "data": str, "input": str, "epoch": int, "chosen_by": str,
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """A model with its weights, and what is known about them."""

    model: torch.nn.Module
    model_name: str
    frames: int
    numbers: dict
    input: str | None  # None: the data set's default
    path: Path
    epoch: int | None
    chosen_by: str | None
    data: str | None = None  # what it was trained on, a key of `protocols.PROTOCOLS`


def open_weights(path, model_name=None, frames=None, input_2d=None, best=False):
    """Build and load the model of a run folder or a weights file -> Weights.

    Our own files say what they are; for others `model_name` is needed, and `frames` unless it is the published one.
    Raises InputError where something is missing, or contradicts the file.
    """
    path = Path(path)
    if path.is_dir():
        path = path / ("best.safetensors" if best else "last.safetensors")
        if not path.is_file():
            raise InputError(f"{path.parent} holds no finished epoch ({path.name} is missing); train it first.")
    elif not path.is_file():
        raise InputError(f"There is no run folder or weights file {path}; check the path.")
    known = _metadata(path)
    for key, value in (("model", model_name), ("frames", frames), ("input", input_2d)):
        if value is not None and known.get(key, value) != value:
            raise InputError(f"{path} was made with {key} {known[key]}, not {value}; leave that option away.")
    model_name = known.get("model", model_name)
    if model_name is None:
        raise InputError(f"{path} does not say which model it belongs to; name it with --model.")
    frames = known.get("frames", frames or entry(model_name).frames)
    numbers = _of_forward_pass(known.get("numbers", {}))
    model = load_weights(create_model(model_name, frames=frames, **numbers), path)
    input_2d, whence = known.get("input", input_2d), (known.get(key) for key in ("epoch", "chosen_by", "data"))
    return Weights(model, model_name, frames, numbers, input_2d, path, *whence)


def _metadata(path):
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            found = {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "format"}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}); copy it again.") from error
    for key, kind in _METADATA.items():
        if not isinstance(found.get(key), kind | None):
            raise InputError(f"{path} says that its {key} is {short(found[key])}, which cannot be; get the file again.")
    return {key: value for key, value in found.items() if value is not None}


def evaluate(weights, dataset, device, scan_implementation, progress=None):
    """Evaluate on the test split -> AccuracyRecord. progress(done, of) counts poses or clips.

    Raises InputError for weights trained on another kind of data, whose answers have other units.
    """
    if weights.data not in (None, dataset.protocol):
        raise InputError(
            f"{weights.path} was trained on {weights.data}, but {dataset.path} is {dataset.protocol}, where answers "
            "have other units; choose other data."
        )
    model = weights.model.to(device)
    result = inference.evaluate(model, weights.model_name, dataset, weights.frames, device=device, progress=progress)
    return records.AccuracyRecord(
        **environment.stamp(device, _scan_of(model, scan_implementation)),
        model=weights.model_name,
        frames=weights.frames,
        numbers=weights.numbers,
        data=_data(dataset, result.pop("test_frames"), result.pop("test_clips")),
        checkpoint=records.Checkpoint(
            file=weights.path.name,
            sha256=sha256(weights.path),
            epoch=weights.epoch,
            chosen_by=weights.chosen_by,
        ),
        **result,
    )


def record_training(folder, recipe, dataset, history, device, scan_implementation):
    """Append the TrainingRecord of a finished run, unless it is there: a run may be killed before its record is."""
    clips = inference.official_clips(recipe.model, dataset, recipe.frames)
    columns = {key: [row[key] for row in history] for key in history[0]}
    model = create_model(recipe.model, frames=recipe.frames, **recipe.numbers)
    record = records.TrainingRecord(
        **environment.stamp(device, _scan_of(model, scan_implementation)),
        model=recipe.model,
        frames=recipe.frames,
        numbers=_of_forward_pass(recipe.numbers),
        data=_data(dataset, int(np.unique(clips).size), len(clips)),
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


def _is_recorded(path, record):
    """Whether the file holds this run. Its epochs' seconds tell it from any other, to their last digit."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, AttributeError):  # a line cut short by a kill, or no record
            if json.loads(line).get("epoch_s") == record.epoch_s:
                return True
    return False


def _of_forward_pass(numbers):
    """Without the settings that change the training or the speed of a model, but not what it computes."""
    return {key: value for key, value in numbers.items() if key != "limb_gradient"}


def _scan_of(model, implementation):
    """The scan that ran, None for a model without one."""
    return implementation if kernels.scans(model) else None


def _data(dataset, test_frames, test_clips):
    """The data of a record. What does not say how it was made counts as the public data set only if it is as long."""
    released = dataset.RELEASE_FRAMES and all(
        dataset.frames(split) == frames for split, frames in dataset.RELEASE_FRAMES.items()
    )
    origin = dataset.origin or ({} if released else {"kind": "unidentified"})
    return records.Data(
        name=dataset.path.name, sha256=dataset.digest, origin=origin, protocol=dataset.protocol, input=dataset.input,
        test_frames=test_frames, test_clips=test_clips,
    )  # fmt: skip
