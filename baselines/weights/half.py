"""Write the weights of a run in 16 bits, half the size, to ship them."""

import json
from pathlib import Path

import safetensors.torch
from safetensors import safe_open

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.baselines.weights.trained import open_weights


def halve(run: str | Path, out: str | Path, note: str | None = None) -> Path:
    """Write the weights of a run folder or of a file of ours to `out` as float16, with their metadata.

    note: what a user should know of them, such as why they were trained so; by default the one that they have.
    Loading turns them into float32 again, off by 0.05 % at most. Raises InputError if they cannot be read, a value
    is too large for 16 bits, or `out` cannot be written.
    """
    weights = open_weights(run)
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in weights.model.state_dict().items()
    }
    if strange := next((key for key, value in state.items() if not value.isfinite().all()), None):
        raise InputError(f"Cannot halve {weights.path}: a value in {strange} is too large for 16 bits. Keep the file.")
    with safe_open(weights.path, "pt") as file:
        metadata = file.metadata() or {}
    if note is not None:
        metadata["note"] = json.dumps(note)
    with replacing(out) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, metadata))
    return Path(out)
