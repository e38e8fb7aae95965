"""Training in front of a person: what a terminal shows, what a log keeps, and what Ctrl-C says."""

import os
import pty
import re
import signal
import time

import pandas as pd
import pytest

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
    """A real SIGINT, in the third of 40 epochs or later."""
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
