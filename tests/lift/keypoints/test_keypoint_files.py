"""Every keypoint format, from hand-made files; and files that are none, each refused in one sentence."""

import json

import numpy as np
import pytest

from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints import layouts
from liftbench.lift.keypoints.detections import in_image
from liftbench.lift.keypoints.read import read_keypoints

T = 4


def people(points, frames=T, seed=0):
    """(frames, points, 3): pixels of a 640 x 480 image, and confidences."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(10, 470, (frames, points, 2)).round(2), rng.uniform(0.4, 1, (frames, points, 1)).round(3)], axis=-1
    )


def write_json(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def openpose(folder, frames):
    for number, persons in enumerate(frames):
        found = [{"person_id": [-1], "pose_keypoints_2d": person.ravel().tolist()} for person in persons]
        write_json(folder / f"walk2_{number:012d}_keypoints.json", {"version": 1.3, "people": found})
    return folder


def alphapose(path, points, **beside):
    entries = [
        {"image_id": f"{number}.jpg", "keypoints": person.ravel().tolist(), "score": 2.5, "category_id": 1} | beside
        for number, person in enumerate(points)
    ]
    return write_json(path, entries)


def mmpose(path, points):
    frames = [
        {
            "frame_id": number + 1,
            "instances": [
                {
                    "keypoints": person[:, :2].tolist(),
                    "keypoint_scores": person[:, 2].tolist(),
                    "bbox": [[0, 0, 9, 9]],
                }
            ],
        }
        for number, person in enumerate(points)
    ]
    return write_json(path, {"meta_info": {"dataset_name": "coco"}, "instance_info": frames})


@pytest.mark.parametrize(
    "count, layout, wanted", [(18, "coco18", "auto"), (25, "body25", "body25"), (25, "body25b", "body25b")]
)
def test_openpose_folders(tmp_path, count, layout, wanted):
    points = people(count)
    found = read_keypoints(openpose(tmp_path / "json", [[person] for person in points]), wanted)
    assert (found.source, found.layout, found.frames, found.scored) == ("OpenPose", layout, T, True)
    np.testing.assert_allclose(found.points, points)


def test_openpose_folders_without_anybody(tmp_path):
    with pytest.raises(InputError, match="Cannot lift .*json: no person was found in it"):
        read_keypoints(openpose(tmp_path / "json", [[], []]), "body25")


def test_openpose_tells_not_which_25_points_it_has(tmp_path):
    folder = openpose(tmp_path / "json", [[person] for person in people(25)])
    with pytest.raises(
        InputError, match=r"^Cannot read .*: its 25 points fit several formats\. Choose --format body25 or body25b\.$"
    ):
        read_keypoints(folder)


def test_frames_without_people_and_frames_that_are_missing(tmp_path):
    one, two, three = people(18, 3)
    folder = openpose(tmp_path / "json", [[one], [], [two, three]])
    (folder / "walk2_000000000002_keypoints.json").rename(folder / "walk2_000000000007_keypoints.json")
    found = read_keypoints(folder)
    assert found.frames == 8 and found.frame.tolist() == [0, 7, 7]
    for number in range(10, 3000, 10):  # nobody is there
        write_json(folder / f"walk2_{number:012d}_keypoints.json", {"people": []})
    assert read_keypoints(folder).frames == 2991


@pytest.mark.parametrize("count, layout", [(17, "coco17"), (26, "halpe26"), (136, "halpe136")])
def test_alphapose(tmp_path, count, layout):
    points = people(count)
    found = read_keypoints(alphapose(tmp_path / "alphapose-results.json", points, idx=3))
    assert str(found) == f"AlphaPose, {layout}" and found.track.tolist() == [3] * T
    np.testing.assert_allclose(found.points, points)


def test_frames_are_placed_by_image_id(tmp_path):
    points = people(17, 3)
    path = alphapose(tmp_path / "a.json", points)
    entries = json.loads(path.read_text())
    for entry, name in zip(entries, ("12.jpg", "10.jpg", "15.jpg")):
        entry["image_id"] = name
    found = read_keypoints(write_json(path, entries))
    assert (found.first_frame, found.frames, found.frame.tolist()) == (10, 6, [0, 2, 5])
    np.testing.assert_allclose(found.points, points[[1, 0, 2]])


def test_an_image_id_without_bound_is_a_name(tmp_path):
    path = alphapose(tmp_path / "a.json", people(17, 2))
    entries = [entry | {"image_id": 10**400 + number} for number, entry in enumerate(json.loads(path.read_text()))]
    assert read_keypoints(write_json(path, entries)).frame.tolist() == [0, 1]


def test_coco_results(tmp_path):
    points = people(17)
    entries = [
        {"image_id": 139 + number, "category_id": 1, "keypoints": person.ravel().tolist(), "score": 0.9}
        for number, person in enumerate(points)
    ]
    found = read_keypoints(write_json(tmp_path / "person_keypoints_results.json", entries))
    assert str(found) == "COCO results, coco17" and found.first_frame == 139
    np.testing.assert_allclose(found.points, points)


@pytest.mark.parametrize("count, layout", [(17, "coco17"), (26, "halpe26"), (133, "wholebody133")])
def test_mmpose(tmp_path, count, layout):
    points = people(count)
    path = mmpose(tmp_path / "results.json", points)
    for content in (json.loads(path.read_text()), json.loads(path.read_text())["instance_info"]):
        found = read_keypoints(write_json(path, content))
        assert str(found) == f"MMPose, {layout}" and found.frames == T
        np.testing.assert_allclose(found.points, points)


def test_mmpose_single_image(tmp_path):
    content = [{"keypoints": people(17)[0, :, :2].tolist(), "keypoint_scores": people(17)[0, :, 2].tolist()}]
    assert read_keypoints(write_json(tmp_path / "image.json", content)).frames == 1


NAMES = {name: "".join(word.title() for word in name.split("_")) for name in layouts.REQUIRED}


def deeplabcut(path, points, names, animals=()):
    columns = [
        (animal, name, coord) for animal in animals or ("",) for name in names for coord in ("x", "y", "likelihood")
    ]
    rows = [["scorer", *["DLC_resnet50"] * len(columns)]]
    rows += [["individuals", *(animal for animal, _, _ in columns)]] if animals else []
    rows += [["bodyparts", *(name for _, name, _ in columns)], ["coords", *(coord for *_, coord in columns)]]
    rows += [[number, *frame.ravel()] for number, frame in enumerate(points)]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    return path


def test_deeplabcut(tmp_path):
    points = people(len(NAMES))
    found = read_keypoints(deeplabcut(tmp_path / "dlc.csv", points, NAMES.values()))
    assert str(found) == "DeepLabCut, named points" and found.names == tuple(NAMES)
    np.testing.assert_allclose(found.points, points)


def test_deeplabcut_of_two_people(tmp_path):
    points = people(2 * len(NAMES)).reshape(T, 2, len(NAMES), 3)
    points[1, 0] = np.nan  # DeepLabCut's word for an animal that was not seen
    found = read_keypoints(deeplabcut(tmp_path / "dlc.csv", points, NAMES.values(), ("anna", "ben")))
    assert found.frame.tolist() == [0, 0, 1, 2, 2, 3, 3] and found.track.tolist() == [0, 1, 1, 0, 1, 0, 1]
    np.testing.assert_allclose(found.points[2], points[1, 1])


def test_sleap(tmp_path):
    points = people(len(NAMES))
    header = ["track", "frame_idx", "instance.score"]
    header += [f"{name}.{axis}" for name in NAMES for axis in ("x", "y", "score")]
    rows = [["", 5 + number, 0.9, *frame.ravel()] for number, frame in enumerate(points)]
    rows[2][3:6] = "", "", ""
    path = tmp_path / "labels.analysis.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]))
    found = read_keypoints(path)
    assert str(found) == "SLEAP, named points" and found.first_frame == 5 and found.points[2, 0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(np.delete(found.points.reshape(-1, 3), 2 * len(NAMES), axis=0),
                               np.delete(points.reshape(-1, 3), 2 * len(NAMES), axis=0))  # fmt: skip


@pytest.mark.parametrize("name", ["LHip", "hip_L", "left-hip", "LeftHip", "l_hip", "Hip Left"])
def test_names_say_what_they_are(tmp_path, name):
    names = {**NAMES, "left_hip": name}
    assert read_keypoints(deeplabcut(tmp_path / "dlc.csv", people(len(NAMES)), names.values())).names == tuple(NAMES)


def test_names_that_say_nothing_are_named_in_a_file(tmp_path):
    path = deeplabcut(tmp_path / "dlc.csv", people(len(NAMES)), {**NAMES, "left_hip": "A", "nose": "B"}.values())
    with pytest.raises(
        InputError, match=r"no point named nose, left_hip\. Name them in a file for --names, such as `n"
    ):
        read_keypoints(path)
    names = tmp_path / "names.yaml"
    names.write_text("left_hip: A\nnose: B\n")
    assert read_keypoints(path, names=names).names == tuple(NAMES)
    names.write_text("left_tail: A\n")
    with pytest.raises(InputError, match="left_tail is not a point"):
        read_keypoints(path, names=names)


@pytest.mark.parametrize("layout", [*layouts.LAYOUTS])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays(tmp_path, layout, suffix):
    points = people(len(layouts.LAYOUTS[layout])).astype(np.float32)
    path = tmp_path / f"keypoints.{suffix}"
    if suffix == "npy":
        np.save(path, points)
    else:
        np.savez(path, keypoints=points, fps=25.0, image_size=np.array([640, 480]))
    found = read_keypoints(path, layout)
    assert (found.fps, found.size) == ((25.0, (640, 480)) if suffix == "npz" else (None, None))
    np.testing.assert_array_equal(found.points, points)


def test_arrays_without_confidence(tmp_path):
    points = people(26)[..., :2]
    points[1, 3] = 0
    np.save(tmp_path / "k.npy", points)
    found = read_keypoints(tmp_path / "k.npy")
    assert str(found) == "array, halpe26" and not found.scored
    assert found.points[1, 3].tolist() == [0, 0, 0] and found.points[0, 3, 2] == 1


def test_17_plain_points_may_be_two_things(tmp_path):
    np.save(tmp_path / "k.npy", people(17))
    with pytest.raises(InputError, match=r"Choose --format h36m17 or coco17\.$"):
        read_keypoints(tmp_path / "k.npy")


def test_mediapipe_is_multiplied_back(tmp_path):
    points = people(33)
    np.save(tmp_path / "k.npy", points / [640, 480, 1])
    found = in_image(read_keypoints(tmp_path / "k.npy"), (640, 480))
    assert str(found) == "array with coordinates from 0 to 1, mediapipe33"
    np.testing.assert_allclose(found.points, points)


def test_a_wrong_image_size_is_noticed(tmp_path):
    np.save(tmp_path / "k.npy", people(26, 50))
    assert in_image(read_keypoints(tmp_path / "k.npy"), (480, 480)).size == (480, 480)
    with pytest.raises(InputError, match=r"^Cannot lift \S+k.npy: its keypoints reach x = \d+ and y = \d+"):
        in_image(read_keypoints(tmp_path / "k.npy"), (640, 240))


DEEP = b"[" * 100_000
HUGE_HEADER = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (900000000, 17, 3), }".ljust(117)
    + b"\n"
)
entry = {"image_id": 0, "keypoints": [1.0] * 51}
BAD = {
    "nothing.json": (b"", "not complete JSON"),
    "truncated.json": (json.dumps([entry] * 3).encode()[:-30], "not complete JSON"),
    "deep.json": (DEEP, "nested too deeply|not complete JSON"),
    "other.json": (b'{"bones": [1, 2, 3]}', "not the JSON of"),
    "frame.json": (b'{"people": []}', "one frame of OpenPose"),
    "nobody.json": (b"[]", "no person was found"),
    "nobody_mm.json": (b'{"instance_info": [{"frame_id": 1, "instances": []}]}', "no person was found"),
    "unseen.json": (json.dumps([entry | {"keypoints": [0] * 51}]).encode(), "no person was found"),
    "count.json": (json.dumps([entry | {"keypoints": [1.0] * 60}]).encode(), r"20 points a person\. Give one of"),
    "ragged.json": (json.dumps([entry, entry | {"keypoints": [1.0] * 54}]).encode(), "which are not x, y and conf"),
    "words.json": (json.dumps([entry | {"keypoints": ["1"] * 51}]).encode(), "not all numbers"),
    "nested.json": (json.dumps([entry | {"keypoints": [[1], 2, 3] * 17}]).encode(), "not all numbers"),
    "null.json": (json.dumps([entry | {"keypoints": [None] * 51}]).encode(), "not all numbers"),
    "text.json": (json.dumps([entry | {"keypoints": "1, 2, 3"}]).encode(), "which are not x, y and conf"),
    "nan.json": (json.dumps([entry | {"keypoints": [1.0, float("nan"), 1.0] * 17}]).encode(), "not finite"),
    "big.json": (json.dumps([entry | {"keypoints": [10**400] * 51}]).encode(), "not all numbers|not finite"),
    "digits.json": (b'[{"image_id": 0, "keypoints": [' + b"9" * 5000 + b"]}]", "not complete JSON|which are not"),
    "far.json": (json.dumps([entry, entry | {"image_id": 10**9}]).encode(), "Number the frames one by one"),
    "crowd.json": (json.dumps([entry] * 101).encode(), "a frame holds 101 people"),
    "lacks.json": (json.dumps([entry, {"image_id": 1}]).encode(), "an entry lacks keypoints"),
    "mm.json": (b'[{"frame_id": 0, "instances": [{"keypoints": []}]}]', "lacks keypoints or keypoint_scores"),
    "mm2.json": (b'[{"frame_id": 0, "instances": [{"keypoints": [[1, 2]], "keypoint_scores": [1, 2]}]}]', "scores"),
    "other.csv": (b"time,x,y\n0,1,2\n", "neither DeepLabCut's nor SLEAP's"),
    "binary.csv": (b"\xff\xfe\x00", "not a CSV table"),
    "dlc.csv": (b"scorer,a,a,a\nbodyparts,x\n", "do not fit"),
    "cells.csv": (b"scorer,a,a,a\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n0,1\n", "a row has 2 cells"),
    "cell.csv": (b"scorer,a,a,a\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n0,1,2,x\n", "a cell is not a number"),
    "sleap.csv": (b"track,frame_idx,nose.x,nose.y\n,,1,2\n", "has no frame_idx"),
    "promise.npy": (HUGE_HEADER, "not a whole .npy file"),
    "empty.npy": (b"", "not a whole .npy file"),
    "other.npz": (b"hello", "not an .npz file"),
    "video.txt": (b"hello", "its kind is not known"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        read_keypoints(tmp_path / name)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400 + len(str(tmp_path))


BAD_ARRAYS = {
    "flat": (np.zeros((5, 34)), "of shape"),
    "four": (np.ones((5, 17, 4)), "of shape"),
    "none": (np.ones((0, 26, 3)), "of shape"),
    "nan": (np.full((5, 26, 2), np.nan), "not finite"),
    "text": (np.full((5, 26, 2), "a"), "not an array of numbers"),
    "complex": (np.ones((5, 26, 2), complex), "not an array of numbers|expected numbers"),
    "count": (np.ones((5, 21, 2)), "21 points a person"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ARRAYS)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_bad_arrays_are_refused_in_one_sentence(tmp_path, name, suffix):
    array, message = BAD_ARRAYS[name]
    path = tmp_path / f"k.{suffix}"
    np.save(path, array) if suffix == "npy" else np.savez(path, keypoints=array)
    with pytest.raises(InputError, match=message):
        read_keypoints(path)


def test_options_of_another_kind_of_file_are_refused(tmp_path):
    np.save(tmp_path / "k.npy", people(26))
    with pytest.raises(InputError, match="Cannot use --names with .*k.npy: it names the points of a CSV table"):
        read_keypoints(tmp_path / "k.npy", names=tmp_path / "names.yaml")
    (tmp_path / "k.csv").write_text("scorer,net,net,net\n")
    with pytest.raises(InputError, match="Cannot use --format with .*k.csv: a CSV table names its points"):
        read_keypoints(tmp_path / "k.csv", "halpe26")


def test_objects_in_arrays_are_not_run(tmp_path):
    np.save(tmp_path / "k.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a whole .npy file"):
        read_keypoints(tmp_path / "k.npy")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_keypoints(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="it holds no JSON files"):
        read_keypoints(tmp_path)
    with pytest.raises(InputError, match="Cannot read 'body26' files: there is no such format"):
        np.save(tmp_path / "k.npy", people(26))
        read_keypoints(tmp_path / "k.npy", "body26")
