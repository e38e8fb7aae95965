"""A lifted recording: its arrays, and the files that hold them."""

import contextlib
import importlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liftbench.baselines.data.formats import npz
from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.baselines.skeleton import JOINTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What `save` writes: by its name the module below liftbench.lift whose `write` makes it, and the name of the file.
FORMATS = {
    "npz": ("files.npz", "poses.npz"),
    "html": ("pictures.page", "lift.html"),
    "contact": ("pictures.contact", "contact.png"),
    "gif": ("pictures.gif", "lift.gif"),
    "mp4": ("pictures.mp4", "lift.mp4"),
    "csv": ("files.csv", "poses.csv"),
    "json": ("files.json", "poses.json"),
    "bvh": ("files.bvh", "poses.bvh"),
    "trc": ("files.trc", "poses.trc"),
    "c3d": ("files.c3d", "poses.c3d"),
    "gltf": ("files.gltf", "poses.gltf"),
}
FILMS = ("gif", "mp4")
OF_VIDEO = ("contact", *FILMS)  # show its images
ALWAYS, BY_DEFAULT = "npz", ("html", "contact")


@dataclass(frozen=True)
class Lifted:
    """One person over T frames; nan where nothing is known.

    keypoints_2d: (T, 17, 3) pixels (x right, y down) and confidence. poses_3d: (T, 17, 3) mm, camera frame (x right,
    y down, z forward), root-relative. root: (T, 3) mm, camera frame, the pelvis. poses_world: (T, 17, 3) mm, z up,
    floor at 0. valid: (T, 17) bool, joints that were seen with enough confidence. fps: frames a second. image_size:
    (width, height) in pixels. metadata: how it was made, for JSON. video: the file that it comes from, for pictures.
    """

    keypoints_2d: np.ndarray
    poses_3d: np.ndarray
    root: np.ndarray
    poses_world: np.ndarray
    valid: np.ndarray
    fps: float
    image_size: tuple[int, int]
    metadata: dict
    joint_names: tuple[str, ...] = JOINTS

    video: str | Path | None = None

    def save(
        self, folder: str | Path, to: Iterable[str] = BY_DEFAULT, embed_video: bool = False,
        progress: Callable[[str, int, int], None] = lambda name, done, total: None,
    ) -> list[Path]:  # fmt: skip
        """Write FOLDER/poses.npz, and the file of each of `to`, names in FORMATS; all or none.

        embed_video: put the video into the page, instead of a reference to its file. progress(name, done, of) counts
        the frames of a film, which take time. Returns the paths. Raises InputError for another format, for one that
        cannot hold this recording, and where a file cannot be written.
        """
        paths = {name: Path(folder) / FORMATS[name][1] for name in wanted_formats(to)}
        options = {name: {"progress": partial(progress, name)} for name in FILMS} | {
            "html": {"embed_video": embed_video}
        }
        with contextlib.ExitStack() as files:
            temporary = {name: files.enter_context(replacing(path)) for name, path in paths.items()}
            for name in paths:
                write = importlib.import_module(f"liftbench.lift.{FORMATS[name][0]}").write
                write(self, temporary[name], **options.get(name, {}))
        return list(paths.values())

    def plot(self, frame: int = 0) -> "Figure":
        """A matplotlib figure of one frame, from 0: the keypoints in the image, and the person in 3D.

        Raises InputError where there is no such frame.
        """
        from liftbench.lift.pictures.figure import plot

        return plot(self, frame)


def wanted_formats(to: Iterable[str]) -> tuple[str, ...]:
    """The names in FORMATS that are written where `to` is asked for. Raises InputError for another name."""
    names = tuple(dict.fromkeys((ALWAYS, *to)))
    if strange := [name for name in names if name not in FORMATS]:
        raise InputError(f"Cannot write {strange[0]!r}: there is no such format. Choose {', '.join(FORMATS)}.")
    return names


_ARRAYS = ("keypoints_2d", "poses_3d", "root", "poses_world", "valid")


def load(path: str | Path) -> Lifted:
    """Read a poses.npz. Raises InputError where it is not one."""
    names = (*_ARRAYS, "fps", "image_size", "joint_names", "metadata")
    found = npz.load(path, (), names)
    if missing := [name for name in names if name not in found]:
        raise InputError(f"Cannot read {path}: it has no {missing[0]}. Give the poses.npz that `liftbench lift` wrote.")
    frames = len(found["valid"])
    shapes = {"keypoints_2d": (17, 3), "poses_3d": (17, 3), "root": (3,), "poses_world": (17, 3), "valid": (17,)}
    for name, shape in shapes.items():
        if found[name].shape != (frames, *shape):
            raise InputError(f"Cannot read {path}: {name} is of shape {found[name].shape}. Lift the recording again.")
    try:
        metadata, fps = json.loads(str(found["metadata"])), float(found["fps"])
        width, height = found["image_size"].tolist()
        if not (isinstance(metadata, dict) and 0 < fps < float("inf")):
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"Cannot read {path}: fps, image_size or metadata is damaged. Lift it again.") from None
    return Lifted(*(found[name] for name in _ARRAYS), fps, (width, height), metadata)
