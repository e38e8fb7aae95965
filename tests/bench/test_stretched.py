"""Takes shorter than a clip: every command that reads clips says how many are stretched, loudly above a tenth."""

import pickle

import numpy as np

from support import command

RECIPE = """
base: toy/posemamba_toy
numbers: {embed_dim: 8, depth: 1}
frames: 27
stride: 9
epochs: 1
"""
LOUD = "WARNING: many clips of {} frames are stretched takes, so these motions are slower than real ones."


def shortened(synthetic_file, path, frames):
    """The data file with only the first frames of every tenth take."""
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


def test_many_stretched_clips_are_a_warning(synthetic_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    short = shortened(synthetic_file, tmp_path / "short.pkl", 20)
    for words, splits, frames in (
        (["data", "info", short], "100.0% of the train clips and 100.0% of the test clips", 243),
        (["train", "recipe.yaml", "--data", short, "--device", "cpu"], "and 100.0% of the test clips", 27),
        (["evaluate", "runs/recipe", "--data", short, "--device", "cpu"], "stretched: 100.0% of the test clips", 27),
    ):
        code, out, err = command.run(monkeypatch, capsys, *words)
        told = " ".join(out.split())
        assert code == 0 and f"{splits}, from takes shorter than {frames} frames" in told, err
        assert LOUD.format(frames) in told, words
