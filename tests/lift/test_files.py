"""What is written comes back: by ourselves, and by libraries of others."""

import base64
import json

import numpy as np
import pandas as pd
import pytest

from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import JOINTS
from liftbench.lift.files import c3d as c3d_file
from liftbench.lift.lifted import Lifted, load
from support.walking import FPS, lifted_walker

T = 60


@pytest.fixture(scope="module")
def lifted():
    return lifted_walker(T)


def test_npz_comes_back_with_the_documented_keys(lifted, tmp_path):
    paths = lifted.save(tmp_path)
    assert [path.name for path in paths] == ["poses.npz", "lift.html", "contact.png"]
    with np.load(tmp_path / "poses.npz") as file:
        assert set(file) == {
            "keypoints_2d", "poses_3d", "root", "poses_world", "valid", "fps", "image_size", "joint_names", "metadata",
        }  # fmt: skip
        assert file["joint_names"].tolist() == list(JOINTS) and file["fps"] == FPS
    again = load(tmp_path / "poses.npz")
    for name in ("keypoints_2d", "poses_3d", "root", "poses_world", "valid"):
        np.testing.assert_allclose(getattr(again, name), getattr(lifted, name), rtol=1e-6)
    assert (again.metadata, again.image_size, again.fps) == (lifted.metadata, (1920, 1080), FPS)


def test_csv_and_json_say_the_same(lifted, tmp_path):
    lifted.save(tmp_path, ["csv", "json"])
    table = pd.read_csv(tmp_path / "poses.csv")
    assert len(table) == T * 17 and table["joint"][:17].tolist() == list(JOINTS)
    np.testing.assert_allclose(table["time_s"], np.repeat(np.arange(T) / FPS, 17), atol=1e-4)
    content = json.loads((tmp_path / "poses.json").read_text())
    assert content["metadata"] == lifted.metadata and len(content["frames"]) == T
    assert content["frames"][40]["root"] == [None] * 3
    for columns, name in (
        (["image_x_px", "image_y_px", "confidence"], "keypoints_2d"),
        (["relative_x_mm", "relative_y_mm", "relative_z_mm"], "poses_3d"),
        (["world_x_mm", "world_y_mm", "world_z_mm"], "poses_world"),
    ):
        expected = getattr(lifted, name)
        np.testing.assert_allclose(table[columns].to_numpy().reshape(T, 17, 3), expected, atol=1e-3)
        rows = np.array([frame[name] for frame in content["frames"]], dtype=float)
        np.testing.assert_allclose(rows, expected, atol=1e-3)


def y_up(world):
    return world[..., [0, 2, 1]] * [1, 1, -1]


def test_trc_is_read_by_another_library(lifted, tmp_path):
    trc = pytest.importorskip("trc")
    lifted.save(tmp_path, ["trc"])
    data = trc.TRCData()
    data.load(tmp_path / "poses.trc")
    assert data["Markers"] == list(JOINTS) and (data["NumFrames"], data["Units"]) == (T, "mm")
    assert data["DataRate"] == FPS
    markers = np.array([data[joint] for joint in JOINTS], float).swapaxes(0, 1)
    np.testing.assert_allclose(markers, y_up(lifted.poses_world), atol=1e-3)
    np.testing.assert_allclose(data["Time"], np.arange(T) / FPS, atol=1e-6)


def test_bvh_is_read_by_another_library(lifted, tmp_path):
    pybvh = pytest.importorskip("pybvh")
    lifted.save(tmp_path, ["bvh"])
    bvh = pybvh.read_bvh_file(tmp_path / "poses.bvh", world_up="+y")
    assert bvh.frame_count == T and bvh.frame_time == pytest.approx(1 / FPS)
    names, places = bvh.joint_names, np.asarray(bvh.node_positions())
    nodes = [node.name for node in bvh.nodes]
    assert set(JOINTS) <= set(names)
    found = 1000 * places[:, [nodes.index(joint) for joint in JOINTS]]
    known = np.isfinite(lifted.poses_world).all(axis=-1)
    np.testing.assert_allclose(found[known], y_up(lifted.poses_world)[known], atol=0.5)
    assert np.isfinite(found).all(), "BVH has no gaps"


def test_bvh_of_changing_bones_has_their_median(lifted, tmp_path):
    pybvh = pytest.importorskip("pybvh")
    world = lifted.poses_world * np.where(np.arange(T) < 10, 1.2, 1.0)[:, None, None]
    changed = Lifted(**{**vars(lifted), "poses_world": world})
    changed.save(tmp_path, ["bvh"])
    bvh = pybvh.read_bvh_file(tmp_path / "poses.bvh", world_up="+y")
    nodes = [node.name for node in bvh.nodes]
    places = 1000 * np.asarray(bvh.node_positions())
    thigh = np.linalg.norm(places[:, nodes.index("left_knee")] - places[:, nodes.index("left_hip")], axis=-1)
    true = np.linalg.norm(lifted.poses_world[0, 5] - lifted.poses_world[0, 4])
    np.testing.assert_allclose(thigh, true, atol=0.5)


def test_c3d_is_read_by_another_library(lifted, tmp_path):
    pytest.importorskip("ezc3d")
    c3d = pytest.importorskip("c3d")
    lifted.save(tmp_path, ["c3d"])
    with open(tmp_path / "poses.c3d", "rb") as file:
        reader = c3d.Reader(file)
        assert [label.strip() for label in reader.point_labels] == list(JOINTS)
        assert reader.point_rate == FPS
        points = np.array([points for _, points, _ in reader.read_frames()])
    known = np.isfinite(lifted.poses_world).all(axis=-1)
    np.testing.assert_allclose(points[..., :3][known], lifted.poses_world[known], atol=1e-2)
    np.testing.assert_array_equal(points[..., 3] < 0, ~known)


def test_gltf_holds_the_motion(lifted, tmp_path):
    """Read by hand, as the specification of glTF 2.0 says."""
    lifted.save(tmp_path, ["gltf"])
    file = json.loads((tmp_path / "poses.gltf").read_text())
    head, _, text = file["buffers"][0]["uri"].partition(",")
    content = base64.b64decode(text, validate=True)
    assert head == "data:application/octet-stream;base64" and len(content) == file["buffers"][0]["byteLength"]

    def array(number):
        accessor = file["accessors"][number]
        view = file["bufferViews"][accessor["bufferView"]]
        kind, width = {5126: "<f4", 5123: "<u2"}[accessor["componentType"]], {"VEC3": 3, "SCALAR": 1}[accessor["type"]]
        assert view["byteOffset"] % 4 == 0 and view["byteLength"] == accessor["count"] * width * np.dtype(kind).itemsize
        values = np.frombuffer(content, kind, accessor["count"] * width, view["byteOffset"])
        values = values.reshape(accessor["count"], width)
        for name, bound in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
            assert name not in accessor or accessor[name] == bound.tolist()
        return values

    (animation,) = file["animations"]
    places = np.zeros((T, 17, 3))
    for channel in animation["channels"]:
        sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
        assert target["path"] == "translation" and {"min", "max"} <= set(file["accessors"][sampler["input"]])
        np.testing.assert_allclose(array(sampler["input"])[:, 0], np.arange(T) / FPS, atol=1e-6)
        places[:, target["node"]] = array(sampler["output"])
        np.testing.assert_allclose(file["nodes"][target["node"]]["translation"], places[0, target["node"]], rtol=1e-6)
    assert [node["name"] for node in file["nodes"]] == list(JOINTS) and file["scenes"] == [{"nodes": [0]}]

    def add(parent):
        for child in file["nodes"][parent].get("children", ()):
            places[:, child] += places[:, parent]
            add(child)

    add(0)
    known = np.isfinite(lifted.poses_world).all(axis=-1)
    np.testing.assert_allclose(1000 * places[known], y_up(lifted.poses_world)[known], atol=0.1)
    assert np.isfinite(places).all(), "glTF has no gaps"
    (part,) = file["meshes"][0]["primitives"]
    corners, faces = array(part["attributes"]["POSITION"]), array(part["indices"]).reshape(-1, 3)
    sides = corners[faces]
    outward = np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0])
    assert len(faces) == 8 and ((outward * sides.mean(axis=1)).sum(axis=-1) > 0).all()


def test_all_files_or_none(lifted, tmp_path):
    (tmp_path / "poses.trc").mkdir()  # in the way of the last one
    with pytest.raises(InputError, match=r"^Cannot write .*poses\.trc: "):
        lifted.save(tmp_path, ["trc"])
    (tmp_path / "poses.trc").rmdir()
    with pytest.raises(
        InputError, match=r"Cannot write 'fbx': there is no such format\. Choose npz, html, contact, gif, mp4, csv"
    ):
        lifted.save(tmp_path, ["fbx"])
    nowhere = Lifted(**{**vars(lifted), "poses_world": np.full((T, 17, 3), np.nan)})
    for kind, name in (("bvh", "BVH"), ("trc", "TRC"), ("gltf", "glTF")):
        with pytest.raises(InputError, match=f"Cannot write {name}: the pelvis was never seen"):
            nowhere.save(tmp_path / "new", [kind])
    assert not list((tmp_path / "new").iterdir())


@pytest.fixture
def small_disk():
    """No file may grow beyond 4 kB."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing(lifted, tmp_path, small_disk):
    pytest.importorskip("ezc3d")
    with pytest.raises(InputError, match=r"^Cannot write .*\. Choose another folder or free the disk\.$"):
        lifted.save(tmp_path)
    with pytest.raises(OSError):
        c3d_file.write(lifted, tmp_path / "poses.c3d")
    assert not list(tmp_path.iterdir())


def test_a_damaged_npz_is_refused(lifted, tmp_path):
    lifted.save(tmp_path)
    with np.load(tmp_path / "poses.npz") as file:
        arrays = dict(file)
    for key, value in (("root", np.zeros((T, 2))), ("metadata", np.array("{")), ("fps", np.array("fast"))):
        np.savez(tmp_path / "bad.npz", **{**arrays, key: value})
        with pytest.raises(InputError, match=f"Cannot read .*: .*{key}"):
            load(tmp_path / "bad.npz")


def test_another_npz_is_refused(tmp_path):
    np.savez(tmp_path / "keypoints.npz", keypoints=np.zeros((3, 17, 3)))
    with pytest.raises(InputError, match="it has no keypoints_2d. Give the poses.npz that `liftbench lift` wrote."):
        load(tmp_path / "keypoints.npz")
