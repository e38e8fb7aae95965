"""Every model by name. A variant is a name and a row of numbers. Recipes, records and tests use the same name.

A row is data. It names the model's class as text, which is imported at first use, so reading this file does not import
PyTorch. Whatever the rest of the project must know about a paper stands in its row, or in the paper's own package,
which the row names.
"""

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from liftbench.baselines.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Number = int | float | str | bool


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model: how to build it, its numbers, and what it takes and gives."""

    name: str
    builder: str | Callable[..., "nn.Module"]  # "package:class", or the function itself
    numbers: Mapping[str, Number] = field(default_factory=dict)
    frames: int  # clip length T of the published configuration
    channels: int  # per keypoint: 2 for x, y; 3 with confidence
    output: Literal["sequence", "centre"]  # a pose for each frame of the clip, or one for its centre frame
    parameters: int | None = None  # with these numbers and frames
    source: str  # the paper, or another origin
    family: str  # models of one family share a colour
    published: tuple[str, str, str] | None = None  # (model, variant, detector) of its rows in published.csv
    shortest: int = 1  # the fewest frames that it can be built for and that reach all of its parameters
    depth: str | None = None  # the number that says how many blocks it has
    official: Mapping[str, Number] = field(default_factory=dict)  # numbers that build what the official code builds
    length: tuple[str, int, int] | None = None  # (end of its name, axis, size per frame) of the tensor that shows T
    stages: tuple[str, ...] = ()  # submodules that are trained one after the other; () trains the whole model at once
    file: str | None = None  # of a user's own model

    @property
    def build(self) -> Callable[..., "nn.Module"]:
        """The function build(frames, **numbers) that makes the model."""
        return load(self.builder) if isinstance(self.builder, str) else self.builder

    def frames_of(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """Return the clip length T that weights were made for, by the shapes of their tensors; None if none
        shows it.
        """
        if self.length:
            ending, axis, per_frame = self.length
            for key, shape in shapes.items():
                if key.endswith(ending) and len(shape) > axis:
                    return shape[axis] // per_frame or None
        return None


def load(where: str) -> Any:
    """Import and return what "package.module:name" names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _posemamba(
    name: str, variant: str | None, parameters: int, embed_dim: int, depth: int, frames: int = 243, **numbers
) -> Entry:
    return Entry(
        name=name, builder="liftbench.posemamba:PoseMamba", numbers={"embed_dim": embed_dim, "depth": depth} | numbers,
        frames=frames, channels=2, output="sequence", parameters=parameters, source="PoseMamba (AAAI 2025)",
        family="posemamba", published=("PoseMamba", variant, "SH") if variant else None, depth="depth",
        length=("Temporal_pos_embed", 1, 1),
    )  # fmt: skip


def _pose3dm(name: str, variant: str | None, parameters: int, embed_dim: int, bottleneck: int, blocks: int) -> Entry:
    return Entry(
        name=name, builder="liftbench.pose3dm:Pose3DM",
        numbers={"embed_dim": embed_dim, "bottleneck": bottleneck, "blocks": blocks},
        frames=243, channels=2, output="sequence", parameters=parameters,
        source="Pose3DM (Fractal and Fractional 2025)", family="pose3dm",
        published=("Pose3DM", variant, "SH") if variant else None, depth="blocks",
        official={"official_depth": 5}, length=("Temporal_pos_embed", 1, 1),
    )  # fmt: skip


def _mdtf(name: str, variant: str | None, parameters: int, embed_dim: int, depth: int) -> Entry:
    return Entry(
        name=name, builder="liftbench.mdtf:MDTF", numbers={"embed_dim": embed_dim, "depth": depth}, frames=243,
        channels=3, output="sequence", parameters=parameters, source="MDTF (arXiv:2505.20611)", family="mdtf",
        published=("MDTF", variant, "SH"), depth="depth", length=("Temporal_pos_embed", 1, 1),
        stages=("bone_aware", "refinement"),
    )  # fmt: skip


def _centre_frame(
    name: str,
    model: str,
    published: str | None,
    parameters: int,
    length: tuple[str, int, int] | None = None,
    depth: str | None = None,
    **numbers,
) -> Entry:
    return Entry(
        name=name, builder=f"liftbench.lstm_transformer:{model}", numbers=numbers, frames=81, channels=2,
        output="centre", parameters=parameters, source="LSTM/Transformer repository", family=model.lower(),
        published=(published, "", "CPN") if published else None, depth=depth, length=length,
    )  # fmt: skip


def _transformer(name: str, published: str | None, **numbers) -> Entry:
    return _centre_frame(
        name, "Transformer", published, 1_603_379, ("pos_encoder.permanent_pe", 1, 1), "num_encoder_layers",
        num_encoder_layers=3, **numbers,
    )  # fmt: skip


def _comparator(
    name: str,
    model: str,
    published: tuple[str, str] | None,
    frames: int,
    parameters: int,
    source: str,
    *,
    channels: int = 2,
    output: str = "sequence",
    **row,
) -> Entry:
    """Return the row of a lifter that the reproduced papers compare themselves with; its file has its class's name.

    published: (variant, detector) of its rows in published.csv.
    """
    module = model.lower()
    return Entry(
        name=name, builder=f"liftbench.baselines.models.{module}:{model}", frames=frames, channels=channels,
        output=output, parameters=parameters, source=source, family=module,
        published=(model, *published) if published else None, **row,
    )  # fmt: skip


def _motionagformer(variant: str | None, frames: int, parameters: int, embed_dim: int, depth: int) -> Entry:
    return _comparator(
        f"motionagformer_{variant.lower()}", "MotionAGFormer", (variant, "SH"), frames, parameters,
        "MotionAGFormer (WACV 2024)", channels=3, numbers={"embed_dim": embed_dim, "depth": depth}, depth="depth",
        length=("graph_temporal.mixer.batch_norm.weight", 0, 1),
    )  # fmt: skip


def _mixste() -> Entry:
    return _comparator(
        "mixste", "MixSTE", ("", "CPN"), 243, 33_783_811, "MixSTE (CVPR 2022)",
        numbers={"embed_dim": 512, "depth": 8}, depth="depth", length=("Temporal_pos_embed", 1, 1),
    )  # fmt: skip


def _motionbert(name: str, published: tuple[str, str] | None, parameters: int, embed_dim: int, mlp_ratio: int) -> Entry:
    return _comparator(
        name, "MotionBERT", published, 243, parameters, "MotionBERT (ICCV 2023)", channels=3,
        numbers={"embed_dim": embed_dim, "mlp_ratio": mlp_ratio, "depth": 5}, depth="depth",
        length=("temp_embed", 1, 1),
    )  # fmt: skip


def _stcformer(variant: str | None, frames: int, parameters: int, embed_dim: int) -> Entry:
    return _comparator(
        f"stcformer_{variant.lower() or frames}", "STCFormer", (variant, "CPN"), frames, parameters,
        "STCFormer (CVPR 2023)", numbers={"embed_dim": embed_dim, "depth": 6}, depth="depth",
    )  # fmt: skip


def _poseformerv2(frames: int, parameters: int, kept: int) -> Entry:
    return _comparator(
        f"poseformerv2_{frames}", "PoseFormerV2", (f"{kept} frames and coefficients", "CPN"), frames, parameters,
        "PoseFormerV2 (CVPR 2023)",
        output="centre", numbers={"kept_frames": kept, "kept_coefficients": kept, "depth": 4}, depth="depth",
        shortest=kept,
    )  # fmt: skip


def _videopose3d(frames: int, parameters: int) -> Entry:
    return _comparator(
        f"videopose3d_{frames}", "VideoPose3D", ("", "CPN"), frames, parameters, "VideoPose3D (CVPR 2019)",
        output="centre", shortest=frames,
    )  # fmt: skip


MODELS = {
    row.name: row
    for row in (
        _posemamba("posemamba_s", "S", 1_470_211, 64, 10),
        _posemamba("posemamba_b", "B", 4_742_659, 128, 10),
        _posemamba("posemamba_l", "L", 9_450_499, 128, 20),
        _posemamba("posemamba_x", "X", 33_318_915, 256, 20),
        _posemamba("posemamba_s_global", None, 1_470_211, 64, 10, scan="global"),
        _posemamba("posemamba_s_fs_ft", None, 1_470_211, 64, 10, scan="fs_ft"),
        _posemamba("posemamba_s_fs_bt", None, 1_470_211, 64, 10, scan="fs_bt"),
        _posemamba("posemamba_s_bs_ft", None, 1_470_211, 64, 10, scan="bs_ft"),
        _posemamba("posemamba_s_bs_bt", None, 1_470_211, 64, 10, scan="bs_bt"),
        _posemamba("posemamba_toy", None, 102_019, 32, 2, frames=27),  # ours: trains on a laptop in minutes
        _pose3dm("pose3dm_s", "S", 856_179, 16, 128, 1),
        _pose3dm("pose3dm_b", None, 2_774_243, 32, 256, 1),
        _pose3dm("pose3dm_l", "L", 10_017_603, 64, 256, 2),
        _mdtf("mdtf_tiny", "Tiny", 933_795, 64, 8),
        _mdtf("mdtf_large", "Large", 4_424_307, 128, 12),
        _centre_frame("lstm", "LSTM", "LSTM_PoseNet", 1_148_467),
        _transformer("transformer", None),
        _transformer("transformer_published", "Transformer", across_clips=True),
        _centre_frame("mlp", "MLP", None, 2_873_395, ("fc1.weight", 1, 17 * 2)),
        _motionagformer("XS", 27, 2_241_531, 64, 12),
        _motionagformer("S", 81, 4_817_119, 64, 26),
        _motionagformer("B", 243, 11_723_811, 128, 16),
        _motionagformer("L", 243, 19_007_111, 128, 26),
        _mixste(),
        _motionbert("motionbert", ("scratch", "SH"), 42_466_317, 512, 2),
        _motionbert("motionbert_lite", None, 16_001_549, 256, 4),
        _stcformer("", 27, 4_748_000, 256),
        _stcformer("", 81, 4_748_000, 256),
        _stcformer("", 243, 4_748_000, 256),
        _stcformer("L", 243, 18_933_184, 512),
        _poseformerv2(27, 14_355_739, 3),
        _poseformerv2(81, 14_362_279, 9),
        _poseformerv2(243, 14_381_899, 27),
        _videopose3d(27, 8_555_571),
        _videopose3d(81, 12_753_971),
        _videopose3d(243, 16_952_371),
    )
}
_OURS = frozenset(MODELS)

# What a paper adds to the losses, by the key that a recipe has for it: a function of (predicted poses, order).
REGULARIZERS = {"total_variation": "liftbench.pose3dm:fractional_total_variation"}


def list_models() -> list[str]:
    """Return the names of all registered models."""
    return list(MODELS)


def is_file(name: str) -> bool:
    """Return whether a model's name is a user's `path/to/file.py:build`, and not a registered one."""
    return ".py" in name or ":" in name


def located(name: str, folder: str | Path) -> str:
    """Return a registered name unchanged, and a user's `path/to/file.py:build`, relative to `folder`, with
    its full path.
    """
    return os.path.normpath(os.path.join(os.path.abspath(folder), name)) if is_file(name) else name


def entry(name: str, frames: int | None = None) -> Entry:
    """Return the entry of a registered model, or of a user's own, `path/to/file.py:build`, which runs the file.

    frames: the clip length on which a user's own model is tried (default: its own, see `liftbench.baselines.own`).
    Raises InputError for an unknown name, with the nearest known one, and for a file that yields no usable model.
    """
    if name in MODELS:
        return MODELS[name]
    if is_file(name):
        from liftbench.baselines import own  # imports PyTorch

        return own.entry(name, frames)
    near = difflib.get_close_matches(name, MODELS, n=1)
    hint = f"Did you mean {near[0]}?" if near else "See `liftbench models`."
    raise InputError(f"Cannot find the model {name[:80]!r}: no model has that name. {hint}")


def create_model(
    name: str,
    frames: int | None = None,
    normalization: Literal["image", "person"] = "image",
    **numbers: Number,
) -> "nn.Module":
    """Build a model with random weights.

    name: a registered model, or your own, `path/to/file.py:build`. frames: the clip length T to build it for (default:
    the published one). normalization: "person" lets the model see each clip shifted and scaled to the person, see
    `liftbench.baselines.data.person`. numbers: overrides of the variant's numbers, such as depth or limb_gradient.

    The model maps keypoints (B, T, 17, C), image coordinates in [-1, 1] and for C = 3 the confidence, to poses
    (B, T, 17, 3), or (B, 1, 17, 3) from a centre-frame model. Raises InputError for unknown names and numbers, and for
    values that no model can have.
    """
    found = entry(name, frames)
    known = set(inspect.signature(found.build).parameters) - {"frames"}
    if unknown := sorted(set(numbers) - known):
        raise InputError(
            f"Cannot build {found.name}: it has no setting {unknown[0]!r}. Use {', '.join(sorted(known)) or 'none'}."
        )
    if normalization not in ("image", "person") or (normalization == "person" and found.stages):
        raise InputError(
            f"Cannot build {found.name} with normalization {normalization!r}: "
            f"{'it is trained in stages' if found.stages else 'no normalization has that name'}. "
            f"Choose image{'' if found.stages else ' or person'}."
        )
    frames = found.frames if frames is None else frames
    if not isinstance(frames, int) or frames < 1:
        raise InputError(
            f"Cannot build {found.name}: {frames!r} is not a number of frames. Give a positive whole number."
        )
    try:
        model = found.build(frames, **(found.numbers | numbers))
    except InputError:
        raise
    except (TypeError, ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
        values = ", ".join(f"{key} {value!r}" for key, value in numbers.items()) or f"{frames} frames"
        reason = str(error).partition("\n")[0].rstrip(".:")
        raise InputError(f"Cannot build {found.name} with {values}: {reason}. Choose other values.") from error
    if normalization == "person":
        from liftbench.baselines.data.person import SeesThePerson  # imports PyTorch

        return SeesThePerson(model)
    return model


def register(
    name: str,
    build: Callable[..., "nn.Module"],
    frames: int = 243,
    channels: int = 2,
    output: Literal["sequence", "centre"] = "sequence",
    **numbers: Number,
) -> None:
    """Add a model of your own. From then on you can build, train, evaluate and measure it by its name.

    build: build(frames, **numbers) returns a module that maps keypoints (B, T, 17, channels), image coordinates in
    [-1, 1] and for 3 channels the confidence, to normalised poses (B, T, 17, 3), or (B, 1, 17, 3) if output is
    "centre". frames: the usual clip length T. numbers: the numbers of this variant. You may register your own name
    again. Raises InputError for the name of a model of this project, and for values that no entry can have.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or is_file(name):
        raise InputError(f"Cannot register {name[:80]!r}: a name has only letters, digits and _. Choose another name.")
    if name in _OURS:
        raise InputError(f"Cannot register {name}: the name is taken. Choose another name.")
    if not callable(build) or frames < 1 or channels not in (2, 3) or output not in ("sequence", "centre"):
        raise InputError(
            f"Cannot register {name}: it needs a function that builds it, a positive number of frames, 2 or 3 channels "
            "and the output 'sequence' or 'centre'. Check these four."
        )
    try:
        file = inspect.getsourcefile(build) or ""
    except TypeError:  # written in another language than Python
        file = ""
    MODELS[name] = Entry(
        name=name, builder=build, numbers=numbers, frames=frames, channels=channels, output=output,
        source="registered by the user", family=name, file=file,
    )  # fmt: skip
