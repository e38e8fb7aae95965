"""Motion capture to the MotionBERT schema: a small npz of our own, and real motion if it is available."""

import pickle

import numpy as np
import pytest

from liftbench.baselines.data.cameras import load_cameras, project_to_2d, room_centre, world_to_camera
from liftbench.baselines.data.formats.motionbert import Human36M
from liftbench.baselines.data.formats.motionbert_schema import SOURCE_PATTERN, check
from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import PARENTS
from liftbench.baselines.synthetic import mocap
from liftbench.baselines.synthetic.actions import act
from liftbench.baselines.synthetic.body import make_body
from liftbench.baselines.synthetic.random_cameras import draw_camera
from liftbench.baselines.synthetic.variation import vary
from support import ROOT

CMU = ROOT / "../shared/mocap/cmu17.npz"
FRAMES = 60


def clip(action, subject, shift=(0, 0)):
    rng = np.random.default_rng((subject, action))
    world = act(action, make_body(np.random.default_rng(subject)), FRAMES, rng) / 1000
    world[..., :2] += shift
    return world.astype(np.float32)


@pytest.fixture
def arrays():
    """Four clips of three subjects, the last of them ten metres away."""
    clips = [clip(14, 0), clip(3, 0), clip(14, 1), clip(14, 2, shift=(10, -10))]
    return {
        "positions": np.concatenate(clips),
        "offsets": np.arange(5) * FRAMES,
        "subject": np.array(["ann", "ann", "bob", "cat"]),
        "action": np.array(["walk", "talk", "walk", "walk"]),
    }


def convert(folder, arrays, **changes):
    source = folder / "clips.npz"
    np.savez(source, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return mocap.convert(source, folder / "clips.pkl")


def wrapped(value):
    """A value that numpy.savez stores as it is, in an array without dimensions."""
    array = np.empty((), object)
    array[()] = value
    return array


def load(path):
    return pickle.loads(path.read_bytes())


def test_conversion(tmp_path, arrays):
    path = convert(tmp_path, arrays)
    content = load(path)
    origin = check(content, path)[1]
    assert origin["kind"] == "mocap" and origin["name"] == "clips.npz" and "mocap.cs.cmu.edu" in origin["credit"]
    assert origin["frames_given"] == origin["frames_kept"] == 4 * 4 * FRAMES and origin["views_dropped"] == 0
    train, test = content["train"], content["test"]
    assert set(train["source"]) == {
        f"s_{take}_subact_01_ca_0{view}" for take in ("12_act_18", "12_act_17", "14_act_18") for view in (1, 2, 3, 4)
    }
    assert set(test["source"]) == {f"s_13_act_18_subact_01_ca_0{view}" for view in (1, 2, 3, 4)}
    assert set(train["action"]) == {"walk", "talk"} and set(test["action"]) == {"walk"}
    assert all(train[name].dtype == np.float32 for name in ("joint_2d", "confidence", "joint3d_image", "2.5d_factor"))
    np.testing.assert_array_equal(
        train["joints_2.5d_image"], train["joint3d_image"] * train["2.5d_factor"][:, None, None]
    )


def test_a_clip_is_seen_from_the_middle_of_the_room(tmp_path, arrays):
    content = load(convert(tmp_path, arrays))
    rows = np.array(content["test"]["source"]) == "s_13_act_18_subact_01_ca_03"
    camera = load_cameras(5)[2]  # the second subject gets the second room
    world = 1000 * arrays["positions"][2 * FRAMES : 3 * FRAMES].astype(float)
    path = world[:, 0, :2]
    world[..., :2] += room_centre(5) - (path.min(axis=0) + path.max(axis=0)) / 2
    expected = project_to_2d(world_to_camera(world, camera), camera)
    np.testing.assert_allclose(content["test"]["joint3d_image"][rows][..., :2], expected, atol=1e-3)


def test_frames_out_of_view_are_left_out(tmp_path, arrays):
    arrays["positions"][:FRAMES, :, 0] += np.linspace(-6, 6, FRAMES)[:, None]  # dashes through the room
    content = load(convert(tmp_path, arrays))
    origin = content["origin"]
    assert origin["frames_kept"] < origin["frames_given"]
    walks = [source for source in content["train"]["source"] if source.startswith("s_12_act_18")]
    assert len(walks) < 4 * FRAMES
    assert origin["frames_kept"] == len(content["train"]["source"]) + len(content["test"]["source"])
    for split in (content["train"], content["test"]):
        pixels = split["joint3d_image"][..., :2]
        assert -50 <= pixels.min() and pixels.max() <= 1052


def test_visible():
    camera = load_cameras(1)[0]
    points = np.zeros((4, 17, 3)) + [0, 0, 4000]
    points[1, 5, 2] = 500
    points[2, 5, 2] = -4000
    points[3, 5, 0] = 3000
    assert mocap.visible(points, camera).all(axis=-1).tolist() == [True, False, False, False]
    assert mocap.visible(points, camera).sum(axis=-1).tolist() == [17, 0, 0, 16], "too near hides everything"


@pytest.mark.parametrize(
    ("good", "run"), [("0110111", (4, 7)), ("111", (0, 3)), ("000", (0, 0)), ("1100110", (0, 2)), ("01", (1, 2))]
)
def test_longest_run(good, run):
    assert mocap.longest_run(np.array([c == "1" for c in good])) == run


def test_same_seed_same_file(tmp_path, arrays):
    first = convert(tmp_path, arrays).read_bytes()
    assert convert(tmp_path, arrays).read_bytes() == first
    other = load(mocap.convert(tmp_path / "clips.npz", tmp_path / "other.pkl", seed=1))
    assert not np.array_equal(other["test"]["joint_2d"], pickle.loads(first)["test"]["joint_2d"])
    np.testing.assert_array_equal(other["test"]["joint3d_image"], pickle.loads(first)["test"]["joint3d_image"])


def at_random(folder, arrays, **options):
    np.savez(folder / "clips.npz", **arrays)
    return mocap.convert(folder / "clips.npz", folder / "random.pkl", cameras="random", **options)


def test_random_cameras(tmp_path, arrays):
    path = at_random(tmp_path, arrays, views=12)
    content = load(path)
    origin = check(content, path)[1]
    assert (origin["cameras"], origin["views"]) == ("random", 12)
    data = Human36M(path)
    assert data.cameras("test")[1] == ["random"] and len(set(data.sources("test")[1])) > 6
    test = content["test"]
    spread = np.ptp(test["joint3d_image"][..., 1], axis=1)
    assert spread.max() / spread.min() > 2, "people are of all sizes"
    lost = test["confidence"] == 0
    assert 0 < lost.mean() < 0.1, "now and then a joint is not seen"
    assert np.isfinite(test["joint_2d"]).all()
    bones = {split: np.linalg.norm(np.diff(content[split]["joints_2.5d_image"][:, [1, 2]], axis=1)[:, 0], axis=-1) for
             split in ("train", "test")}  # fmt: skip
    assert bones["train"].std() > bones["test"].std(), "what trains has other proportions"
    assert at_random(tmp_path, arrays, views=12).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("options", [{"cameras": "room", "views": 3}, {"cameras": "random", "views": 100},
                                     {"cameras": "drone"}])  # fmt: skip
def test_cameras_that_there_are_not(tmp_path, arrays, options):
    np.savez(tmp_path / "clips.npz", **arrays)
    with pytest.raises(InputError, match="Choose room, which has 4, or random"):
        mocap.convert(tmp_path / "clips.npz", tmp_path / "out.pkl", **options)


def test_a_random_camera_looks_at_the_person_and_scales_the_image_to_its_width():
    rng = np.random.default_rng(0)
    world = np.zeros((5, 17, 3)) + [3000, -2000, 900]
    heights = set()
    for _ in range(50):
        camera, image = draw_camera(world, rng)
        np.testing.assert_allclose(camera.rotation.T @ camera.rotation, np.eye(3), atol=1e-9)
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        seen = project_to_2d(world_to_camera(world, camera), camera)
        assert np.abs(seen - 500).max() < 500, "the middle of the path is in the image"
        up = project_to_2d(world_to_camera(world + [0, 0, 300], camera), camera)
        assert (up[..., 1] < seen[..., 1]).all(), "up is up"
        assert np.ptp(image[:, 0]) == 1000 and image.mean() == 500
        heights.add(round(np.ptp(image[:, 1])))
    assert heights == {562, 1778, 1000, 750, 1333}


def test_varied_motion_keeps_its_directions_and_its_floor(arrays):
    world = 1000 * arrays["positions"][:FRAMES].astype(float)
    varied = vary(world, np.random.default_rng(3))
    assert varied[:, [3, 6], 2].min() == pytest.approx(world[:, [3, 6], 2].min())
    before, after = (pose[:1, 1:] - pose[:1, PARENTS[1:]] for pose in (world, varied))
    lengths = np.linalg.norm(after, axis=-1) / np.linalg.norm(before, axis=-1)
    np.testing.assert_allclose(after, before * lengths[..., None], atol=1e-6)
    np.testing.assert_allclose(lengths[0, [0, 1, 2, 13, 14, 15]], lengths[0, [3, 4, 5, 10, 11, 12]])
    assert len(varied) != len(world) and 0.6 < lengths.min() < 0.95 and lengths.max() < 1.6


POSITIONS = np.zeros((4 * FRAMES, 17, 3), np.float32)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"offsets": None, "subject": None}, "has no array 'offsets', only"),
        ({"positions": POSITIONS[:, :16]}, "positions are float32"),
        ({"positions": POSITIONS.astype(int)}, "positions are int64"),
        ({"positions": POSITIONS + np.nan}, "not finite"),
        ({"positions": 1000 * np.random.default_rng(0).normal(size=POSITIONS.shape)}, "metres"),
        ({"offsets": np.array([0.0, 60, 120, 180, 240])}, "offsets are float64"),
        ({"offsets": np.array([0, 60, 50, 180, 240])}, "offsets do not rise"),
        ({"offsets": np.array([0, 60, 120, 180, 999])}, "offsets do not rise"),
        ({"offsets": np.array([-9, 60, 120, 180, 240])}, "offsets do not rise"),
        ({"subject": np.array(["ann", "bob"])}, "subject is"),
        ({"action": np.arange(4)}, "action is int64"),
        ({"action": np.array(["walk", "talk", "walk", None], dtype=object)}, "action is object"),
        ({"action": np.array([b"walk"] * 4)}, "action: the dtype is .S4, expected numbers, text or objects"),
        ({"subject": np.zeros(4, [("a", "U4")])}, "subject: the dtype is .*, expected numbers, text or objects"),
        ({"subject": np.array(["ann", "b\nb", "bob", "x"])}, "subject holds 'b.nb'. Give short printable names"),
        ({"action": np.array(["walk", "x" * 1000, "walk", "walk"])}, "action holds 'x{40}'.... Give short"),
        ({"credit": np.array("x" * 100_000)}, "the credit has 100,000 characters"),
        ({"fps": np.float32(120)}, "fps is 120"),
        ({"fps": np.full(100, 50)}, "fps is a list of 100"),
        ({"fps": wrapped([[1, 2], 3])}, "fps is a list of 2"),
        ({"subject": np.array(["ann"] * 4)}, "one subject only"),
    ],
)
def test_unusable_contents(tmp_path, arrays, changes, problem):
    with pytest.raises(InputError, match=problem):
        convert(tmp_path, arrays, **changes)
    assert not (tmp_path / "clips.pkl").exists()


def test_a_pose_of_zeros(tmp_path, arrays):
    positions = arrays["positions"].copy()
    positions[7] = 0
    with pytest.raises(InputError, match="frame 7 is a single point, not a person. Leave that frame out.$"):
        convert(tmp_path, arrays, positions=positions)


def test_a_small_file_does_not_grow_without_limit(tmp_path, arrays):
    source = tmp_path / "clips.npz"
    np.savez_compressed(source, **arrays | {"positions": np.zeros((200_000, 17, 3), np.float32)})
    with pytest.raises(InputError, match="positions would grow from .* to 40,8.* bytes"):
        mocap.convert(source, tmp_path / "clips.pkl")


def test_too_short_clips(tmp_path, arrays):
    short = np.concatenate([arrays["positions"][k * FRAMES : k * FRAMES + 10] for k in range(4)])
    with pytest.raises(InputError, match="Give longer clips"):
        convert(tmp_path, arrays, positions=short, offsets=np.arange(5) * 10)


@pytest.mark.parametrize("damage", ["absent", "text", "empty", "npy", "pickle", "truncated", "flipped"])
def test_unusable_files(tmp_path, arrays, damage):
    source = tmp_path / "clips.npz"
    np.savez(source, **arrays)
    whole = source.read_bytes()
    if damage == "npy":
        with source.open("wb") as file:
            np.save(file, arrays["positions"])
    elif damage == "absent":
        source.unlink()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        contents = {"text": b"x,y,z", "empty": b"", "pickle": pickle.dumps([1]), "truncated": whole[:middle]}
        source.write_bytes(contents.get(damage, flipped))
    with pytest.raises(InputError) as caught:
        mocap.convert(source, tmp_path / "clips.pkl")
    assert str(source) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "clips.pkl").exists()


def test_real_motion(tmp_path):
    if not CMU.exists():
        pytest.skip("real motion is not part of the project")
    with np.load(CMU) as file:
        bounds = file["offsets"]
        chosen = [k for k in range(len(bounds) - 1) if bounds[k + 1] - bounds[k] < 260][:24]
        positions = [file["positions"][bounds[k] : bounds[k + 1]] for k in chosen]
        arrays = {"subject": file["subject"][chosen], "action": file["action"][chosen], "fps": file["fps"]}
    offsets = np.cumsum([0, *map(len, positions)])
    path = convert(tmp_path, arrays | {"positions": np.concatenate(positions), "offsets": offsets})
    content = load(path)
    origin = check(content, path)[1]
    assert origin["frames_kept"] > 0.9 * origin["frames_given"]
    assert all(SOURCE_PATTERN.fullmatch(source) for source in set(content["test"]["source"]))
    train, test = ({source[:4] for source in content[name]["source"]} for name in ("train", "test"))
    assert train and test and not train & test
    for split in (content["train"], content["test"]):
        error = np.linalg.norm(split["joint_2d"] - split["joint3d_image"][..., :2], axis=-1)
        assert 3.5 < error.mean() < 8
        joints = split["joints_2.5d_image"]
        thigh = np.linalg.norm(joints[:, 2] - joints[:, PARENTS[2]], axis=-1)
        assert 300 < np.median(thigh) < 500


def test_a_credit_that_is_no_text_is_refused_unseen(tmp_path, arrays):
    """As text, this credit would be a terabyte long."""
    credit = ["x"]
    for _ in range(40):
        credit = [credit, credit]
    box = np.empty((), object)
    box[()] = credit
    with pytest.raises(InputError, match="the credit is .*, not one string"):
        convert(tmp_path, arrays, credit=box)
