"""Exported files: checked, described, run elsewhere; and what cannot be exported."""

import functools
import importlib.util
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from liftbench import create_model, kernels
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import MODELS, register
from liftbench.baselines.skeleton import JOINTS
from liftbench.bench import export as exporting
from liftbench.bench import records
from liftbench.bench.export import onnx_file
from liftbench.kernels import cpu
from liftbench.mdtf.model import Mixer
from support import command

built = pytest.mark.skipif(cpu.unusable() is not None, reason=str(cpu.unusable()))
# The smallest model of every family, so that all kinds of layers and scans are exported in seconds.
SMALL = {
    "posemamba_s": {"embed_dim": 16, "depth": 1},
    "posemamba_s_bs_bt": {"embed_dim": 16, "depth": 1},
    "pose3dm_s": {"embed_dim": 16, "bottleneck": 16},
    "mdtf_tiny": {"embed_dim": 16, "depth": 1},
    "lstm": {"hidden_dim": 8},
    "transformer": {"d_model": 16, "nhead": 2, "num_encoder_layers": 1},
    "mlp": {"width": 8},
    "motionagformer_xs": {"embed_dim": 16, "depth": 1},
    "mixste": {"embed_dim": 16, "depth": 1},
    "motionbert_lite": {"embed_dim": 16, "depth": 1},
    "stcformer_27": {"embed_dim": 16, "depth": 1},
    "poseformerv2_27": {"embed_dim": 8, "depth": 1},
    "videopose3d_27": {"channels": 16},
}
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
clips = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], session.run(["poses"], {"keypoints": clips})[0])
assert session.get_modelmeta().custom_metadata_map["model"]
"""


def small(name, frames=None):
    """A small model of a registered name, with the weights that `open_model` would find."""
    torch.manual_seed(0)
    frames = frames or max(MODELS[name].shortest, 3)
    model = create_model(name, frames=frames, **SMALL[name])
    return exporting.Weights(model, name, frames, SMALL[name], None, exporting.RANDOM, None, None)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """(a small PoseMamba, its ONNX file, the record)."""
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    weights = small("posemamba_s")
    return weights, path, exporting.export(weights, "onnx", path, seconds=0)


def check_without_torch(weights, path, folder):
    """Run a file in a process that cannot import torch, and compare its answers with the model's."""
    shape = (5, weights.frames, 17, MODELS[weights.model_name].channels)
    clips = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    np.save(folder / "clips.npy", clips)
    names = map(str, (path, folder / "clips.npy", folder / "poses.npy"))
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *names], check=True)
    with torch.no_grad():
        expected = weights.model.eval()(torch.from_numpy(clips)).numpy()
    found = np.load(folder / "poses.npy")
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_it_runs_in_a_process_without_torch(file, tmp_path):
    weights, path, _ = file
    check_without_torch(weights, path, tmp_path)


def test_the_file_says_what_it_is(file):
    import onnx

    _, path, record = file
    model = onnx.load(path)
    onnx.checker.check_model(model)
    said = {one.key: one.value for one in model.metadata_props}
    assert said["model"] == "posemamba_s" and said["weights"] == "random, seed 0" and said["frames"] == "3"
    assert json.loads(said["joints"]) == list(JOINTS)
    assert "width" in said["normalisation"] and "width" in said["units"]
    assert "confidence" not in said["input"] and "17 joints" in said["output"]
    assert [one.version for one in model.opset_import if one.domain == ""] == [18] == [record.opset]


def test_the_scan_stays_small(file):
    _, _, record = file
    assert record.blocks == 2 and record.nodes / record.blocks < 200
    assert record.difference < 1e-5 and record.checkpoint is None
    assert record.missing == "not asked for" and record.ratio is None


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL)[1:])
def test_every_family_is_exported(name, tmp_path):
    weights = small(name)
    record = exporting.export(weights, "onnx", tmp_path / "model.onnx", seconds=0)
    assert record.difference < 1e-5


class OneMixer(torch.nn.Module):
    """MDTF's bidirectional mixer alone; keypoints: (B, T, 17, 16)."""

    def __init__(self):
        super().__init__()
        self.mixer = Mixer(16)

    def forward(self, keypoints):
        return self.mixer(keypoints.flatten(0, 1)).view_as(keypoints)


def test_the_bidirectional_scan_is_exported(tmp_path):
    model, clips = OneMixer().eval(), torch.rand(2, 3, 17, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        onnx_file.write(model, clips, {}, tmp_path / "mixer.onnx")
        run = onnx_file.load(tmp_path / "mixer.onnx")
        for clip in (clips, clips[:1]):
            torch.testing.assert_close(run(clip), model(clip), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", exporting.FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_exported(name, form, tmp_path):
    weights = exporting.open_model(name, frames=max(MODELS[name].shortest, 9))
    exporting.export(weights, form, tmp_path / "model", seconds=0)
    if form == "onnx":
        check_without_torch(weights, tmp_path / "model", tmp_path)


@built
@pytest.mark.parametrize("name", ["posemamba_s", pytest.param("mdtf_tiny", marks=pytest.mark.slow)])
def test_torch_export_keeps_our_operators(name, tmp_path):
    record = exporting.export(small(name), "torch", tmp_path / "model.pt2", seconds=0)
    assert record.difference == 0
    extra = {"metadata.json": ""}
    program = torch.export.load(io.BytesIO((tmp_path / "model.pt2").read_bytes()), extra_files=extra)
    assert json.loads(extra["metadata.json"])["model"] == name
    assert any("liftbench" in str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize("length", [1, 40])
@pytest.mark.parametrize("shift", [-20.0, 0.0, 5.0])
def test_the_operator_is_the_oracle(length, shift):
    """Its own PyTorch form; delta that is tiny, usual and large."""
    from liftbench.kernels import onnx

    draw = torch.Generator().manual_seed(0)
    shapes = (2, 6, length), (2, 6, length), (6, 3), (2, 2, 3, length), (2, 2, 3, length), (6,)
    u, delta, A, B, C, D = (torch.randn(shape, generator=draw) for shape in shapes)
    stream = u, delta + shift, -A.exp(), B, C, D, D - 1
    torch.testing.assert_close(
        onnx.selective_scan(*stream), kernels.selective_scan(*stream, implementation="reference"), atol=1e-5, rtol=1e-5
    )


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return functools.partial(command.run, monkeypatch, capsys)


def test_the_command_writes_a_file_and_a_record(run, tmp_path, any_machine, monkeypatch):
    monkeypatch.setattr("liftbench.bench.measure.timing.idle_threads_spin", lambda: True)
    code, out, _ = run("export", "mlp", "--frames", 3, "--out", "mlp.onnx", "--seconds", 0.1)
    assert code == 0 and "wrote mlp.onnx: mlp, 3 frames, random weights" in out and "difference" in out
    (record,) = records.read(tmp_path / "results/records")
    assert record.kind == "export" and record.file_bytes == (tmp_path / "mlp.onnx").stat().st_size
    assert record.own_ms > 0 and record.file_ms > 0, "both are timed, in turn"
    assert record.ratio_low <= record.ratio <= record.ratio_high


def test_a_missing_package_is_named(run, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else find(name))
    code, _, error = run("export", "mlp", "--frames", 3, "--out", "mlp.onnx")
    assert code == 2 and "onnxscript is not installed" in error and "pip install 'liftbench[onnx]'" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["posemamba_z", "missing.safetensors"])
def test_bad_input_is_one_sentence(run, what, tmp_path):
    code, _, error = run("export", what, "--out", "file.onnx")
    assert code == 2 and len(error.splitlines()) == 1 and not list(tmp_path.iterdir())


class Branches(torch.nn.Module):
    frames = 3

    def forward(self, keypoints):
        y = keypoints[..., :1].expand(-1, -1, -1, 3)
        return y if keypoints.sum() > 0 else -y


@pytest.fixture
def branches():
    register("branches", lambda frames: Branches(), frames=3)
    yield
    del MODELS["branches"]


def test_what_cannot_be_exported_leaves_no_file(branches, tmp_path):
    with pytest.raises(InputError, match="Cannot export branches to onnx"):
        exporting.export(exporting.open_model("branches"), "onnx", tmp_path / "file.onnx", seconds=0)
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="the file's answers differ"):
        exporting.export(small("mlp"), "onnx", tmp_path / "file.onnx", seconds=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["posemamba_s", "mdtf_tiny"])
def test_jit_and_the_old_exporter_are_refused(name, tmp_path):
    model = small(name).model.eval()
    clips = torch.zeros(1, 3, 17, MODELS[name].channels)
    with pytest.raises(kernels.ScanUnavailable, match="Cannot script"):
        torch.jit.script(model)
    with pytest.raises(kernels.ScanUnavailable, match="Cannot trace the scan"):
        torch.jit.trace(model, clips)
    with pytest.raises(kernels.ScanUnavailable, match="Cannot trace the scan"):
        torch.onnx.export(model, (clips,), tmp_path / "file.onnx", dynamo=False)
