"""Real keypoints of four cameras with their triangulation; skipped where the recording is not at hand."""

import numpy as np
import pytest

from liftbench.baselines.data import gaps
from liftbench.lift.geometry import body, world
from liftbench.lift.keypoints import arrays, layouts
from liftbench.lift.keypoints.detections import in_image
from liftbench.lift.video.detect import detect
from support import ROOT

LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
DEMO = ROOT / "../shared/demo/pose2sim_demo.npz"


@pytest.fixture(params=range(4))
def view(request):
    """(seen Person, true poses in the camera's frame in mm, focal length, image size, rotation camera to world)"""
    if not DEMO.exists():
        pytest.skip("the recording is not here")
    with np.load(DEMO) as file:
        demo = dict(file)
    size = tuple(demo["image_size"].tolist())
    keypoints = demo["keypoints2d"][request.param]
    found = in_image(arrays.of_array(np.nan_to_num(keypoints), "body25b"), size)
    seen = gaps.fill(layouts.to_h36m(found.points, found.names, "neck"), 60, scored=True)
    true = np.concatenate([demo["points3d"], np.ones((100, 25, 1))], axis=-1).reshape(100, 25, 4)
    rotation, shift = demo["R"][request.param], demo["t"][request.param]
    camera = 1000 * (true[..., :3] @ rotation.T + shift)
    joints = np.stack(
        [layouts.to_h36m(camera[:, :, [axis, axis, axis]], found.names, "neck")[..., 0] for axis in range(3)], axis=-1
    )
    return seen, joints, demo["K"][request.param, 0, 0], size, rotation.T


def test_the_root_is_found_in_the_room(view):
    seen, joints, focal, size, _ = view
    known = seen.known & np.isfinite(joints).all(axis=-1)
    height = np.nanmedian(body.body_height(joints, known))
    poses = (joints - joints[:, :1]) / 1000
    _, root = body.place_metric_poses(poses, seen.keypoints[..., :2], known, height, focal, size, 60.0)
    away = np.linalg.norm(root - joints[:, 0], axis=-1)
    assert 1500 < height < 2000
    assert np.nanmean(away) < 0.03 * np.linalg.norm(joints[:, 0], axis=-1).mean()


def test_the_vertical_of_somebody_who_leans(view):
    _, joints, *_, rotation = view
    up, _ = world.up_from_body(joints - joints[:, :1])
    assert np.degrees(np.arccos(np.clip((rotation @ up)[2], -1, 1))) < 14  # 12 as documented


@pytest.mark.parametrize("camera", [1, 3])
def test_blazepose_agrees_with_openpose(networks, monkeypatch, camera):
    video = DEMO.with_name(f"p2s_cam0{camera}.mp4")
    if not video.exists():
        pytest.skip("the recording is not here")
    pytest.importorskip("av")
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setattr("liftbench.lift.video.blazepose_files.paths", lambda: networks)
    found = detect(video, start=0.5, end=1)
    assert found.frame.tolist() == list(range(30)) and found.fps == pytest.approx(60) and found.first_frame == 30
    limbs = [f"{side}_{joint}" for side in ("left", "right") for joint in LIMBS]
    names = layouts.LAYOUTS["body25b"]
    with np.load(DEMO) as file:  # keypoints lead the video by about a frame
        other = file["keypoints2d"][camera - 1, 29:59][:, [names.index(name) for name in limbs]]
    points = found.points[:, [found.names.index(name) for name in limbs]]
    apart = np.linalg.norm(points[..., :2] - other[..., :2], axis=-1)[(other[..., 2] > 0.3) & (points[..., 2] > 0)]
    assert np.median(apart) < 18  # of a person of 740 pixels; 13 over all frames
    assert np.percentile(apart, 95) < 60
