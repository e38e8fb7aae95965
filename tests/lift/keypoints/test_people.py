"""From detections to one person's 17 joints: names, tracks, gaps."""

import numpy as np
import pytest

from liftbench.baselines.data import gaps
from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import JOINTS
from liftbench.lift.keypoints import arrays, layouts
from liftbench.lift.keypoints.detections import gather
from liftbench.lift.keypoints.people import choose, find_people, followed

# A person who stands, seen from the front: their right is on the left of the image.
STANDING = {
    "nose": (0, -70), "left_eye": (3, -74), "right_eye": (-3, -74), "left_ear": (7, -74), "right_ear": (-7, -74),
    "left_shoulder": (18, -50), "right_shoulder": (-18, -50), "left_elbow": (22, -20), "right_elbow": (-22, -20),
    "left_wrist": (24, 5), "right_wrist": (-24, 5), "left_hip": (10, 0), "right_hip": (-10, 0), "left_knee": (10, 45),
    "right_knee": (-10, 45), "left_ankle": (10, 88), "right_ankle": (-10, 88), "upper_neck": (0, -60),
    "head_top": (0, -88), "thorax": (0, -52), "pelvis": (0, 1), "spine": (0, -25), "neck": (0, -60), "head": (0, -85),
}  # fmt: skip
INDICES = {  # of right hip, left ankle, left wrist, right shoulder, as the detectors' documentation has them
    "coco17": (12, 15, 9, 6), "coco18": (8, 13, 7, 2), "body25": (9, 14, 7, 2), "body25b": (12, 15, 9, 6),
    "halpe26": (12, 15, 9, 6), "halpe136": (12, 15, 9, 6), "wholebody133": (12, 15, 9, 6),
    "mediapipe33": (24, 27, 15, 12),
    "h36m17": (1, 6, 13, 14),
}  # fmt: skip


def standing(layout, confidence=0.9):
    """(1, J, 3)"""
    return np.array([[(*STANDING.get(name, (500, 500)), confidence) for name in layouts.LAYOUTS[layout]]])


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_layout_gives_the_same_person(layout):
    points = standing(layout)
    joints = dict(zip(JOINTS, layouts.to_h36m(points, layouts.LAYOUTS[layout])[0]))
    for name, index in zip(("right_hip", "left_ankle", "left_wrist", "right_shoulder"), INDICES[layout]):
        np.testing.assert_array_equal(joints[name], points[0, index])
    for name in ("pelvis", "thorax", "spine"):
        assert np.abs(joints[name][:2] - STANDING[name]).max() <= 2
    assert -100 < joints["head"][1] < -80 and abs(joints["head"][0]) < 1
    assert (np.stack(list(joints.values()))[:, 2] == 0.9).all()


@pytest.mark.parametrize("layout", sorted(set(layouts.LAYOUTS) - {"h36m17"}))
def test_joint_9_is_the_nose_or_the_neck(layout):
    nose, neck = (layouts.to_h36m(standing(layout), layouts.LAYOUTS[layout], rule)[0, 9] for rule in ("nose", "neck"))
    assert nose[:2].tolist() == [0, -70] and -63 < neck[1] < -58


def test_a_derived_joint_is_as_sure_as_its_least_sure_source():
    points = standing("coco17")
    points[0, 12, 2] = 0.2  # right hip
    joints = dict(zip(JOINTS, layouts.to_h36m(points, layouts.LAYOUTS["coco17"])[0, :, 2]))
    assert joints["pelvis"] == joints["spine"] == joints["right_hip"] == 0.2 and joints["left_hip"] == 0.9


def test_the_head_is_found_in_profile():
    points = standing("coco17")
    points[0, [1, 3]] = 0  # left eye and ear
    head = layouts.to_h36m(points, layouts.LAYOUTS["coco17"])[0, 10]
    assert head[2] == 0.9 and -100 < head[1] < -80


def two_people(frames=30, cross=True):
    """Two who walk past each other, in an order that changes from frame to frame: (frames, 2, 17, 3), who is first."""
    x = np.linspace(100, 500, frames)
    who = np.stack([standing("coco17")[0] + [at, 200, 0] for at in x])
    other = np.stack([1.2 * standing("coco17")[0] * [1, 1, 1 / 1.2] + [at, 240, 0] for at in x[::-1]])
    swapped = np.random.default_rng(0).random(frames) < 0.5
    both = np.stack([who, other], axis=1)
    both[swapped] = both[swapped, ::-1]
    return both, swapped


def detections(both, numbers=None, track=None):
    numbers = np.arange(len(both)) if numbers is None else numbers
    points = both.reshape(-1, *both.shape[2:])
    track = [-1] * len(points) if track is None else track
    return gather("test", "test", "coco17", layouts.LAYOUTS["coco17"], np.repeat(numbers, 2), points, track)


def test_people_who_cross_keep_their_tracks():
    both, swapped = two_people()
    persons = find_people(followed(detections(both), 30))
    assert [len(rows) for rows in persons] == [30, 30]
    np.testing.assert_array_equal(persons[0] % 2, ~swapped)  # the larger one first
    np.testing.assert_array_equal(persons[1] % 2, swapped)


def test_tracks_of_the_file_count():
    both, _ = two_people(4)
    persons = find_people(detections(both, track=[5, 2] * 4))
    assert sorted((rows % 2).tolist() for rows in persons) == [[0] * 4, [1] * 4]


def test_a_single_person_who_was_away_comes_back():
    points = np.concatenate([standing("coco17"), standing("coco17") + [400, 0, 0]]) + [100, 100, 0]
    names = layouts.LAYOUTS["coco17"]
    persons = find_people(followed(gather("test", "test", "coco17", names, [0, 200], points, [-1, -1]), 30))
    assert [rows.tolist() for rows in persons] == [[0, 1]]


def test_a_crowd_is_followed_and_who_left_is_forgotten():
    """Two at a time, who are gone after two frames; then the first two stand there again."""
    apart = np.arange(404).reshape(202, 2).repeat(2, axis=0)[:, :, None, None] * [600, 0, 0]
    both = standing("coco17")[0] + apart + [100, 100, 0]
    both = np.concatenate([both, both[:2]])
    people = find_people(followed(detections(both), 30))
    assert len(people) == 406 and {len(rows) for rows in people} == {2}


def test_whom_to_lift():
    persons = [np.arange(3), np.arange(2)]
    assert choose(persons, "largest") == [0] and choose(persons, "all") == [0, 1] and choose(persons, 2) == [1]
    for strange in ("3", 0, "tallest", -1):
        with pytest.raises(InputError, match="Choose largest, all, or a number from 1 to 2"):
            choose(persons, strange)


def walk(frames=60):
    """(frames, 17, 3): a person who moves to the right at 4 pixels a frame."""
    return standing("h36m17") + np.stack([4.0 * np.arange(frames) + 100, [200.0] * frames, [0] * frames], 1)[:, None]


def test_short_gaps_are_filled():
    keypoints = walk()
    keypoints[20:25, 3] = 0
    keypoints[40, :] = 0
    keypoints[50, 6] = 33, 44, 0.1
    person = gaps.fill(keypoints, 30, scored=True)
    np.testing.assert_allclose(person.keypoints[..., :2], walk()[..., :2])
    assert person.known.all() and not person.valid[22, 3] and not person.valid[40].any() and not person.valid[50, 6]
    assert person.keypoints[50, 6, 2] == gaps.CONFIDENCE
    assert person.summary.startswith("60 frames; 1 without the person (1 filled, 0 empty)")


def test_long_gaps_are_left_empty():
    keypoints = walk()
    keypoints[20:40, 3] = 0
    keypoints[50:] = 0
    person = gaps.fill(keypoints, 30, scored=True)
    assert not person.known[20:40, 3].any() and not person.present[50:].any() and person.present[:50].all()
    assert np.isfinite(person.keypoints).all(), "the model needs a stand-in"
    assert "10 without the person (0 filled, 10 empty)" in person.summary


def test_joints_of_low_confidence_are_kept_but_marked():
    keypoints = walk()
    keypoints[:, 3, 2] = 0.1
    person = gaps.fill(keypoints, 30, scored=True)
    assert person.known.all() and not person.valid[:, 3].any()
    np.testing.assert_array_equal(person.keypoints, keypoints)
    assert gaps.fill(keypoints, 30, scored=False).valid.all()


def test_half_bodies():
    keypoints = walk()
    keypoints[:, [2, 3, 5, 6]] = 0
    person = gaps.fill(keypoints, 30, scored=True)
    assert not person.known[:, [2, 3, 5, 6]].any() and person.known[:, [0, 1, 4, *range(7, 17)]].all()
    np.testing.assert_array_equal(person.keypoints[:, 3, :2], keypoints[:, 1, :2])


def test_sure_but_wrong_points_are_outliers():
    keypoints = walk()
    keypoints[30:32, 10, :2] = 0.5, 0.5
    person = gaps.fill(keypoints, 60, scored=True)
    assert (~person.valid).sum() == 2 and "2 outliers" in person.summary
    np.testing.assert_allclose(person.keypoints[..., :2], walk()[..., :2])


def test_fast_movements_are_not():
    keypoints = walk()
    keypoints[:, 13, 0] += 60 * np.sin(2 * np.pi * np.arange(60) / 30 * 2)  # a wrist that waves twice a second
    assert gaps.fill(keypoints, 30, scored=True).valid.all()


def test_arrays_are_one_person_in_all_frames():
    found = arrays.of_array(walk(), "h36m17")
    assert [len(rows) for rows in find_people(followed(found, 30))] == [60]
