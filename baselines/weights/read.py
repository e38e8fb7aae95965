"""Reading weights: official checkpoints and our own safetensors, checked key by key before anything is loaded."""

import io
import json
import math
import pickle
import re
import struct
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from liftbench.baselines.errors import InputError

# A checkpoint may hold its best loss as a numpy scalar; nothing else than these and tensors is admitted.
_SAFE_GLOBALS = [
    np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]  # fmt: skip
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds: tensors by their official names, on the CPU, and the plain facts beside them."""

    state: dict  # of str to tensor
    facts: dict  # of str to number or text: epoch, lr, min_loss, ...
    format: str


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file relate to those of a model: keys on one side only, and shapes that differ."""

    left_out: list  # official keys that the model by design does not build
    missing: list
    unexpected: list
    misshapen: list

    @property
    def exact(self):
        return not self.problems

    @property
    def problems(self):
        """The number of keys that do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def __str__(self):
        kinds = (("missing", self.missing), ("not in the model", self.unexpected), ("of another shape", self.misshapen))
        return "; ".join(
            f"{len(items)} {kind}: {', '.join(items[:5])}{f' and {len(items) - 5} more' if len(items) > 5 else ''}"
            for kind, items in kinds
            if items
        )


def compare(model, state):
    """How the tensors `state`, a dict by name, fit `model` -> Fit."""
    own = model.state_dict()
    left_out = getattr(model, "unused_official_keys", lambda keys: set())(state)
    return Fit(
        left_out=sorted(left_out),
        missing=[key for key in own if key not in state],
        unexpected=[key for key in state if key not in own and key not in left_out],
        misshapen=[
            f"{key} is {tuple(state[key].shape)} but the model has {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
    )


def load_weights(model, path):
    """Load weights from `path` into `model`, all of them or none.

    Reads what `read_checkpoint` reads. Raises InputError naming the keys and shapes that do not fit. Returns the model.

    What an official checkpoint holds but a model by design does not build (`unused_official_keys`, Pose3DM) is left out
    with a warning that says how many parameters that is.
    """
    state = read_checkpoint(path).state
    fit = compare(model, state)
    if not fit.exact:
        raise InputError(
            f"The weights in {path} do not fit {type(model).__name__} - {fit}. "
            "Build the variant, clip length and settings that the file was made with."
        )
    left_out = sum(state.pop(key).numel() for key in fit.left_out)
    model.load_state_dict(state)
    if left_out:
        message = f"left out {left_out:,} parameters of {path} that {type(model).__name__} never uses"
        warnings.warn(message, stacklevel=2)
    return model


def read_checkpoint(path):
    """Read a weights file -> Checkpoint, without running anything in it.

    Takes safetensors; torch checkpoints of any age whose weights stand under `model_pos` or `model` or at the top, with
    or without the prefix `module.`, with or without optimizer state; and folders into which a torch checkpoint, which
    is a zip archive, was unpacked. Raises InputError for anything else, and for what is damaged or hostile.
    """
    path = Path(path)
    if path.is_dir():
        content, form = _pack(path), "torch checkpoint, unpacked into a folder"
    elif not path.is_file():
        raise InputError(f"There is no weights file {path}; check the path.")
    elif path.name == "data.pkl":
        raise InputError(f"{path} is one part of an unpacked checkpoint; give its folder, {path.parent}.")
    elif path.suffix == ".safetensors":
        return _read_safetensors(path)
    else:
        content, form = path.read_bytes(), "torch checkpoint before PyTorch 1.6"
        if content.startswith(b"PK\3\4"):
            _check_zip(content, path)
            form = "torch checkpoint"
    checkpoint = _load_torch(content, path)
    if not isinstance(checkpoint, dict) or not checkpoint:
        raise InputError(f"{path} holds no weights: expected a dict of tensors, or one under model_pos or model.")
    state = next((checkpoint[key] for key in ("model_pos", "model") if key in checkpoint), checkpoint)
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path} holds no weights: expected a dict of tensors under model_pos or model.")
    for key, value in state.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise InputError(
                f"{path} holds no weights: expected a dict of tensors, "
                f"but entry {str(key)[:80]!r} is {_describe(value)}."
            )
    if len(state) > len(unprefixed := {key.removeprefix("module."): value for key, value in state.items()}):
        raise InputError(f"{path} holds the same weights with and without the prefix module.; keep one of them.")
    beside = {} if state is checkpoint else {str(key): _fact(value) for key, value in checkpoint.items()}
    return Checkpoint(unprefixed, {key: fact for key, fact in beside.items() if fact is not None}, form)


def _read_safetensors(path):
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            facts = {key: _decode(value) for key, value in (file.metadata() or {}).items() if key != "format"}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}); copy it again.") from error
    return Checkpoint(state, facts, "safetensors")


def _decode(text):
    """Our own files write every fact as JSON; those of others are text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _fact(value):
    """`value` as a plain number or short text, None for anything else."""
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.dim() == 0 and _is_plain(value)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    return value if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) < 200) else None


def _is_plain(value):
    """Whether it is a dense tensor of ordinary numbers in memory, and not larger than what is stored of it."""
    return (
        isinstance(value, torch.Tensor)
        and (value.layout, value.device.type) == (torch.strided, "cpu")
        and value.dtype in _DTYPES
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _describe(value):
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    return f"a tensor of {value.dtype}, {tuple(value.shape)}, that is not stored in full"


def _pack(folder):
    """The bytes of the torch checkpoint that was unpacked into `folder`, or into the one folder inside it."""
    found = [folder] if (folder / "data.pkl").exists() else sorted(file.parent for file in folder.glob("*/data.pkl"))
    if len(found) != 1:
        raise InputError(
            f"{folder} holds {len(found) or 'no'} unpacked checkpoint{'s' if found else ''} (data.pkl beside data/); "
            "give a checkpoint file, or the folder into which one was unpacked."
        )
    root = found[0]
    if not root.joinpath("data").is_dir() or root.joinpath("data").is_symlink():
        raise InputError(f"{root} lacks the folder data/ beside data.pkl; unpack the checkpoint again.")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/version", "3\n")
        storages = [file for file in root.joinpath("data").iterdir() if file.name.isdecimal()]
        for file in [root / "data.pkl", root / "byteorder", *sorted(storages)]:
            if file.is_symlink() or (file.exists() and not file.is_file()):
                raise InputError(
                    f"{root} was refused, because {file.name} is a link or no plain file; unpack it again."
                )
            if file.exists():
                archive.writestr(f"archive/{file.relative_to(root).as_posix()}", file.read_bytes())
    return content.getvalue()


def _check_zip(content, path):
    """Refuse an archive that torch would not have written, before torch reads it."""
    try:
        entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise InputError(f"{path} is not a readable torch checkpoint; it may be cut short, copy it again.") from error
    names = [entry.filename for entry in entries]
    if not any(PurePosixPath(name).name == "data.pkl" for name in names):
        raise InputError(f"{path} is a zip archive but no checkpoint; unpack it and give the checkpoint inside.")
    root = names[0].split("/")[0]
    odd = [name for name in names if not name.startswith(f"{root}/") or ".." in name.split("/")]
    if odd or len(set(names)) < len(names):
        raise InputError(f"{path} was refused, because no checkpoint has the entry {(odd or names)[0][:80]!r}.")
    size = sum(entry.file_size for entry in entries)
    if size > len(content):
        raise InputError(
            f"{path} was refused, because it is compressed ({size:,} bytes in {len(content):,}), which a checkpoint "
            "never is; if you compressed it, unpack it and give the folder."
        )


def _load_torch(content, path):
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch muses about old pickle protocols
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it asks to run {name[1]}" if name else "it holds more than tensors and plain containers"
        raise InputError(f"{path} was refused, because {what}; only weights are read.") from error
    except (
        RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, MemoryError, OverflowError,
        AssertionError, struct.error,
    ) as error:  # fmt: skip
        lost = re.search(r"locating file (data/\d+)", str(error))
        what = f"lacks the file {lost[1]}" if lost else "is not a readable torch checkpoint"
        raise InputError(f"{path} {what}; it may be cut short, copy it again.") from error
