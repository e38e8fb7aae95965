"""Frame by frame, poses are those of the whole recording, as far as the delay lets the model see."""

import numpy as np
import pytest
import torch

import liftbench
from liftbench.baselines.data.cameras import load_cameras, room_centre
from liftbench.baselines.data.normalization import normalize
from liftbench.baselines.errors import InputError
from liftbench.baselines.training.checkpoint import write_weights
from liftbench.lift.geometry import body
from liftbench.lift.streaming import Lifter
from liftbench.lift.windows import lift_windows
from support.walking import FPS, seen_by, walker

T, FRAMES = 40, 9
HALF = FRAMES // 2


@pytest.fixture(scope="module")
def camera():
    return load_cameras(9)[1]


@pytest.fixture(scope="module")
def pixels(camera):
    return seen_by(camera, walker(T), room_centre(9))[1][..., :2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A function from the data that weights were trained on to random weights of a model of centre frames."""

    def make(data="h36m", name="mlp", **numbers):
        torch.manual_seed(0)
        model = liftbench.create_model(name, frames=FRAMES, **numbers)
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        metadata = {"model": name, "frames": FRAMES, "numbers": numbers, "data": data, "joint_9": "neck"}
        write_weights(path, model.state_dict(), metadata)
        return path

    return make


def pushed(lifter, keypoints):
    """All poses, and after how many frames each came."""
    found, came = [], []
    for number, frame in enumerate(keypoints, start=1):
        if (pose := lifter.push(frame)) is not None:
            found.append(pose)
            came.append(number)
    found.extend(lifter.finish())
    assert [pose.frame for pose in found] == list(range(len(keypoints)))
    return np.stack([pose.pose for pose in found]), np.stack([pose.root for pose in found]), came


def of_one_size(poses):
    """Streaming and offline know another depth, which is a factor of a frame's pose."""
    return poses / np.linalg.norm(poses, axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("data", ["h36m", "h36m_videopose3d"])
def test_half_a_window_of_delay_is_the_offline_result(weights, pixels, camera, data):
    lifter = Lifter(weights(data), size=camera.size, fps=FPS)
    poses, root, came = pushed(lifter, pixels)
    offline = liftbench.lift(pixels, camera.size, FPS, weights(data), layout="h36m17", refined=False)
    assert lifter.delay == HALF and lifter.delay_s == HALF / FPS and came == list(range(HALF + 1, T + 1))
    np.testing.assert_allclose(of_one_size(poses), of_one_size(offline.poses_3d), atol=1e-5)
    if data == "h36m":  # random answers in metres fit nobody before a camera
        np.testing.assert_allclose(root / root[:, 2:], offline.root / offline.root[:, 2:], atol=1e-6)


@pytest.mark.parametrize("delay", [0, 2])
def test_a_shorter_delay_sees_the_last_frame_repeated(weights, pixels, camera, delay):
    """The pose of a frame is that of a recording which ends `delay` frames after it."""
    poses, _, came = pushed(Lifter(weights(), size=camera.size, fps=FPS, delay=delay), pixels)
    assert came == list(range(delay + 1, T + 1))
    for frame in (0, 3, 20):
        seen = liftbench.lift(
            pixels[: frame + delay + 1], camera.size, FPS, weights(), layout="h36m17", refined=False
        ).poses_3d
        np.testing.assert_allclose(of_one_size(poses)[frame], of_one_size(seen)[frame], atol=1e-5)


@pytest.mark.parametrize("delay", [0, HALF])
def test_a_sequence_model_sees_the_newest_window(weights, pixels, camera, delay):
    path = weights(name="mixste", depth=1, embed_dim=16)
    poses, _, _ = pushed(Lifter(path, size=camera.size, fps=FPS, delay=delay), pixels)
    model = liftbench.load_weights(liftbench.create_model("mixste", frames=FRAMES, depth=1, embed_dim=16), path).eval()
    inputs = normalize(pixels, camera.size).astype(np.float32)
    for frame in (12, 30):
        newest = frame + delay
        window = lift_windows(model, inputs[newest - FRAMES + 1 : newest + 1], FRAMES, False)
        image = window[FRAMES - 1 - delay][None].astype(float) / 2 * camera.size[0]
        image = image - image[:, :1]
        image[..., :2] += pixels[frame, 0]
        known = np.ones((1, 17), bool)
        expected, _ = body.place_image_poses(image, known, 1700, max(camera.size), camera.size, FPS)
        np.testing.assert_allclose(of_one_size(poses)[frame], of_one_size(expected)[0], atol=1e-5)


def test_depth_is_steady_and_the_body_keeps_its_height(weights, pixels, camera):
    noisy = pixels + np.random.default_rng(0).normal(0, 3, pixels.shape)
    for data in ("h36m", "h36m_videopose3d"):
        poses, root, _ = pushed(Lifter(weights(data), size=camera.size, fps=FPS, height=1.8), noisy)
        heights = body.body_height(poses, np.ones((T, 17), bool))
        assert abs(heights.mean() - 1800) < 180
    poses, root, _ = pushed(Lifter(weights(), size=camera.size, fps=FPS, height=1.8), noisy)
    depths = np.log(root[:, 2])
    alone = depths - np.log(body.body_height(poses, np.ones((T, 17), bool)))  # that make each frame as tall as the next
    assert np.abs(np.diff(depths, 2)).mean() < 0.5 * np.abs(np.diff(alone, 2)).mean()


def test_a_lost_joint_stays_for_a_quarter_of_a_second(weights, pixels, camera):
    keypoints = np.concatenate([pixels, np.full((T, 17, 1), 0.9)], axis=-1)
    keypoints[5:30, 13] = 0
    lifter = Lifter(weights(), size=camera.size, fps=FPS, delay=0)
    found = [lifter.push(frame) for frame in keypoints]
    gone = np.array([np.isnan(pose.pose[13]).all() for pose in found])
    longest = int(0.25 * FPS)
    assert not gone[: 5 + longest].any() and gone[5 + longest : 30].all() and not gone[30:].any()
    assert not any(pose.valid[13] for pose in found[5:30]) and found[30].valid.all()
    assert all(np.isfinite(np.delete(pose.pose, 13, axis=0)).all() for pose in found)


def test_nobody_is_nan_until_somebody_comes(weights, pixels, camera):
    lifter = Lifter(weights(), size=camera.size, fps=FPS, delay=0, smooth="one-euro")
    first = [lifter.push(None) for _ in range(3)]
    assert all(np.isnan(pose.pose).all() and np.isnan(pose.root).all() and not pose.valid.any() for pose in first)
    assert np.isfinite(lifter.push(pixels[0]).pose).all()


def test_one_euro_calms_what_comes(weights, pixels, camera):
    plain, _, _ = pushed(Lifter(weights(), size=camera.size, fps=FPS), pixels)
    calm, _, _ = pushed(Lifter(weights(), size=camera.size, fps=FPS, smooth="one-euro"), pixels)
    assert np.abs(np.diff(calm, 2, axis=0)).mean() < 0.7 * np.abs(np.diff(plain, 2, axis=0)).mean()


def test_bad_input_is_one_sentence(weights, pixels, camera):
    path = weights()
    for options, message in (
        ({"delay": 5}, "Cannot lift with a delay of 5 frames: the clips are too short. Give 0 to 4."),
        ({"delay": -1}, "Cannot lift with a delay of -1 frames"),
        ({"layout": "h37"}, "Cannot read 'h37' keypoints: there is no such format"),
        ({"smooth": "6"}, "Cannot smooth by 6 while frames come: it looks ahead. Give one-euro."),
    ):
        with pytest.raises(InputError, match=message):
            Lifter(path, size=camera.size, fps=FPS, **options)
    lifter = Lifter(path, size=camera.size, fps=FPS)
    for frame, message in (
        (pixels[0, :5], "Cannot lift a frame of shape"),
        (pixels, "Cannot lift a frame of shape"),
        (np.full((17, 2), np.nan), "a keypoint is not finite"),
        ([[1, 2], [3]], "it is not an array of numbers"),
    ):
        with pytest.raises(InputError, match=message):
            lifter.push(frame)
    scored = Lifter(weights(name="mdtf_tiny", depth=1, embed_dim=16), size=camera.size, fps=FPS)
    with pytest.raises(InputError, match="the weights expect a confidence"):
        scored.push(pixels[0])
