"""Takes shorter than a clip: every command that reads clips says how many are stretched, loudly above a tenth."""

import pickle
import sys

import numpy as np
import pytest

from liftbench.bench import cli

RECIPE = """
base: toy/posemamba_toy
numbers: {embed_dim: 8, depth: 1}
frames: 27
stride: 9
epochs: 1
"""
LOUD = "WARNING: many clips of {} frames are stretched takes, so these motions are slower than real ones."


def shortened(synthetic_file, path, frames):
    """The data file with the first frames of every tenth take only."""
    content = pickle.loads(synthetic_file.read_bytes())
    for split in ("train", "test"):
        part = content[split]
        sources = np.asarray(part["source"])
        starts = np.flatnonzero(np.append(True, sources[1:] != sources[:-1]))
        kept = (starts[::10, None] + np.arange(frames)).ravel()
        for key, values in part.items():
            part[key] = [values[i] for i in kept] if isinstance(values, list) else values[kept]
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["liftbench", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, capsys.readouterr().err
        return " ".join(capsys.readouterr().out.split())

    return call


def test_many_stretched_clips_are_a_warning(run, synthetic_file, tmp_path):
    short = shortened(synthetic_file, tmp_path / "short.pkl", 20)
    told = run("data", "info", short)
    assert "stretched: 100.0% of the train clips and 100.0% of the test clips, from takes shorter than 243" in told
    assert LOUD.format(243) in told
    for words in (["train", "recipe.yaml"], ["evaluate", "runs/recipe"]):
        told = run(*words, "--data", short, "--device", "cpu")
        assert "100.0% of the test clips, from takes shorter than 27 frames" in told and LOUD.format(27) in told, words
