"""What `measure lift` finds for known motion, known errors and weights that know nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import liftbench
from liftbench.baselines.data.cameras import load_cameras, project_to_2d, world_to_camera
from liftbench.baselines.errors import InputError
from liftbench.baselines.training.checkpoint import write_weights
from liftbench.baselines.weights.trained import open_weights
from liftbench.bench import cli, records
from liftbench.bench.measure import lift as lifts
from liftbench.bench.measure.lift import real, walks
from liftbench.bench.report.results import Results
from liftbench.bench.report.tables.errors.lift import lift as lift_table
from liftbench.bench.report.tables.errors.lift import lift_gait
from liftbench.lift.gait import analyse
from liftbench.lift.keypoints.layouts import LAYOUTS
from support.walking import FPS, marching, walker


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    """Write the motion of two subjects. The second is held out; she walks straight, and in a loop."""
    clips = [walker(60), marching(4, FPS), walker(60)]
    path = tmp_path_factory.mktemp("motion") / "motion.npz"
    np.savez(
        path, positions=np.concatenate(clips) / 1000, offsets=np.cumsum([0, *map(len, clips)]),
        subject=np.array(["ann", "bob", "bob"]), action=np.array(["walk", "walk", "talk"]), credit=np.array("us"),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    numbers = {"width": 16, "blocks": 1}
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    state = liftbench.create_model("mlp", frames=3, **numbers).state_dict()
    known = {"model": "mlp", "frames": 3, "numbers": numbers, "joint_9": "neck"}
    write_weights(path, state, known | {"data": "h36m"})
    write_weights(path.with_name("metres.safetensors"), state, known | {"data": "h36m_videopose3d"})
    return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Write a walk as BODY_25B seen by one of Human3.6M's cameras, in the format of a real recording."""
    world, camera = walker(40), load_cameras(9)[1]
    camera = replace(camera, radial=np.zeros(3), tangential=np.zeros(2), position=np.array([0.0, -4500.0, 1200.0]))
    camera = replace(camera, rotation=np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))
    names = {name: place for place, name in enumerate(liftbench.lift.lifted.JOINTS)}
    at = [names.get(name, names["head"]) if name else names["left_ankle"] for name in LAYOUTS["body25b"]]
    points = world[:, at]
    pixels = project_to_2d(world_to_camera(points.reshape(-1, 3), camera), camera).reshape(40, 25, 2)
    rotation = camera.rotation.T
    path = tmp_path_factory.mktemp("demo") / "demo.npz"
    np.savez(
        path, keypoints2d=np.concatenate([pixels, np.ones((40, 25, 1))], axis=-1)[None], points3d=points / 1000,
        K=np.array([[[camera.focal[0], 0, 500], [0, camera.focal[1], 500], [0, 0, 1]]]), R=rotation[None],
        t=(-rotation @ camera.position / 1000)[None], image_size=np.array(camera.size), fps=np.float64(FPS),
    )  # fmt: skip
    return path


def test_a_whole_measurement(motion, weights, demo, tmp_path):
    done = CliRunner().invoke(
        cli.app,
        ["measure", "lift", str(weights), "--motion", str(motion), "--poses", str(demo), "--views", "1",
         "--device", "cpu", "--records", str(tmp_path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (record,) = records.read(tmp_path)
    assert record.motion.subjects == ["bob"] and record.motion.credit == "us" and record.frames == 3
    assert 100 < record.held_out.p_mpjpe_mm <= record.held_out.n_mpjpe_mm <= record.held_out.mpjpe_mm + 1
    assert [view.view for view in record.gait] == ["front", "oblique", "side"]
    assert all(view.walks + view.failed == 1 for view in record.gait)
    assert [camera.camera for camera in record.real] == [1] and record.real[0].limb_p_mpjpe_mm > 50
    (row,) = lift_table(Results([record])).rows
    assert row["P-MPJPE, mm"] == record.held_out.p_mpjpe_mm and row["weights"] == "tiny" and row["sees"] == "the image"
    assert record.clips_seen is None, "there is no log"
    assert [row["view"] for row in lift_gait(Results([record])).rows] == ["front", "oblique", "side"]


def test_a_run_goes_by_its_folder_and_says_how_many_clips_it_saw(motion, weights, tmp_path):
    folder = tmp_path / "runs" / "mine"
    opened = open_weights(weights)
    known = {"model": "mlp", "frames": 3, "numbers": opened.numbers, "data": "h36m", "epoch": 1}
    write_weights(folder / "last.safetensors", opened.model.state_dict(), known)
    (folder / "log.csv").write_text("epoch,epoch_s,clips_per_s\n0,2.0,100.5\n1,4.0,50\n2,4.0,50\n")
    record = lifts.measure(open_weights(folder), motion, views=1)
    assert record.checkpoint.file == "mine/last.safetensors" and record.clips_seen == 401
    (row,) = lift_table(Results([record])).rows
    assert row["weights"] == "mine, epoch 1" and row["clips seen"] == 401


def test_the_camera_sees_the_walk_from_where_it_says():
    world = marching(4, FPS)
    for degrees, x in ((0, 0.0), (90, 1.0)):
        true, keypoints, size = walks.film(world, degrees, np.random.default_rng(0))
        assert len(true) == len(keypoints) > 100
        across = np.abs(keypoints[-1, 0, 0] - keypoints[0, 0, 0]) / size[0]
        assert across == pytest.approx(0, abs=0.05) if x == 0 else across > 0.5
        assert (keypoints[..., 1].max() < size[1]) and keypoints[..., 2].min() > 0


def test_known_differences_are_found():
    true, late = analyse(marching(6, FPS), FPS), analyse(marching(6, FPS, knee=0.3), FPS)
    late = replace(late, heel_strikes=tuple(side + 0.04 for side in late.heel_strikes))
    found = walks.compare("side", [(true, late)], 0)
    assert found.quantities["heel strike, ms"].mean == pytest.approx(40, abs=5)
    assert found.quantities["step time, ms"].mean_absolute < 10 and found.missed == found.extra == 0
    knee = found.quantities["knee flexion curve, degrees"]
    assert knee.n == 2 and knee.mean_absolute == pytest.approx(np.degrees(0.3) / 2, abs=1)  # of the right knee only
    gone = replace(late, heel_strikes=tuple(side[1:] for side in late.heel_strikes))
    assert walks.compare("side", [(true, gone)], 0).missed == 2


def test_a_false_heel_strike_makes_no_strides():
    pose = marching(8, FPS)
    swapped = pose.copy()
    swapped[185:195, [2, 3, 5, 6]] = pose[185:195, [5, 6, 2, 3]]  # the legs are swapped
    true, found = analyse(pose, FPS), analyse(swapped, FPS)
    assert found.parameters["cadence, steps/min"] == pytest.approx(true.parameters["cadence, steps/min"], abs=4)


def test_bad_input_is_one_sentence(motion, weights, demo, tmp_path):
    with pytest.raises(InputError, match="not in image coordinates"):
        lifts.measure(open_weights(weights.with_name("metres.safetensors")), motion)
    alone = tmp_path / "alone.npz"
    with np.load(motion) as file:
        arrays = dict(file)
    np.savez(alone, **arrays | {"subject": np.array(["ann"] * 3)})
    with pytest.raises(InputError, match="none is held out"):
        lifts.measure(open_weights(weights), alone)
    with np.load(demo) as file:
        arrays = dict(file)
    np.savez(alone, **arrays | {"points3d": np.zeros((3, 3))})
    with pytest.raises(InputError, match="points3d is of shape"):
        real.measure(open_weights(weights), alone, "cpu", True, lambda *_: None)
