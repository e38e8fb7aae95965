"""The whole way: a person before a camera, their keypoints, a model that knows the answer, and the 3D it gives."""

import json

import numpy as np
import pytest
import torch

import liftbench
from liftbench.baselines import registry
from liftbench.baselines.data.cameras import load_cameras, room_centre
from liftbench.baselines.data.normalization import normalize
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation.inference import mirror
from liftbench.baselines.training.checkpoint import write_weights
from liftbench.lift.geometry import body
from liftbench.lift.lifted import load
from support.command import run
from support.walking import FPS, seen_by, walker

T = 120


class Oracle(torch.nn.Module):
    """Knows the pose of every frame of one recording, and finds it by its keypoints or their mirror image."""

    def __init__(self, frames):
        super().__init__()
        self.register_buffer("keypoints", torch.zeros(T, 17, 2))
        self.register_buffer("poses", torch.zeros(T, 17, 3))

    def forward(self, clips):
        keypoints, poses = (torch.cat([known, mirror(known)]) for known in (self.keypoints, self.poses))
        found = torch.cdist(clips.flatten(2), keypoints.flatten(1)[None].expand(len(clips), -1, -1)).argmin(dim=-1)
        return poses[found]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture(scope="module")
def camera():
    return load_cameras(9)[1]


@pytest.fixture(scope="module")
def recording(camera):
    """(true poses in the camera's frame, (T, 17, 2) pixels, 2.5D image, the person's height in m)"""
    points, image = seen_by(camera, walker(T), room_centre(9))
    height = np.median(body.body_height(points, np.ones((T, 17), bool))) / 1000
    return points, image[..., :2], image, float(height)


@pytest.fixture(scope="module")
def oracle(recording, camera, tmp_path_factory):
    """Weights of a sequence model of clips of 9 frames that knows the recording."""
    registry.register("oracle", Oracle, frames=9)
    _, pixels, image, _ = recording
    known = Oracle(9)
    known.keypoints.copy_(torch.from_numpy(normalize(pixels, camera.size)))
    known.poses.copy_(torch.from_numpy((image - image[:, :1]) / camera.size[0] * 2))
    path = tmp_path_factory.mktemp("weights") / "oracle.safetensors"
    write_weights(path, known.state_dict(), {"model": "oracle", "frames": 9, "data": "h36m", "joint_9": "neck"})
    yield path
    del registry.MODELS["oracle"]


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """A function from the name and numbers of a model, and what it was trained on, to a file of random weights."""

    def make(name, data="h36m", **numbers):
        torch.manual_seed(0)
        model = liftbench.create_model(name, frames=9, **numbers)
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        write_weights(path, model.state_dict(), {"model": name, "frames": 9, "numbers": numbers, "data": data})
        return path

    return make


def lift(keypoints, camera, weights, **options):
    options = {"size": camera.size, "fps": FPS, "layout": "h36m17"} | options
    return liftbench.lift(keypoints, weights=weights, **options)


def test_a_known_person_comes_back(recording, camera, oracle):
    points, pixels, _, height = recording
    done = []
    options = {"height": height, "focal": camera.focal.mean(), "camera_rotation": camera.rotation.T.ravel()}
    lifted = lift(pixels, camera, oracle, **options, progress=lambda *args: done.append(args))
    assert np.abs(lifted.poses_3d - (points - points[:, :1])).mean() < 8
    assert np.linalg.norm(lifted.root - points[:, 0], axis=-1).mean() < 30
    true = points @ camera.rotation.T + camera.position
    steps = true[:, 0, :2] - true[0, 0, :2]
    assert np.linalg.norm(lifted.poses_world[:, 0, :2] - steps, axis=-1).mean() < 30
    assert np.abs(lifted.poses_world[..., 2] - true[..., 2]).mean() < 25
    assert lifted.valid.all() and done[-1] == (2 * T, 2 * T)
    assert lifted.metadata["joint_9"] == "neck" and lifted.metadata["assumed"] == ["floor below the ankles"]


def test_the_vertical_comes_from_the_body(recording, camera, oracle):
    points, pixels, _, height = recording
    lifted = lift(pixels, camera, oracle, height=height, focal=camera.focal.mean())
    up = np.array(lifted.metadata["camera_to_world"])[2]
    assert np.degrees(np.arccos(up @ camera.rotation.T[:, 2])) < 5.5
    assert lifted.metadata["assumed"] == ["vertical from the body (ankles to thorax)", "floor below the ankles"]


def test_what_is_assumed_is_said(recording, camera, oracle):
    assumed = lift(recording[1], camera, oracle).metadata["assumed"]
    assert assumed[:2] == ["focal length 1000 pixels", "body height 1.70 m"]


def test_another_image_size_is_another_camera(recording, camera, oracle):
    """The same person in an image of twice the resolution."""
    _, pixels, _, height = recording
    once = lift(pixels, camera, oracle, height=height, focal=camera.focal.mean())
    size = tuple(2 * side for side in camera.size)
    twice = lift(2 * pixels, camera, oracle, size=size, height=height, focal=2 * camera.focal.mean())
    np.testing.assert_allclose(once.poses_world, twice.poses_world, atol=1e-2)


def test_gaps_stay_empty(recording, camera, oracle):
    points, pixels, _, height = recording
    keypoints = np.concatenate([pixels, np.ones((T, 17, 1))], axis=-1)
    keypoints[50:80] = 0
    keypoints[100:118, 13] = 0
    lifted = lift(keypoints, camera, oracle, height=height, focal=camera.focal.mean(), smooth="one-euro", rigid=True)
    empty = np.isnan(lifted.poses_3d).all(axis=-1)
    assert empty[50:80].all() and empty[100:118, 13].all() and empty.sum() == 30 * 17 + 18
    np.testing.assert_array_equal(empty, np.isnan(lifted.poses_world).any(axis=-1))
    assert np.isnan(lifted.root[50:80]).all() and np.isfinite(lifted.root[80:]).all()
    error = np.linalg.norm(lifted.poses_3d - (points - points[:, :1]), axis=-1)
    assert np.nanmean(error) < 15 and "30 without the person (0 filled, 30 empty)" in lifted.metadata["missing"]


def test_metric_models_find_their_root(recording, camera, oracle, tmp_path):
    """Weights that answer in metres, as those trained on VideoPose3D's data do."""
    points, pixels, _, height = recording
    known = Oracle(9)
    known.keypoints.copy_(torch.from_numpy(normalize(pixels, camera.size)))
    known.poses.copy_(torch.from_numpy((points - points[:, :1]) / 1000))
    path = tmp_path / "metres.safetensors"
    write_weights(path, known.state_dict(), {"model": "oracle", "frames": 9, "data": "h36m_videopose3d"})
    for refined, worst, mean in ((False, 5, 1), (True, 100, 5)):
        lifted = lift(pixels, camera, path, height=height, focal=camera.focal.mean(), refined=refined)
        assert lifted.metadata["unit_of_the_model"] == "metres" and lifted.metadata["refined"] is refined
        error = np.abs(lifted.poses_3d - (points - points[:, :1]))
        assert error.max() < worst and error.mean() < mean
        assert np.linalg.norm(lifted.root - points[:, 0], axis=-1).mean() < 30


@pytest.mark.parametrize(
    "name, numbers",
    [("mlp", {}), ("posemamba_toy", {"depth": 1, "embed_dim": 16}), ("mdtf_tiny", {"depth": 1, "embed_dim": 16})],
)
def test_any_registered_model(recording, camera, random_weights, name, numbers):
    keypoints = np.concatenate([recording[1][:30], np.full((30, 17, 1), 0.9)], axis=-1)
    lifted = lift(keypoints, camera, random_weights(name, **numbers))
    assert lifted.poses_world.shape == (30, 17, 3) and np.isfinite(lifted.poses_world).all()
    assert lifted.metadata["joint_9"] == "nose" and "(the weights do not say)" in lifted.metadata["assumed"][0]


def test_bad_input_is_one_sentence(recording, camera, oracle, random_weights):
    pixels = recording[1]
    bad = [
        ({"weights": "quick"}, "quick"),
        ({"size": None}, "the size of the image is not known"),
        ({"size": (0, 5)}, "no image is of size 0 x 5"),
        ({"size": (999.5, 1000)}, "no image is of size 999.5 x 1000"),
        ({"size": (1000, 200)}, "outside of an image of 1000 x 200"),
        ({"fps": None}, "its frame rate is not known"),
        ({"fps": -1}, "no video has -1 frames a second"),
        ({"fps": 0}, "no video has 0 frames a second"),
        ({"layout": "auto"}, "Choose --format h36m17 or coco17"),
        ({"person": 2}, "a number from 1 to 1"),
        ({"height": 175}, "Cannot use the height 175: nobody is so tall. Give metres"),
        ({"focal": -3}, "Cannot use the focal length"),
        ({"smooth": 40}, "Cannot smooth at 40 Hz"),
        ({"smooth": "hard"}, "Cannot smooth by hard: there is no such filter. Give Hz, one-euro"),
        ({"joint_9": "chin"}, "Choose nose or neck"),
        ({"camera_rotation": (1, 2, 3)}, "Cannot use this camera rotation"),
        ({"weights": random_weights("mdtf_tiny", depth=1, embed_dim=16)}, "expects a confidence for each keypoint"),
    ]
    for options, message in bad:
        with pytest.raises(InputError, match=message) as refused:
            lift(pixels, camera, **{"weights": oracle} | options)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="all points of a person lie in one place"):
        lift(np.full_like(pixels, 500.0), camera, weights=oracle)


def test_a_file_with_the_truth_says_how_far_the_poses_are_off(recording, camera, oracle, tmp_path, monkeypatch, capsys):
    points, pixels, _, height = recording
    arrays = {"keypoints_2d": np.concatenate([pixels, np.ones((T, 17, 1))], axis=-1), "fps": 50.0}
    np.savez(tmp_path / "walk.npz", image_size=np.array(camera.size), truth=points.astype(np.float32), **arrays)
    lifted = liftbench.lift(tmp_path / "walk.npz", weights=oracle, height=height, focal=float(camera.focal.mean()))
    error = lifted.metadata["error"]
    assert 0 < error["p_mpjpe_mm"] <= error["n_mpjpe_mm"] <= error["mpjpe_mm"] < 15
    code, out, _ = run(
        monkeypatch, capsys, "lift", tmp_path / "walk.npz", "--weights", oracle, "--out", tmp_path / "out"
    )
    assert code == 0 and "against the true 3D in the file: MPJPE " in out
    np.savez(tmp_path / "bad.npz", image_size=np.array(camera.size), truth=points[1:], **arrays)
    with pytest.raises(InputError, match=r"bad.npz: truth is not \(120, 17, 3\) finite millimetres"):
        liftbench.lift(tmp_path / "bad.npz", weights=oracle)


def test_the_package_is_the_function():
    import liftbench.lift
    import liftbench.lift.windows as windows

    assert callable(liftbench.lift) and liftbench.lift.windows is windows


def test_command(recording, camera, oracle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("walk.npy", recording[1])
    words = ["lift", "walk.npy", "--format", "h36m17", "--fps", FPS, "--device", "cpu"]
    words += ["--size", "1000x1000", "--weights", oracle, "--to", "bvh,csv,json", "--to", "trc"]
    code, out, err = run(monkeypatch, capsys, *words, "--rigid", "--smooth", 8, "--camera-rotation", "12,-1.5")
    assert code == 0, err
    for phrase in ("array, h36m17, 120 frames, people: 1", "assumed: focal length 1000 pixels; body height 1.70 m",
                   "person 1: 120 frames; of 2,040 joints 0 not seen", "frames a second"):  # fmt: skip
        assert phrase in out, out
    folder = tmp_path / "lifted/walk"
    assert sorted(path.name for path in folder.iterdir()) == [
        "poses.bvh", "poses.csv", "poses.json", "poses.npz", "poses.trc",
    ]  # fmt: skip
    lifted = load(folder / "poses.npz")
    assert lifted.metadata["smooth_hz"] == 8 and lifted.metadata["vertical"] == "rotation of the camera as given"
    again, out, err = run(monkeypatch, capsys, "lift", folder / "poses.npz", "--weights", oracle, "--out", "again")
    assert again == 0 and "array, h36m17" in out, err
    np.testing.assert_allclose(load("again/poses.npz").keypoints_2d, lifted.keypoints_2d, atol=1e-3)


def test_command_with_several_people(recording, camera, oracle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sure = np.concatenate([recording[1], np.full((T, 17, 1), 0.9)], axis=-1)
    both = [
        {
            "image_id": f"{frame}.jpg",
            "idx": person + 1,
            "keypoints": (sure[frame] + [20 * person, 0, 0]).ravel().tolist(),
        }
        for frame in range(20)
        for person in range(2)
    ]
    (tmp_path / "two.json").write_text(json.dumps(both))
    words = ["lift", "two.json", "--size", "1000x1000", "--fps", 50, "--weights", oracle, "--device", "cpu"]
    code, out, err = run(monkeypatch, capsys, *words, "--person", "all", "--out", "here")
    assert code == 0 and "AlphaPose, coco17, 20 frames, people: 2" in out, err
    assert {path.parent.name for path in (tmp_path / "here").rglob("poses.npz")} == {"person_1", "person_2"}
    assert "<title>two, person 2 in 3D</title>" in (tmp_path / "here/person_2/lift.html").read_text()
    code, out, err = run(monkeypatch, capsys, *words, "--person", "3")
    assert code == 2 and "Choose largest, all, or a number from 1 to 2." in err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--weights", "nowhere"], "Cannot read nowhere: there is no such run folder or weights file"),
        (["--size", "big"], "Cannot read --size big: it is not as expected. Write --size 1920x1080."),
        (
            ["--camera-rotation", "down"],
            "Cannot read --camera-rotation down: it is not as expected. Write --camera-rotation 10,0.",
        ),
        (["--to", "fbx"], "Cannot write 'fbx': there is no such format"),
        (["--video", "no.mp4"], "Cannot read no.mp4: there is no such file"),
        (["--video", "walk.npy"], "Cannot read walk.npy: it is not a video"),
        (["--size", "1000.5x1000"], "Cannot lift walk.npy: no image is of size 1000.5 x 1000"),
        (["--size", "1000x300"], "Cannot lift walk.npy: its keypoints reach"),
        (["--embed-video"], "Cannot embed a video: there is no page or no video. Give --to html and --video FILE."),
    ],
)
def test_a_wrong_command_writes_nothing(oracle, recording, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    np.save("walk.npy", recording[1])
    weights = [] if "--weights" in words else ["--weights", oracle]
    size = [] if "--size" in words else ["--size", "1000x1000"]
    code, _, err = run(
        monkeypatch, capsys, "lift", "walk.npy", "--format", "h36m17", "--fps", 50, *size, *weights, *words
    )
    assert code == 2 and message in err
    assert [path.name for path in tmp_path.iterdir()] == ["walk.npy"]
