"""Human3.6M in VideoPose3D's files, compared with the same data in the MotionBERT format; unfit files."""

import copy
import pickle
import re
import shutil
import zipfile
from fnmatch import fnmatchcase

import numpy as np
import pytest
from typer.testing import CliRunner

from liftbench.baselines.data.cameras import CAMERAS, load_cameras, project_to_2d, world_to_camera
from liftbench.baselines.data.dataset import open_dataset
from liftbench.baselines.data.formats.motionbert_schema import JOINT_SHAPES, NAME_KEYS
from liftbench.baselines.data.formats.videopose3d import DETECTIONS, VideoPose3D
from liftbench.baselines.data.formats.videopose3d_schema import KEPT_JOINTS
from liftbench.baselines.data.normalization import denormalize, root_relative
from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import LEFT, RIGHT
from liftbench.baselines.synthetic import motionbert, videopose3d
from liftbench.bench.cli import app
from support import ROOT

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
ACTIONS = ("Directions", "Directions 1", "WalkDog")
FRAMES = 6
USE = ". Use the files of VideoPose3D."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return videopose3d.write(tmp_path_factory.mktemp("videopose3d"), frames=motionbert.FEWEST_FRAMES)


@pytest.fixture(scope="module")
def data(folder):
    return open_dataset(folder)


@pytest.fixture
def content():
    """The members of small files: people standing about the middle of the room."""
    draw = np.random.default_rng(0)

    def take():
        return (draw.normal(size=(FRAMES, 32, 3)) * 0.3 + [0, 0, 1]).astype(np.float32)

    def seen(world, camera):
        exact = project_to_2d(world_to_camera(1000.0 * world[:, KEPT_JOINTS], camera), camera)
        return (exact + draw.normal(size=exact.shape)).astype(np.float32)

    people = {subject: {action: take() for action in ACTIONS} for subject in SUBJECTS}
    views = {
        subject: {
            action: [seen(world, camera) for camera in load_cameras(int(subject[1:]))]
            for action, world in takes.items()
        }
        for subject, takes in people.items()
    }
    return {
        "positions_3d": people,
        "positions_2d": views,
        "metadata": {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [list(LEFT), list(RIGHT)]},
    }


@pytest.fixture
def write(tmp_path):
    def write(content):
        np.savez_compressed(tmp_path / "data_3d_h36m.npz", positions_3d=content["positions_3d"])
        members = {name: content[name] for name in ("positions_2d", "metadata") if name in content}
        np.savez_compressed(tmp_path / DETECTIONS["cpn"], **members)
        return tmp_path

    return write


# What it gives


def test_the_embedded_data(data, folder):
    """The people of the data in the MotionBERT format, two actions each, seen by four cameras and the same detector."""
    exact = open_dataset(folder, "gt")
    for split in ("train", "test"):
        frames = np.arange(data.frames(split))
        inputs = data.inputs(split, frames)
        assert (inputs[..., 2] == 1).all() and inputs.dtype == np.float32
        off = np.linalg.norm((inputs - exact.inputs(split, frames))[..., :2], axis=-1) * 500
        assert 4 < off.mean() < 7, "pixels"
        assert np.diff(data.bounds(split)).min() > 150
    assert data.subjects == {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}
    assert len(data.sources("train")[1]) == 5 * 2 * 4 and len(data.sources("test")[1]) == 2 * 2 * 4
    assert data.origin == {"kind": "synthetic", "version": motionbert.VERSION, "frames": 10_000, "seed": 0}
    assert (data.protocol, data.input, data.left_out) == ("h36m_videopose3d", "cpn", [])


def test_true_2d_is_the_projection_of_the_3d(folder):
    data = open_dataset(folder, "gt")
    codes, names = data.cameras("test")
    for camera in load_cameras(9):
        frames = np.flatnonzero(codes == names.index(camera.name))[::50]
        exact = project_to_2d(data.ground_truth_mm("test", frames).astype(np.float64), camera)
        pixels = denormalize(data.inputs("test", frames)[..., :2], np.array(camera.size))
        np.testing.assert_allclose(pixels, exact, atol=2e-3)
    assert data.summary()["test"]["mean_detector_error_px"] < 1e-3


def test_targets_are_root_relative_metres(data):
    frames = np.arange(7, 19).reshape(3, 4)
    targets = data.targets("test", frames)
    assert targets.shape == (3, 4, 17, 3) and targets.dtype == np.float32
    assert (targets[..., 0, :] == 0).all()
    truth = root_relative(data.ground_truth_mm("test", frames))
    np.testing.assert_allclose(data.millimetres("test", frames, targets), truth, atol=1e-3)
    assert 400 < np.linalg.norm(truth[..., 10, :], axis=-1).mean() < 900  # pelvis to head
    np.testing.assert_array_equal(
        data.camera_resolution("test", data.bounds("test")[:4]),
        [[1000, 1002], [1000, 1000], [1000, 1000], [1000, 1002]],
    )
    assert data.evaluated("test").all() and len(data.evaluated("test")) == data.frames("test")


def test_the_17_joints_in_the_frame_of_each_camera(content, write):
    """Joint j of the 17, and of no other, stands at (0, 0, j) / 10 m in the world."""
    kept = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    world = np.full((FRAMES, 32, 3), 0.9)
    world[:, kept] = np.arange(17)[:, None] / 10 * [0, 0, 1]
    content["positions_3d"]["S9"]["WalkDog"] = world
    data = open_dataset(write(content))
    codes, names = data.sources("test")
    for camera in load_cameras(9):
        (frame, *_) = np.flatnonzero(codes == names.index(f"S9 WalkDog.{camera.name}"))
        expected = (np.arange(17)[:, None] * [0, 0, 100] - camera.position) @ camera.rotation
        np.testing.assert_allclose(data.ground_truth_mm("test", frame), expected, atol=1e-2)


def test_names_of_takes_and_their_actions(content, write):
    data = open_dataset(write(content))
    codes, names = data.sources("train")
    assert names[:5] == [*(f"S1 Directions.{camera}" for camera in CAMERAS), f"S1 Directions 1.{CAMERAS[0]}"]
    np.testing.assert_array_equal(codes, np.arange(len(names)).repeat(FRAMES))
    actions, action_names = data.actions("train")
    assert action_names == ["Directions", "WalkDog"]
    np.testing.assert_array_equal(actions[: 3 * 4 * FRAMES], np.repeat([0, 0, 1], 4 * FRAMES))
    assert (data.frames("train"), data.frames("test")) == (5 * 3 * 4 * FRAMES, 2 * 3 * 4 * FRAMES)
    assert data.origin == {}


def test_windows_and_clips_stay_within_a_recording(data):
    bounds = data.bounds("test")
    windows = data.windows("test", 81, centres=bounds[:-1])
    np.testing.assert_array_equal(windows[:, :41], np.repeat(bounds[:-1, None], 41, axis=1))
    clips = data.every_frame_clips("test", 27)
    assert (data.sources("test")[0][clips] == data.sources("test")[0][clips[:, :1]]).all()
    np.testing.assert_array_equal(np.unique(clips), np.arange(data.frames("test")))


def test_2d_longer_than_the_3d_is_cut_and_said(content, write):
    views = content["positions_2d"]["S1"]["WalkDog"]
    expected = views[2].copy()
    views[2] = np.concatenate([views[2], np.full((5, 17, 2), np.nan, np.float32)])
    data = open_dataset(write(content))
    assert data.left_out == ["5 frames of 2D after the end of the 3D, in 1 recordings"]
    codes, names = data.sources("train")
    frames = np.flatnonzero(codes == names.index(f"S1 WalkDog.{CAMERAS[2]}"))
    np.testing.assert_allclose((data.inputs("train", frames)[..., :2] + 1) / 2 * 1000, expected, atol=1e-2)


@pytest.mark.parametrize("damage", ["no 2D", "three cameras", "a short camera", "no 3D"])
def test_the_damaged_take_is_left_out_and_said(content, write, damage):
    """In the released files S11 Directions is missing from the 3D."""
    takes = content["positions_2d"]["S11"]
    if damage == "no 2D":
        del takes["Directions"]
    elif damage == "three cameras":
        takes["Directions"].pop()
    elif damage == "a short camera":
        takes["Directions"][1] = takes["Directions"][1][:3]
    else:
        del content["positions_3d"]["S11"]["Directions"]
    data = open_dataset(write(content))
    why = "there is no 3D of it" if damage == "no 3D" else "its video is damaged, and a part of its 2D is missing"
    assert data.left_out == [f"S11/Directions: {why}"]
    assert data.left_out == open_dataset(data.path).left_out  # from the cache
    assert not [name for name in data.sources("test")[1] if name.startswith("S11 Directions.")]
    assert f"S11 Directions 1.{CAMERAS[0]}" in data.sources("test")[1]


def test_unknown_subjects_are_left_out_and_said(content, write):
    content["positions_3d"]["S2"] = content["positions_3d"]["S1"]
    assert open_dataset(write(content)).left_out == ["subject 'S2': its cameras are not known"]


# Unfit files


def put(member, *path):
    """Return a change that puts the last entry of `path` at the place that the others name."""
    *path, value = path

    def change(content):
        at = content[member]
        for key in path[:-1]:
            at = at[key]
        if value is DELETED:
            del at[path[-1]]
        else:
            at[path[-1]] = value(at[path[-1]]) if callable(value) else value

    return change


def with_value(*index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


DELETED = object()
D3, D2 = "data_3d_h36m.npz", DETECTIONS["cpn"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            put("positions_3d", "S7", DELETED),
            f"{D3}: it has no subject S7, only 'S1', 'S5', 'S6', 'S8', 'S9', 'S11'{USE}",
        ),
        (
            put("positions_2d", "S9", DELETED),
            f"{D2}: it has no subject S9, only 'S1', 'S5', 'S6', 'S7', 'S8', 'S11'{USE}",
        ),
        (put("positions_3d", "S1", []), f"{D3}: S1 is a list of 0, expected a dict of actions{USE}"),
        (put("positions_2d", "S5", {4: []}), f"{D2}: S5 has an action 4, expected a name like 'Directions 1'{USE}"),
        (
            put("positions_2d", "S5", "WalkDog", DELETED),
            f"{D2}: S5 has no action 'WalkDog', only 'Directions', 'Directions 1'{USE}",
        ),
        (
            put("positions_3d", "S5", "WalkDog", lambda pose: pose[:, :17]),
            f"{D3}: S5/WalkDog has shape (6, 17, 3), expected (frames, 32, 3){USE}",
        ),
        (put("positions_3d", "S5", "WalkDog", lambda pose: pose[:0]), f"{D3}: S5/WalkDog holds no frame{USE}"),
        (
            put("positions_3d", "S5", "WalkDog", lambda pose: pose.astype(int)),
            f"{D3}: S5/WalkDog has dtype int64, expected float16, float32 or float64{USE}",
        ),
        (put("positions_3d", "S5", "WalkDog", None), f"{D3}: S5/WalkDog is None, expected a numpy array{USE}"),
        (
            put("positions_3d", "S5", "WalkDog", with_value(4, 2, 0, value=np.nan)),
            f"{D3}: S5/WalkDog: frame 4 is not finite. Repair or leave out that frame.",
        ),
        (
            put("positions_3d", "S5", "WalkDog", lambda pose: pose * 1000),
            f"{D3}: S5/WalkDog: frame 0 is 1,*** m from the origin, expected metres in the world frame{USE}",
        ),
        (
            put("positions_3d", "S5", "WalkDog", with_value(3, slice(None), value=[50, 0, 0])),
            f"{D3}: S5/WalkDog: frame 3 lies behind camera *, expected metres in the world frame of Human3.6M's "
            f"cameras{USE}",
        ),
        (
            put("positions_2d", "S11", "WalkDog", lambda views: views[:3]),
            f"{D2}: S11/WalkDog has 3 cameras, expected 4{USE}",
        ),
        (
            put("positions_2d", "S11", "WalkDog", "views"),
            f"{D2}: S11/WalkDog is a str, expected a list of 4 cameras{USE}",
        ),
        (
            put("positions_2d", "S11", "WalkDog", 1, lambda pose: pose[:4]),
            f"{D2}: S11/WalkDog, camera 55011271 has 4 frames, expected 6 or more, as the 3D has{USE}",
        ),
        (
            put("positions_2d", "S11", "WalkDog", 1, lambda pose: pose[:, :16]),
            f"{D2}: S11/WalkDog, camera 55011271 has shape (6, 16, 2), expected (frames, 17, 2){USE}",
        ),
        (
            put("positions_2d", "S11", "WalkDog", 3, with_value(5, 16, 1, value=np.inf)),
            f"{D2}: S11/WalkDog, camera 60457274: frame 5 is not finite. Repair or leave out that frame.",
        ),
        (
            put("positions_2d", "S11", "WalkDog", 3, lambda pose: pose / 500 - 1),
            f"{D2}: S11/WalkDog, camera 60457274: poses are mere dots in the image, as if normalised. Save pixels.",
        ),
        (
            put("positions_2d", "S11", "WalkDog", 3, with_value(5, 16, 1, value=9000)),
            f"{D2}: S11/WalkDog, camera 60457274: frame 5 reaches 9,000 pixels. Save pixels.",
        ),
        (
            put("positions_2d", "S1", "WalkDog", 0, lambda pose: pose[..., ::-1] + [400, -300]),
            f"{D2}: S1/WalkDog, camera 54138969: the 2D lies * pixels off the 3D. Save pixels, and the cameras in the "
            f"order {', '.join(CAMERAS)}.",
        ),
        (put("metadata", "origin", 3), f"{D2}: origin is an int, expected a dict. Leave it out or make it one."),
        (
            lambda content: content.update(metadata=[1]),
            f"{D2}: metadata is a numpy array of shape (1,), expected a dict{USE}",
        ),
        (
            lambda content: content.update(positions_3d=[1, 2]),
            f"{D3}: positions_3d is a numpy array of shape (2,), expected a dict of subjects{USE}",
        ),
        (lambda content: content.pop("metadata"), f"{D2}: it has no array 'metadata', only 'positions_2d'. *"),
    ],
)
def test_unfit_content_is_named(content, write, change, message):
    change(content)
    path = write(content)
    with pytest.raises(InputError) as error:
        open_dataset(path)
    assert fnmatchcase(str(error.value), f"Cannot read {path}/{message}")
    assert list(path.glob("*.cache/*")) == []


def test_missing_files_and_inputs(folder, tmp_path):
    with pytest.raises(InputError, match="is missing. Give the path of the .pkl file .* or of a folder that holds"):
        open_dataset(tmp_path / "no")
    with pytest.raises(InputError, match="is a folder. Give .*data_3d_h36m.npz .* or data_train_3dhp.npz"):
        open_dataset(tmp_path)
    with pytest.raises(
        InputError, match=r"there is no 2D input 'sh'. Choose cpn \(detections\) or gt \(ground truth\)"
    ):
        open_dataset(folder, "sh")
    for file in ("data_3d_h36m.npz", DETECTIONS["gt"]):
        shutil.copy(folder / file, tmp_path)
    with pytest.raises(InputError) as error:
        open_dataset(tmp_path)
    assert (
        str(error.value) == f"Cannot read {tmp_path}: it has no file {D2}. Choose input gt, which is there, or add it."
    )
    assert open_dataset(tmp_path, "gt").input == "gt"


@pytest.mark.parametrize("file", [D3, D2])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "no zip", "empty"])
def test_damaged_files_are_refused(content, write, file, damage):
    path = write(content)
    whole = (path / file).read_bytes()
    middle = len(whole) // 2
    changed = {
        "truncated": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "no zip": b"positions",
        "empty": b"",
    }[damage]
    (path / file).write_bytes(changed)
    with pytest.raises(
        InputError, match=f"^Cannot read {re.escape(str(path / file))}: it is (truncated or damaged|not an .npz file)"
    ):
        open_dataset(path)
    assert list(path.glob("*.cache/*")) == []


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (self.target, "w"))


def test_hostile_pickles_run_nothing(content, write, tmp_path):
    content["positions_3d"]["S1"]["WalkDog"] = Bomb(str(tmp_path / "harm"))
    path = write(content)
    with pytest.raises(InputError, match="it asks for the name"):
        open_dataset(path)
    assert not (tmp_path / "harm").exists()


def test_zip_bombs_are_not_inflated(content, write):
    path = write(content)
    with zipfile.ZipFile(path / D3, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("positions_3d.npy", bytes(1 << 26))
    with pytest.raises(InputError, match=r"positions_3d would grow from [\d,]+ to 67,108,864 bytes"):
        open_dataset(path)


# The command


def test_the_command_makes_checks_and_draws_it(content, write, tmp_path):
    def run(*words):
        result = CliRunner().invoke(app, ["data", *map(str, words)], catch_exceptions=False)
        return " ".join(result.output.split())

    folder, picture = tmp_path / "made", tmp_path / "picture.png"
    assert "wrote" in run("synthetic", "--format", "videopose3d", "--out", folder, "--frames", 10_000)
    said = run("info", folder, "--input", "gt", "--plot", picture)
    assert "protocol h36m_videopose3d, synthetic data" in said and "mean_detector_error_px" in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    del content["positions_3d"]["S11"]["Directions"]
    said = run("check", write(content))
    assert "origin not stated" in said and "left out: S11/Directions: there is no 3D of it" in said
    assert f"good: {5 * 3 * 4 * FRAMES} training and {(3 + 2) * 4 * FRAMES} test frames" in said


# Own data


def test_the_example_for_own_data_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "baselines" / "README.md").read_text()
    (example,) = (found for found in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) if "own.pkl" in found)
    exec(example, {})
    data = open_dataset("own.pkl")
    assert (data.frames("train"), data.frames("test"), data.origin) == (60, 60, {"kind": "own"})
    assert data.clips("train", 27).shape == (4, 27)
    frames = np.arange(60)
    predicted = root_relative(data.targets("test", frames).astype(np.float64))
    truth = root_relative(data.ground_truth_mm("test", frames))
    np.testing.assert_allclose(data.millimetres("test", frames, predicted), truth, atol=1e-2)
    assert 300 < np.linalg.norm(truth[:, 1:], axis=-1).mean() < 1000
    for key in (*JOINT_SHAPES, *NAME_KEYS):
        assert f"| `{key}` |" in readme


# The cache


def test_a_change_of_either_file_is_noticed(content, write):
    first = open_dataset(write(content))
    copied = copy.deepcopy(content)
    copied["positions_2d"]["S9"]["WalkDog"][0][0] += 10
    second = open_dataset(write(copied))
    frame = second.sources("test")[1].index(f"S9 WalkDog.{CAMERAS[0]}") * FRAMES
    before = second.ground_truth_mm("test", frame)
    copied["positions_3d"]["S9"]["WalkDog"][0, 1] += 0.1
    third = open_dataset(write(copied))
    assert len({first.digest, second.digest, third.digest}) == 3
    assert len(list(first.path.glob("*.cache/*"))) == 1, "the outdated caches are cleared away"
    moved = third.ground_truth_mm("test", frame) - before
    np.testing.assert_allclose(np.linalg.norm(moved, axis=-1), 100 * np.sqrt(3) * (np.arange(17) == 1), atol=1e-2)


def test_each_input_has_its_digest_and_cache(folder, data):
    gt = open_dataset(folder, "gt")
    assert gt.digest != data.digest
    assert open_dataset(folder).digest == data.digest
    assert sorted(path.name for path in folder.glob("*.cache")) == sorted(
        f"{name}.cache" for name in DETECTIONS.values()
    )


def test_worker_processes_map_the_same_files(data):
    message = pickle.dumps(data)
    assert len(message) < 1000
    other = pickle.loads(message)
    assert (other.path, other.input, other.digest) == (data.path, data.input, data.digest)
    np.testing.assert_array_equal(other.inputs("test", np.arange(5)), data.inputs("test", np.arange(5)))


def test_the_generator_gives_the_same_files_again(folder, tmp_path):
    again = videopose3d.write(tmp_path, frames=motionbert.FEWEST_FRAMES)
    for file in (VideoPose3D.MARK, *DETECTIONS.values()):
        assert (again / file).read_bytes() == (folder / file).read_bytes()
    with np.load(folder / VideoPose3D.MARK, allow_pickle=True) as arrays:  # as that repository reads it
        assert arrays["positions_3d"].item()["S9"]["Walking"].shape[1:] == (32, 3)
    with pytest.raises(InputError, match="10 frames are too few"):
        videopose3d.write(tmp_path, frames=10)
