"""MPI-INF-3DHP: the files' joints, units and valid frames, the refusal of unfit files, PCK and AUC by hand."""

import json
import pickle
import shutil

import numpy as np
import pytest

from liftbench import score
from liftbench.baselines.data.dataset import open_dataset
from liftbench.baselines.data.formats.mpi_inf_3dhp import MPIINF3DHP
from liftbench.baselines.data.formats.mpi_inf_3dhp_schema import JOINT_ORDER, TEST, TRAIN
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import inference, metrics
from liftbench.baselines.registry import create_model
from liftbench.baselines.skeleton import FLIP, JOINTS, LEFT, PARENTS, RIGHT
from liftbench.baselines.synthetic import mpi_inf_3dhp
from liftbench.baselines.weights.trained import Weights
from liftbench.bench.runs import accuracy
from support.data import replaced

# The order of the P-STMO scripts.
THEIR_JOINTS = (
    "head top", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "pelvis", "spine", "head",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mpi_inf_3dhp.write(tmp_path_factory.mktemp("3dhp"), mpi_inf_3dhp.FEWEST_FRAMES)


@pytest.fixture(scope="module")
def data(folder):
    return MPIINF3DHP(folder)


@pytest.fixture(scope="module")
def files(folder):
    """Read the files with numpy."""
    return {name: dict(np.load(folder / name, allow_pickle=True))["data"].item() for name in (TRAIN, TEST)}


@pytest.fixture
def content():
    """Make one short training sequence and short test sequences, for tests to damage."""
    draw = np.random.default_rng(0)

    def pose():
        legs = np.zeros((17, 3))
        legs[[9, 12], 1], legs[[10, 13], 1] = 400, 800
        return {
            "data_2d": draw.uniform(0, 1000, (4, 17, 2)).astype(np.float32),
            "data_3d": (legs + draw.normal(size=(4, 1, 3))).astype(np.float32),
        }

    train = {"S1 Seq1": [{"0": pose(), "8": pose()}, 25]}
    return {TRAIN: train, TEST: {f"TS{n}": pose() | {"valid": np.array([1.0, 0, 1, 1])} for n in range(1, 7)}}


@pytest.fixture
def write(tmp_path):
    def write(content, **further):
        np.savez_compressed(tmp_path / TRAIN, data=content[TRAIN], **further)
        np.savez_compressed(tmp_path / TEST, data=content[TEST])
        return tmp_path

    return write


def every(data, split):
    return np.arange(data.frames(split))


# Joints, units, frames


def test_joint_order_by_name():
    """Each joint maps to the joint of the same name; "neck", "head" and "head top" map to our thorax, neck and head."""
    renamed = {"neck": "thorax", "head": "neck", "head top": "head"}
    theirs = [renamed.get(name, name).replace(" ", "_") for name in THEIR_JOINTS]
    assert [theirs[joint] for joint in JOINT_ORDER] == list(JOINTS)


def test_joint_order_by_anatomy(data):
    for split in ("train", "test"):
        pose = data.ground_truth_mm(split, every(data, split)).astype(np.float64)
        bones = np.linalg.norm(pose[:, 1:] - pose[:, PARENTS[1:]], axis=-1)
        length = dict(zip(JOINTS[1:], np.median(bones, axis=0), strict=True))
        for right, left in zip(RIGHT, LEFT, strict=True):
            assert length[JOINTS[right]] == pytest.approx(length[JOINTS[left]], rel=1e-3)
        assert length["right_knee"] > length["right_elbow"] > length["right_wrist"] > length["right_hip"] > 80
        down = pose[..., 1]  # camera frame: y points down
        standing = down[:, 3] - down[:, 10] > 1200
        assert standing.sum() > 50
        for above, below in (("head", "neck"), ("neck", "thorax"), ("thorax", "spine"), ("spine", "pelvis")):
            assert (down[standing, JOINTS.index(above)] < down[standing, JOINTS.index(below)]).mean() > 0.95
        assert (down[standing, 0] < down[standing, 2]).all() and (down[standing, 2] < down[standing, 3]).all()
        # The left hip is to the left of a person who looks along chest to nose: (up, ahead, left) is right-handed.
        ahead, up, side = pose[:, 9] - pose[:, 8], pose[:, 8] - pose[:, 0], pose[:, 4] - pose[:, 1]
        assert (np.einsum("nc,nc->n", np.cross(up, ahead), side) > 0).mean() > 0.9


def test_every_number_of_the_files(data, files):
    """Walk through the files and find each pose under its frame number, reordered and scaled."""
    start = 0
    codes, names = data.sources("train")
    for sequence, (cameras, _) in files[TRAIN].items():
        for camera, part in cameras.items():
            index = np.arange(start, start + len(part["data_2d"]))
            assert {names[code] for code in codes[index]} == {f"{sequence} camera {camera}"}
            expected = part["data_3d"][:, JOINT_ORDER]
            np.testing.assert_allclose(data.ground_truth_mm("train", index), expected, rtol=1e-6)
            expected = (expected - expected[:, :1]) / 1000
            np.testing.assert_allclose(data.targets("train", index), expected, rtol=0, atol=1e-6)
            np.testing.assert_allclose(
                data.inputs("train", index)[..., :2], part["data_2d"][:, JOINT_ORDER] / 1024 - 1, rtol=0, atol=1e-6
            )
            start += len(index)
    assert start == data.frames("train")
    assert len(names) == 48 and len(data.bounds("train")) == 49
    for split in ("train", "test"):
        inputs = data.inputs(split, every(data, split).reshape(-1, 1))
        assert inputs.dtype == data.targets(split, 0).dtype == np.float32
        assert (inputs[..., 2] == 1).all() and np.abs(inputs).max() <= 1


def test_images_of_the_test_sequences(data, files):
    codes, names = data.sources("test")
    assert names == [f"TS{n}" for n in range(1, 7)] and data.actions("test")[1] == names
    for code, name in enumerate(names):
        index = np.flatnonzero(codes == code)
        size = (1920, 1080) if name in ("TS5", "TS6") else (2048, 2048)
        np.testing.assert_array_equal(data.camera_resolution("test", index), np.tile(size, (len(index), 1)))
        pixels = files[TEST][name]["data_2d"][:, JOINT_ORDER]
        expected = pixels / size[0] * 2 - (1, size[1] / size[0])
        np.testing.assert_allclose(data.inputs("test", index)[..., :2], expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(data.evaluated("test")[index], files[TEST][name]["valid"] == 1)
    assert data.evaluated("train").all() and not data.evaluated("test").all()


def test_clips(data):
    clips = data.clips("train", 81)
    assert (np.diff(clips, axis=1) == 1).all()
    source = data.sources("train")[0][clips]
    assert (source == source[:, :1]).all()
    starts = clips[source[:, 0] == 0, 0]
    np.testing.assert_array_equal(starts, np.arange(0, data.bounds("train")[1] - 80, 9))
    np.testing.assert_array_equal(np.unique(data.every_frame_clips("test", 81)), every(data, "test"))


def test_facts_of_the_files(data):
    assert data.origin == {"kind": "synthetic", "version": 1, "frames": 6000, "seed": 0}
    assert data.subjects["train"] == tuple(f"S{n}" for n in range(1, 9))
    assert data.subjects["test"] == tuple(f"TS{n}" for n in range(1, 7))
    assert (data.protocol, data.input) == ("mpi_inf_3dhp", "gt")
    summary = data.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["train"]["sources_at_fps"] == {"25": 33, "50": 15}
    assert summary["test"]["valid_frames"] == data.evaluated("test").sum() < summary["test"]["frames"]


def test_worker_processes_and_the_second_opening_read_the_cache(folder, data, monkeypatch):
    monkeypatch.setattr("liftbench.baselines.data.formats.npz.load", None)
    for again in (pickle.loads(pickle.dumps(data)), MPIINF3DHP(folder), open_dataset(folder)):
        assert type(again) is MPIINF3DHP and again.digest == data.digest
        np.testing.assert_array_equal(
            again.targets("test", every(data, "test")), data.targets("test", every(data, "test"))
        )


def test_generator_repeats_itself(folder, tmp_path):
    again = mpi_inf_3dhp.write(tmp_path / "again", mpi_inf_3dhp.FEWEST_FRAMES)
    other = mpi_inf_3dhp.write(tmp_path / "other", mpi_inf_3dhp.FEWEST_FRAMES, seed=1)
    for name in (TRAIN, TEST):
        contents = [
            pickle.dumps(np.load(place / name, allow_pickle=True)["data"].item()) for place in (folder, again, other)
        ]
        assert contents[0] == contents[1] != contents[2]
    for wrong, message in (({"frames": 5999}, "5999 frames are too few"), ({"seed": -1}, "seed -1 is negative")):
        with pytest.raises(InputError, match=message):
            mpi_inf_3dhp.write(tmp_path / "none", **wrong)
    assert not (tmp_path / "none").exists()


# What files may look like


@pytest.mark.parametrize("shape", [(4,), (4, 1), (1, 4)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float64])
def test_valid_in_every_shape(content, write, shape, dtype):
    for part in content[TEST].values():
        part["valid"] = part["valid"].astype(dtype).reshape(shape)
    np.testing.assert_array_equal(MPIINF3DHP(write(content)).evaluated("test"), [True, False, True, True] * 6)


def test_number_types(content, write):
    cameras, _ = content[TRAIN]["S1 Seq1"]
    expected = cameras["8"]["data_3d"][:, JOINT_ORDER]
    cameras["8"]["data_3d"] = np.asfortranarray(cameras["8"]["data_3d"].astype(">f8"))
    content[TRAIN]["S1 Seq1"][1] = np.uint8(25)
    data = MPIINF3DHP(write(content))
    np.testing.assert_array_equal(data.ground_truth_mm("train", np.arange(4, 8)), expected)
    assert data.origin == {}


def test_an_invalid_pose_may_be_anything_finite(content, write):
    content[TEST]["TS3"]["data_3d"][1] = 0
    MPIINF3DHP(write(content))


def edit(*path):
    """Replace the value at the path by what the last entry returns, or delete it if that entry is None."""
    *keys, last, change = path

    def apply(content):
        for key in keys:
            content = content[key]
        if change is None:
            del content[last]
        else:
            content[last] = change(content[last])

    return apply


SEQUENCE, CAMERA, TS4 = (TRAIN, "S1 Seq1"), (TRAIN, "S1 Seq1", 0, "8"), (TEST, "TS4")
SCHEMA = ". Use the files that the P-STMO scripts make of MPI-INF-3DHP."
LEGS = (
    ", expected the bones of two legs, 150 to 800 mm. Save millimetres, and joints in the order of MPI-INF-3DHP's test "
    "set."
)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            edit(TRAIN, lambda _: np.zeros(3)),
            f"{TRAIN}: data is a numpy array of shape (3,), expected a dict of sequences{SCHEMA}",
        ),
        (edit(TRAIN, lambda _: {}), f"{TRAIN}: data holds no sequence{SCHEMA}"),
        (
            edit(TRAIN, lambda data: {"S1_Seq1": data["S1 Seq1"]}),
            f"{TRAIN}: data has a sequence 'S1_Seq1', expected names like 'S1 Seq1'{SCHEMA}",
        ),
        (
            edit(*SEQUENCE, lambda pair: pair[0]),
            f"{TRAIN}: S1 Seq1 is a dict, expected a list of the cameras and the frames per second{SCHEMA}",
        ),
        (edit(*SEQUENCE, 0, lambda _: [1]), f"{TRAIN}: S1 Seq1: the cameras are a list of 1, expected a dict{SCHEMA}"),
        (edit(*SEQUENCE, 0, lambda _: {}), f"{TRAIN}: S1 Seq1 holds no camera{SCHEMA}"),
        (
            edit(*SEQUENCE, 1, lambda _: "25"),
            f"{TRAIN}: S1 Seq1: the frame rate is '25', expected a number such as 25 or 50{SCHEMA}",
        ),
        (
            edit(*SEQUENCE, 1, lambda _: 10**5000),
            f"{TRAIN}: S1 Seq1: the frame rate is an int, expected a number such as 25 or 50{SCHEMA}",
        ),
        (
            edit(*SEQUENCE, 1, lambda _: float("nan")),
            f"{TRAIN}: S1 Seq1: the frame rate is nan, expected a number such as 25 or 50{SCHEMA}",
        ),
        (
            edit(*SEQUENCE, 0, lambda cameras: {8: cameras["8"]}),
            f"{TRAIN}: S1 Seq1 has a camera 8, expected names like '0'{SCHEMA}",
        ),
        (edit(*CAMERA, lambda _: 3), f"{TRAIN}: S1 Seq1, camera 8 is an int, expected a dict{SCHEMA}"),
        (
            edit(*CAMERA, "data_3d", None),
            f"{TRAIN}: S1 Seq1, camera 8 has no 'data_3d', only 'data_2d'{SCHEMA}",
        ),
        (
            edit(*CAMERA, "data_2d", np.ndarray.tolist),
            f"{TRAIN}: S1 Seq1, camera 8/data_2d is a list of 4, expected a numpy array{SCHEMA}",
        ),
        (
            edit(*CAMERA, "data_2d", lambda a: a.astype(int)),
            f"{TRAIN}: S1 Seq1, camera 8/data_2d has dtype int64, expected float16, float32 or float64{SCHEMA}",
        ),
        (
            edit(*CAMERA, "data_3d", lambda a: a.reshape(4, 51)),
            f"{TRAIN}: S1 Seq1, camera 8/data_3d has shape (4, 51), expected (n, 17, 3){SCHEMA}",
        ),
        (
            edit(*CAMERA, "data_3d", lambda a: np.zeros((4, 28, 3))),
            f"{TRAIN}: S1 Seq1, camera 8/data_3d has shape (4, 28, 3), expected (n, 17, 3){SCHEMA}",
        ),
        (
            edit(*CAMERA, "data_3d", lambda a: a[:3]),
            f"{TRAIN}: S1 Seq1, camera 8: data_2d has 4 frames and data_3d 3, expected as many{SCHEMA}",
        ),
        (
            edit(*CAMERA, lambda part: {key: array[:0] for key, array in part.items()}),
            f"{TRAIN}: S1 Seq1, camera 8 holds no frame{SCHEMA}",
        ),
        (
            edit(*CAMERA, "data_2d", replaced((2, 16, 1), np.nan)),
            f"{TRAIN}: S1 Seq1, camera 8/data_2d: frame 2 is not finite. Repair or leave out that frame.",
        ),
        (
            edit(*TS4, "data_3d", lambda a: replaced((3, 0, 0), 1e39)(a.astype(np.float64))),
            f"{TEST}: TS4/data_3d: frame 3 is not finite. Repair or leave out that frame.",
        ),
        (
            edit(*CAMERA, "data_2d", lambda a: a / 1024 - 1),
            f"{TRAIN}: S1 Seq1, camera 8/data_2d: poses are mere dots in the image, as if normalised. Save pixels.",
        ),
        (
            edit(*TS4, "data_2d", lambda a: replaced((3, 0, 0), -20_000)(a)),
            f"{TEST}: TS4/data_2d: frame 3 reaches 20,000 pixels. Save pixels.",
        ),
        (
            edit(*CAMERA, "data_3d", lambda a: a / 1000),
            f"{TRAIN}: S1 Seq1, camera 8/data_3d: joints 8 and 9 are 0.4 apart and joints 11 and 12 0.4{LEGS}",
        ),
        (
            edit(*TS4, "data_3d", lambda a: a[:, JOINT_ORDER]),
            f"{TEST}: TS4/data_3d: joints 8 and 9 are 0 apart and joints 11 and 12 0{LEGS}",
        ),
        (edit(TEST, "TS2", None), f"{TEST}: data has no TS2, only 'TS1', 'TS3', 'TS4', 'TS5', 'TS6'{SCHEMA}"),
        (edit(TEST, lambda data: data | {"TS7": 1}), f"{TEST}: data has 'TS7' beside TS1 to TS6{SCHEMA}"),
        (edit(*TS4, lambda _: []), f"{TEST}: TS4 is a list of 0, expected a dict{SCHEMA}"),
        (edit(*TS4, "valid", None), f"{TEST}: TS4 has no 'valid', only 'data_2d', 'data_3d'{SCHEMA}"),
        (edit(*TS4, "valid", list), f"{TEST}: TS4/valid is a list of 4, expected a numpy array{SCHEMA}"),
        (edit(*TS4, "valid", lambda a: a[:3]), f"{TEST}: TS4/valid has shape (3,), expected (4,) or (4, 1){SCHEMA}"),
        (
            edit(*TS4, "valid", lambda a: a.astype(object)),
            f"{TEST}: TS4/valid has dtype object, expected numbers{SCHEMA}",
        ),
        (edit(*TS4, "valid", lambda a: a * np.nan), f"{TEST}: TS4/valid holds more than 0 and 1{SCHEMA}"),
        (edit(*TS4, "valid", lambda a: a * 0), f"{TEST}: TS4/valid counts no frame{SCHEMA}"),
    ],
)
def test_unfit_content_is_named(content, write, change, message):
    change(content)
    folder = write(content)
    with pytest.raises(InputError) as error:
        MPIINF3DHP(folder)
    assert str(error.value) == f"Cannot read {folder}/{message}"
    assert list(folder.glob("*.cache/*")) == []


@pytest.mark.parametrize(
    "origin, message",
    [
        (np.zeros(3), "origin is a numpy array of shape (3,), expected a dict. Leave it out or make it one."),
        ({"seed": np.zeros(2)}, "origin holds more than numbers, strings, lists and dicts. Simplify it."),
    ],
)
def test_unfit_origin(content, write, origin, message):
    folder = write(content, origin=origin)
    with pytest.raises(InputError) as error:
        MPIINF3DHP(folder)
    assert str(error.value) == f"Cannot read {folder / TRAIN}: {message}"


@pytest.mark.parametrize("missing, other", [(TRAIN, TEST), (TEST, TRAIN)])
def test_missing_file(folder, tmp_path, missing, other):
    shutil.copy(folder / other, tmp_path)
    with pytest.raises(InputError) as error:
        MPIINF3DHP(tmp_path)
    expected = f"Cannot read {tmp_path}: it has no file {missing}. Give the folder that holds {TRAIN} and {TEST}."
    assert str(error.value) == expected


@pytest.mark.parametrize("name", [TRAIN, TEST])
def test_spoilt_file(folder, tmp_path, name):
    for file in (TRAIN, TEST):
        shutil.copy(folder / file, tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    for spoilt_content, message in (
        (content[:-100], ": it is truncated or damaged (BadZipFile). Copy or download it again."),
        (b"data", ": it is not an .npz file. Give the data set's own file."),
    ):
        path.write_bytes(spoilt_content)
        with pytest.raises(InputError) as error:
            MPIINF3DHP(tmp_path)
        assert str(error.value) == f"Cannot read {path}{message}"
    np.savez(path, poses=np.zeros(3))
    with pytest.raises(InputError) as error:
        MPIINF3DHP(tmp_path)
    assert (
        str(error.value) == f"Cannot read {path}: it has no array 'data', only 'poses'. Give the data set's own file."
    )
    assert not list(tmp_path.glob("*.cache/*"))


def test_unknown_choices(data):
    with pytest.raises(InputError, match=r"there is no 2D input 'sh'. Choose gt \(annotated 2D\)"):
        MPIINF3DHP(data.path, "sh")
    with pytest.raises(InputError, match="there is no split 'val'. Choose train or test"):
        data.clips("val", 81)


# PCK and AUC


def test_pck_and_auc_by_hand():
    errors = np.zeros((3, 17))
    errors[0, [0, 7, 9]] = 1000  # pelvis, spine and neck do not count
    errors[1, [1, 16]], errors[1, 10] = 150, 149.9  # strictly less than 150 mm
    errors[2] = 12
    np.testing.assert_allclose(metrics.pck(errors), [1, 12 / 14, 1])
    np.testing.assert_allclose(metrics.pck(errors, 12), [1, 11 / 14, 0])
    # Of the 31 thresholds 0, 5, .., 150 an error of 0 is below 30, one of 149.9 below 1, one of 12 below 28.
    np.testing.assert_allclose(metrics.auc(errors), [30 / 31, (11 * 30 + 1) / 14 / 31, 28 / 31])


def test_the_joints_that_count():
    left_out = sorted(set(JOINTS) - {JOINTS[joint] for joint in metrics.PCK_JOINTS})
    assert left_out == ["neck", "pelvis", "spine"] and len(set(metrics.PCK_JOINTS)) == 14


# The protocol


def truth(data, frames):
    return data.targets("test", frames).astype(np.float64)


def test_the_truth_scores_full_marks(data):
    frames = data.every_frame_clips("test", 81)
    result = score(data, truth(data, frames), frames)
    assert result["mpjpe_mm"] < 1e-3 and result["p_mpjpe_mm"] < 1e-3
    assert result["pck_150mm_percent"] == 100
    assert result["auc_percent"] == pytest.approx(100 * 30 / 31)
    for sequence in data.actions("test")[1]:
        assert result["mpjpe_mm_per_action"][sequence] < 1e-3
        assert result["pck_150mm_percent_per_action"][sequence] == 100
        assert result["auc_percent_per_action"][sequence] == pytest.approx(100 * 30 / 31)


def test_only_valid_frames_count(data):
    frames = data.every_frame_clips("test", 81)
    predicted = truth(data, frames)
    predicted[~data.evaluated("test")[frames]] += np.random.default_rng(0).normal(size=(17, 3))
    result = score(data, predicted, frames)
    assert result["mpjpe_mm"] < 1e-3 and result["pck_150mm_percent"] == 100
    for motion in ("mpjve_mm_per_frame", "acceleration_error_mm_per_frame2"):
        assert result["variants"]["official"][motion] < 1e-3


def test_errors_by_hand(data):
    """All joints but the root are 17/16 * s mm off, an MPJPE of s, and each sequence has its own s."""
    frames = every(data, "test")[:, None]
    size = np.array([10.0, 41, 81, 121, 161, 400])
    codes, names = data.sources("test")
    shift = np.zeros((len(frames), 1, 17, 3))
    shift[..., 1:, 2] = 17 / 16 * size[codes][:, None, None] / 1000
    result = score(data, truth(data, frames) + shift, frames)
    valid = np.bincount(codes[data.evaluated("test")])
    below = np.array([sum(17 / 16 * s < threshold for threshold in range(0, 151, 5)) / 31 for s in size])
    expected = {
        "mpjpe_mm": size,
        "pck_150mm_percent": 100.0 * (17 / 16 * size < 150),
        "auc_percent": 100 * below,
    }
    for key, by_sequence in expected.items():
        assert result[key] == pytest.approx((valid * by_sequence).sum() / valid.sum(), rel=1e-4)
        assert list(result[f"{key}_per_action"].values()) == pytest.approx(by_sequence.tolist(), rel=1e-4)
        assert result["variants"]["official"][key] == result[key]
        assert result["variants"]["action-wise"][key] == pytest.approx(by_sequence.mean(), rel=1e-4)
    assert list(result["mpjpe_mm_per_action"]) == names


def test_a_mirror_image_is_a_mirrored_person(data):
    """The flip of training and evaluation, in their order of joints: bones keep their lengths and change sides."""
    pose = data.targets("test", every(data, "test")).astype(np.float64)
    mirrored = pose[:, list(FLIP)] * (-1, 1, 1)
    for right, left in zip(RIGHT, LEFT, strict=True):
        bone = np.linalg.norm(pose[:, right] - pose[:, PARENTS[right]], axis=-1)
        other = np.linalg.norm(mirrored[:, left] - mirrored[:, PARENTS[left]], axis=-1)
        np.testing.assert_allclose(other, bone)


@pytest.mark.parametrize("name, frames", [("mlp", 9), ("posemamba_toy", 81)])
def test_evaluation_becomes_a_record(data, tmp_path, one_thread, name, frames):
    """Make a centre-frame and a sequence model whose weights are all 0, so that they put every joint at the pelvis."""
    model = create_model(name, frames=frames)
    for parameter in model.parameters():
        parameter.data.zero_()
    path = tmp_path / "weights"
    path.write_bytes(b"none")
    weights = Weights(model, name, frames, {}, "gt", path, None, None)
    record = accuracy.evaluate(weights, data, "cpu", "reference")

    errors = 1000 * np.linalg.norm(data.targets("test", every(data, "test")), axis=-1)[data.evaluated("test")]
    sequence = data.actions("test")[0][data.evaluated("test")]
    for key, values in (
        ("mpjpe_mm", errors.mean(1)),
        ("pck_150mm_percent", 100 * metrics.pck(errors)),
        ("auc_percent", 100 * metrics.auc(errors)),
    ):
        expected = [values[sequence == code].mean() for code in range(6)]
        assert getattr(record, key) == pytest.approx(values.mean(), rel=1e-5)
        assert list(getattr(record, f"{key}_per_action").values()) == pytest.approx(expected, rel=1e-5)
    assert list(record.pck_150mm_percent_per_action) == [f"TS{n}" for n in range(1, 7)]
    assert 1 < record.auc_percent < record.pck_150mm_percent < 50
    assert (record.data.protocol, record.data.input) == ("mpi_inf_3dhp", "gt")
    assert record.data.origin["kind"] == "synthetic" and record.data.test_frames == data.frames("test")
    assert record.variants["without flip"]["pck_150mm_percent"] == pytest.approx(record.pck_150mm_percent)
    quick = inference.quick_mpjpe(model, name, data, frames)
    assert quick == pytest.approx(record.mpjpe_mm, rel=1e-5)
