"""Official checkpoints to safetensors: which registered model a file fits, and a file that says what it holds."""

import datetime
import functools
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing, sha256
from liftbench.baselines.registry import create_model, entry, list_models
from liftbench.baselines.weights.read import Fit, compare, read_checkpoint

FOLDER = Path("weights")  # of converted files, unless told otherwise
_LONGEST_CLIP = 10_000  # frames; tensors that claim more were not made for these models
_KNOWN = {"numbers": dict, "input": str, "epoch": int, "chosen_by": str}  # facts that evaluation asks for


@dataclass(frozen=True)
class Candidate:
    """A registered model, or one stage of it (None: the whole), and how the tensors of a file fit it."""

    model: str
    stage: str | None
    parameters: int
    fit: Fit

    def __str__(self):
        return f"{self.model}, stage {self.stage} only" if self.stage else self.model


def trained_frames(model: str, state: dict[str, torch.Tensor]) -> int | None:
    """The clip length T that weights of a registered model were made for; None where no tensor tells a plausible one.

    state: of the whole model or of one stage of it.
    """
    frames = entry(model).frames_of({key: tuple(value.shape) for key, value in state.items()})
    return frames if frames and frames <= _LONGEST_CLIP else None


def candidates(state):
    """All registered models, and the stages of those trained in stages, the best fitting first -> list of Candidate.

    Models that fit equally well stand in the order of the registry.
    """
    found = [
        Candidate(name, stage, sum(value.numel() for value in module.parameters()), compare(module, state))
        for name in list_models()
        for stage, module in _modules(name, trained_frames(name, state))
    ]
    return sorted(found, key=lambda candidate: candidate.fit.problems)


@functools.lru_cache(maxsize=256)
def _modules(name, frames):
    """(None, the model) and (stage, its module) for every stage, without memory for their weights."""
    model = create_model(name, frames=frames).to("meta")
    return [(None, model)] + [(stage, getattr(model, stage)) for stage in entry(name).stages]


def convert(paths, out=None, model=None, origins=None):
    """Write a checkpoint, or the two of a model of two stages, as one safetensors file -> (its path, provenance).

    paths: a file or folder that `read_checkpoint` reads, or one of each stage in any order. out: the file to write,
    default weights/MODEL.safetensors; its provenance, a dict, stands beside it as JSON. model: the name of the model it
    must fit; without it, of several models that tensors cannot tell apart, the file's own word or else the first of the
    registry counts, and `also_fits` holds the others. origins: where each of the paths comes from.

    Raises InputError where the weights fit no registered model exactly, are of one stage only or not finite, or `out`
    exists.
    """
    if model is not None:
        entry(model)
    checkpoints = [read_checkpoint(path) for path in paths]
    state, facts = _join(paths, checkpoints)
    where = " and ".join(map(str, paths))
    fitting = _exact(state, where)
    names = [candidate.model for candidate in fitting]
    if fitting[0].stage:
        raise InputError(
            f"{where} holds only the stage {fitting[0].stage} of {' and '.join(names)}; "
            "give the files of both stages together."
        )
    if model not in (None, *names):
        raise InputError(f"{where} is not of {model}: its tensors fit {', '.join(names)}.")
    wanted = model or facts.get("model")
    chosen = next((candidate for candidate in fitting if candidate.model == wanted), fitting[0])
    if strange := next((key for key, value in state.items() if not value.isfinite().all()), None):
        raise InputError(f"{where} holds values in {strange} that are not finite; get the file again.")

    out = new_file(out, chosen.model)
    frames = trained_frames(chosen.model, state) or entry(chosen.model).frames
    kept = {
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
        if key not in chosen.fit.left_out
    }
    metadata = {"model": chosen.model, "frames": frames}
    metadata |= {key: facts[key] for key, kind in _KNOWN.items() if isinstance(facts.get(key), kind)}
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
            | {"facts": checkpoint.facts}
            for path, checkpoint, origin in zip(paths, checkpoints, origins or [None] * len(paths))
        ],
    }
    with replacing(out.with_suffix(".json")) as beside, replacing(out) as temporary:
        metadata = {key: json.dumps(value) for key, value in metadata.items()}
        temporary.write_bytes(safetensors.torch.save(kept, metadata))  # save_file hides what the disk says
        provenance["sha256"] = sha256(temporary)
        beside.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return out, provenance


def new_file(out, model):
    """`out`, or weights/MODEL.safetensors; raises InputError where it exists or is not called .safetensors."""
    out = Path(out or FOLDER / f"{model}.safetensors")
    if out.suffix != ".safetensors":
        raise InputError(f"{out} must end in .safetensors, the format that is written.")
    for path in (out, out.with_suffix(".json")):
        if path.exists():
            raise InputError(f"{path} is there already; remove it, or choose another file with --out.")
    return out


def _join(paths, checkpoints):
    """The tensors, and the facts beside them, of one checkpoint or of one for each stage."""
    if len(checkpoints) == 1:
        return checkpoints[0].state, checkpoints[0].facts
    state = {}
    for path, checkpoint in zip(paths, checkpoints):
        stage = _exact(checkpoint.state, path)[0].stage
        if stage is None or any(key.startswith(f"{stage}.") for key in state):
            held = "is a whole model" if stage is None else f"holds the stage {stage}, as another one does"
            raise InputError(f"{path} {held}; several files are taken only as the stages of one model, one file each.")
        state |= {f"{stage}.{key}": value for key, value in checkpoint.state.items()}
    return state, {}


def _exact(state, where):
    """The candidates that fit exactly; raises InputError where there are none."""
    nearest, *others = candidates(state)
    if not nearest.fit.exact:
        raise InputError(f"{where} fits no registered model; the nearest is {nearest} - {nearest.fit}.")
    return [nearest, *(candidate for candidate in others if candidate.fit.exact)]


def inspect(path):
    """What a weights file holds and which registered models it fits, in words -> list of (item, text).

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
    else:
        rows += [("fits", "no registered model"), ("nearest", f"{nearest}: {nearest.fit}")]
    rows.append(("clip length T", str(trained_frames(nearest.model, state) or "none of the tensors depends on it")))
    return rows + [(key, str(value)) for key, value in checkpoint.facts.items()]
