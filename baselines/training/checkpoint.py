"""Write what a training run keeps on disk: a state to resume from, and weights to load. Neither is ever
half-written.
"""

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing


def write_state(path: Path, state: dict[str, Any]):
    """Replace the state to resume from. The bytes are on the disk when this returns."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    _write(path, buffer.getbuffer())


def read_state(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state that `write_state` wrote, on the CPU, or None if there is none.

    Raises InputError if it cannot be read, is damaged, or belongs to another recipe or data file than `identity`.
    """
    if not path.exists():
        return None
    with named_damage(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        found, own = (given["recipe"] | {"data file": given["data"]} for given in (state, identity))
        other = [key for key in found | own if found.get(key, ...) != own.get(key, ...)]
    if other:
        raise InputError(
            f"Cannot resume {path.parent}: its recipe or data file differs in {', '.join(other)}. "
            "Choose another folder with --run."
        )
    return state


@contextlib.contextmanager
def named_damage(path: Path) -> Iterator[None]:
    """Raise InputError if a state cannot be read or used."""
    try:
        yield
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}. Make it readable.") from error
    except Exception as error:
        raise InputError(
            f"Cannot resume from {path}: it is damaged, or of an older version. Remove its folder to start again."
        ) from error


def write_weights(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]):
    """Write named tensors as safetensors, with every value of the metadata as JSON."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    _write(path, safetensors.torch.save(tensors, {key: json.dumps(value) for key, value in metadata.items()}))


def _write(path: Path, content: bytes | memoryview):
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
