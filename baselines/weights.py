"""Reading weights: official checkpoints and our own safetensors, checked key by key before anything is loaded."""

import io
import pickle
import warnings
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from .errors import InputError

# A checkpoint may hold its best loss as a numpy scalar; nothing else than these and tensors is admitted.
_SAFE_GLOBALS = [
    np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]  # fmt: skip


def load_weights(model, path):
    """Load weights from `path` into `model`, all of them or none.

    Reads safetensors, and torch checkpoints (read without running code) whose weights stand under `model_pos` or
    `model` or at the top, with or without the prefix `module.`. Raises InputError naming every key or shape that does
    not fit. Returns the model.

    What an official checkpoint holds but a model by design does not build (`unused_official_keys`, Pose3DM) is left out
    with a warning that says how many parameters that is.
    """
    state = read_state(path)
    own = model.state_dict()
    unused = getattr(model, "unused_official_keys", lambda keys: set())(state)
    left_out = sum(state.pop(key).numel() for key in unused)
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [
        f"{key} is {tuple(state[key].shape)} but the model has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [
        f"{len(items)} {what}: {', '.join(items[:5])}{', ...' if len(items) > 5 else ''}"
        for what, items in (("missing", missing), ("not in the model", unexpected), ("of another shape", misshapen))
        if items
    ]
    if problems:
        raise InputError(
            f"The weights in {path} do not fit {type(model).__name__} - {'; '.join(problems)}. "
            "Build the variant, clip length and settings that the file was made with."
        )
    model.load_state_dict(state)
    if left_out:
        message = f"left out {left_out:,} parameters of {path} that {type(model).__name__} never uses"
        warnings.warn(message, stacklevel=2)
    return model


def read_state(path):
    """The tensors of a weights file by their official names: dict of str to tensor, on the CPU. Raises InputError."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no weights file {path}; check the path.")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is not a readable safetensors file ({error}); copy it again.") from error
    checkpoint = _load_torch(path)
    if isinstance(checkpoint, dict):
        checkpoint = next((checkpoint[key] for key in ("model_pos", "model") if key in checkpoint), checkpoint)
    if not isinstance(checkpoint, dict) or not checkpoint:
        raise InputError(f"{path} holds no weights: expected a dict of tensors, or one under model_pos or model.")
    for key, value in checkpoint.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise InputError(
                f"{path} holds no weights: expected a dict of tensors, "
                f"but entry {str(key)!r} is {type(value).__name__}."
            )
    return {key.removeprefix("module."): value for key, value in checkpoint.items()}


def _load_torch(path):
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch muses about old pickle protocols
            return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("Unsupported global: ")[-1].split(" ")[1:2] if "GLOBAL" in str(error) else []
        what = f"it asks to run {reason[0]}" if reason else "it holds more than tensors and plain containers"
        raise InputError(f"{path} was refused, because {what}; only weights are read.") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise InputError(f"{path} is not a readable torch checkpoint; it may be cut short, copy it again.") from error
