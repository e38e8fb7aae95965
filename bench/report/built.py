"""Which model here is the network of a published row? Variants that a paper only tabulates are numbers of one here."""

import json
import re

import pandas as pd

from liftbench.baselines.registry import MODELS
from liftbench.bench.report.results import Key, Missing, registered

_ONE_WAY = "posemamba_s_fs_ft"  # all four cost the same
_NAMED_OTHERWISE = {
    ("PoseMamba", "S, both ways without limbs"): ("posemamba_s_global", {}),
    **{("PoseMamba", f"S, one-way scan {place}"): (_ONE_WAY, {}) for place in (1, 2, 3, 4)},
    ("PoseFormerV2", "1 frame, 3 coefficients"): ("poseformerv2_27", {"kept_frames": 1}),
    ("MotionBERT", "finetuned"): ("motionbert", {}),
    ("VideoPose3D", "true boxes"): ("videopose3d_243", {}),
}
_UNKNOWN = {
    ("STCFormer", "MPI-INF-3DHP"): Missing("its MPI-INF-3DHP code has another, older network, which is not built here"),
    ("PoseFormerV2", "MPI-INF-3DHP"): Missing("the source does not say which of its sizes it is"),
}
UNTRAINED = Missing("the network is here, and no run with this variant's numbers, data or loss")
_OTHER = Missing("not one of the models that are built here")


def built(published: pd.Series) -> Key | Missing:
    """The Key of the network of a row of published numbers, at its clip length; or why there is none.

    Data, detector and loss change nothing about a network.
    """
    model, variant, frames = published.model, published.variant, int(published.frames)
    if (model, published.dataset) in _UNKNOWN:
        return _UNKNOWN[model, published.dataset]
    if sizes := re.fullmatch(r"(\d+) blocks x (\d+) channels", variant):
        blocks, channels = map(int, sizes.groups())
        return _key("posemamba_s", frames, {"depth": blocks // 2, "embed_dim": channels})
    if variant.startswith("S, loss: "):
        return _key("posemamba_s", frames, {})
    name, numbers = _NAMED_OTHERWISE.get((model, variant), (registered(published), {}))
    return _key(name, frames, numbers) if name else _OTHER


def called(published: pd.Series) -> str | Missing:
    """What the network of a row is called here: its Key's name, without the clip length."""
    if published.variant.startswith("S, one-way scan"):
        return Missing(
            "one of posemamba_s_fs_ft, posemamba_s_fs_bt, posemamba_s_bs_ft and posemamba_s_bs_bt, which cost the "
            "same; the table's order could not be read"
        )
    key = built(published)
    return key if isinstance(key, Missing) else key.name


def _key(name: str, frames: int, numbers: dict[str, int]) -> Key:
    """numbers: those that differ from the registered ones are kept."""
    kept = {key: value for key, value in numbers.items() if MODELS[name].numbers.get(key) != value}
    return Key(name, frames, json.dumps(kept, sort_keys=True))
