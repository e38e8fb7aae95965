"""Known people before known cameras: size, path, vertical and floor come back within the documented tolerances."""

import numpy as np
import pytest

from liftbench.baselines.data.cameras import load_cameras, room_centre
from liftbench.baselines.errors import InputError
from liftbench.lift.geometry import body, filters, world
from support.walking import FPS, marching, seen_by, walker


@pytest.fixture(scope="module", params=range(4))
def view(request):
    """(camera, true poses in the camera's frame, their 2.5D image, the person's height in mm)"""
    joints = walker()
    camera = load_cameras(9)[request.param]
    points, image = seen_by(camera, joints, room_centre(9))
    return camera, points, image, float(np.median(body.body_height(points, np.ones((len(points), 17), bool))))


def angle(a, b):
    return np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


def test_body_height_of_the_synthetic_person():
    joints = walker()
    height = body.body_height(joints, np.ones((len(joints), 17), bool))
    assert np.ptp(height) < 1 and 1550 < height[0] < 1850
    legs_only = np.zeros((len(joints), 17), bool)
    legs_only[:, :7] = True
    assert np.abs(body.body_height(joints, legs_only) / height - 1).max() < 0.06
    assert np.isnan(body.body_height(joints, np.zeros((len(joints), 17), bool))).all()


@pytest.mark.parametrize("kind", ["image", "metric"])
def test_the_root_path_comes_back(view, kind):
    camera, points, image, height = view
    known, focal = np.ones((len(points), 17), bool), camera.focal.mean()
    if kind == "image":
        poses, root = body.place_image_poses(image, known, height, focal, camera.size, FPS)
    else:
        metres = (points - points[:, :1]) / 1000
        poses, root = body.place_metric_poses(metres, image[..., :2], known, height, focal, camera.size, FPS)
    away = np.linalg.norm(root - points[:, 0], axis=-1)
    assert away.mean() < 25 and away.max() < 100
    assert np.abs(poses - (points - points[:, :1])).mean() < 8
    path, true_path = root[-1] - root[0], points[-1, 0] - points[0, 0]
    assert angle(path, true_path) < 1.5  # heading; 0.5 degrees on exact projections
    speed, true_speed = (np.linalg.norm(p) / (len(points) - 1) * FPS / 1000 for p in (path, true_path))
    assert abs(speed - true_speed) < 0.05  # m/s


def test_another_height_scales_everything(view):
    camera, points, image, height = view
    known, focal = np.ones((len(points), 17), bool), camera.focal.mean()
    once, twice = (body.place_image_poses(image, known, h, focal, camera.size, FPS) for h in (height, 2 * height))
    for a, b in zip(once, twice):
        np.testing.assert_allclose(2 * a, b)


def test_frames_without_joints_take_the_depth_of_their_neighbours(view):
    camera, points, image, height = view
    known = np.ones((len(points), 17), bool)
    known[40:45] = False
    _, root = body.place_image_poses(image, known, height, camera.focal.mean(), camera.size, FPS)
    assert np.linalg.norm(root - points[:, 0], axis=-1)[40:45].max() < 100


def test_vertical_and_floor(view):
    camera, points, _, height = view
    up, how = world.up_from_body(points - points[:, :1])
    assert angle(camera.rotation @ up, np.array([0, 0, 1.0])) < 5.5 and "ankles" in how
    poses, root = points - points[:, :1], points[:, 0]
    placed, _, how = world.stand(poses, root, camera.rotation, height)
    true = points @ camera.rotation.T
    np.testing.assert_allclose(np.diff(placed, axis=0), np.diff(true, axis=0), atol=1e-6)
    assert abs(placed[..., 2] - (true + camera.position)[..., 2]).max() < 25 and how == "floor below the ankles"
    assert np.abs(placed[0, 0, :2]).max() < 1e-9
    tilted, _, _ = world.stand(poses, root, world.rotation_from_up(up), height)
    assert np.abs(np.linalg.norm(tilted[-1, 0, :2]) - np.linalg.norm(placed[-1, 0, :2])) < 25


@pytest.mark.parametrize("heading", [0.0, 0.8, np.pi / 2])
def test_who_walks_far_tells_where_the_ground_is(heading):
    joints = marching(seconds=4, fps=50, heading=heading) + np.random.default_rng(0).normal(0, 20, (200, 17, 3))
    root, poses, up = joints[:, 0], joints - joints[:, :1], np.array([0, 0, 1.0])
    ahead = np.array([np.cos(heading), np.sin(heading), 0])
    leans = up + np.tan(np.radians(8)) * ahead
    assert angle(world.level_ground(leans / np.linalg.norm(leans), poses, root), up) < 1
    treadmill = root - 1200 * np.arange(200)[:, None] / 50 * ahead
    assert angle(world.level_ground(leans / np.linalg.norm(leans), poses, treadmill), leans) < 2
    aside = up + np.tan(np.radians(8)) * np.cross(up, ahead)  # along a straight line nothing tells
    assert 7 < angle(world.level_ground(aside / np.linalg.norm(aside), poses, root), up) < 9


def test_without_ankles_the_vertical_stays():
    poses = np.full((50, 17, 3), np.nan)
    np.testing.assert_array_equal(world.level_ground(np.array([0, 0, 1.0]), poses, poses[:, 0]), [0, 0, 1])


def test_jumps_stay_above_the_floor(view):
    camera, points, _, height = view
    poses, root = points - points[:, :1], points[:, 0].copy()
    root[60:90] += 300 * camera.rotation.T[:, 2]  # a leap of 30 cm
    placed, _, _ = world.stand(poses, root, camera.rotation, height)
    assert placed[70, [3, 6], 2].min() > 330 and placed[30, [3, 6], 2].min() < 120


def test_a_given_rotation():
    np.testing.assert_allclose(world.given_rotation((0, 0)), [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)
    down = world.given_rotation((30, 0)) @ [0, 0, 1]  # where the camera looks, in the world
    np.testing.assert_allclose(down, [0, np.cos(np.pi / 6), -0.5], atol=1e-12)
    right = world.given_rotation((0, 10)) @ [1, 0, 0]
    assert right[2] == pytest.approx(-np.sin(np.radians(10)))
    for camera in load_cameras(9):
        np.testing.assert_allclose(world.given_rotation(camera.rotation.T.ravel()), camera.rotation)
    for wrong in ((1, 2, 3), np.arange(9), -np.eye(3), (np.nan, 0)):
        with pytest.raises(InputError, match="Cannot use this camera rotation"):
            world.given_rotation(wrong)


def test_half_a_body_stands_somewhere():
    joints = walker()
    points, _ = seen_by(load_cameras(9)[0], joints)
    poses = points - points[:, :1]
    poses[:, [2, 3, 5, 6]] = np.nan
    up, how = world.up_from_body(poses)
    assert how == "vertical from the body (pelvis to thorax)"
    placed, _, how = world.stand(poses, points[:, 0], world.rotation_from_up(up), 1700)
    assert "as no ankle was" in how and np.isfinite(placed[:, 0]).all()
    nothing = np.full_like(poses, np.nan)
    assert world.up_from_body(nothing)[1] == "vertical from a level camera"
    assert world.stand(nothing, points[:, 0], np.eye(3), 1700)[2] == "no floor"


def test_rigid_bones_keep_their_directions():
    joints = walker() * (1 + 0.05 * np.sin(np.arange(200))[:, None, None])
    joints[50, 3] = np.nan
    fixed = filters.rigid(joints)
    bones = np.linalg.norm(fixed[:, 2] - fixed[:, 1], axis=-1)
    assert np.ptp(bones) < 1e-6 and np.isnan(fixed[50, 3]).all() and np.isfinite(fixed[50, 2]).all()
    assert angle(fixed[7, 2] - fixed[7, 1], joints[7, 2] - joints[7, 1]) < 1e-4


def test_smoothing_has_no_delay_and_the_given_cutoff():
    t = np.arange(500) / 50
    for rate, gain in ((1.0, 1.0), (6.0, np.sqrt(0.5)), (20.0, 0.0)):
        wave = np.sin(2 * np.pi * rate * t)[:, None, None] * np.ones((1, 17, 3))
        filtered = filters.smooth(wave, 50, 6.0)[100:400]
        np.testing.assert_allclose(filtered, gain * wave[100:400], atol=0.02)


def test_smoothing_leaves_gaps_alone():
    joints = walker()
    joints[50:60, 3] = np.nan
    filtered = filters.smooth(joints, FPS, 6.0)
    assert np.isnan(filtered[50:60, 3]).all() and np.isfinite(np.delete(filtered[:, 3], slice(50, 60), axis=0)).all()
    assert np.nanmax(np.abs(filtered - joints)) < 40
    for cutoff in (0, -1, 25, np.nan):
        with pytest.raises(InputError, match="^Cannot smooth at"):
            filters.smooth(joints, FPS, cutoff)


def one_euro_by_the_paper(values, fps, cutoff, slope):
    """The published algorithm for one coordinate, line by line."""
    alpha = lambda hz: 1 / (1 + fps / (2 * np.pi * hz))  # noqa: E731
    place, speed, out = values[0], 0.0, [values[0]]
    for value in values[1:]:
        speed = alpha(1.0) * (value - place) * fps + (1 - alpha(1.0)) * speed
        share = alpha(cutoff + slope * abs(speed))
        place = share * value + (1 - share) * place
        out.append(place)
    return np.array(out)


def test_one_euro_is_the_published_filter():
    along = np.random.default_rng(0).normal(0, 30, 100).cumsum()
    points = along[:, None, None] * np.array([1.0, 0, 0])
    filtered = filters.smooth(points, 50, 2.0, "one-euro")
    expected = one_euro_by_the_paper(along, 50, 2.0, filters._CUTOFF_PER_SPEED)
    np.testing.assert_allclose(filtered[:, 0, 0], expected)
    assert not filtered[:, 0, 1:].any()


def test_one_euro_calms_what_is_still_and_follows_what_is_fast():
    noise = np.random.default_rng(0).normal(0, 10, (300, 17, 3))
    assert filters.smooth(noise, 50, 1.0, "one-euro")[50:].std() < 0.6 * noise.std()
    fast = np.linspace(0, 12000, 300)[:, None, None] * np.ones((1, 1, 3))  # 3.5 m/s
    assert np.abs(filters.smooth(fast, 50, 1.0, "one-euro") - fast)[100:].max() < 2 * 40


def test_one_euro_leaves_gaps_alone_and_begins_anew():
    joints = walker()
    joints[50:60, 3] = np.nan
    filtered = filters.smooth(joints, FPS, 1.0, "one-euro")
    np.testing.assert_array_equal(np.isnan(filtered), np.isnan(joints))
    np.testing.assert_array_equal(filtered[60, 3], joints[60, 3])
    assert np.nanmax(np.abs(filtered - joints)) < 150


@pytest.mark.parametrize(
    "option, expected",
    [(6, (6.0, "butterworth")), ("6.5", (6.5, "butterworth")), ("one-euro", (1.0, "one-euro")),
     ("one-euro:3", (3.0, "one-euro"))],
)  # fmt: skip
def test_smoothing_by_name(option, expected):
    assert filters.smoothing(option, 50) == expected


@pytest.mark.parametrize("option", ["kalman", "one-euro:", "one-euro:fast", "one-eurox", "one-euro:30", 40, "nan", ""])
def test_no_other_smoothing(option):
    with pytest.raises(InputError, match="^Cannot smooth (by|at) "):
        filters.smoothing(option, 50)
