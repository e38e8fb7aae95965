"""The engine of all timings: turns, limits, refusals, the meters."""

import functools
import os
import subprocess
import sys

import pytest
import torch

from liftbench.bench.measure import meters, timing
from liftbench.bench.records import readings

pytestmark = pytest.mark.usefixtures("one_thread")


def test_contenders_take_turns_and_change_ends():
    turns, quick = [], meters._NoMeter(OSError())
    two = {name: (lambda name=name: turns.append(name), 1.0) for name in "ab"}
    samples = timing.in_turn(two, 3, 0.1, quick)
    assert "".join(turns) == "abbaab"
    assert [[len(row) for row in rows] for rows in samples.values()] == [[1, 1, 1], [1, 1, 1]]


def test_a_round_has_so_many_calls_as_fit_after_one_to_warm_up():
    calls, quick = [], meters._NoMeter(OSError())
    call = {"a": (lambda: calls.append("a"), 0.01)}
    assert [len(row) for row in timing.in_turn(call, 1, 0.1, quick)["a"]] == [10] and len(calls) == 11
    assert [len(row) for row in timing.in_turn(call, 1, 0.1, quick, most_calls=3)["a"]] == [3]


STEADY, WILD = [1.0, 1.1, 1.2], [1.0, 2.0, 9.0]


@pytest.mark.parametrize(
    "device, share, samples, reason",
    [
        ("cpu", 0.05, [STEADY, STEADY], None),
        ("cpu", None, [STEADY], None),
        ("cpu", 0.3, [STEADY], "other processes took 30% of the processors"),
        ("cuda", 0.3, [STEADY], None),
        ("cpu", 0.0, [STEADY, WILD], "p80 - p20 is 240% of the median"),
    ],
)
def test_times_of_a_busy_machine_are_refused(monkeypatch, device, share, samples, reason):
    monkeypatch.setattr(timing, "OTHERS_SHARE", 0.1)
    monkeypatch.setattr(timing, "SPREAD", 0.5)
    assert timing.why_refused(torch.device(device), share, *samples) == reason


STEADY_ROUNDS, WILD_ROUNDS = [[1.0, 1.1, 9.0], [1.1, 1.1], [1.2]], [[1.0], [2.0], [9.0]]


def test_percentiles_and_ratios_are_those_of_the_rounds_medians():
    outcome = timing.Outcome(STEADY_ROUNDS)
    assert outcome.fields["median_ms"] == pytest.approx(1.1) and outcome.fields["samples_ms"] == STEADY_ROUNDS
    assert readings.ratio([[11.0], [13.0], [12.0]], STEADY_ROUNDS) == pytest.approx(10)  # of 10, 11.8 and 10


def test_a_refused_outcome_keeps_its_samples_and_says_why():
    outcome = timing.Outcome(WILD_ROUNDS, missing="too busy: others")
    assert outcome.fields == {"samples_ms": WILD_ROUNDS, "missing": "too busy: others"}


def contest(longest_call_s=60.0):
    return timing.Contest(torch.device("cpu"), longest_call_s, (3, 3), 0.001)


def test_contenders_meet_and_what_fails_or_spreads_is_missing_with_a_reason(any_machine):
    def fails():
        raise torch.OutOfMemoryError("out of memory\nmore")

    outcomes, _ = contest().meet({"a": lambda: lambda: None, "made": fails, "called": lambda: fails}, timing.Size(1, 1))
    assert len(outcomes["a"].rounds_ms) == 3 and outcomes["a"].missing is None
    for name in ("made", "called"):
        assert outcomes[name].missing == "it failed with OutOfMemoryError: out of memory"
        assert outcomes[name].rounds_ms == []


def test_what_would_take_too_long_or_too_much_memory_is_given_up():
    limited, key, long = contest(longest_call_s=10), ("scan", "a"), timing.Size(1000, 1000)
    assert limited.too_much(key, long) is None  # nothing is known yet
    hundred = timing.Size(100, 100)
    limited.taken[key] = [timing._Taken(hundred, 0.9, 1.0)]
    assert limited.too_much(key, long) is None  # 9 s
    limited.taken[key] = [timing._Taken(timing.Size(10, 10), 0.03, 0.1), timing._Taken(hundred, 0.9, 1.0)]
    reason = limited.too_much(key, long)  # thirty times for ten times the length
    assert reason == "too slow: a call would take about 27 s, 10 s are allowed"
    limited.taken[key] = [timing._Taken(hundred, 0.1, 1e9)]
    assert limited.too_much(key, long).startswith("too large: a call would take about 9.8e+06 GiB")


def expected(points, x):
    return timing._expected([(timing.Size(at, at), value) for at, value in points], timing.Size(x, x))


def test_extrapolation_follows_the_last_two_points():
    assert expected([(10, 1.0)], 30) == pytest.approx(3)
    assert expected([(10, 1.0), (100, 100.0)], 1000) == pytest.approx(10_000)
    assert expected([(10, 1.0), (100, 1.0)], 1000) == pytest.approx(10)  # overheads do not last


@pytest.mark.parametrize("spin_count, spin", [("0", False), ("300000", True)])
def test_whether_idle_threads_spin_is_observed(spin_count, spin):
    code = (
        "import torch; torch.set_num_threads(2); from liftbench.bench.measure import timing; "
        "print(timing.idle_threads_spin())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"GOMP_SPINCOUNT": spin_count}, capture_output=True, text=True
    )
    if spin and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("libgomp hardly spins where threads outnumber processors")
    assert done.stdout.strip() == str(spin), done.stderr


def test_ceilings_are_measured(monkeypatch):
    small = functools.partial(meters.product_gflop_per_s, size=256)
    monkeypatch.setattr(meters, "product_gflop_per_s", small)
    found = meters.ceilings.__wrapped__(torch.device("cpu"))
    assert found.keys() == {"bandwidth_gb_per_s", "product_gflop_per_s"} and 0.1 < min(found.values())


def test_peak_memory_is_that_of_the_call():
    meter = meters.meter(torch.device("cpu"))
    if isinstance(meter, meters._NoMeter):
        pytest.skip(meter.method)

    def forward(mib):
        return torch.ones(mib, 2**18)

    for mib in (64, 256, 64):
        assert meter.peak_mib(lambda mib=mib: forward(mib)) == pytest.approx(mib, abs=8)


def test_memory_that_cannot_be_measured_is_missing_with_a_reason(monkeypatch):
    def refused(*arguments):
        raise PermissionError("refused")

    monkeypatch.setattr(meters.Path, "write_text", refused)
    meter = meters.meter(torch.device("cpu"))
    assert meter.peak_mib(lambda: None) is None
    assert meter.method.startswith("not measured: ") and "refused" in meter.method
