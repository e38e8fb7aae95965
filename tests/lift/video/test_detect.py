"""From a video to keypoints and to 3D: with a detector that reads a white block, and with BlazePose."""

import sys
import types
import zipfile

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

import liftbench
from liftbench.baselines.errors import InputError
from liftbench.baselines.training.checkpoint import write_weights
from liftbench.lift.keypoints.read import is_video, read_keypoints
from liftbench.lift.lifted import load
from liftbench.lift.video import blazepose_files
from liftbench.lift.video.detect import detect, save, share_of_height
from support.command import run
from support.videos import SIDE, number_of, numbered, write_video

pytest.importorskip("av")
EVEN = [40 * frame for frame in range(25)]
OFFSETS = np.stack([4 * np.arange(33), 2 * np.arange(33), np.linspace(1, 0.5, 33)], axis=-1)


class Block:
    """Takes the middle of the white block for the nose of a person, and the frames of some numbers for empty."""

    layout = "mediapipe33"

    def __init__(self, empty=(), people=1, scale=0.2):
        self.empty, self.people, self.scale = empty, people, scale

    def __call__(self, image):
        if number_of(image) in self.empty:
            return np.zeros((0, 33, 3))
        rows, columns = np.nonzero(image[..., 0] > 230)
        nose = np.array([columns.mean() + 0.5, rows.mean() + 0.5, 0])
        person = nose + OFFSETS * (self.scale, self.scale, 1)
        return np.stack([person + (30 * number, 0, 0) for number in range(self.people)])


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    """A portrait video of 25 frames, stored as landscape."""
    return write_video(tmp_path_factory.mktemp("video") / "phone.mp4", numbered(25), EVEN, turns=1)


def test_every_frame_has_its_keypoints_or_none(phone, tmp_path):
    done = []
    found = detect(phone, Block(empty=(0, 7, 8, 24)), progress=lambda *counts: done.append(counts))
    assert (found.frames, found.size, found.fps) == (25, (SIDE, 2 * SIDE), pytest.approx(25))
    assert found.frame.tolist() == [frame for frame in range(25) if frame not in (0, 7, 8, 24)]
    np.testing.assert_allclose(found.points[:, 0], np.tile([8, 8, 1], (21, 1)), atol=0.6)
    assert done == [(frame + 1, 25) for frame in range(25)]
    save(found, "largest", tmp_path / "keypoints.npz")
    with np.load(tmp_path / "keypoints.npz") as file:
        assert file["keypoints"].shape == (25, 33, 3) and file["fps"] == pytest.approx(25)
        assert not file["keypoints"][[0, 7, 8, 24]].any()
    again = read_keypoints(tmp_path / "keypoints.npz")
    assert (again.layout, again.size, again.fps) == ("mediapipe33", found.size, found.fps)
    np.testing.assert_allclose(again.points[found.frame], found.points, rtol=1e-6)


def test_a_part_of_the_video_and_of_the_image(phone, tmp_path):
    found = detect(phone, Block(), start=0.4, end=0.6, crop=(2, 4, 32, 64))
    assert (found.first_frame, found.frames) == (10, 5) and found.size == (SIDE, 2 * SIDE)
    np.testing.assert_allclose(found.points[:, 0, :2], np.tile([9, 10], (5, 1)), atol=0.6)
    save(found, 1, tmp_path / "part.npz")
    assert read_keypoints(tmp_path / "part.npz").first_frame == 10
    assert share_of_height(found, 64) == pytest.approx(0.2 * 128 / 64, rel=1e-3)  # it is wider than high
    with pytest.raises(InputError, match="inside of an image of 64 x 128. Correct --crop."):
        detect(phone, Block(), crop=(40, 0, 32, 64))


def test_several_people(phone, tmp_path):
    found = detect(phone, Block(people=2, scale=0.1))
    assert len(found.points) == 50
    save(found, 2, tmp_path / "second.npz")
    with pytest.raises(InputError, match="Cannot write 2 people"):
        save(found, "all", tmp_path / "all.npz")
    assert not (tmp_path / "all.npz").exists()


def test_nobody(phone):
    with pytest.raises(InputError, match="no person was found in it"):
        detect(phone, Block(empty=range(25)))


def test_what_is_a_video(tmp_path):
    assert all(map(is_video, ("a.mp4", "b.MOV", "c.txt", "d")))
    assert not any(map(is_video, ("a.json", "b.CSV", "c.npz", "d.npy", tmp_path)))


@pytest.fixture
def block(monkeypatch):
    """Command lines find BlazePose to be the block's reader."""
    monkeypatch.setattr("liftbench.lift.video.detect._open", lambda *options: Block(empty=(3,)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mlp.safetensors"
    model = liftbench.create_model("mlp", frames=9)
    write_weights(path, model.state_dict(), {"model": "mlp", "frames": 9, "data": "h36m"})
    return path


def test_commands(phone, block, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "detect", phone)
    assert code == 0, err
    assert "video: 64 x 128 at 25 frames a second; blazepose: 25 frames, 1 without a person;" in out
    assert "WARNING: the person takes 20% of the image's height" in out and "Give --crop X,Y,W,H" in out
    code, lines, err = run(monkeypatch, capsys, "lift", phone, "--weights", weights, "--device", "cpu")
    assert code == 0 and "blazepose, mediapipe33, 25 frames, people: 1" in lines, err
    lifted = load(tmp_path / "lifted/phone/poses.npz")
    assert lifted.fps == pytest.approx(25) and lifted.image_size == (SIDE, 2 * SIDE) and len(lifted.poses_3d) == 25
    assert "phone.mp4" in (tmp_path / "lifted/phone/lift.html").read_text()
    code, _, err = run(
        monkeypatch, capsys, "lift", "lifted/phone/keypoints.npz", "--weights", weights, "--device", "cpu", "--out", "b"
    )
    assert code == 0, err
    np.testing.assert_allclose(load("b/poses.npz").poses_3d, lifted.poses_3d, atol=0.5)
    words = ["detect", phone, "--start", 0.4, "--crop", "0,0,48,64", "--tiles", "--out", "k.npz"]
    code, out, _ = run(monkeypatch, capsys, *words)
    assert code == 0 and "WARNING" not in out
    words = ["lift", "k.npz", "--weights", weights, "--video", phone, "--device", "cpu", "--out", "c"]
    assert run(monkeypatch, capsys, *words)[0] == 0
    assert load("c/poses.npz").metadata["video_start_s"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--crop", "1,2,3"], "Cannot read --crop 1,2,3: it is not as expected. Write --crop 600,0,700,1080."),
        (
            ["--detector", "yolo"],
            "Cannot use the detector 'yolo': there is no such detector. Choose blazepose or rtmpose.",
        ),
        (["--detector", "rtmpose", "--tiles"], "Cannot use --tiles with rtmpose"),
        (["--start", "2"], "it lasts 1.00 s"),
        (["--size", "64x128"], "Cannot use --size, --format or --names with"),
    ],
)
def test_a_wrong_command_writes_nothing(phone, weights, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, "lift", phone, "--weights", weights, "--device", "cpu", *words)
    assert code == 2 and message in err, err
    assert not list(tmp_path.iterdir())


def test_options_of_videos_are_not_for_keypoints(weights, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "k.npy", np.ones((5, 33, 3)))
    code, _, err = run(monkeypatch, capsys, "lift", tmp_path / "k.npy", "--weights", weights, "--end", 3)
    assert code == 2 and "Cannot use the options of videos" in err


def test_without_the_networks(phone, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="Get them by `liftbench weights fetch blazepose`"):
        detect(phone)


# The networks of BlazePose, and what they find.


@pytest.fixture
def wheel(networks, tmp_path):
    """A function that writes a wheel of these members; by default the networks."""

    def make(changes=None):
        contents = {
            network.member: path.read_bytes() for path, network in zip(networks, blazepose_files.NETWORKS.values())
        }
        path = tmp_path / "mediapipe.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (contents | (changes or {})).items():
                if content is not None:
                    archive.writestr(name, content, zipfile.ZIP_DEFLATED if name in (changes or {}) else None)
        return path

    return make


def test_fetch_out_of_a_wheel(wheel, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, out, err = run(monkeypatch, capsys, "weights", "fetch", "blazepose", "--from", wheel())
    assert code == 0 and "pose_detection.tflite and " in out, err
    detector, _ = blazepose_files.paths()
    detector.write_bytes(b"something else")
    with pytest.raises(InputError, match="it was changed or damaged. Replace it"):
        blazepose_files.paths()


def test_another_wheel_is_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    detection, landmark = (network.member for network in blazepose_files.NETWORKS.values())
    cut = wheel()
    cut.write_bytes(cut.read_bytes()[:1_000_000])
    with pytest.raises(InputError, match="it is not a whole wheel. Download it again."):
        blazepose_files.fetch(cut)
    for changes, message in (
        ({landmark: None}, "it does not hold mediapipe/modules/pose_landmark"),
        ({landmark: b"other"}, "its pose_landmark_full.tflite is another one"),
        ({detection: bytes(50_000_000)}, "its pose_detection.tflite is another one"),
    ):
        with pytest.raises(InputError, match=message):
            blazepose_files.fetch(wheel(changes))
    with pytest.raises(InputError, match="No such file or directory. Check the path."):
        blazepose_files.fetch(tmp_path / "none.whl")
    assert not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def portrait():
    """A person in an official's uniform, to below the chest: (600, 512, 3), nose at (264, 226)."""
    return np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg")).convert("RGB"))


@pytest.fixture
def blazepose(networks):
    pytest.importorskip("ai_edge_litert")
    from liftbench.lift.video.blazepose import BlazePose

    return lambda **options: BlazePose(*networks, **options)


def test_blazepose_finds_a_person(blazepose, portrait):
    find = blazepose()
    for points in (find(portrait)[0], find(portrait)[0]):  # by the detector, and from the frame before
        np.testing.assert_allclose(points[0, :2], [264, 226], atol=12)
        left, right = points[11], points[12]
        assert left[0] - right[0] > 250 and abs(left[1] - right[1]) < 40 and min(left[2], right[2]) > 0.7
        assert not points[25:, 2].any(), "knees and feet lie outside of the picture"
    assert find(np.zeros_like(portrait)).shape == (0, 33, 3)
    assert find(portrait).shape == (1, 33, 3), "found again"


def test_blazepose_turned(blazepose, portrait):
    (points,) = blazepose()(np.ascontiguousarray(np.rot90(portrait)))
    np.testing.assert_allclose(points[0, :2], [226, 511 - 264], atol=20)


def test_a_small_person_needs_tiles(blazepose, portrait):
    room = np.full((1080, 1920, 3), 128, np.uint8)
    room[700:812, 900:996] = np.asarray(Image.fromarray(portrait).resize((96, 112)))
    assert len(blazepose()(room)) == 0
    (points,) = blazepose(tiles=True)(room)
    np.testing.assert_allclose(points[0, :2], [900 + 264 * 96 / 512, 700 + 226 * 112 / 600], atol=5)


def test_blazepose_in_a_video_of_a_phone(networks, portrait, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(blazepose_files, "paths", lambda: networks)
    path = write_video(tmp_path / "phone.mp4", [portrait] * 6, EVEN[:6], turns=3)
    code, out, err = run(monkeypatch, capsys, "detect", path, "--out", tmp_path / "keypoints.npz")
    assert code == 0 and "6 frames, 0 without a person" in out, err
    found = read_keypoints(tmp_path / "keypoints.npz")
    assert found.size == (512, 600)
    np.testing.assert_allclose(
        found.points[:, 0, :2], np.tile([264, 226], (6, 1)), atol=24
    )  # 3 of the network's pixels


def test_other_networks_are_refused(networks, tmp_path):
    pytest.importorskip("ai_edge_litert")
    from liftbench.lift.video.blazepose import BlazePose

    broken = tmp_path / "broken.tflite"
    broken.write_bytes(networks[1].read_bytes()[:1000])
    with pytest.raises(InputError, match="it is not a whole .tflite file"):
        BlazePose(networks[0], broken)
    with pytest.raises(InputError, match="it is not the network that BlazePose needs there"):
        BlazePose(networks[0], networks[0])
    with pytest.raises(InputError, match="Cannot read .*lost.tflite: there is no such file"):
        BlazePose(networks[0], tmp_path / "lost.tflite")


# RTMPose, by a stand-in for rtmlib, whose networks are nowhere to be had in tests.


class _Session:
    def __init__(self, *shape):
        self.get_inputs = lambda: [types.SimpleNamespace(shape=list(shape))]


class _Pose:
    def __init__(self, path):
        self.session, self.model_input_size = _Session(1, 3, 256, 192), (1, 1)
        self.points = 26 if "halpe" in path else 5

    def __call__(self, image, bboxes=((0, 0, 8, 8),)):
        assert self.model_input_size == (192, 256)
        middles = [[(x0 + x1) / 2, (y0 + y1) / 2] for x0, y0, x1, y1 in bboxes]
        places = np.repeat(np.array(middles)[:, None], self.points, axis=1)
        return places, np.full(places.shape[:2], image[0, 0, 2] / 100)


class _People:
    def __init__(self, path):
        self.session, self.model_input_size = _Session(1, 3, 416, 640), (1, 1)

    def __call__(self, image):
        assert self.model_input_size == (416, 640)
        return np.array([[0, 0, 4, 8], [4, 0, 8, 8]]) if image.any() else np.array([])


@pytest.fixture
def rtmpose(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rtmlib", types.SimpleNamespace(RTMPose=_Pose, YOLOX=_People))
    from liftbench.lift.video.rtmpose import RTMPose

    def make(*names):
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.touch()
        return RTMPose(paths)

    return make


def test_rtmpose(rtmpose):
    find, red = rtmpose("yolox.onnx", "halpe.onnx"), np.full((8, 8, 3), (50, 0, 0), np.uint8)
    assert find.layout == "halpe26"
    people = find(red)
    assert people.shape == (2, 26, 3) and people[1, 0].tolist() == [6, 4, 0.5], "red is the last channel"
    assert len(find(np.zeros_like(red))) == 0, "nobody is invented"
    assert rtmpose("halpe.onnx")(red)[:, 0].tolist() == [[4, 4, 0.5]]


def test_rtmpose_refuses(rtmpose, tmp_path):
    from liftbench.lift.video.rtmpose import RTMPose

    with pytest.raises(InputError, match="it has 5 points. Give RTMPose of 17, 26 or 133."):
        rtmpose("hand.onnx")
    with pytest.raises(InputError, match="there is no such file"):
        RTMPose([tmp_path / "none.onnx"])
    with pytest.raises(InputError, match="Cannot use more than two ONNX files"):
        rtmpose("a.onnx", "b.onnx", "c.onnx")
