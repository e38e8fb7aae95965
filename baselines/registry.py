"""Every model by name. A variant is a name and a row of numbers; the name is also the recipe's, the record's and the
test's."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from liftbench.baselines.errors import InputError
from liftbench.lstm_transformer import LSTM, MLP, Transformer
from liftbench.mdtf import MDTF
from liftbench.pose3dm import Pose3DM
from liftbench.posemamba import PoseMamba


@dataclass(frozen=True)
class Entry:
    """One registered model: how to build it, its numbers, and what it takes and gives."""

    build: Callable
    numbers: dict
    frames: int  # of the published configuration
    output: str  # "sequence": a pose per frame of the clip; "centre": the pose of the centre frame
    channels: int  # per keypoint: x, y (and confidence)
    paper: str
    published: tuple | None = None  # (model, variant, detector) of its row in results/reference/published.csv
    stages: int = 1  # that are trained one after the other


def _posemamba(variant, embed_dim, depth, frames=243, **numbers):
    return Entry(
        PoseMamba, {"embed_dim": embed_dim, "depth": depth} | numbers, frames, "sequence", 2,
        "PoseMamba (AAAI 2025)", ("PoseMamba", variant, "SH") if variant else None,
    )  # fmt: skip


def _pose3dm(variant, embed_dim, bottleneck, blocks, published=True):
    return Entry(
        Pose3DM, {"embed_dim": embed_dim, "bottleneck": bottleneck, "blocks": blocks}, 243, "sequence", 2,
        "Pose3DM (Fractal and Fractional 2025)", ("Pose3DM", variant, "SH") if published else None,
    )  # fmt: skip


def _mdtf(variant, embed_dim, depth):
    return Entry(
        MDTF, {"embed_dim": embed_dim, "depth": depth}, 243, "sequence", 3,
        "MDTF (arXiv:2505.20611)", ("MDTF", variant, "SH"), stages=2,
    )  # fmt: skip


def _centre_frame(build, published, **numbers):
    published = (published, "", "CPN") if published else None
    return Entry(build, numbers, 81, "centre", 2, "LSTM/Transformer repository", published)


MODELS = {
    "posemamba_s": _posemamba("S", 64, 10),
    "posemamba_b": _posemamba("B", 128, 10),
    "posemamba_l": _posemamba("L", 128, 20),
    "posemamba_x": _posemamba(None, 256, 20),
    "posemamba_s_global": _posemamba(None, 64, 10, scan="global"),
    "posemamba_s_fs_ft": _posemamba(None, 64, 10, scan="fs_ft"),
    "posemamba_s_fs_bt": _posemamba(None, 64, 10, scan="fs_bt"),
    "posemamba_s_bs_ft": _posemamba(None, 64, 10, scan="bs_ft"),
    "posemamba_s_bs_bt": _posemamba(None, 64, 10, scan="bs_bt"),
    "posemamba_toy": _posemamba(None, 32, 2, frames=27),  # ours: trains on a laptop in minutes
    "pose3dm_s": _pose3dm("S", 16, 128, 1),
    "pose3dm_b": _pose3dm("B", 32, 256, 1, published=False),
    "pose3dm_l": _pose3dm("L", 64, 256, 2),
    "mdtf_tiny": _mdtf("Tiny", 64, 8),
    "mdtf_large": _mdtf("Large", 128, 12),
    "lstm": _centre_frame(LSTM, "LSTM_PoseNet"),
    "transformer": _centre_frame(Transformer, None),
    "transformer_published": _centre_frame(Transformer, "Transformer", across_clips=True),
    "mlp": _centre_frame(MLP, None),
}


def list_models():
    """The names of all registered models."""
    return list(MODELS)


def entry(name):
    """The registry's entry of a model; raises InputError for an unknown name, with the nearest known one."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(MODELS)}."
        raise InputError(f"There is no model named {name!r}; {hint}")
    return MODELS[name]


def create_model(name, frames=None, **numbers):
    """Build a registered model with random weights.

    frames: clip length T it is built for (default: the published one); numbers: overrides of the variant's numbers,
    such as depth or limb_gradient. Raises InputError for unknown names and numbers, and for values that make no model.
    """
    found = entry(name)
    known = set(inspect.signature(found.build).parameters) - {"frames"}
    if unknown := sorted(set(numbers) - known):
        raise InputError(f"Model {name} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    frames = found.frames if frames is None else frames
    if not isinstance(frames, int) or frames < 1:
        raise InputError(f"Model {name} needs a positive whole number of frames, not {frames!r}.")
    try:
        return found.build(frames, **(found.numbers | numbers))
    except (TypeError, ValueError, IndexError, ZeroDivisionError, RuntimeError, AssertionError) as error:
        values = ", ".join(f"{key} {value!r}" for key, value in numbers.items()) or f"{frames} frames"
        reason = str(error).partition("\n")[0].rstrip(".:")
        raise InputError(f"Model {name} cannot be built with {values}: {reason}.") from error
