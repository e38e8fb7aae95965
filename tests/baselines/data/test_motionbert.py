"""The Human3.6M loader: the official protocol, the refusal of unfit files, and the life of the cache."""

import copy
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from liftbench.baselines.data import cache
from liftbench.baselines.data.clips import centred_windows, cover_clips, split_clips, stretched_share
from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.data.formats import unpickle
from liftbench.baselines.data.formats.motionbert import Human36M
from liftbench.baselines.data.normalization import denormalize, normalize, root_relative
from liftbench.baselines.errors import InputError
from support import GOLDEN, ROOT
from support.data import replaced

PICKLE = GOLDEN / "h36m_sh_conf_cam_source_final.pkl"
CONTENT = pickle.loads(PICKLE.read_bytes())


@pytest.fixture
def content():
    return copy.deepcopy(CONTENT)


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.pkl", protocol=4):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(content, protocol))
        return path

    return write


@pytest.fixture
def path(tmp_path):
    return Path(shutil.copy(PICKLE, tmp_path / "data.pkl"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Human36M(shutil.copy(PICKLE, tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "h36m_protocol.npz")


def same_data(one, other):
    for split in ("train", "test"):
        frames = np.arange(one.frames(split))
        np.testing.assert_array_equal(one.inputs(split, frames), other.inputs(split, frames))
        np.testing.assert_array_equal(one.ground_truth_mm(split, frames), other.ground_truth_mm(split, frames))
        assert one.sources(split)[1] == other.sources(split)[1]
    return True


def no_rebuild(monkeypatch):
    def fail(*arguments):
        raise AssertionError("the pickle was read again")

    monkeypatch.setattr(unpickle, "load", fail)


# The protocol


def test_clips_are_the_official_ones(data, golden):
    np.testing.assert_array_equal(data.clips("test", 27), golden["test_clip_frames"])
    np.testing.assert_array_equal(data.clips("train", 27), golden["train_clip_frames"])
    assert data.clips("test", 27).dtype == np.int64


def test_inputs_and_targets_are_the_official_ones(data, golden):
    test, first = golden["test_clip_frames"], golden["train_clip_frames"][0]
    for found, expected in (
        (data.inputs("test", test), "test_input"),
        (data.targets("test", test), "test_target"),
        (data.inputs("train", first), "train_input_first"),
        (data.targets("train", first), "train_target_first"),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, golden[expected], rtol=0, atol=1e-6)


def test_ground_truth_input_is_the_target_with_confidence_one(data, golden):
    clips = golden["test_clip_frames"]
    inputs = Human36M(data.path, input="gt").inputs("test", clips)
    np.testing.assert_array_equal(inputs[..., :2], data.targets("test", clips)[..., :2])
    assert (inputs[..., 2] == 1).all()


def test_what_evaluation_needs(data):
    frames = np.array([[0, 60], [150, 300]])
    part = CONTENT["test"]
    np.testing.assert_array_equal(data.ground_truth_mm("test", frames), part["joints_2.5d_image"][frames])
    np.testing.assert_array_equal(data.factors("test", frames), part["2.5d_factor"][frames])
    np.testing.assert_array_equal(
        data.camera_resolution("test", frames), [[[1000, 1002], [1000, 1002]], [[1000, 1000], [1000, 1002]]]
    )
    for key, (codes, names) in (
        ("source", data.sources("test")),
        ("action", data.actions("test")),
        ("camera_name", data.cameras("test")),
    ):
        assert [names[code] for code in codes] == list(part[key])


def test_facts_of_the_file(data):
    assert (data.frames("train"), data.frames("test")) == (241, 319)
    assert data.subjects == {"train": ("S1", "S5", "S6"), "test": ("S9", "S11")}
    assert data.origin == {}
    assert data.digest == "0fc788c8a4d71246753c08feebb305587a187fada81ef9c22e58f6e32a7afbc2"
    np.testing.assert_array_equal(data.bounds("test"), [0, 95, 149, 209, 236, 319])


def test_summary(data):
    summary = data.summary()["test"]
    part = CONTENT["test"]
    error = np.linalg.norm(part["joint_2d"] - part["joint3d_image"][..., :2], axis=-1).mean()
    assert summary["mean_detector_error_px"] == pytest.approx(error, rel=1e-5)
    assert summary["confidence"]["mean"] == pytest.approx(part["confidence"].mean(), rel=1e-5)
    assert summary["confidence"]["max"] == part["confidence"].max()
    assert (summary["frames"], summary["sources"], summary["subjects"]) == (319, 5, ["S9", "S11"])
    assert summary["frame_share_of_action"] == {"Direction": 122 / 319, "Greet": 114 / 319, "Walk": 83 / 319}
    assert summary["frame_share_of_camera"]["58860488"] == 27 / 319
    assert json.loads(json.dumps(summary)) == summary


def test_origin_of_synthetic_data(content, write):
    content["origin"] = {"kind": "synthetic", "seed": 0}
    assert Human36M(write(content)).origin == {"kind": "synthetic", "seed": 0}


def test_unknown_choices(data):
    with pytest.raises(InputError, match="there is no 2D input 'cpn'. Choose sh .* or gt"):
        Human36M(data.path, input="cpn")
    with pytest.raises(InputError, match="there is no split 'val'. Choose train or test"):
        data.clips("val", 27)
    with pytest.raises(InputError, match="frames is 0"):
        data.clips("test", 0)
    with pytest.raises(InputError, match="stride is 0"):
        data.clips("test", 27, stride=0)


def test_default_stride(data):
    for frames, train in ((27, 9), (81, 27), (1, 1), (2, 1)):
        np.testing.assert_array_equal(data.clips("train", frames), data.clips("train", frames, stride=train))
        np.testing.assert_array_equal(data.clips("test", frames), data.clips("test", frames, stride=frames))


# Normalisation


@pytest.mark.parametrize("channels", [2, 3])
def test_normalization_by_hand_and_back(channels):
    resolution = np.array([[1000.0, 1002.0], [1000.0, 1000.0]])
    pose = np.array([[[0, 0, 0], [500, 501, 250]], [[1000, 1000, -500], [250, 750, 100]]], np.float64)[..., :channels]
    expected = np.array([[[-1, -1.002, 0], [0, 0, 0.5]], [[1, 1, -1], [-0.5, 0.5, 0.2]]])[..., :channels]
    np.testing.assert_allclose(normalize(pose, resolution), expected, atol=1e-12)
    np.testing.assert_allclose(denormalize(normalize(pose, resolution), resolution), pose, atol=1e-9)


def test_root_relative():
    pose = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(root_relative(pose), [[[0, 0, 0], [3, 3, 3]]] * 2)


# Clips and windows


def official_clips(names, frames, stride):
    """The walk of protocols.md, frame by frame, with the departures of `split_clips`."""
    clips, start, seen = [], 0, set()
    for end in range(1, len(names) + 1):
        if end - start == frames:
            clips.append(list(range(start, end)))
            seen.add(names[end - 1])
            start += stride
        if end == len(names) or names[end] != names[end - 1]:
            if names[end - 1] not in seen:
                positions = np.linspace(0, end - start, frames, endpoint=False)
                clips.append([start + int(position) for position in positions])
                seen.add(names[end - 1])
            start = end
    return np.array(clips)


def runs(*lengths_and_names):
    lengths, names = zip(*lengths_and_names)
    return np.concatenate([[0], np.cumsum(lengths)]), names, np.repeat(names, lengths)


@pytest.mark.parametrize("stride", [1, 3, 9, 12])
@pytest.mark.parametrize(
    "lengths_and_names",
    [
        [(30, "a"), (9, "b"), (4, "c"), (8, "d"), (1, "e")],
        [(4, "a"), (20, "b"), (3, "b2"), (7, "a")],
        [(20, "a"), (10, "b"), (5, "a"), (9, "c")],
        [(5, "a")],
    ],
)
def test_split_clips_walk(lengths_and_names, stride):
    bounds, names, per_frame = runs(*lengths_and_names)
    np.testing.assert_array_equal(split_clips(bounds, names, 9, stride), official_clips(per_frame, 9, stride))


def test_share_of_stretched_clips():
    bounds, names, _ = runs((20, "a"), (5, "b"), (9, "c"), (1, "d"))
    clips = split_clips(bounds, names, 9, 9)
    assert len(clips) == 5 and stretched_share(clips) == 2 / 5, "b and d"
    assert stretched_share(split_clips(bounds, names, 1, 1)) == 0
    assert stretched_share(clips[:0]) == 0


def test_short_sources_are_resampled(data):
    clips = data.clips("test", 90)
    np.testing.assert_array_equal(clips[0], np.arange(90))
    np.testing.assert_array_equal(clips[1], 95 + np.floor(np.linspace(0, 54, 90, endpoint=False)))
    np.testing.assert_array_equal(clips[-1], 236 + np.floor(np.linspace(0, 83, 90, endpoint=False)))
    assert len(clips) == 5


@pytest.mark.parametrize("frames", [1, 2, 27, 54, 60, 81, 90, 243])
def test_every_frame_clips_cover_every_frame(data, frames):
    clips = data.every_frame_clips("test", frames)
    assert clips.shape[1] == frames
    np.testing.assert_array_equal(np.unique(clips), np.arange(319))
    source = data.sources("test")[0][clips]
    assert (source == source[:, :1]).all()
    exact = cover_clips(np.array([0, 2 * frames, 3 * frames]), frames)
    np.testing.assert_array_equal(exact, np.arange(3 * frames).reshape(3, frames))


@pytest.mark.parametrize("frames", [1, 2, 27, 81, 243])
def test_windows_stay_in_their_source(data, frames):
    windows = data.windows("test", frames)
    assert windows.shape == (319, frames)
    np.testing.assert_array_equal(windows[:, frames // 2], np.arange(319))
    source = data.sources("test")[0]
    assert (source[windows] == source[:, None]).all()
    steps = np.diff(windows, axis=1)
    assert np.isin(steps, (0, 1)).all()


def test_windows_by_hand():
    bounds = np.array([0, 3, 7])
    np.testing.assert_array_equal(
        centred_windows(bounds, 5, [[0, 2], [3, 5]]),
        [[[0, 0, 0, 1, 2], [0, 1, 2, 2, 2]], [[3, 3, 3, 4, 5], [3, 4, 5, 6, 6]]],
    )
    for outside in ([-1], [7]):
        with pytest.raises(IndexError, match="outside the 7 frames"):
            centred_windows(bounds, 5, outside)


# What a file may look like


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(data, content, write, protocol):
    assert same_data(Human36M(write(content, protocol=protocol)), data)


def test_names_of_old_numpy(data, write, content):
    path = write(content, protocol=3)
    path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))
    assert same_data(Human36M(path), data)


@pytest.mark.parametrize("shape", [np.array, list, tuple, lambda names: np.array(names, dtype=object)])
def test_names_in_every_container(data, content, write, shape):
    for part in content.values():
        for key in ("camera_name", "source", "action"):
            part[key] = shape(list(part[key]))
    assert same_data(Human36M(write(content)), data)


@pytest.mark.parametrize("dtype", [np.float64, ">f4"])
def test_number_types(data, content, write, dtype):
    for part in content.values():
        for key in ("joint_2d", "confidence", "joint3d_image", "joints_2.5d_image", "2.5d_factor"):
            part[key] = np.asfortranarray(part[key].astype(dtype))
    assert same_data(Human36M(write(content)), data)


def test_float16_and_confidence_with_an_axis(content, write):
    half = content["test"]["confidence"].astype(np.float16)
    content["test"]["confidence"] = half[..., None]
    np.testing.assert_array_equal(Human36M(write(content)).inputs("test", np.arange(319))[..., 2], half)


def edit(split, key, change):
    def apply(content):
        content[split][key] = change(content[split][key])

    return apply


def shifted(index, by):
    def change(values):
        values = values.copy()
        values[index] += by
        return values

    return change


OFF = (
    ": {}/joints_2.5d_image: frame {} is {} mm off joint3d_image times 2.5d_factor, root-relative. Save millimetres "
    "that agree with the pixels."
)
SCHEMA = ". Use a file of the MotionBERT schema."


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.pop("test"), f": it has no split 'test', only 'train'{SCHEMA}"),
        (lambda c: c.update(test=[1]), f": test is a list of 1, expected a dict{SCHEMA}"),
        (
            lambda c: [c["train"].pop(key) for key in list(c["train"])[1:-1]],
            ": train has no 'confidence' and no 'joint3d_image' and no '2.5d_factor' and no 'joints_2.5d_image' and no "
            f"'camera_name' and no 'source', only 'joint_2d', 'action'{SCHEMA}",
        ),
        (lambda c: c.update(origin=3), ": origin is an int, expected a dict. Leave it out or make it one."),
        (
            lambda c: c.update(origin={"seed": np.zeros(2)}),
            ": origin holds more than numbers, strings, lists and dicts. Simplify it.",
        ),
        (edit("test", "joint_2d", lambda a: a[:0]), f": test/joint_2d holds no frame{SCHEMA}"),
        (
            edit("test", "action", lambda a: ["\x1b[2J"] * 319),
            f": test/action has '\\x1b[2J', expected a short printable name{SCHEMA}",
        ),
        (
            lambda c: c.update(origin={"kind": "\ud800"}),
            ": origin holds more than numbers, strings, lists and dicts. Simplify it.",
        ),
        (
            edit("test", "joint_2d", lambda a: 5),
            f": test/joint_2d is an int, expected one entry for each frame{SCHEMA}",
        ),
        (
            edit("test", "joint_2d", np.ndarray.tolist),
            f": test/joint_2d is a list of 319, expected a numpy array{SCHEMA}",
        ),
        (
            edit("test", "joint_2d", lambda a: a[:, :16]),
            f": test/joint_2d has shape (319, 16, 2), expected (319, 17, 2){SCHEMA}",
        ),
        (
            edit("train", "confidence", lambda a: np.stack([a, a], -1)),
            f": train/confidence has shape (241, 17, 2), expected (241, 17){SCHEMA}",
        ),
        (
            edit("test", "joint3d_image", lambda a: a[:-1]),
            f": test/joint3d_image has shape (318, 17, 3), expected (319, 17, 3){SCHEMA}",
        ),
        (
            edit("train", "joints_2.5d_image", lambda a: a[..., :2]),
            f": train/joints_2.5d_image has shape (241, 17, 2), expected (241, 17, 3){SCHEMA}",
        ),
        (
            edit("train", "2.5d_factor", lambda a: a[:, None]),
            f": train/2.5d_factor has shape (241, 1), expected (241,){SCHEMA}",
        ),
        (
            edit("train", "joint_2d", lambda a: a.astype(np.int32)),
            f": train/joint_2d has dtype int32, expected float16, float32 or float64{SCHEMA}",
        ),
        (
            edit("test", "confidence", lambda a: a.astype(object)),
            f": test/confidence has dtype object, expected float16, float32 or float64{SCHEMA}",
        ),
        (
            edit("test", "joint3d_image", replaced((200, 3, 1), np.nan)),
            ": test/joint3d_image: frame 200 is not finite. Repair or leave out that frame.",
        ),
        (
            edit("test", "joint_2d", lambda a: replaced((7, 0, 0), 1e39)(a.astype(np.float64))),
            ": test/joint_2d: frame 7 is not finite. Repair or leave out that frame.",
        ),
        (
            edit("train", "2.5d_factor", replaced(240, -2.5)),
            ": train/2.5d_factor: frame 240 has -2.5, expected 0.5 to 100 mm per pixel. Repair it.",
        ),
        (
            edit("train", "2.5d_factor", replaced(0, 0)),
            ": train/2.5d_factor: frame 0 has 0, expected 0.5 to 100 mm per pixel. Repair it.",
        ),
        (
            edit("test", "confidence", replaced((9, 3), 1.5)),
            ": test/confidence: frame 9 has 1.5, expected a confidence in [0, 1]. Repair it.",
        ),
        (
            edit("test", "joint_2d", lambda a: a / 500 - 1),
            ": test/joint_2d: poses are mere dots in the image, as if normalised. Save pixels.",
        ),
        (
            edit("train", "joint_2d", replaced((200, 3, 1), -6000)),
            ": train/joint_2d: frame 200 reaches 6,000 pixels. Save pixels.",
        ),
        (
            edit("train", "2.5d_factor", replaced(7, 4e37)),
            ": train/2.5d_factor: frame 7 has 4e+37, expected 0.5 to 100 mm per pixel. Repair it.",
        ),
        (edit("test", "joints_2.5d_image", lambda a: a / 1000), OFF.format("test", 0, "[0-9]+")),
        (edit("test", "2.5d_factor", np.ones_like), OFF.format("test", 0, "[0-9]+")),
        (edit("train", "joints_2.5d_image", shifted((100, 5, 2), 0.2)), OFF.format("train", 100, "0.2")),
        (
            edit("test", "camera_name", replaced(slice(230, 234), "54138968")),
            ": test/camera_name: frame 230 is '54138968', expected one of 54138969, 55011271, 58860488, 60457274, "
            "random" + SCHEMA,
        ),
        (
            edit("train", "source", replaced(slice(150, 152), ["s_1_act_02_subact_01_ca_01"] * 2)),
            ": train/source: frame 150 is 's_1_act_02_subact_01_ca_01', expected a name like "
            f"s_09_act_05_subact_02_ca_01{SCHEMA}",
        ),
        (
            edit("train", "action", lambda names: names[:-1]),
            f": train/action has 240 entries, expected 241, one for each frame of joint_2d{SCHEMA}",
        ),
        (edit("train", "action", replaced(9, 4)), f": train/action: frame 9 is 4, expected a short string{SCHEMA}"),
        (
            edit("train", "source", lambda names: "s"),
            f": train/source is a str, expected one entry for each frame{SCHEMA}",
        ),
    ],
)
def test_unfit_content_is_named(content, write, change, message):
    change(content)
    path = write(content)
    with pytest.raises(InputError) as error:
        Human36M(path)
    found = re.sub(
        r"is [0-9.e+]+ mm off", lambda match: match[0] if "0.2" in match[0] else "is [0-9]+ mm off", str(error.value)
    )
    assert found == f"Cannot read {path}{message}"
    assert not list(path.parent.glob("data.pkl.cache*"))


def test_rounding_is_no_contradiction(content, write):
    """A global shift of the ground truth, half precision and errors below a tenth of a millimetre pass."""
    content["train"]["joints_2.5d_image"] += np.float32(0.05)
    content["train"]["joints_2.5d_image"][7] += np.float32(1000)  # root-relative poses agree all the same
    for key in ("joint3d_image", "2.5d_factor", "joints_2.5d_image"):
        content["test"][key] = content["test"][key].astype(np.float16)
    assert Human36M(write(content)).frames("train") == 241


def test_not_a_dict(write):
    path = write([1, 2])
    with pytest.raises(InputError) as error:
        Human36M(path)
    assert (
        str(error.value) == f"Cannot read {path}: it holds a list of 2, not a dict of the splits train and test{SCHEMA}"
    )


def test_unusable_files(tmp_path, path):
    for bad, message in (
        (tmp_path / "no.pkl", "is missing. Give the path of the .pkl file"),
        (tmp_path, "is a folder. Give the path of the .pkl file"),
    ):
        with pytest.raises(InputError, match="^" + re.escape(f"Cannot read {bad}: it {message}")):
            Human36M(bad)
    content = path.read_bytes()
    for length, message in (
        (0, "is empty"),
        (1, "is not a pickle"),
        (5000, "ends in the middle"),
        (len(content) - 1, "ends in the middle"),
    ):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=message):
            Human36M(path)


# The life of the cache


def test_later_start_does_not_read_the_pickle(path, data, monkeypatch):
    Human36M(path)
    no_rebuild(monkeypatch)
    monkeypatch.setattr(cache, "sha256", unpickle.load)
    assert same_data(Human36M(path), data)


def test_touched_source_is_recognised_by_its_digest(path, monkeypatch):
    Human36M(path)
    os.utime(path, ns=(1, 1))
    no_rebuild(monkeypatch)
    Human36M(path)
    monkeypatch.setattr(cache, "sha256", unpickle.load)
    Human36M(path)  # the new time was recorded


def test_changed_source_is_read_again(path, content, write):
    old = Human36M(path)
    content["test"]["joint_2d"] += 1
    new = Human36M(write(content))
    assert new.digest != old.digest
    np.testing.assert_array_equal(
        new.inputs("test", 0)[:, :2], normalize(content["test"]["joint_2d"][0], np.float32([1000, 1002]))
    )
    assert len(list(path.parent.glob("data.pkl.cache/*"))) == 1, "the outdated cache is cleared away"


@pytest.mark.parametrize("renamed", [False, True])
def test_cache_of_another_file(path, content, write, renamed):
    content["test"]["joint_2d"] += 1
    other = Human36M(write(content, "other.pkl"))
    expected = Human36M(path)
    frames = np.arange(319)
    inputs = expected.inputs("test", frames)
    shutil.rmtree(f"{path}.cache")
    shutil.copytree(f"{other.path}.cache", f"{path}.cache")
    if renamed:
        theirs, ours = (f"{data.digest[:16]}-v2" for data in (other, expected))
        Path(f"{path}.cache", theirs).rename(Path(f"{path}.cache", ours))
    np.testing.assert_array_equal(Human36M(path).inputs("test", frames), inputs)


def flip_a_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file):
    os.truncate(file, file.stat().st_size - 8)


def rewrite_manifest(change):
    def apply(file):
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(json.dumps(manifest))

    return apply


@pytest.mark.parametrize(
    "name, damage",
    [
        ("test_joint_2d.npy", flip_a_byte),
        ("test_joint_2d.npy", cut),
        ("train_source.npy", cut),
        ("test_bounds.npy", Path.unlink),
        ("manifest.json", cut),
        ("manifest.json", Path.unlink),
        ("manifest.json", lambda file: file.write_text("[]")),
        ("manifest.json", rewrite_manifest(lambda manifest: manifest.update(layout=0))),
        ("manifest.json", rewrite_manifest(lambda manifest: manifest["files"].pop("test_camera.npy"))),
        ("manifest.json", rewrite_manifest(lambda manifest: manifest["splits"]["test"].update(frames=318))),
        ("manifest.json", rewrite_manifest(lambda manifest: manifest["splits"].pop("test"))),
        ("manifest.json", rewrite_manifest(lambda manifest: manifest.update(source="x"))),
    ],
)
def test_damaged_cache_is_rebuilt(path, data, name, damage, monkeypatch):
    Human36M(path)
    (file,) = path.parent.glob(f"data.pkl.cache/*/{name}")
    damage(file)
    assert same_data(Human36M(path), data)
    no_rebuild(monkeypatch)
    Human36M(path)


def test_copied_cache_is_verified_and_kept(path, monkeypatch):
    folder = Path(f"{path}.cache")
    Human36M(path)
    shutil.copytree(folder, path.parent / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    (path.parent / "copy").rename(folder)
    no_rebuild(monkeypatch)
    Human36M(path)
    monkeypatch.setattr(cache, "sha256", unpickle.load)
    Human36M(path)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interrupted_build_leaves_nothing(path, data, monkeypatch, failure):
    def interrupt(*arguments):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(cache.np, "save", interrupt)
        with pytest.raises((KeyboardInterrupt, InputError)):
            Human36M(path)
    assert not Path(f"{path}.cache").exists()
    assert same_data(Human36M(path), data)


def test_killed_build_does_no_harm(path, data):
    script = (
        "import os, signal, sys\nfrom liftbench import Human36M\nfrom liftbench.baselines.data import cache\n"
        "cache.np.save = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Human36M(sys.argv[1])"
    )
    killed = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    (left,) = Path(f"{path}.cache").iterdir()
    assert left.suffix == ".tmp"
    assert same_data(Human36M(path), data)
    assert left.exists(), "it may belong to a build that is still running"
    os.utime(left, (0, 0))
    os.utime(path, (0, 0))
    shutil.rmtree(next(Path(f"{path}.cache").glob("*-v2")))
    Human36M(path)
    assert not left.exists()


def test_builders_at_the_same_time(path, data, monkeypatch):
    together = threading.Barrier(4)
    publish = cache._publish

    def publish_together(*arguments):
        together.wait(timeout=30)
        publish(*arguments)

    monkeypatch.setattr(cache, "_publish", publish_together)
    with ThreadPoolExecutor(4) as pool:
        assert all(same_data(each, data) for each in pool.map(Human36M, [path] * 4))
    assert [folder.suffix for folder in Path(f"{path}.cache").iterdir()] == [""]


def test_source_that_changes_while_it_is_read(path, monkeypatch):
    read = unpickle.load

    def read_and_touch(path):
        os.utime(path, ns=(1, 1))
        return read(path)

    monkeypatch.setattr(unpickle, "load", read_and_touch)
    with pytest.raises(InputError, match="it changed meanwhile"):
        Human36M(path)


def test_folder_that_cannot_be_written(path, data, tmp_path, monkeypatch):
    Path(f"{path}.cache").touch()
    with pytest.raises(InputError) as error:
        Human36M(path)
    assert str(error.value) == (
        f"Cannot write the cache of {path} in {path}.cache: Not a directory. Set LIFTBENCH_CACHE to a folder that can "
        "be written and has 0 MB to spare."
    )
    monkeypatch.setenv("LIFTBENCH_CACHE", str(tmp_path / "caches"))
    assert same_data(Human36M(path), data)
    assert len(list((tmp_path / "caches").glob("data.pkl-*.cache/*-v2/manifest.json"))) == 1


def test_worker_processes_map_the_same_files(data):
    message = pickle.dumps(data)
    assert len(message) < 1000
    copy = pickle.loads(message)
    assert same_data(copy, data)
    assert (copy.path, copy.digest, copy.subjects) == (data.path, data.digest, data.subjects)


def test_worker_whose_cache_is_gone(path):
    message = pickle.dumps(Human36M(path))
    shutil.rmtree(f"{path}.cache")
    with pytest.raises(InputError, match="was changed while in use. Start again"):
        pickle.loads(message)


def test_progress_is_told_while_a_cache_is_built(path):
    told = []
    Human36M(path, progress=lambda done, of: told.append((done, of)))
    (total,) = {of for _, of in told}
    assert [done for done, _ in told] == sorted(done for done, _ in told) and 0 < told[0][0] <= told[-1][0] <= total
    told.clear()
    Human36M(path, progress=lambda done, of: told.append((done, of)))
    assert not told, "a cache is there"


def test_a_data_set_without_its_parts_is_refused():
    with pytest.raises(TypeError, match="Half lacks FORMAT, INPUTS"):

        class Half(Dataset):
            protocol = "half"

    class Empty(Dataset):
        protocol, FORMAT, INPUTS = "empty", None, {"gt": "ground truth"}

    with pytest.raises(TypeError, match="abstract"):
        Empty("data.pkl")
