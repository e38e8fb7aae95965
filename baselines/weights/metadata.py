"""Read what a safetensors file of ours says about itself: every fact stands in its header, as JSON."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from liftbench.baselines.errors import InputError

KINDS = {
    "model": str, "frames": int, "numbers": dict, "data": str, "input": str, "epoch": int, "chosen_by": str,
    "joint_9": str, "note": str,
}  # fmt: skip
_LONGEST = 10_000  # characters of a fact


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the facts of KINDS that a file of ours states; {} for any other file.

    Raises InputError for a file that cannot be read, and for a fact of the wrong type.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"Cannot read {path}: it is not a sound safetensors file ({in_short(error)}). Copy it again."
        ) from error
    found = {key: decoded(metadata[key]) for key in KINDS if key in metadata}
    if not isinstance(found.get("model"), str) or found["model"] == metadata["model"]:  # ours is JSON, with quotes
        return {}
    for key, value in found.items():
        if value is not None and (not isinstance(value, KINDS[key]) or isinstance(value, bool)):
            raise InputError(f"Cannot use {path}: it gives its {key} as {in_short(value)}. Get the file again.")
    return {key: value for key, value in found.items() if value is not None}


def decoded(text: str) -> Any:
    """Decode a fact, which is JSON in our files; return the text itself if it is not JSON."""
    try:
        return json.loads(text) if len(text) <= _LONGEST else text
    except (ValueError, RecursionError):
        return text


def in_short(value: Any) -> str:
    """Describe any value in one line of at most 120 characters."""
    text = str(value) if isinstance(value, (str, int, float, Exception)) else repr(type(value).__name__)
    line = " ".join(text[:500].split())
    return line if len(line) <= 120 else f"{line[:117]}..."
