"""Read weights, official checkpoints and our own safetensors, and check every tensor before anything is loaded."""

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from liftbench.baselines.errors import InputError
from liftbench.baselines.weights import torch_checkpoint
from liftbench.baselines.weights.metadata import decoded, in_short
from liftbench.baselines.weights.wrappers import innermost, unwrap

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
_LONGEST_FACT = 200  # characters


@dataclass(frozen=True)
class Checkpoint:
    """The content of a weights file: tensors by their official names, on the CPU, and the plain facts beside them."""

    state: dict[str, torch.Tensor]
    facts: dict[str, Any]  # numbers or text: epoch, lr, min_loss, ...
    format: str
    stripped: list[str]  # the wrappers that were removed from the tensors and their names, in words


def read_checkpoint(path: str | Path, own: Collection[str] = ()) -> Checkpoint:
    """Read a weights file without running anything in it.

    Takes safetensors; torch checkpoints since PyTorch 0.2, with or without optimizer state; and folders into which a
    torch checkpoint, a zip archive, was unpacked. The dicts and prefixes in `wrappers` are removed, except prefixes
    that the names `own` of a model have too. Raises InputError for anything else, and for damaged or hostile files.
    """
    path = Path(path)
    try:
        content, form = _content(path)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Make it readable.") from error
    if content is None:
        state, facts, way = *_read_safetensors(path), []
    else:
        checkpoint = torch_checkpoint.load(content, path)
        if not isinstance(checkpoint, dict) or not checkpoint:
            raise InputError(f"Cannot use {path} as weights: it holds no dict of tensors. Give a checkpoint.")
        state, beside, way = innermost(checkpoint)
        facts = {str(key): value for key, value in beside.items() if isinstance(key, (str, int))}
    _check(state, path)
    try:
        state, stripped = unwrap(state, own)
    except ValueError as prefix:
        raise InputError(
            f"Cannot use {path}: it holds the same weights with and without the prefix {prefix}. Keep one of them."
        ) from None
    if not state:
        raise InputError(f"Cannot use {path} as weights: its dict of tensors is empty. Give a checkpoint.")
    plain = {key[:80]: fact for key, value in facts.items() if (fact := _fact(value)) is not None}
    if isinstance(numbers := facts.get("numbers"), dict):  # of a model, in our own files
        plain["numbers"] = {key: _fact(value) for key, value in numbers.items() if isinstance(key, str)}
    return Checkpoint(state, plain, form, way + stripped)


def _content(path: Path) -> tuple[bytes | None, str]:
    """Return (the bytes of a torch checkpoint, or None for a safetensors file; the format in words)."""
    if os.path.isdir(path):
        return torch_checkpoint.pack(path), "torch checkpoint, unpacked into a folder"
    if not os.path.isfile(path):
        raise InputError(f"Cannot read {path}: there is no such weights file. Check the path.")
    if path.name == "data.pkl":
        raise InputError(
            f"Cannot read {path}: it is one part of an unpacked checkpoint. Give its folder, {path.parent}."
        )
    if path.suffix == ".safetensors":
        return None, "safetensors"
    content = path.read_bytes()
    return content, "torch checkpoint" + ("" if content.startswith(b"PK\3\4") else " before PyTorch 1.6")


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return (tensors, facts) of a file."""
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"Cannot read {path}: it is not a sound safetensors file ({in_short(error)}). Copy it again."
        ) from error
    return state, {key: decoded(value) for key, value in metadata.items() if key != "format"}


def _check(state: dict[Any, Any], path: Path):
    """Raise InputError unless all keys are text, and all values dense tensors of ordinary numbers, wholly in memory."""
    for key, value in state.items():
        if not isinstance(key, str):
            raise InputError(
                f"Cannot use {path} as weights: it has a key of the type {type(key).__name__}, not text. "
                "Give a dict of dense tensors."
            )
        if not _is_plain(value):
            raise InputError(
                f"Cannot use {path} as weights: entry {in_short(key)!r} is {_describe(value)}. "
                "Give a dict of dense tensors."
            )


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and (value.layout, value.device.type) == (torch.strided, "cpu")
        and value.dtype in _DTYPES
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _describe(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"of the type {type(value).__name__}"
    if value.dtype not in _DTYPES:
        return f"a tensor of {value.dtype}, which no model here has"
    return f"a tensor of {value.dtype}, {tuple(value.shape)}, that is not stored in full"


def _fact(value: Any) -> int | float | str | None:
    """Return `value` as a plain number or short text; None for anything else."""
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.dim() == 0 and _is_plain(value)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    if isinstance(value, int) and abs(value) >= 2**64:
        return None
    plain = isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) < _LONGEST_FACT)
    return value if plain else None
