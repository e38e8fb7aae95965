"""Training in front of a person: what a terminal shows, what a log keeps, and what Ctrl-C says."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from liftbench.bench import cli
from support import in_child

RECIPE = "base: toy/mlp\nframes: 9\nstride: 10\nepochs: 40\ntest_stride: 10\n"


@pytest.fixture
def words(tmp_path, synthetic_file):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return [
        "train", tmp_path / "recipe.yaml", "--data", synthetic_file, "--run", tmp_path / "run", "--device", "cpu",
        "--records", tmp_path / "records", "--checkpoint-minutes", "0",
    ]  # fmt: skip


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(words, tmp_path):
    """Send a real SIGINT, in the third of 40 epochs or later."""
    log, told = tmp_path / "run/log.csv", tmp_path / "told"
    child = in_child.start(in_child.command_line, words, told)
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) > 2)
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    assert child.exitcode == 130
    lines = told.read_text().splitlines()
    kept = re.search(r"^interrupted: .*run keeps (\d+) of 40 epochs.*; go on with --resume$", lines[-1])
    assert kept and "Traceback" not in told.read_text()
    assert 2 <= int(kept[1]) < 40
    done = (int(kept[1]) - 1, int(kept[1]))  # the checkpoint is written before the log and the line
    assert len(pd.read_csv(log)) in done
    line = r"epoch \d+ of 40: loss 0\.\d+, test MPJPE [\d.]+ mm .1 of 10 clips., \d+ s, 0:\d\d:\d\d elapsed"
    epochs = [told for told in lines if re.fullmatch(line, told)]
    assert len(epochs) in done, "not a terminal: a line per epoch"

    told = tmp_path / "told again"
    child = in_child.start(in_child.command_line, [*words, "--resume"], told)
    wait_for(lambda: told.exists() and "elapsed" in told.read_text())
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    again = re.findall(r"^epoch (\d+) of 40: ", told.read_text(), re.MULTILINE)
    assert int(again[0]) == int(kept[1]) + 1


SLOW_MODEL = """
import time
from pathlib import Path
from torch import nn


class Slow(nn.Linear):
    def forward(self, keypoints):
        Path(__file__).with_name("begun").touch()
        time.sleep(0.5)  # 50 s for the whole of the test split
        return super().forward(keypoints)


def build():
    return Slow(2, 3)
"""


def test_ctrl_c_while_it_evaluates(tmp_path, synthetic_file):
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "slow.bin")
    words = ["evaluate", tmp_path / "slow.bin", "--model", tmp_path / "slow.py:build", "--frames", 9, "--device", "cpu"]
    told = tmp_path / "told"
    records = tmp_path / "records"
    child = in_child.start(in_child.command_line, [*words, "--data", synthetic_file, "--records", records], told)
    wait_for(lambda: (tmp_path / "begun").exists())
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    assert child.exitcode == 130, told.read_text()
    *before, last = told.read_text().splitlines()
    assert last == "interrupted: files that were written are complete; start the same command again"
    assert "Traceback" not in before and not records.exists()


def test_ctrl_c_while_the_command_is_imported(tmp_path):
    """Typer's import is the first one that takes time; here another one takes its place and 60 s."""
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    starting = subprocess.Popen(
        [sys.executable, "-m", "liftbench", "models"], env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    )  # fmt: skip
    assert starting.stdout.readline() == "importing\n"
    starting.send_signal(signal.SIGINT)
    _, told = starting.communicate(timeout=30)
    assert starting.returncode == 130
    assert told == "interrupted: nothing has begun; start the same command again\n"


def test_ctrl_c_while_the_command_line_is_read(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.core.TyperGroup.make_context", interrupted)
    monkeypatch.setattr(sys, "argv", ["liftbench", "models"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err.startswith("interrupted: ")


def test_a_terminal_shows_a_bar_with_a_rate(words):
    parent, terminal = pty.openpty()
    child = in_child.start(in_child.command_line, words, os.ttyname(terminal))
    shown = b""
    until = time.monotonic() + 120
    while not re.search(rb"epoch \d+ of 40 .*\d/s", shown):
        assert time.monotonic() < until, shown
        shown += os.read(parent, 1 << 16)
    assert b"loading PyTorch" in shown
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    os.close(parent)
    os.close(terminal)
