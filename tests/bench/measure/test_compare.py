import dataclasses

import numpy as np
import pytest

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import MODELS
from liftbench.bench import records
from liftbench.bench.measure import compare, timing
from liftbench.lstm_transformer import MLP


@pytest.fixture(autouse=True)
def short_rounds(one_thread, any_machine, monkeypatch):
    monkeypatch.setattr(compare, "ROUND_S", 0.005)


class Slow(MLP):
    """Does the same work three times."""

    def forward(self, keypoints):
        for _ in range(3):
            poses = super().forward(keypoints)
        return poses


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setitem(MODELS, "slow", dataclasses.replace(MODELS["mlp"], builder=Slow))


def test_a_slow_model_is_caught(slow, tmp_path):
    record = compare.measure("slow:243", "mlp:243", batch=8, seconds=0.5)
    assert 1 < record.ratio_low <= record.ratio <= record.ratio_high
    assert 2 < record.ratio < 4
    assert len(record.first.samples_ms) == len(record.second.samples_ms) >= compare.ROUNDS[0]
    records.append(tmp_path / "a.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_two_kernels_of_one_model_are_compared_after_their_parity_check():
    record = compare.measure("posemamba_toy@reference:3", "posemamba_toy@chunked:3", seconds=0.1)
    assert (record.first.scan_implementation, record.second.scan_implementation) == ("reference", "chunked")
    assert record.first.difference == 0
    assert record.environment.scan_implementation is None


def test_a_contender_that_is_wrong_is_not_timed(monkeypatch):
    def wrong(u, delta, A, *others):
        return right(u, delta, A * 0.9, *others)

    right = kernels.chunked.selective_scan
    monkeypatch.setattr(kernels.chunked, "selective_scan", wrong)
    with pytest.raises(kernels.ScanUnavailable, match="Cannot time the scan 'chunked'"):
        compare.measure("mlp:3", "posemamba_toy@chunked:3", seconds=0.1)


def test_a_busy_machine_is_refused(monkeypatch):
    monkeypatch.setattr(timing, "OTHERS_SHARE", 0.1)
    monkeypatch.setattr(timing.Share, "so_far", lambda self: 0.5)
    with pytest.raises(timing.TooBusy, match="Cannot compare mlp:9 with mlp:3: the machine was too busy, other"):
        compare.measure("mlp:9", "mlp:3", seconds=0.1)


def test_the_interval_holds_the_ratio_and_narrows_with_the_rounds():
    draw = np.random.default_rng(1)

    def interval(rounds):
        drift = np.linspace(1, 3, rounds)  # the machine drifts for both
        first, second = (drift * scale * draw.lognormal(0, 0.1, rounds) for scale in (3.0, 2.0))
        return compare.ratio_of_medians(first, second)

    ratio, low, high = interval(400)
    assert low < 1.5 < high and low <= ratio <= high
    few = interval(10)
    assert few[2] - few[1] > 2 * (high - low)
    assert compare.ratio_of_medians([2.0] * 7, [1.0] * 7) == (2, 2, 2)


def test_contenders_are_written_with_settings_and_frames():
    assert compare.parse("posemamba_s") == ("posemamba_s", {})
    assert compare.parse("lstm:81") == ("lstm", {"frames": 81})
    assert compare.parse("a@cpu+compile+bfloat16:9") == (
        "a", {"frames": 9, "scan": "cpu", "mode": "compile", "dtype": "bfloat16"}
    )  # fmt: skip


def test_a_contender_may_be_a_function_of_a_file(tmp_path):
    assert compare.parse("a/b.py:build") == ("a/b.py:build", {})
    assert compare.parse("a/b.py:build@bfloat16:9") == ("a/b.py:build", {"frames": 9, "dtype": "bfloat16"})
    file = tmp_path / "mine.py"
    file.write_text("from torch import nn\n\n\ndef build():\n    return nn.Linear(2, 3)\n")
    record = compare.measure("mlp:9", f"{file}:build:9", seconds=0.1)
    assert (record.second.model, record.second.frames) == ("mine.py:build", 9)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("lstm:", "Cannot read the contender 'lstm:': it does not follow NAME"),
        ("lstm@fast", "the contender 'lstm@fast': 'fast' is not a setting. Known are cpu, gpu"),
        ("lstm@cpu", "Cannot run lstm by the scan 'cpu': the model has no scan"),
        ("lstn", "Did you mean lstm"),
        ("lstm@float32+bfloat16", "has both float32 and bfloat16. Leave one out"),
        ("lstm:0", "0 is not a number of frames"),
    ],
)
def test_contenders_that_cannot_be_read_are_input_errors(text, sentence):
    with pytest.raises(InputError, match=sentence):
        compare.measure(text, "mlp", seconds=0.1)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_comparison_needs_time(seconds):
    with pytest.raises(InputError, match="must take more than 0 seconds"):
        compare.measure("mlp:9", "mlp:9", seconds=seconds)
