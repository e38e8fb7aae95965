"""Gait of people whose steps are known, and of motion capture within the figures that are documented."""

import numpy as np
import pytest

from liftbench.baselines.errors import InputError
from liftbench.lift import gait
from support import ROOT
from support.walking import FPS, LEG, STRIDE, SWING, marching, walker

CMU = ROOT / "../shared/mocap/cmu17.npz"


@pytest.mark.parametrize("heading", [0.0, 0.3, 3.0])
def test_known_steps(heading):
    found = gait.analyse(marching(heading=heading), 100)
    right, left = found.heel_strikes
    np.testing.assert_allclose(right, STRIDE * np.arange(1, 7), atol=0.011)
    np.testing.assert_allclose(left, STRIDE * (np.arange(7) + 0.5)[: len(left)], atol=0.011)
    np.testing.assert_allclose(found.toe_offs[0], left, atol=0.011)
    expected = {
        "stride time, s": STRIDE, "step time, s": STRIDE / 2, "cadence, steps/min": 100.0, "stance, %": 50.0,
        "swing, %": 50.0, "step length, mm": 2 * LEG * np.sin(SWING), "stride length, mm": 4 * LEG * np.sin(SWING),
        "speed, m/s": 4 * LEG * np.sin(SWING) / STRIDE / 1000, "step width, mm": 200.0,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(found.parameters[name], value, rtol=0.02, err_msg=name)


def test_known_angles():
    found = gait.analyse(marching(knee=np.radians(40)), 100)
    right, left = found.curves["knee flexion"]
    assert right.shape[1] == 101 and found.strides == (len(right), len(left))
    np.testing.assert_allclose(right, 40, atol=1)
    np.testing.assert_allclose(left, 0, atol=1)
    cycle = np.cos(2 * np.pi * np.linspace(0, 1, 101))
    np.testing.assert_allclose(found.curves["thigh"][1].mean(axis=0), 25 * cycle, atol=1)
    np.testing.assert_allclose(found.curves["hip flexion"][1].mean(axis=0), 25 * cycle, atol=1)
    for name in ("trunk lean forward", "trunk lean to the side", "pelvic obliquity", "pelvic rotation"):
        np.testing.assert_allclose(found.curves[name][0], 0, atol=0.5, err_msg=name)


def test_signs_of_trunk_and_pelvis():
    pose = marching(heading=0.0)
    pose[:, 8] += [50, 30, 0]  # leans forward and to the left
    pose[:, 1] += [20, 0, 10]  # the right hip is ahead and up
    angles = gait.joint_angles(pose, *gait.body_axes(marching(heading=0.0), 100))
    assert (angles["trunk lean forward"] > 5).all() and angles["trunk lean to the side"][0].tolist() == pytest.approx(
        [-3.4, 3.4], abs=0.1
    )
    for name in ("pelvic obliquity", "pelvic rotation"):
        assert (angles[name] * [1, -1] > 2).all(), name


def test_unequal_steps_are_asymmetric():
    assert gait.symmetry(110, 90) == pytest.approx(
        {"symmetry index, %": 20.0, "gait asymmetry, %": 100 * np.log(110 / 90), "ratio": 110 / 90}
    )
    assert gait.symmetry(5, 5) == {"symmetry index, %": 0, "gait asymmetry, %": 0, "ratio": 1}


def test_gaps_and_turns_do_not_count():
    pose = marching()
    pose[:150, 2] = np.nan  # a knee; the head is not needed
    pose[300:, 10] = np.nan
    found = gait.analyse(pose, 100)
    assert min(found.heel_strikes[0]) > 1.5
    np.testing.assert_allclose(found.heel_strikes[0], STRIDE * np.arange(2, 7), atol=0.011)


def test_the_synthetic_walker_walks():
    found = gait.analyse(walker(400), FPS)
    right, left = found.parameters["stride time, s"]
    assert 0.8 < right < 1.4 and abs(right - left) < 0.1
    assert 55 < np.mean(found.parameters["stance, %"]) < 70


@pytest.mark.parametrize(
    "pose, fps, message",
    [
        (marching(), 20, "20 frames a second are too few"),
        (np.full((100, 17, 3), np.nan), 50, "no second of the recording is without gaps"),
        (marching(seconds=1), 100, "there is no stride in it"),
    ],
)
def test_no_gait_is_one_sentence(pose, fps, message):
    with pytest.raises(InputError, match=f"^Cannot analyse gait: {message}"):
        gait.analyse(pose, fps)


def straight_walks():
    """(T, 17, 3) mm of each straight walk of the CMU motion capture."""
    with np.load(CMU) as file:
        positions, offsets, action = file["positions"], file["offsets"], file["action"]
    for clip in np.flatnonzero(action == "walk"):
        pose = 1000 * positions[offsets[clip] : offsets[clip + 1]].astype(float)
        path = np.diff(pose[:, 0, :2], axis=0)
        if np.linalg.norm(path.sum(axis=0)) > 0.9 * np.linalg.norm(path, axis=1).sum() and len(pose) > 100:
            yield pose


def test_motion_capture_is_within_the_documented_figures():
    if not CMU.exists():
        pytest.skip("the motion capture is not here")
    rows, short = [], []
    for pose in straight_walks():
        try:
            found = gait.analyse(pose, 50)
        except InputError:
            continue
        mean = {name: np.nanmean(both) for name, both in found.parameters.items()}
        first, last = np.round(found.heel_strikes[0][[0, -1]] * 50).astype(int)
        strides = len(found.heel_strikes[0]) - 1
        short.append(mean["step length, mm"] / (np.linalg.norm(pose[last, 0] - pose[first, 0]) / strides / 2))
        knee = np.mean([curve.max(axis=1).mean() for curve in found.curves["knee flexion"] if len(curve)])
        rows.append([mean["stride time, s"], mean["stance, %"], mean["step width, mm"], knee])
    low, high = np.min(rows, axis=0), np.max(rows, axis=0)
    assert len(rows) == 12
    assert (low > [0.85, 57, 40, 55]).all() and (high < [1.45, 66, 170, 82]).all(), (low, high)
    assert 0.84 < np.mean(short) < 0.90  # ankle-based: 13 % too short
