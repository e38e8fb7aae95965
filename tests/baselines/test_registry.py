"""The registry: rows that are data, models of the user's own, and who may know a paper."""

import ast
import subprocess
import sys

import pytest
import torch
from torch import nn

import liftbench
from liftbench.baselines import registry
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import MODELS, entry
from support import ROOT

PAPERS = ("posemamba", "pose3dm", "mdtf", "lstm_transformer", "baselines.models")


def imported(file):
    """Yield the modules that a Python file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", ["bench", "baselines", "liftbench"])
def test_no_paper_is_imported_outside_the_papers(folder):
    papers = tuple(f"liftbench.{paper}" for paper in PAPERS)
    files = sorted(set((ROOT / folder).rglob("*.py")) - set((ROOT / "baselines/models").iterdir()))
    assert files
    found = {str(file): module for file in files for module in imported(file) if module.startswith(papers)}
    assert not found


def test_the_registry_and_the_command_models_need_no_torch():
    code = """
import sys
import liftbench
from liftbench.bench import cli
assert "pose3dm_s" in liftbench.list_models()
sys.argv = ["liftbench", "models"]
try:
    cli.main()
except SystemExit as end:
    assert not end.code
assert not {"torch", "pandas", "matplotlib"} & set(sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "1,470,211" in ended.stdout


@pytest.mark.parametrize("name", MODELS)
def test_every_row_says_what_is_built(name):
    row, model = MODELS[name], liftbench.create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == row.parameters
    assert row.name == name and (row.depth is None or row.depth in row.numbers)
    assert all(isinstance(getattr(model, stage), nn.Module) for stage in row.stages)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert row.frames_of(shapes) == (row.frames if row.length else None)
    assert registry.load(row.builder) is type(model)


def test_regularizers_are_there():
    for where in registry.REGULARIZERS.values():
        assert registry.load(where)(torch.zeros(1, 3, 17, 3), 1.0) == 0


def test_faults_of_a_model_are_not_blamed_on_the_user(monkeypatch):
    def broken(frames):
        raise AssertionError("ours")

    monkeypatch.setitem(MODELS, "broken", MODELS["mlp"].__class__(**vars(MODELS["mlp"]) | {"builder": broken}))
    with pytest.raises(AssertionError, match="ours"):
        liftbench.create_model("broken")
    with pytest.raises(InputError, match="d_model 256 and nhead 7: nhead must divide d_model"):
        liftbench.create_model("transformer", nhead=7)


class Pair(nn.Module):
    """A model from outside the project: it looks at values and takes confidence too."""

    def __init__(self, frames, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, keypoints):
        poses = self.layers(keypoints)
        return poses if poses.sum() < 1e9 else -poses


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(registry, "MODELS", dict(MODELS))
    liftbench.register("pair", Pair, frames=9, channels=3, width=8)
    return "pair"


def test_a_registered_model_is_built_by_its_name(pair):
    assert pair in liftbench.list_models()
    model = liftbench.create_model(pair)
    assert model(torch.zeros(2, 9, 17, 3)).shape == (2, 9, 17, 3)
    assert model.layers[0].out_features == 8
    assert liftbench.create_model(pair, width=5).layers[0].out_features == 5
    with pytest.raises(InputError, match="Cannot build pair: it has no setting 'depth'. Use width"):
        liftbench.create_model(pair, depth=5)
    liftbench.register(pair, Pair, frames=9, channels=3, width=6)
    assert liftbench.create_model(pair).layers[0].out_features == 6, "the last one counts"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("posemamba_s", Pair), "Cannot register posemamba_s: the name is taken"),
        (("my model", Pair), "a name has only letters, digits and _. Choose"),
        (("net.py", Pair), "a name has only letters"),
        (("pair", None), "it needs a function"),
        (("pair", Pair, 0), "a positive number of frames"),
        (("pair", Pair, 9, 4), "2 or 3 channels"),
        (("pair", Pair, 9, 2, "poses"), "'sequence' or 'centre'"),
    ],
)
def test_what_cannot_be_registered(arguments, message):
    before = dict(MODELS)
    with pytest.raises(InputError, match=message):
        liftbench.register(*arguments)
    assert MODELS == before


FILE = """
from torch import nn

class Centre(nn.Module):
    def __init__(self, frames, width):
        super().__init__()
        self.frames = frames
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(frames * 34, width), nn.Linear(width, 51))

    def forward(self, keypoints):
        return self.body(keypoints).view(-1, 1, 17, 3)

def build(frames, width=16):
    return Centre(frames, width)

def usual(frames=27):
    return Centre(frames, 8)

def fixed():
    return Centre(5, 8)

def joints():
    return nn.Linear(3, 3)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


def test_a_file_is_a_model(file):
    row = entry(f"{file}:build", 9)
    assert (row.name, row.frames, row.channels, row.output) == ("net.py:build", 243, 2, "centre")
    assert entry(f"{file}:build") == row, "what it is does not depend on the clip"
    model = liftbench.create_model(f"{file}:build", 9, width=5)
    assert model(torch.zeros(2, 9, 17, 2)).shape == (2, 1, 17, 3) and model.body[1].out_features == 5
    assert entry(f"{file}:usual").frames == 27
    assert entry(f"{file}:fixed").frames == 5
    joints = entry(f"{file}:joints", 9)
    assert (joints.channels, joints.output) == (3, "sequence")
    with pytest.raises(InputError, match=r"net.py:fixed: it fails on a clip of shape \(1, 9, 17, 2\): RuntimeError"):
        liftbench.create_model(f"{file}:fixed", 9)
    state = torch.get_rng_state()
    entry(f"{file}:build", 8)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_edited_file_is_read_again(file):
    assert entry(f"{file}:usual").frames == 27
    file.write_text(FILE.replace("frames=27", "frames=125"))
    assert entry(f"{file}:usual").frames == 125


def test_a_model_that_sees_the_person_alone_answers_in_the_image():
    """The answer grows with the person and does not depend on the person's place."""
    model = liftbench.create_model("mlp", frames=9, normalization="person", width=16, blocks=1).eval()
    keypoints = torch.randn(2, 9, 17, 2) / 4
    pose = model(keypoints)
    assert pose.shape == (2, 1, 17, 3)
    torch.testing.assert_close(model(3 * keypoints + 0.5), 3 * pose)
    torch.testing.assert_close(
        model(keypoints * torch.tensor([[[[1.0]]], [[[2.0]]]])), pose * torch.tensor([1, 2])[:, None, None, None]
    )
    assert not torch.allclose(model(keypoints * torch.tensor([1.0, 2.0])), pose), "but on their shape"


def test_a_person_of_no_size_gives_no_nan():
    model = liftbench.create_model("mlp", frames=9, normalization="person", width=16).eval()
    assert model(torch.zeros(1, 9, 17, 2)).isfinite().all()


def test_confidence_is_not_scaled():
    model = liftbench.create_model("motionagformer_xs", frames=9, normalization="person")
    seen = []
    model.lifter.register_forward_pre_hook(lambda module, keypoints: seen.append(keypoints[0]))
    keypoints = torch.rand(1, 9, 17, 3)
    model(keypoints)
    torch.testing.assert_close(seen[0][..., 2], keypoints[..., 2])
    torch.testing.assert_close(seen[0][..., :2].square().sum(-1).mean(), torch.tensor(0.25))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mdtf_tiny", "with normalization 'person': it is trained in stages. Choose image"),
        ("mlp", "'box': no normalization has that name. Choose image or person"),
    ],
)
def test_a_normalization_that_there_is_not(name, problem):
    with pytest.raises(InputError, match=problem):
        liftbench.create_model(name, normalization="person" if name == "mdtf_tiny" else "box")
