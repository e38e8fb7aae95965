"""Training and evaluation as records."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import inference
from liftbench.baselines.files import sha256
from liftbench.baselines.registry import create_model, entry, is_file, located
from liftbench.baselines.weights.candidates import trained_frames, whole_models
from liftbench.baselines.weights.load import load_weights
from liftbench.baselines.weights.metadata import read_metadata
from liftbench.baselines.weights.read import read_checkpoint
from liftbench.bench import records
from liftbench.bench.records import environment


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
    also_fits: tuple[str, ...] = ()  # other models that the same tensors fit, which the file cannot tell apart

    @property
    def name(self):
        """The model's name as records and tables show it."""
        return entry(self.model_name, self.frames).name


def open_weights(path, model_name=None, frames=None, input_2d=None, best=False):
    """Build and load the model of a run folder or a weights file -> Weights.

    Our own files say what they are; the tensors of others do, and where they fit several models the first counts unless
    `model_name` chooses. Raises InputError where something is missing, contradicts the file or fits no model.
    """
    path = Path(path)
    if path.is_dir():
        path = path / ("best.safetensors" if best else "last.safetensors")
        if not path.is_file():
            raise InputError(f"{path.parent} holds no finished epoch ({path.name} is missing); train it first.")
    elif not path.is_file():
        raise InputError(f"There is no run folder or weights file {path}; check the path.")
    model_name = model_name and located(model_name, ".")
    known = read_metadata(path) or _identified(path, model_name)
    for key, value in (("model", model_name), ("frames", frames), ("input", input_2d)):
        if value is not None and known.get(key, value) != value and not _is_moved(key, known[key], value):
            raise InputError(f"{path} was made with {key} {known[key]}, not {value}; leave that option away.")
    model_name = model_name or known["model"]
    frames = known.get("frames") or frames or entry(model_name).frames
    numbers = _of_forward_pass(known.get("numbers", {}))
    model = load_weights(create_model(model_name, frames=frames, **numbers), path)
    return Weights(
        model, model_name, frames, numbers, known.get("input", input_2d), path, known.get("epoch"),
        known.get("chosen_by"), known.get("data"), known.get("also_fits", ()),
    )  # fmt: skip


def _identified(path, model_name):
    """What the tensors of a file say that says nothing of itself."""
    state = read_checkpoint(path).state
    if model_name:
        return {"model": model_name, "frames": trained_frames(model_name, state)}
    model, *others = whole_models(state, path)
    return {"model": model, "frames": trained_frames(model, state), "also_fits": tuple(others)}


def _is_moved(key, known, given):
    """Whether both are the same function of a user's file, which may stand elsewhere by now."""
    return key == "model" and is_file(known) and os.path.basename(known) == os.path.basename(given)


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
        model=weights.name,
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
        model=recipe.entry.name,
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
