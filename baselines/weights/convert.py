"""Convert official checkpoints to safetensors: find the model that a file fits, and write a file that says
what it is.
"""

import datetime
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing, sha256
from liftbench.baselines.registry import entry
from liftbench.baselines.weights.candidates import candidates, exact, trained_frames, whole_models
from liftbench.baselines.weights.metadata import KINDS, read_metadata
from liftbench.baselines.weights.read import Checkpoint, read_checkpoint
from liftbench.baselines.weights.trained import open_weights

FOLDER = Path("weights")  # for converted files, by default
_KEPT = ("numbers", "input", "epoch", "chosen_by", "joint_9")  # facts that evaluation and lifting ask for


def convert(
    paths: Sequence[str | Path],
    out: str | Path | None = None,
    model: str | None = None,
    origins: Sequence[str] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Write a checkpoint, or the two of a model with two stages, as one safetensors file -> (its path, provenance).

    paths: a file or folder that `read_checkpoint` reads, or one per stage in any order. out: the file to write, default
    weights/MODEL.safetensors; its provenance, a dict, is written beside it as JSON. model: the name of the model that
    it must fit. Without it, if the tensors fit several models, the model that the file names counts, or else the first
    in the registry; `also_fits` holds the others. origins: where each of the paths comes from.

    Raises InputError if the weights fit no registered model exactly, belong to one stage only or are not finite, or if
    `out` exists.
    """
    if model is not None:
        entry(model)
    checkpoints = [read_checkpoint(path) for path in paths]
    state, facts = _join(paths, checkpoints)
    where = " and ".join(map(str, paths))
    names = whole_models(state, where)
    if model not in (None, *names):
        raise InputError(f"Cannot convert {where} as {model}: its tensors fit {', '.join(names)}. Choose that model.")
    wanted = model or facts.get("model")
    fitting = exact(state, where)
    chosen = next((candidate for candidate in fitting if candidate.model == wanted), fitting[0])
    if strange := next((key for key, value in state.items() if not value.isfinite().all()), None):
        raise InputError(f"Cannot convert {where}: values of {strange} are not finite. Get the file again.")

    out = new_file(out, chosen.model)
    frames = trained_frames(chosen.model, state) or entry(chosen.model).frames
    kept = {
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
        if key not in chosen.fit.left_out
    }
    metadata = {"model": chosen.model, "frames": frames}
    metadata |= {key: facts[key] for key in _KEPT if isinstance(facts.get(key), KINDS[key])}
    provenance = {
        "file": out.name,
        "model": chosen.model,
        "also_fits": [name for name in names if name != chosen.model],
        "frames": frames,
        "tensors": len(kept),
        "parameters": chosen.parameters,
        "left_out_parameters": sum(state[key].numel() for key in chosen.fit.left_out),
        "left_out": chosen.fit.left_out,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "converter": f"liftbench {version('liftbench')}",
        "sources": [
            {"file": Path(path).name, "from": origin, "sha256": sha256(path), "format": checkpoint.format}
            | {"facts": checkpoint.facts, "stripped": checkpoint.stripped}
            for path, checkpoint, origin in zip(paths, checkpoints, origins or [None] * len(paths))
        ],
    }
    with replacing(out.with_suffix(".json")) as beside, replacing(out) as temporary:
        metadata = {key: json.dumps(value) for key, value in metadata.items()}
        temporary.write_bytes(safetensors.torch.save(kept, metadata))  # save_file hides what the disk says
        provenance["sha256"] = sha256(temporary)
        beside.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return out, provenance


def new_file(out: str | Path | None, model: str) -> Path:
    """Return `out`, or weights/MODEL.safetensors. Raises InputError if it exists or its name lacks .safetensors."""
    out = Path(out or FOLDER / f"{model}.safetensors")
    if out.suffix != ".safetensors":
        raise InputError(f"Cannot write {out}: weights are written as safetensors. Let the name end in .safetensors.")
    for path in (out, out.with_suffix(".json")):
        if path.exists():
            raise InputError(f"Cannot write {path}: it exists. Remove it, or choose another file with --out.")
    return out


def _join(
    paths: Sequence[str | Path], checkpoints: Sequence[Checkpoint]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors, and the facts beside them, of one checkpoint or of one per stage."""
    if len(checkpoints) == 1:
        return checkpoints[0].state, checkpoints[0].facts
    state = {}
    for path, checkpoint in zip(paths, checkpoints):
        stage = exact(checkpoint.state, path)[0].stage
        if stage is None or any(key.startswith(f"{stage}.") for key in state):
            held = "is a whole model" if stage is None else f"holds the stage {stage}, as another does"
            raise InputError(f"Cannot join {path} with the others: it {held}. Give one file for each stage.")
        state |= {f"{stage}.{key}": value for key, value in checkpoint.state.items()}
    return state, {}


def inspect(path: str | Path) -> list[tuple[str, str]]:
    """Describe what a weights file holds and which registered models it fits: [(item, text)].

    Raises InputError for what `read_checkpoint` refuses.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint.state
    rows = [("format", checkpoint.format)]
    rows.append(("tensors", f"{len(state)}, with {sum(value.numel() for value in state.values()):,} values"))
    nearest, *others = candidates(state)
    if nearest.fit.exact:
        left_out = sum(state[key].numel() for key in nearest.fit.left_out)
        text = f"{nearest}: all of its {nearest.parameters:,} parameters"
        rows.append(("fits", text + (f"; {left_out:,} more, which it never uses, are left out" if left_out else "")))
        rows += [("fits as well", str(candidate)) for candidate in others if candidate.fit.exact]
    elif said := _what_it_says(path, checkpoint.format):
        rows.append(("fits", said))
    else:
        rows += [("fits", "no registered model"), ("nearest", f"{nearest}: {nearest.fit}")]
    rows.append(("clip length T", str(trained_frames(nearest.model, state) or "none of the tensors depends on it")))
    if checkpoint.stripped:
        rows.append(("stripped", ", ".join(checkpoint.stripped)))
    return rows + [(key, str(value)) for key, value in checkpoint.facts.items()]


def _what_it_says(path: str | Path, form: str) -> str | None:
    """Describe the model that a file of ours names and fits; None if it is no such file."""
    if form != "safetensors" or not read_metadata(Path(path)):
        return None
    try:
        weights = open_weights(path)
    except InputError:
        return None
    count = sum(value.numel() for value in weights.model.parameters())
    return f"{weights.name} with the numbers below: all of its {count:,} parameters"
