"""lift.html: one page that shows the person in 3D and 2D, and loads nothing but the video it may refer to."""

import base64
import json
import mimetypes
import os
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.errors import InputError
from liftbench.baselines.pages import templates_of
from liftbench.baselines.skeleton import BONES, JOINTS
from liftbench.lift.gait import body_axes, joint_angles
from liftbench.lift.lifted import Lifted
from liftbench.lift.pictures.packing import pack
from liftbench.lift.pictures.stage import SIDES, stage

_BYTES = 900_000  # of packed arrays, so that a page without its video stays below 1 MB
_SOME = 900  # frames, from which the size of all is guessed
_ANGLES = ("knee flexion", "hip flexion", "elbow flexion")


def write(lifted: Lifted, path: Path, embed_video: bool = False) -> None:
    """Write the page. embed_video: put the recording's video into it, instead of a reference to its file.

    A page beside its video finds it as long as the two are moved together. Long recordings are thinned, and say so.
    Raises InputError where the video cannot be read.
    """
    here = stage(lifted)
    arrays, thinned = _arrays(lifted, here.points)
    facts = {
        "fps": lifted.fps / thinned, "every": thinned, "size": list(lifted.image_size), "arrays": arrays,
        "joints": [name.replace("_", " ") for name in JOINTS], "bones": BONES, "sides": SIDES, "angles": _ANGLES,
        "floor": here.floor, "azimuth": round(here.azimuth, 1), "video": _video(lifted, path, embed_video, thinned),
    }  # fmt: skip
    frames = len(lifted.valid)
    text = (
        templates_of("liftbench.lift.pictures")
        .get_template("lift.html.j2")
        .render(
            title=lifted.metadata.get("recording", "A recording"),
            facts=json.dumps(facts).replace("<", "\\u003c"),
            summary=_summary(lifted, frames),
            thinned=thinned,
            assumed=lifted.metadata.get("assumed", []),
            metadata={name: _plain(value) for name, value in lifted.metadata.items() if name != "assumed"},
            seconds=frames / lifted.fps,
        )
    )
    Path(path).write_text(text, encoding="utf-8", newline="\n")


def _arrays(lifted: Lifted, world: np.ndarray) -> tuple[dict[str, dict], int]:
    """The packed arrays of every n-th frame, and n, which is as small as the page allows."""

    def packed(some: slice) -> tuple[dict[str, dict], int]:
        arrays = {
            "world": pack(world[some], 2.0),
            "image": pack(lifted.keypoints_2d[some, :, :2], max(lifted.image_size) / 3000),
            "valid": pack(lifted.valid[some], 1.0),
            "angles": pack(_angles(world[some]), 0.5),
        }
        return arrays, sum(len(array["data"]) for array in arrays.values())

    thinned = max(1, len(world) * packed(slice(_SOME))[1] // min(_SOME, len(world)) // _BYTES)
    while True:
        arrays, size = packed(slice(None, None, thinned))
        if size <= _BYTES:
            return arrays, thinned
        thinned = max(thinned + 1, thinned * size // _BYTES)


def _angles(world: np.ndarray) -> np.ndarray:
    """(T, 3, 2) degrees: knee, hip and elbow, right and left; forward is that of hips and shoulders in each frame."""
    angles = joint_angles(world, *body_axes(world))
    return np.stack([angles[name] for name in _ANGLES], axis=1)


def _video(lifted: Lifted, path: Path, embed: bool, thinned: int) -> dict[str, Any] | None:
    """Where the page finds its video, when that begins, and how many of the page's frames a second of it holds."""
    if lifted.video is None:
        return None
    clock = {
        "start": lifted.metadata.get("video_start_s", 0.0),
        "fps": lifted.metadata.get("video_fps", lifted.fps) / thinned,  # another than the person's in slow motion
    }
    if not embed:
        return {"source": os.path.relpath(lifted.video, Path(path).parent).replace(os.sep, "/")} | clock
    try:
        content = Path(lifted.video).read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {lifted.video}: {error.strerror}. Check the path.") from None
    kind = mimetypes.guess_type(lifted.video)[0] or "video/mp4"
    return {"source": f"data:{kind};base64,{base64.b64encode(content).decode()}"} | clock


def _summary(lifted: Lifted, frames: int) -> list[tuple[str, str]]:
    """(term, description) pairs for the head of the page."""
    facts, error = lifted.metadata, lifted.metadata.get("error")
    pairs = [
        ("Length", f"{frames / lifted.fps:.1f} s, {frames:,} frames"),
        ("Frame rate", f"{lifted.fps:g} a second"),
        ("Image", "{} × {}".format(*lifted.image_size)),
        ("Model", facts.get("model")),
        ("Body height", f"{facts['height_m']:.2f} m" if "height_m" in facts else None),
        ("Joints seen", f"{lifted.valid.mean():.0%}" if lifted.valid.size else None),
        ("Error, P-MPJPE", f"{error['p_mpjpe_mm']:.0f} mm" if error else None),
    ]
    return [(term, value) for term, value in pairs if value]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
