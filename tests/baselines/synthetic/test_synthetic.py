"""Synthetic people, cameras and detector: what the embedded data must be for numbers on them to mean anything."""

import json
import pickle

import numpy as np
import pytest
from matplotlib.image import imread

from liftbench.baselines.data import picture
from liftbench.baselines.data.cameras import (
    CAMERAS,
    SUBJECTS,
    load_cameras,
    project_to_2d,
    room_centre,
    world_to_camera,
)
from liftbench.baselines.data.formats.motionbert_schema import check
from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import FLIP, PARENTS
from liftbench.baselines.synthetic import capture, detector, motionbert
from liftbench.baselines.synthetic.actions import ACTIONS, NAMES, act
from liftbench.baselines.synthetic.body import ANKLE_HEIGHT, make_body, reach
from support import ROOT

FRAMES = 12_000
EXCLUDED = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")


def load(path):
    return pickle.loads(path.read_bytes())


def performed(action, frames=250, seed=3):
    body = make_body(np.random.default_rng(seed))
    return body, act(action, body, frames, np.random.default_rng((seed, action)))


def bone_lengths(joints):
    return np.linalg.norm(joints[..., 1:, :] - joints[..., PARENTS[1:], :], axis=-1)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return motionbert.write(tmp_path_factory.mktemp("data") / "synthetic.pkl", FRAMES, seed=1)


@pytest.fixture(scope="module")
def content(path):
    return load(path)


@pytest.fixture(scope="module", params=["train", "test"])
def split(request, content):
    return content[request.param]


# Cameras


def test_world_to_camera_is_the_quaternion_rotation_of_videopose3d():
    camera = load_cameras(9)[1]
    calibration = json.loads((ROOT / "baselines/data/h36m_cameras.json").read_text())["extrinsics"]["S9"]
    w, x, y, z = calibration[camera.name]["orientation"]
    point = np.array([300.0, -200.0, 900.0])
    offset = point - calibration[camera.name]["translation"]
    vector = -np.array([x, y, z])  # of the conjugate: world to camera
    expected = offset + 2 * np.cross(vector, np.cross(vector, offset) + w * offset)
    np.testing.assert_allclose(world_to_camera(point, camera), expected, atol=1e-3)


def test_projection_by_hand():
    camera = load_cameras(1)[0]
    u, v, depth = 0.2, -0.1, 4000.0
    r2 = u**2 + v**2
    k1, k2, k3 = camera.radial
    p1, p2 = camera.tangential
    scale = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * u + p2 * v
    expected = camera.focal * [u * scale + p1 * r2, v * scale + p2 * r2] + camera.centre
    np.testing.assert_allclose(project_to_2d(np.array([u * depth, v * depth, depth]), camera), expected, rtol=1e-12)
    np.testing.assert_allclose(project_to_2d(np.array([0, 0, depth]), camera), camera.centre)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_all_cameras_look_at_the_middle_of_the_room(subject):
    middle = np.array([*room_centre(subject), 900.0])
    for camera in load_cameras(subject):
        pixels = project_to_2d(world_to_camera(middle, camera), camera)
        assert np.abs(pixels - 500).max() < 200, camera.name
        above = project_to_2d(world_to_camera(middle + [0, 0, 300], camera), camera)
        assert above[1] < pixels[1] - 40  # image y points down


# People


@pytest.mark.parametrize("action", ACTIONS)
def test_bones_keep_their_lengths_in_the_world_and_through_the_cameras(action):
    body, world = performed(action)
    expected = np.broadcast_to(np.linalg.norm(body[1:], axis=-1), (len(world), 16))
    np.testing.assert_allclose(bone_lengths(world), expected, rtol=1e-9)
    for camera in load_cameras(5):
        np.testing.assert_allclose(bone_lengths(world_to_camera(world, camera)), expected, rtol=1e-6)


def test_subjects_differ_and_are_symmetric():
    bodies = [make_body(np.random.default_rng((0, subject))) for subject in SUBJECTS]
    lengths = np.linalg.norm(bodies, axis=-1)
    np.testing.assert_allclose(lengths, lengths[:, FLIP])
    heights = lengths[:, [2, 3, 7, 8, 9, 10]].sum(axis=1)
    assert np.ptp(heights) > 30
    assert len(np.unique(heights.round(3))) == len(SUBJECTS)


@pytest.mark.parametrize("action", ACTIONS)
def test_feet_are_on_the_floor_and_nothing_below(action):
    for seed in range(4):
        _, world = performed(action, seed=seed)
        assert world[..., 2].min() > 40
        lower_foot = world[:, [3, 6], 2].min(axis=1)
        assert np.median(lower_foot) < ANKLE_HEIGHT + 20
        assert lower_foot.max() < ANKLE_HEIGHT + 60


@pytest.mark.parametrize("action", ACTIONS)
def test_motion_is_smooth(action):
    for seed in range(4):
        _, world = performed(action, seed=seed)
        speed = np.linalg.norm(np.diff(world, axis=0), axis=-1) * 50 / 1000
        assert 0.2 < speed.max() < 9, "m/s"


def test_a_planted_foot_does_not_slide():
    _, world = performed(14)
    ankles = np.linalg.norm(np.diff(world[:, [3, 6]], axis=0), axis=-1)
    assert (ankles.min(axis=1) < 0.1).mean() > 0.7  # mm per frame
    assert np.linalg.norm(np.diff(world[:, 0], axis=0), axis=-1).min() > 8


def test_actions_look_like_their_names():
    people = {NAMES[action]: [performed(action, seed=seed)[1] for seed in range(6)] for action in ACTIONS}

    def every(name, measure):
        return np.array([measure(world) for world in people[name]])

    def nearest_hand(world):
        """Return the largest distance from joint 9 of the hand that stays nearer to the face."""
        return np.linalg.norm(world[:, [13, 16]] - world[:, [9]], axis=-1).max(axis=0).min()

    def path(world):
        return np.linalg.norm(np.diff(world[:, 0, :2], axis=0), axis=-1).sum()

    def knees(world):
        thigh, shin = world[:, [1, 4]] - world[:, [2, 5]], world[:, [3, 6]] - world[:, [2, 5]]
        cosine = (thigh * shin).sum(-1) / np.linalg.norm(thigh, axis=-1) / np.linalg.norm(shin, axis=-1)
        return 180 - np.degrees(np.arccos(cosine))

    for walking in ("Walk", "WalkDog", "WalkTwo"):
        assert (every(walking, path) > 2500).all()
        assert (every(walking, lambda world: knees(world).max()) > 45).all()
    assert (every("Wait", path) < 2000).all()
    assert (every("Sitting", lambda world: world[:, 0, 2].max()) < 600).all()
    assert (every("SittingDown", lambda world: world[:, 0, 2].min()) < 200).all()
    assert (every("Phone", nearest_hand) < 250).all()
    assert (every("Eating", nearest_hand) > 250).all()
    assert (every("Greet", lambda world: (world[:, [13, 16]] - world[:, [10]])[..., 2].max()) > 0).any()
    assert (every("Purchase", lambda world: world[:, [13, 16], 2].min()) < 600).any()

    arms, legs = people["Walk"][0][:, [13, 16]], people["Walk"][0][:, [6, 3]]
    ahead = np.gradient(people["Walk"][0][:, 0], axis=0)
    swing = (((arms - legs)[:, 0] - (arms - legs)[:, 1]) * ahead).sum(-1)  # left minus right, along the way
    stride = ((legs[:, 0] - legs[:, 1]) * ahead).sum(-1)
    assert np.corrcoef(swing, stride)[0, 1] < -0.9  # arms swing against the legs


def test_reach_meets_its_target_and_bends_towards_the_pole():
    start, target, pole = np.zeros((1, 3)), np.array([[0.0, 0.0, -400.0]]), np.array([[1.0, 0.0, 0.0]])
    middle, end = reach(start, target, pole, 300.0, 300.0)
    np.testing.assert_allclose(end, target)
    np.testing.assert_allclose(middle, [[np.sqrt(300**2 - 200**2), 0, -200]])
    _, stretched = reach(start, 10 * target, pole, 300.0, 300.0)
    np.testing.assert_allclose(stretched, [[0, 0, -0.999 * 600]])


# The file


def test_schema(path, content, split):
    count = len(split["joint_2d"])
    shapes = {
        "joint_2d": (count, 17, 2),
        "confidence": (count, 17),
        "joint3d_image": (count, 17, 3),
        "2.5d_factor": (count,),
        "joints_2.5d_image": (count, 17, 3),
    }
    assert {name: split[name].shape for name in shapes} == shapes
    assert all(split[name].dtype == np.float32 for name in shapes)
    assert all(np.isfinite(split[name]).all() for name in shapes)
    assert split["camera_name"].dtype == np.dtype("<U8")
    assert isinstance(split["source"], list) and isinstance(split["action"], list)
    assert len(split["source"]) == len(split["action"]) == len(split["camera_name"]) == count
    assert check(content, path)[1] == {"kind": "synthetic", "version": motionbert.VERSION, "frames": FRAMES, "seed": 1}


def test_subjects_actions_and_cameras(content):
    seen, cameras = {}, {}
    for name in ("train", "test"):
        split = content[name]
        rows = set(zip(split["source"], split["camera_name"], split["action"], strict=True))
        runs = 1 + sum(a != b for a, b in zip(split["source"], split["source"][1:], strict=False))
        assert runs == len(rows)  # each source once, its frames together, under one camera and one action
        for source, camera, action in rows:
            _, subject, _, number, _, _, _, view = source.split("_")
            assert camera == CAMERAS[int(view) - 1] and action == NAMES[int(number)]
            seen.setdefault((name, int(subject)), set()).add(action)
            cameras.setdefault(name, set()).add(camera)
    expected = {
        ("test" if subject in (9, 11) else "train", subject): {NAMES[action] for action in actions}
        for subject, actions in motionbert.PLAN.items()
    }
    assert seen == expected and set(motionbert.PLAN) == set(SUBJECTS)
    assert cameras == {"train": set(CAMERAS), "test": set(CAMERAS)}
    trained, tested = (set.union(*(seen[key] for key in seen if key[0] == name)) for name in ("train", "test"))
    assert tested <= trained and len(trained) == 12
    excluded = {source[:-6] for source in content["test"]["source"]} & set(EXCLUDED)
    assert excluded == {"s_09_act_13_subact_01"}, "the protocol has something to leave out"


def test_takes_are_as_long_as_the_real_ones():
    """Takes last a minute or more at 50 frames per second, in 60,000 frames; five test actions count."""
    lengths = np.array(motionbert.lengths(len(motionbert.takes()), 60_000, 0))
    assert len(lengths) == 18 and abs(lengths.sum() - 60_000) < 20
    assert lengths.min() >= 60 * 50
    assert (lengths % 27 != 0).all()
    test = np.array([take.subject in motionbert.TEST_SUBJECTS for take in motionbert.takes()])
    assert 0.6 < lengths[~test].sum() / lengths.sum() < 0.8
    fewest = motionbert.lengths(18, motionbert.FEWEST_FRAMES, 0)
    assert min(fewest) > 2 * 243, "no clip is stretched in the smallest file either"


def test_ground_truth_is_the_projection_of_the_people(content):
    for take in motionbert.takes():
        if take.subject != 9:
            continue
        split = content["test"]
        rows = np.array(split["source"]) == f"s_09_act_{take.action:02d}_subact_01_ca_{take.camera:02d}"
        body = make_body(np.random.default_rng((1, 9)))
        world = act(take.action, body, rows.sum(), np.random.default_rng((1, 9, take.action)))
        world[..., :2] += room_centre(9)
        camera = load_cameras(9)[take.camera - 1]
        points = world_to_camera(world, camera)
        image = split["joint3d_image"][rows]
        np.testing.assert_allclose(image[..., :2], project_to_2d(points, camera), atol=1e-3)
        metric = split["joints_2.5d_image"][rows]
        np.testing.assert_allclose(metric[..., 2], points[..., 2] - points[:, :1, 2], atol=1e-2)
        error = (metric - metric[:, :1]) - (points - points[:, :1])
        assert np.linalg.norm(error, axis=-1).mean() < 40, "mm: weak perspective"


def test_without_detector_noise_the_2d_is_the_projection(monkeypatch):
    _, world = performed(3)
    camera = load_cameras(1)[2]
    monkeypatch.setattr(detector, "detect", lambda pixels, points, rng: (pixels, np.ones(pixels.shape[:2])))
    recorded = capture.record(world_to_camera(world, camera), camera, np.random.default_rng(0))
    np.testing.assert_array_equal(recorded["joint_2d"], recorded["joint3d_image"][..., :2])


def test_two_and_a_half_d(split):
    factor = split["2.5d_factor"]
    np.testing.assert_array_equal(split["joints_2.5d_image"], split["joint3d_image"] * factor[:, None, None])
    assert (split["joints_2.5d_image"][:, 0, 2] == 0).all()
    assert 2 < factor.min() and factor.max() < 8
    lengths = bone_lengths(split["joints_2.5d_image"].astype(float))
    assert np.abs(np.median(lengths, axis=0) / np.median(lengths, axis=0)[np.array(FLIP[1:]) - 1] - 1).max() < 0.05


def test_factor_is_the_least_squares_scale():
    rng = np.random.default_rng(0)
    pixels, points = rng.normal(size=(5, 17, 2)), rng.normal(size=(5, 17, 3))
    flat, true = pixels - pixels[:, :1], (points - points[:, :1])[..., :2]
    expected = [np.linalg.lstsq(f.reshape(-1, 1), t.ravel(), rcond=None)[0][0] for f, t in zip(flat, true, strict=True)]
    np.testing.assert_allclose(capture.millimetres_per_pixel(pixels, points), expected)


def test_people_stay_in_the_image(split):
    width, height = 1000, 1000
    pixels = split["joint3d_image"][..., :2]
    assert ((pixels >= 0) & (pixels < (width, height))).all(axis=-1).mean() > 0.999


# The detector


def test_detections_are_off_by_about_five_pixels(split):
    error = np.linalg.norm(split["joint_2d"] - split["joint3d_image"][..., :2], axis=-1)
    assert 4 < error.mean() < 7
    assert error[:, [13, 16, 3, 6]].mean() > 1.3 * error[:, [0, 8, 9]].mean()  # hands and feet are worse


def test_confidence_tells_of_the_error(split):
    error = np.linalg.norm(split["joint_2d"] - split["joint3d_image"][..., :2], axis=-1).ravel()
    confidence = split["confidence"].ravel()
    assert confidence.min() > 0 and confidence.max() <= 1
    by_error = confidence[np.argsort(error)]
    assert -0.95 < np.corrcoef(np.log1p(error), confidence)[0, 1] < -0.6
    assert by_error[: len(by_error) // 10].mean() > by_error[-len(by_error) // 10 :].mean() + 0.3


def test_errors_last_over_neighbouring_frames():
    _, world = performed(13, frames=1000)
    camera = load_cameras(1)[0]
    points = world_to_camera(world, camera)
    pixels = project_to_2d(points, camera)
    error = detector.detect(pixels, points, np.random.default_rng(0))[0] - pixels
    still = error[:, 8]

    def correlation(lag):
        return np.corrcoef(still[:-lag].ravel(), still[lag:].ravel())[0, 1]

    assert correlation(1) > 0.4 and abs(correlation(200)) < 0.2


def test_left_and_right_are_sometimes_swapped(content):
    split = content["train"]
    true, seen = split["joint3d_image"][..., :2], split["joint_2d"]
    apart = np.linalg.norm(true[:, 3] - true[:, 6], axis=-1) > 60
    right = np.linalg.norm(seen[:, 3] - true[:, 3], axis=-1)
    wrong = np.linalg.norm(seen[:, 3] - true[:, 6], axis=-1)
    share = (wrong < right)[apart].mean()
    assert 0.002 < share < 0.06


def test_joints_behind_the_body_are_hidden():
    world = np.zeros((1, 17, 3))
    body = make_body(np.random.default_rng(0))
    for joint in range(1, 17):
        world[0, joint] = world[0, PARENTS[joint]] + body[joint]
    points = np.stack([-world[..., 1], -world[..., 2], -world[..., 0]], axis=-1) + [0, 0, 5000]  # seen from the front
    behind, before = points.copy(), points.copy()
    behind[0, 13] = points[0, 7] + [0, 0, 400]
    before[0, 13] = points[0, 7] - [0, 0, 400]
    assert detector.hidden(behind)[0, 13] == 1
    assert detector.hidden(before)[0, 13] == 0


# Writing


def test_the_file_depends_on_the_seed_alone(tmp_path, path):
    again = motionbert.write(tmp_path / "again.pkl", FRAMES, seed=1)
    other = load(motionbert.write(tmp_path / "other.pkl", FRAMES, seed=2))
    assert again.read_bytes() == path.read_bytes()
    first = load(path)
    assert not np.array_equal(first["test"]["joint3d_image"][:50], other["test"]["joint3d_image"][:50])


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "data.pkl"
    target.write_bytes(b"old")

    def interrupted(content, file, protocol):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pickle, "dump", interrupted)
    with pytest.raises(KeyboardInterrupt):
        capture.save({}, target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("frames", "seed", "problem"), [(100, 0, "too few"), (60_000, -1, "negative")])
def test_unusable_arguments(tmp_path, frames, seed, problem):
    with pytest.raises(InputError, match=problem):
        motionbert.write(tmp_path / "data.pkl", frames, seed)


# The picture


def test_picture(tmp_path, content):
    split = content["test"]
    rows = [0, 500, 900]
    titles = [f"{split['action'][row]}\n{split['camera_name'][row]}, frame {row}" for row in rows]
    arrays = (split[name][rows] for name in ("joint_2d", "confidence", "joints_2.5d_image"))
    image = imread(picture.draw(*arrays, titles, tmp_path / "poses.png"))[..., :3]
    top, bottom = np.array_split(image, 2)
    for half in (top, bottom):
        for wanted in (picture.LEFT_COLOUR, picture.RIGHT_COLOUR):
            rgb = np.array([int(wanted[k : k + 2], 16) for k in (1, 3, 5)]) / 255
            assert (np.abs(half - rgb).max(axis=-1) < 0.2).sum() > 100
