"""Remove what training code wraps around a model's tensors: nested dicts, prefixes of names, and counters."""

from collections.abc import Collection
from typing import Any

CONTAINERS = ("model_pos", "model", "state_dict", "model_state_dict", "net")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # DataParallel and AveragedModel; torch.compile; trainers
LEFTOVERS = ("n_averaged", "total_ops", "total_params")  # of AveragedModel; of thop, beside each module
_DEEPEST = 4


def innermost(checkpoint: dict) -> tuple[dict, dict, list[str]]:
    """Return (the dict of tensors in a checkpoint, what stands beside it, the keys that lead to it)."""
    beside, way = {}, []
    while len(way) < _DEEPEST:
        inside = next((key for key in CONTAINERS if isinstance(checkpoint.get(key), dict)), None)
        if inside is None:
            break
        way.append(inside)
        beside |= {key: value for key, value in checkpoint.items() if key != inside}
        checkpoint = checkpoint[inside]
    return checkpoint, beside, way


def unwrap(state: dict[str, Any], own: Collection[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return (the tensors without leftovers, by names without prefixes; what was stripped, in words).

    own: the names of a model's tensors, whose own prefixes stay. Raises ValueError if two names become one.
    """
    stripped = []
    for leftover in LEFTOVERS:
        keys = {key for key in state if key.rpartition(".")[2] == leftover and key not in own}
        if keys:
            state = {key: value for key, value in state.items() if key not in keys}
            stripped.append(f"{len(keys)} {leftover}")
    prefix = ""
    while found := next((one for one in PREFIXES if _is_wrapped(state, one, own)), None):
        renamed = {key.removeprefix(found): value for key, value in state.items()}
        if len(renamed) < len(state):
            raise ValueError(found)
        state, prefix = renamed, prefix + found
    return state, ([f"the prefix {prefix}"] if prefix else []) + stripped


def _is_wrapped(state: dict[str, Any], prefix: str, own: Collection[str]) -> bool:
    return any(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in own)
