import pytest
import torch

from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import entry
from liftbench.bench import records
from liftbench.bench.measure import scaling, timing
from liftbench.bench.records import readings

MODELS = ("posemamba_toy", "transformer")


@pytest.fixture(autouse=True)
def small_sizes(one_thread, any_machine, monkeypatch):
    monkeypatch.setattr(scaling, "MODELS", MODELS)
    monkeypatch.setattr(scaling, "FRAMES", (3, 9, 27))
    monkeypatch.setattr(scaling, "BATCHES", (1, 3, 2))
    monkeypatch.setattr(scaling, "BATCH_FRAMES", 3)
    monkeypatch.setattr(scaling, "DEPTHS", (1, 3, 2))
    monkeypatch.setattr(scaling, "DEPTH_FRAMES", 3)


def test_every_model_is_measured_at_every_place(tmp_path):
    said = []
    record = scaling.measure(quick=True, progress=lambda *what: said.append(what))
    assert said[0] == ("frames 3", 0, 7) and len(said) == 7
    assert len(record.points) == 7 * len(MODELS)
    for point in record.points:
        assert len(point.samples_ms) == 3 and point.p20_ms <= point.median_ms <= point.p80_ms
    assert record.parameters["transformer"] == 1_603_379
    macs = {(point.axis, point.model, getattr(point, point.axis)): point.macs for point in record.points}
    assert macs["batch", "transformer", 2] == 2 * macs["batch", "transformer", 1]
    layer = 3 * (4 * 256**2 + 2 * 256 * 512) + 2 * 3 * 3 * 256  # of 3 frames: projections, MLP; scores and their use
    assert macs["depth", "transformer", 2] - macs["depth", "transformer", 1] == layer
    registered = {point.model: point.depth for point in record.points if point.axis == "frames"}
    assert registered == {"posemamba_toy": 2, "transformer": 3}
    records.append(tmp_path / "a.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_a_model_of_the_users_is_measured_beside_attention(tmp_path):
    (tmp_path / "net.py").write_text(
        """
import torch

class Net(torch.nn.Module):
    def __init__(self, frames=9):
        super().__init__()
        self.frames, self.last = frames, torch.nn.Linear(2, 3)

    def forward(self, x):
        if self.frames > 9:
            raise KeyError("too long")
        return self.last(x)

class Curious(torch.nn.Linear):
    def __init__(self, frames=9):
        super().__init__(2, 3)

    def forward(self, x):
        return super().forward(x) + (1 if x.sum().item() > 0 else 2)
"""
    )
    record = scaling.measure([f"{tmp_path}/net.py:Net", f"{tmp_path}/net.py:Curious"], quick=True)
    assert list(record.parameters) == ["net.py:Net", "net.py:Curious", "transformer"]
    own = [point for point in record.points if point.model == "net.py:Net"]
    assert {point.axis for point in own} == {"frames", "batch"} and {point.depth for point in own} == {None}
    assert [bool(point.samples_ms) for point in own] == [True, True, False, True, True]
    assert own[2].missing.startswith("it failed: Cannot run net.py:Net") and "(line 11)" in own[2].missing
    assert [point.macs for point in own] == [3 * 17 * 6, 9 * 17 * 6, None, 3 * 17 * 6, 2 * 3 * 17 * 6]
    curious = [point for point in record.points if point.model == "net.py:Curious"]
    assert all(point.samples_ms and point.macs is None for point in curious), "its numbers decide what it does"


def test_what_would_take_too_long_is_given_up_but_counted():
    record = scaling.measure(quick=True, longest_call_s=1e-6)
    last = [point for point in record.points if point.axis == "frames" and point.frames == 27]
    assert all(point.missing.startswith("too slow: ") and point.macs and not point.samples_ms for point in last)
    assert readings.series(record, "frames", "median_ms")["transformer"][0][0] == 3


def test_times_of_a_busy_machine_are_refused(monkeypatch):
    monkeypatch.setattr(timing, "OTHERS_SHARE", 0.1)
    monkeypatch.setattr(timing.Share, "so_far", lambda self: 0.5)
    contest = scaling._contest(torch.device("cpu"), 60.0, quick=True)
    points = scaling._measure(contest, scaling._Place("frames", 3, 3, 1, None), {"mlp": entry("mlp")})
    assert all(point.missing == "too busy: other processes took 50% of the processors" for point in points)
    assert all(point.median_ms is None and point.samples_ms for point in points)


def test_exponents_are_those_of_the_last_points():
    quadratic = [(x, 5.0 + 0.1 * x**2) for x in (1, 10, 100, 1000, 10_000)]
    assert readings.exponent(quadratic) == pytest.approx(2, abs=0.02)
    assert readings.exponent([(x, 3.0 * x) for x in (27, 81, 243)]) == pytest.approx(1)
    assert readings.exponent(quadratic[:2]) is None


def test_models_without_a_common_length_are_not_compared():
    record = scaling.measure(quick=True)
    record.points[:] = [one.model_copy(update={"samples_ms": [], "median_ms": None}) for one in record.points]
    (sentence,) = scaling.crossovers(record)
    assert sentence.endswith("time unknown, as no length was measured for both.") and "MACs not up to 27" in sentence


def test_the_crossover_is_where_both_are_equal():
    lengths = (10, 100, 1000, 10_000)
    linear, quadratic = [(x, 50.0 * x) for x in lengths], [(x, 0.1 * x**2) for x in lengths]
    assert readings.crossover(linear, quadratic) == pytest.approx(500)
    assert readings.crossover(linear[:2], quadratic) is None
    assert readings.crossover([], quadratic) is None


def test_a_longest_call_must_be_positive():
    with pytest.raises(InputError, match="with 0 seconds: the longest call must take more than 0 seconds"):
        scaling.measure(longest_call_s=0)
