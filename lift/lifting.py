"""`liftbench.lift`: keypoints and weights to a person in 3D."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from liftbench.baselines.data import gaps, scratch
from liftbench.baselines.data.normalization import normalize, root_relative
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import metrics
from liftbench.baselines.files import sha256
from liftbench.baselines.registry import Entry, entry
from liftbench.baselines.weights.trained import Weights, open_weights
from liftbench.lift.geometry import body, filters, world
from liftbench.lift.geometry.refine import refine
from liftbench.lift.keypoints import arrays, layouts
from liftbench.lift.keypoints.detections import Detections, in_image
from liftbench.lift.keypoints.people import choose, find_people, followed
from liftbench.lift.keypoints.read import read_keypoints
from liftbench.lift.lifted import Lifted
from liftbench.lift.weights import shipped
from liftbench.lift.windows import lift_blocks

_METRIC = ("h36m_videopose3d", "mpi_inf_3dhp")  # data whose targets are metres; others are in image coordinates
MEAN_FOCAL = 1.0  # widths of the longer side: 53 degrees across it, between a phone's camera and Human3.6M's


def lift(
    keypoints: str | Path | np.ndarray | Detections,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    weights: str | Path | Weights = "accurate",
    *,
    layout: str = "auto",
    names: str | Path | None = None,
    person: str | int = "largest",
    joint_9: str | None = None,
    height: float | None = None,
    focal: float | None = None,
    camera_rotation: Sequence[float] | None = None,
    refined: bool = True,
    smooth: float | str | None = None,
    rigid: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Lifted:
    """Lift one person's 2D keypoints to 3D.

    keypoints: a file or folder of any format that `read_keypoints` knows, what it returned, or an array, (T, J, 2) x
    right and y down in pixels or (T, J, 3) with confidence from 0 to 1. size: (width, height) of the image, pixels.
    fps: frames a second. Both may stand in an .npz file instead. weights: "accurate" or "fast", which come with
    liftbench, or a run folder or a weights file of any model.
    layout, names: see `read_keypoints`. person: "largest", or a number from 1, the largest first.
    joint_9: "nose" or "neck", what the weights were trained with; by default what they say, or else the nose.
    height: of the person, metres; by default 1.70. focal: of the camera, pixels; by default the image's longer side.
    camera_rotation: (pitch, roll) in degrees or the 9 numbers of a matrix, see `world.given_rotation`; by default the
    vertical comes from the body. refined: move the model's answer to agree with the keypoints and with constant bones,
    see `refine`. smooth: cutoff in Hz of a zero-phase Butterworth filter, "one-euro" or "one-euro:HZ",
    see `filters.OneEuro`. rigid: give every bone its median length. progress(done, of) counts frames, those refined
    once more.

    What was assumed is listed in `metadata["assumed"]`. Raises InputError, one sentence, for input that cannot be used.
    """
    detections = recording(keypoints, size, fps, layout, names)
    if height is not None and not 0.3 <= height <= 3:
        raise InputError(f"Cannot use the height {height:g}: nobody is so tall. Give metres, such as 1.75.")
    if focal is not None and not 0 < focal < 1e6:
        raise InputError(f"Cannot use the focal length {focal:g}: no camera has it. Give pixels, such as 1150.")
    smoothing = None if smooth is None else filters.smoothing(smooth, detections.fps)
    rotation = None if camera_rotation is None else world.given_rotation(camera_rotation)
    weights = weights if isinstance(weights, Weights) else open_weights(shipped(weights))
    model = entry(weights.model_name, weights.frames)
    if model.channels == 3 and not detections.scored:
        raise InputError(
            f"Cannot lift {detections.where} with {weights.path}: {weights.name} expects a confidence for each "
            "keypoint. Give keypoints with confidence or weights of another model."
        )
    assumed = []
    joint_9 = which_joint_9(weights, joint_9, assumed)
    focal = _or_assumed(focal, MEAN_FOCAL * max(detections.size), "focal length {:.0f} pixels", assumed)
    height = _or_assumed(height, body.MEAN_HEIGHT, "body height {:.2f} m", assumed)

    persons = find_people(detections)
    (number,) = choose(persons, person)
    rows = persons[number]
    joints = scratch.zeros((detections.frames, 17, 3), np.float64)
    for block in scratch.blocks(len(rows)):
        some = rows[block]
        joints[detections.frame[some]] = layouts.to_h36m(detections.points[some], detections.names, joint_9)
    seen = gaps.fill(joints, detections.fps, detections.scored)
    del joints  # of long recordings every array counts

    count = _counting(progress, int(seen.present.sum()) * (2 if refined else 1))
    answer = _answer(weights, model, seen, detections.size, device, count)
    metric = answers_in_metres(weights)
    place = (1000 * height, focal, detections.size, detections.fps)
    if metric:
        poses, root = body.place_metric_poses(answer, seen.keypoints[..., :2], seen.known, *place)
    else:
        answer *= detections.size[0] / 2
        answer[..., :2] += seen.keypoints[:, :1, :2]
        poses, root = body.place_image_poses(answer, seen.known, *place)
    for run in filters.runs(seen.present) if refined else ():
        poses[run], root[run] = refine(
            poses[run], root[run], seen.keypoints[run], focal, detections.size, detections.fps, count
        )
    poses[~seen.known] = np.nan
    root[~seen.known[:, 0]] = np.nan
    if smoothing is not None:
        poses, root = (filters.smooth(values, detections.fps, *smoothing) for values in (poses, root))
    if rigid:
        poses = filters.rigid(poses)
    upright = "rotation of the camera as given"
    if rotation is None:
        up, upright = world.up_from_body(poses)
        rotation = world.rotation_from_up(world.level_ground(up, poses, root))
        assumed.append(upright)
    poses_world, origin, floor = world.stand(poses, root, rotation, 1000 * height)
    assumed.append(floor)

    shown = scratch.copy(seen.keypoints, np.float32)
    shown[~seen.known] = np.nan
    metadata = {
        "liftbench": version("liftbench"), "keypoints": str(detections), "first_frame": detections.first_frame,
        "people": len(persons), "person": number + 1, "missing": seen.summary, "model": weights.name,
        "weights": weights.path.name, "weights_sha256": sha256(weights.path), "data": weights.data,
        "clip_frames": weights.frames, "normalization": weights.numbers.get("normalization", "image"),
        "joint_9": joint_9, "unit_of_the_model": "metres" if metric else "image",
        "focal_px": float(focal), "height_m": float(height), "camera_to_world": rotation.tolist(),
        "world_origin_mm": origin.tolist(), "vertical": upright, "floor": floor,
        "refined": bool(refined), "smooth_hz": smoothing and smoothing[0], "smooth": smoothing and smoothing[1],
        "rigid": bool(rigid), "assumed": assumed,
    }  # fmt: skip
    if detections.truth is not None:
        metadata["error"] = _error(poses, detections.truth)
    return Lifted(shown, poses, root, poses_world, seen.valid, detections.fps, detections.size, metadata)


def _error(poses: np.ndarray, truth: np.ndarray) -> dict[str, float] | None:
    """MPJPE, P-MPJPE and N-MPJPE in mm over the frames in which every joint is known; None where there is none."""
    known = np.isfinite(poses).all(axis=(1, 2))
    if not known.any():
        return None
    poses, truth = root_relative(poses[known]), root_relative(truth[known])
    errors = {"mpjpe_mm": metrics.mpjpe, "p_mpjpe_mm": metrics.p_mpjpe, "n_mpjpe_mm": metrics.n_mpjpe}
    return {name: float(np.mean(error(poses, truth))) for name, error in errors.items()}


def recording(
    keypoints: str | Path | np.ndarray | Detections,
    size: tuple[float, float] | None = None,
    fps: float | None = None,
    layout: str = "auto",
    names: str | Path | None = None,
) -> Detections:
    """The detections that `lift` takes, from anything that it takes: in pixels, with size, fps and everybody's track.

    Arguments as for `lift`. Raises InputError where they cannot be used.
    """
    if isinstance(keypoints, Detections):
        found = keypoints
    elif isinstance(keypoints, np.ndarray):
        found = arrays.of_array(keypoints, layout)
    else:
        found = read_keypoints(keypoints, layout, names)
    size, fps = size or found.size, found.fps if fps is None else fps
    if size is None:
        raise InputError(
            f"Cannot lift {found.where}: the size of the image is not known. Give it, such as --size 1920x1080."
        )
    if len(size) != 2 or not all(0 < side < 1e6 and side == int(side) for side in size):
        given = " x ".join(f"{side:g}" for side in size)
        raise InputError(
            f"Cannot lift {found.where}: no image is of size {given}. Give width and height, such as --size 1920x1080."
        )
    if fps is None:
        raise InputError(f"Cannot lift {found.where}: its frame rate is not known. Give it, such as --fps 30.")
    if not 0 < fps < 1e5:
        raise InputError(
            f"Cannot lift {found.where}: no video has {fps:g} frames a second. Give its rate, such as --fps 30."
        )
    width, height = map(int, size)
    return followed(replace(in_image(found, (width, height)), fps=float(fps)), fps)


def which_joint_9(weights: Weights, given: str | None, assumed: list[str]) -> str:
    """What joint 9 of the weights is: "nose" or "neck"; where it is assumed, a sentence goes to `assumed`.

    Raises InputError for another name.
    """
    said = weights.joint_9
    if given not in (None, "nose", "neck"):
        raise InputError(f"Cannot take joint 9 as {given!r}: there is no such choice. Choose nose or neck.")
    if given or said in ("nose", "neck"):
        return given or said
    assumed.append("joint 9 is the nose, as in Human3.6M (the weights do not say)")
    return "nose"


def _or_assumed(value: float | None, default: float, text: str, assumed: list[str]) -> float:
    if value is None:
        value = default
        assumed.append(text.format(value))
    return value


def answers_in_metres(weights: Weights) -> bool:
    """Whether the model answers in metres, and not in image coordinates."""
    published = entry(weights.model_name, weights.frames).published
    return (weights.data or ("h36m_videopose3d" if published and published[2] == "CPN" else "h36m")) in _METRIC


def model_inputs(keypoints: np.ndarray, size: tuple[int, int], channels: int) -> np.ndarray:
    """(T, 17, 3) pixels and confidence to (T, 17, channels) float32, as models see them."""
    inputs = normalize(keypoints[..., :2], size)
    return np.concatenate([inputs, keypoints[..., 2:channels]], axis=-1).astype(np.float32)


def _counting(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """A function that is told how many more frames are done, and tells `progress` of all."""
    done = 0

    def count(frames: int) -> None:
        nonlocal done
        done += frames
        progress(done, total)

    return count


def _answer(
    weights: Weights,
    model: Entry,
    seen: gaps.Person,
    size: tuple[int, int],
    device: str,
    count: Callable[[int], None],
) -> np.ndarray:
    """What the model says of every frame with a person, (T, 17, 3) float32 root-relative, in its own unit; or 0."""
    network = weights.model.to(device)
    answer = scratch.zeros((len(seen.valid), 17, 3), np.float32)
    for run in filters.runs(seen.present):  # what is missing for long parts a recording in two
        keypoints = seen.keypoints[run]

        def inputs(start: int, stop: int) -> np.ndarray:
            return model_inputs(keypoints[start:stop], size, model.channels)  # noqa: B023

        centre = model.output == "centre"
        for block, pose in lift_blocks(network, inputs, len(keypoints), weights.frames, centre, device):
            answer[run][block] = pose
            count(len(pose))
    if not math.isfinite(answer.sum()):
        raise InputError(f"Cannot lift with {weights.path}: its answers are not finite. Train it again.")
    for block in scratch.blocks(len(answer)):
        answer[block] = root_relative(answer[block])
    return answer
