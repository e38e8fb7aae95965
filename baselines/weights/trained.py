"""Build a trained model with its weights, and gather what is known about them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import create_model, entry, is_file, located
from liftbench.baselines.weights.candidates import trained_frames, whole_models
from liftbench.baselines.weights.load import load_weights
from liftbench.baselines.weights.metadata import read_metadata
from liftbench.baselines.weights.read import read_checkpoint


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
    joint_9: str | None = None  # "nose" or "neck": what joint 9 of that data is
    also_fits: tuple[str, ...] = ()  # other models that the same tensors fit, which the file cannot tell apart

    @property
    def name(self) -> str:
        """The model's name as records and tables show it."""
        return entry(self.model_name, self.frames).name


def open_weights(
    path: str | Path,
    model_name: str | None = None,
    frames: int | None = None,
    input_2d: str | None = None,
    best: bool = False,
) -> Weights:
    """Build the model of a run folder or a weights file, and load its weights. best: those of the best epoch.

    Our own files say which model they hold. For others the tensors decide; if they fit several models, the first counts
    unless `model_name` chooses. Raises InputError if something is missing, contradicts the file or fits no model.
    """
    path = Path(path)
    if os.path.isdir(path):
        path = path / ("best.safetensors" if best else "last.safetensors")
        if not os.path.isfile(path):
            raise InputError(
                f"Cannot use {path.parent}: it has no {path.name}, so no epoch is finished. Train it first."
            )
    elif not os.path.isfile(path):
        raise InputError(f"Cannot read {path}: there is no such run folder or weights file. Check the path.")
    model_name = model_name and located(model_name, ".")
    known = read_metadata(path) or _identified(path, model_name)
    for key, value in (("model", model_name), ("frames", frames), ("input", input_2d)):
        if None not in (value, known.get(key)) and known[key] != value and not _is_moved(key, known[key], value):
            raise InputError(
                f"Cannot use {path}: it was made with {key} {known[key]}, not {value}. Leave that option out."
            )
    model_name = model_name or known["model"]
    frames = known.get("frames") or frames or entry(model_name).frames
    numbers = of_forward_pass(known.get("numbers", {}))
    model = load_weights(create_model(model_name, frames=frames, **numbers), path)
    return Weights(
        model, model_name, frames, numbers, known.get("input", input_2d), path, known.get("epoch"),
        known.get("chosen_by"), known.get("data"), known.get("joint_9"), known.get("also_fits", ()),
    )  # fmt: skip


def _identified(path: Path, model_name: str | None) -> dict[str, Any]:
    """Identify a file that says nothing about itself by its tensors."""
    state = read_checkpoint(path).state
    if model_name:
        return {"model": model_name, "frames": trained_frames(model_name, state)}
    model, *others = whole_models(state, path)
    return {"model": model, "frames": trained_frames(model, state), "also_fits": tuple(others)}


def _is_moved(key: str, known: Any, given: Any) -> bool:
    """Return whether both name the same function of a user's file, which may have moved since."""
    return key == "model" and is_file(known) and os.path.basename(known) == os.path.basename(given)


def of_forward_pass(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out settings that change a model's training or speed, but not what it computes."""
    return {key: value for key, value in numbers.items() if key != "limb_gradient"}
