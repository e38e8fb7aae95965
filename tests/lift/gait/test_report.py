"""The report of somebody's gait: its files, what it refuses, and what it says of what it cannot know."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from liftbench.baselines.errors import InputError
from liftbench.bench import cli
from liftbench.bench.cli import common
from liftbench.bench.measure.lift.validation import validation
from liftbench.bench.records import Checkpoint
from liftbench.bench.records.lift import GaitView
from liftbench.lift import gait
from liftbench.lift.files import npz
from liftbench.lift.gait.report import FILES, report, rounded, save, view
from support import records
from support.walking import FPS, lifted_walker, marching, walker


@pytest.fixture(scope="module")
def lifted():
    """Somebody who walks for ten seconds; the right knee is filled in for twenty frames."""
    world, frames = marching(10, FPS), 500
    valid = np.ones((frames, 17), bool)
    valid[100:120, 2] = False
    some = lifted_walker(frames)
    metadata = {
        "recording": "a & b <walk>", "model": "mlp", "weights": "w.safetensors", "height_m": 1.7,
        "assumed": ["body height 1.70 m"], "camera_to_world": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    }  # fmt: skip
    return replace(some, poses_world=world, valid=valid, fps=float(FPS), metadata=metadata)


@pytest.fixture(scope="module")
def written(lifted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gait")
    found = gait.analyse(lifted.poses_world, lifted.fps)
    assert save(report(lifted, found), folder) == [folder / name for name in FILES]
    return found, folder


def test_the_tables_hold_the_numbers(written):
    found, folder = written
    with open(folder / "gait.csv", newline="") as file:
        rows = {row["quantity and unit"]: row for row in csv.DictReader(file)}
    for name, (right, left) in found.parameters.items():
        assert float(rows[name]["right mean"] or "nan") == pytest.approx(right, abs=1e-3, nan_ok=True)
        assert float(rows[name]["left mean"] or "nan") == pytest.approx(left, abs=1e-3, nan_ok=True)
    length = rows["step length, mm"]
    assert length["note"] == "ankle-based" and rows["stride time, s"]["note"] == ""
    assert float(length["ratio right/left"]) == pytest.approx(
        float(length["right mean"]) / float(length["left mean"]), abs=1e-3
    )
    absent = rows["ankle flexion"]
    assert absent["right mean"] == "" and "not available" in absent["note"]
    with open(folder / "gait_curves.csv", newline="") as file:
        knee = [row for row in csv.DictReader(file) if (row["angle"], row["side"]) == ("knee flexion", "left")]
    curve = found.curves["knee flexion"][1]
    np.testing.assert_allclose([float(row["mean, degrees"]) for row in knee], curve.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose([float(row["SD, degrees"]) for row in knee], curve.std(axis=0, ddof=1), atol=1e-3)


def side_view(sha256="a" * 64, **fields):
    """A record of `measure lift`, with errors from the side."""
    errors = {"step time, ms": 21.0, "step length, cm": 3.5, "knee flexion curve, degrees": 5.25}
    errors["symmetry index of step length, %"] = 7.0
    view = {"view": "side", "walks": 4, "failed": 0, "events": 60, "missed": 1, "extra": 0}
    view["quantities"] = {name: {"n": 8, "mean_absolute": value, "mean": -1.0} for name, value in errors.items()}
    checkpoint = {"file": "w.safetensors", "sha256": sha256, "epoch": 3, "chosen_by": "last epoch"}
    return records.lift().model_copy(
        update={"gait": [GaitView(**view)], "checkpoint": Checkpoint(**checkpoint), **fields}
    )


def test_each_value_has_the_error_that_was_measured_of_it(lifted, written, tmp_path):
    """Of the same weights, from the same view; units as in the report."""
    found, _ = written
    some = replace(lifted, metadata=lifted.metadata | {"weights_sha256": "a" * 64})
    aside = replace(some, poses_world=marching(10, FPS, heading=np.radians(180)))
    assert view(aside, found).startswith("side")
    known = validation(aside, found, [records.lift(), side_view()])
    made = report(aside, found, known)
    errors = {row.name: row.error for row in made.rows}
    assert errors["step time, s"] == pytest.approx(0.021) and errors["step length, mm"] == pytest.approx(35)
    assert errors["cadence, steps/min"] is None, "not measured"
    said = " ".join(made.notes)
    assert "w.safetensors" in said and "4 walks of people it never saw" in said and "view: side" in said
    assert "knee flexion curve 5.2 degrees; symmetry index of step length 7.0%" in said
    save(made, tmp_path)
    with open(tmp_path / "gait.csv", newline="") as file:
        rows = {row["quantity and unit"]: row for row in csv.DictReader(file)}
    assert float(rows["step length, mm"]["expected error"]) == 35
    assert rows["step length, mm"]["source of the error"] == known.source
    assert rows["cadence, steps/min"]["expected error"] == "not validated"
    assert rows["cadence, steps/min"]["source of the error"] == ""
    assert "<td>35</td>" in (tmp_path / "gait.html").read_text()


def test_no_error_of_other_weights_or_views(lifted, written):
    found, _ = written
    some = replace(lifted, metadata=lifted.metadata | {"weights_sha256": "a" * 64, "refined": True})
    aside = replace(some, poses_world=marching(10, FPS, heading=np.radians(180)))
    behind = replace(some, poses_world=marching(10, FPS, heading=np.radians(90)))
    assert view(behind, found).startswith("back") and validation(behind, found, [side_view()]) is None
    assert validation(aside, found, [side_view("b" * 64)]) is None
    assert validation(replace(aside, metadata=lifted.metadata), found, [side_view()]) is None
    newer = side_view(created_utc="2100-01-01T00:00:00+00:00", smooth_hz=6.0)
    assert "smoothed" not in validation(aside, found, [side_view(), newer]).source, "lifted without smoothing, too"
    newer = side_view(created_utc="2100-01-01T00:00:00+00:00", refined=False)
    assert "not refined" not in validation(aside, found, [side_view(), newer]).source
    assert "not refined" in validation(aside, found, [newer]).source
    made = report(some, found)
    assert {row.error for row in made.rows} == {None}
    assert any("Expected errors: not validated." in sentence for sentence in made.notes)


@pytest.mark.parametrize("error, text", [(0.021, "0.021"), (1.44, "1.4"), (35.2, "35"), (210.0, "210"), (0.0, "0")])
def test_errors_have_two_digits(error, text):
    assert rounded(error) == text


def test_symmetry_is_what_its_name_says():
    alike = gait.symmetry(1.1, 0.9)
    assert alike["symmetry index, %"] == pytest.approx(20) and alike["ratio"] == pytest.approx(1.1 / 0.9)
    assert alike["gait asymmetry, %"] == pytest.approx(100 * np.log(1.1 / 0.9))
    assert gait.symmetry(0.9, 1.1)["symmetry index, %"] == pytest.approx(-20)


def test_page_and_picture(written):
    _, folder = written
    page = (folder / "gait.html").read_text()
    assert "a &amp; b &lt;walk&gt;" in page and "<walk>" not in page
    for said in ("Not a medical device", "Not available", "ankle", "prefers-color-scheme: dark", "w.safetensors"):
        assert said in page, said
    assert "http" not in page.replace("http://www.w3.org", "")  # loads nothing
    width, height = Image.open(folder / "gait.png").size
    assert height / width == pytest.approx(297 / 210, abs=0.01)


def test_the_report_names_what_it_depends_on(lifted, written):
    found, _ = written
    facts = dict(report(lifted, found).facts)
    assert facts["Strides"] == "{} right, {} left".format(*found.strides)
    assert facts["Leg joints filled in"].startswith("20 of 500 frames")
    assert "assumed" in facts["Body height"] and "mlp" in facts["Run"]
    assert any("body height is assumed" in sentence for sentence in report(lifted, found).warnings)


@pytest.mark.parametrize(
    "turn, expected", [(0, "back (180"), (90, "side (90"), (180, "front (0"), (45, "oblique, from b")]
)
def test_view(lifted, written, turn, expected):
    """The camera looks along y; whoever walks along y too is seen from behind."""
    turned = replace(lifted, poses_world=marching(10, FPS, heading=np.radians(90 + turn)))
    assert view(turned, written[0]).startswith(expected)
    turned.poses_world[200:210] = np.nan  # between two stretches of walking
    assert view(turned, written[0]).startswith(expected)


def test_few_strides_and_strange_values_are_said(lifted):
    short = replace(lifted, poses_world=marching(3, FPS), valid=lifted.valid[:150])
    found = gait.analyse(short.poses_world, FPS)
    assert any("Fewer than 3 strides" in sentence for sentence in report(short, found).warnings)
    fast = {**found.values, "cadence, steps/min": (np.array([150.0]), np.array([110.0]))}
    said = [one for one in report(short, replace(found, values=fast)).warnings if "cadence" in one]
    assert len(said) == 1 and "right cadence, 150 steps/min" in said[0] and "Murray" in said[0]


def test_who_stands_has_no_gait():
    still = np.repeat(walker(1), 300, axis=0) + np.random.default_rng(0).normal(0, 8, (300, 17, 3))
    with pytest.raises(InputError, match="there is no stride in it"):
        gait.analyse(still, FPS)


def test_command(lifted, tmp_path, monkeypatch):
    monkeypatch.setattr(common.out, "_width", 120)
    npz.write(lifted, tmp_path / "poses.npz")
    done = CliRunner().invoke(cli.app, ["gait", str(tmp_path / "poses.npz"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "step length, mm (ankle)" in said and "Not a medical device" in said
    assert "Expected errors: not validated." in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("damage, message", [("fps", "fps, image_size or metadata"), ("slow", "15 frames a second"),
                                             ("program", "Cannot read"), ("unknown", "without gaps")])  # fmt: skip
def test_bad_input_is_one_sentence(lifted, tmp_path, damage, message):
    path = tmp_path / "poses.npz"
    if damage == "program":
        np.savez(path, positions=np.zeros(3))
    else:
        poses = np.full_like(lifted.poses_world, np.nan) if damage == "unknown" else lifted.poses_world
        fps = {"fps": float("nan"), "slow": 15.0}.get(damage, lifted.fps)
        npz.write(replace(lifted, poses_world=poses, fps=fps), path)
    done = CliRunner().invoke(cli.app, ["gait", str(path)])
    assert isinstance(done.exception, InputError) and message in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["poses.npz"]


def test_metadata_of_another_kind(lifted, tmp_path):
    path = tmp_path / "poses.npz"
    npz.write(lifted, path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"metadata": np.array(json.dumps([1]))})
    done = CliRunner().invoke(cli.app, ["gait", str(path)])
    assert isinstance(done.exception, InputError)
