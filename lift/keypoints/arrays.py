"""Plain arrays: .npz, .npy, or an array in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from liftbench.baselines.data.formats import npz
from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints import layouts
from liftbench.lift.keypoints.detections import Detections, choose_layout, gather


def read(path: Path, layout: str) -> Detections:
    """An .npy file, or an .npz file with `keypoints` and, where they are known, `fps`, `image_size` (width, height),
    `layout`, a name in `layouts.LAYOUTS`, and `first_frame`, the video's frame that is the first here.

    `truth`, (T, 17, 3) mm in the camera's axes, is what the lifted poses are then compared with. `keypoints_2d` of a
    poses.npz, which this project wrote, is taken too. Raises InputError for anything else.
    """
    if path.suffix == ".npy":
        return of_array(_npy(path), layout, path)
    names = ("keypoints", "keypoints_2d", "fps", "image_size", "layout", "first_frame", "truth")
    found = npz.load(path, (), names)
    if "keypoints_2d" in found and layout == "auto":
        found, layout = found | {"keypoints": _seen(found["keypoints_2d"], path)}, "h36m17"
    if "keypoints" not in found:
        raise InputError(f"Cannot read {path}: it has no array keypoints. Save it as (frames, joints, 2 or 3).")
    if "layout" in found and layout == "auto":
        layout = str(found["layout"])[:40]
    detections = of_array(found["keypoints"], layout, path, _number(found, "fps", path), _size(found, path))
    first = _number(found, "first_frame", path) or 0
    if not 0 <= first < 1e9:
        raise InputError(f"Cannot read {path}: first_frame is {first:g}. Save the number of a frame.")
    return replace(detections, first_frame=int(first), truth=_truth(found, detections.frames, path))


def of_array(
    keypoints: np.ndarray,
    layout: str = "auto",
    path: str | Path = "the keypoints",
    fps: float | None = None,
    size: tuple[int, int] | None = None,
) -> Detections:
    """One person's keypoints, (T, J, 2) x and y in pixels or (T, J, 3) with confidence from 0 to 1.

    Points that were not seen are 0, 0 or have the confidence 0. Raises InputError for another shape and for values that
    are not finite.
    """
    if not isinstance(keypoints, np.ndarray) or keypoints.dtype.kind not in "iuf":
        raise InputError(f"Cannot read {path}: the keypoints are not an array of numbers. Save one.")
    if keypoints.ndim != 3 or keypoints.shape[2] not in (2, 3) or not len(keypoints):
        raise InputError(
            f"Cannot read {path}: the keypoints are of shape {keypoints.shape}. Give (frames, joints, 2 or 3)."
        )
    layout = choose_layout(path, keypoints.shape[1], layout)
    frames = len(keypoints)
    found = gather(
        path, "array", layout, layouts.LAYOUTS[layout], np.arange(frames), keypoints, np.zeros(frames),
        scored=keypoints.shape[2] == 3,
    )  # fmt: skip
    return replace(found, fps=fps, size=size)


def _npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # a header that promises more than there is is refused
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or 'it is damaged'}. Check the path.") from None
    except (ValueError, SyntaxError, TypeError, EOFError, OverflowError, RecursionError, MemoryError):
        raise InputError(f"Cannot read {path}: it is not a whole .npy file of numbers. Save it again.") from None


def _seen(keypoints: np.ndarray, path: Path) -> np.ndarray:
    """Keypoints of a poses.npz, where nan means not seen."""
    if not isinstance(keypoints, np.ndarray) or keypoints.dtype.kind != "f" or keypoints.shape[2:] != (3,):
        raise InputError(f"Cannot read {path}: keypoints_2d is not an array of (frames, 17, 3). Lift the video again.")
    return np.where(np.isnan(keypoints).any(axis=-1, keepdims=True), 0, keypoints)


def _number(found: dict[str, np.ndarray], name: str, path: Path) -> float | None:
    if name not in found:
        return None
    value = found[name]
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "iuf":
        raise InputError(f"Cannot read {path}: {name} is not a number. Save one.")
    return float(value.reshape(()))


def _size(found: dict[str, np.ndarray], path: Path) -> tuple[int, int] | None:
    if "image_size" not in found:
        return None
    value = found["image_size"]
    if not isinstance(value, np.ndarray) or value.shape != (2,) or value.dtype.kind not in "iuf":
        raise InputError(f"Cannot read {path}: image_size is not width and height. Save two numbers.")
    return int(value[0]), int(value[1])


def _truth(found: dict[str, np.ndarray], frames: int, path: Path) -> np.ndarray | None:
    if "truth" not in found:
        return None
    value = found["truth"]
    good = isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == (frames, 17, 3)
    if not good or not np.isfinite(value).all():
        raise InputError(f"Cannot read {path}: truth is not ({frames}, 17, 3) finite millimetres. Save it so.")
    return value.astype(np.float64)
