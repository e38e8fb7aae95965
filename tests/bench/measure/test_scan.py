import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.bench import records
from liftbench.bench.measure import peers, scan

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = (scan.Case("length 5", *scan.BY_LENGTH, 5), scan.Case("length 9", *scan.BY_LENGTH, 9))


@pytest.fixture
def tiny(monkeypatch):
    """Seconds instead of minutes; other processes and spread may be what they are."""
    monkeypatch.setattr(scan, "CASES", TINY)
    monkeypatch.setattr(scan, "GRID_CASES", (scan.Case("grid", 1, 4, 8, 3 * 17),))
    monkeypatch.setattr(scan, "BY_INSTRUCTION_SET", "length 5")
    monkeypatch.setattr(scan, "SAMPLE_S", 0.004)
    monkeypatch.setattr(scan, "OTHERS_SHARE", float("inf"))
    monkeypatch.setattr(scan, "SPREAD", 1e6)
    monkeypatch.setattr(scan, "public_scans", lambda: ({}, {"mambapy": "not installed"}))
    monkeypatch.setattr(scan, "bandwidth_gb_per_s", lambda *_: 40.0)
    monkeypatch.setattr(scan, "product_gflop_per_s", lambda *_: 130.0)


def run(longest_call_s=60.0, device="cpu"):
    return scan._Run(torch.device(device), longest_call_s, quick=True)


def plan(scans, case=TINY[0], call="forward", baseline="reference"):
    return scan._Plan("implementations", case, call, baseline, scans, scan.scan_inputs)


def own(*names):
    return {name: functools.partial(kernels.selective_scan, implementation=name) for name in names}


def test_a_run_measures_everything_usable_and_survives_the_round_trip(tiny, tmp_path):
    said = []
    record = scan.measure(quick=True, progress=lambda *what: said.append(what))
    usable = [name for name in kernels.IMPLEMENTATIONS if kernels.unusable(name) is None]
    first = record.comparisons[0]
    assert [timing.name for timing in first.timings] == usable
    assert set(record.absent) == set(kernels.IMPLEMENTATIONS) - set(usable) | {"mambapy"}
    assert all(0 <= record.differences[name] <= scan.PARITY for name in usable)
    assert first.state_steps == 1 * 4 * 128 * 16 * 5
    assert first.compulsory_bytes == 4 * (3 * 512 * 5 + 2 * 4 * 16 * 5 + 512 * 16 + 2 * 512)
    assert said[1:] == [
        (f"{one.case}, {one.call}", i, len(record.comparisons)) for i, one in enumerate(record.comparisons)
    ]
    for comparison in record.comparisons:
        baseline = next(timing for timing in comparison.timings if timing.name == comparison.baseline)
        for timing in comparison.timings:
            medians = [np.median(row) for row in timing.samples_ms]
            assert len(medians) == scan.ROUNDS[0]
            assert timing.median_ms == pytest.approx(np.median(medians))
            ratios = np.divide([np.median(row) for row in baseline.samples_ms], medians)
            assert timing.ratio == pytest.approx(np.median(ratios))
            assert (timing.kept_for_backward_mib is None) == (comparison.call == "forward")
    if "cpu" in usable:
        kinds = {comparison.comparison for comparison in record.comparisons}
        assert kinds == {"implementations", "instruction sets", "grid"}
    records.append(tmp_path / "scan.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_a_contender_that_is_wrong_is_not_timed(tiny, monkeypatch):
    def wrong(u, delta, A, B, C, D, delta_bias):
        return right(u, delta, A * 0.999, B, C, D, delta_bias)

    def failing(*tensors):
        raise RuntimeError("no such kernel\nmore")

    right = kernels.reference.selective_scan
    monkeypatch.setattr(scan, "public_scans", lambda: ({"wrong": wrong, "failing": failing}, {}))
    scans, absent, differences = scan.contenders()
    assert "reference" in scans and not {"wrong", "failing"} & set(scans)
    assert absent["wrong"].startswith("it differs from the oracle by") and differences["wrong"] > scan.PARITY
    assert absent["failing"] == "it failed with RuntimeError: no such kernel"


def test_nan_is_a_difference():
    nan = scan._difference(lambda x: x * float("nan"), lambda x: x, [torch.ones(3)], "cpu")
    assert nan == float("inf")


def test_a_failure_while_timing_is_recorded_and_the_others_go_on():
    def failing(*tensors):
        raise torch.OutOfMemoryError("out of memory")

    comparison = run().compare(plan(own("reference") | {"failing": failing}))
    reference, failed = comparison.timings
    assert reference.samples_ms and not failed.samples_ms
    assert failed.missing == "it failed with OutOfMemoryError: out of memory"


def test_what_would_take_too_long_or_too_much_memory_is_given_up():
    limited, key = run(longest_call_s=10), ("implementations", "forward", "a")
    short, long = scan.Case("", 1, 1, 1, 100), scan.Case("", 1, 1, 1, 1000)
    assert limited.too_much(key, long) is None  # nothing is known yet
    limited.taken[key] = [scan._Taken(short.steps, 100, 0.9, 1.0)]
    assert limited.too_much(key, long) is None  # 9 s
    limited.taken[key] = [scan._Taken(short.steps // 10, 10, 0.03, 0.1), scan._Taken(short.steps, 100, 0.9, 1.0)]
    reason = limited.too_much(key, long)  # thirty times per tenfold length
    assert reason == "too slow: a call would take about 27 s, 10 s are allowed"
    limited.taken[key] = [scan._Taken(short.steps, 100, 0.1, 1e9)]
    assert limited.too_much(key, long).startswith("too large: a call would take about 9.8e+06 GiB")


def test_given_up_contenders_stand_in_the_record_and_ratios_need_the_baseline():
    limited = run(longest_call_s=1e-9)
    assert limited.compare(plan(own("reference"))).timings[0].samples_ms
    comparison = limited.compare(plan(own("reference", "chunked"), TINY[1]))
    reference, chunked = comparison.timings
    assert reference.missing.startswith("too slow: ") and reference.median_ms is None
    assert chunked.samples_ms and chunked.ratio is None


def test_contenders_take_turns():
    turns = []

    def contender(name):
        def call(*tensors):
            turns.append(name)
            return tensors[0]

        return call

    limited = run()
    limited.sample_s = 0  # one call a turn
    limited.compare(plan({name: contender(name) for name in "abc"}, baseline="a"))
    assert "".join(turns) == "abc" * (1 + scan.ROUNDS[0])


STEADY, WILD = [[1.0, 1.1, 9.0], [1.1, 1.1], [1.2]], [[1.0], [2.0], [9.0]]


def test_times_that_spread_too_far_or_of_a_busy_machine_are_refused():
    fields = scan.evaluated(STEADY, [[11.0], [13.0], [12.0]], None)
    assert fields["median_ms"] == pytest.approx(1.1)
    assert fields["ratio"] == pytest.approx(10)  # of 10, 11.8 and 10
    assert scan.evaluated(STEADY, WILD, None).keys() == {"samples_ms", "p20_ms", "median_ms", "p80_ms"}
    wild = scan.evaluated(WILD, STEADY, None)
    assert wild == {"samples_ms": WILD, "missing": "too busy: p80 - p20 is 240% of the median"}
    busy = scan.evaluated(STEADY, STEADY, "too busy: others")
    assert busy == {"samples_ms": STEADY, "missing": "too busy: others"}


def test_a_busy_machine_is_noticed(monkeypatch):
    monkeypatch.setattr(scan.Share, "so_far", lambda self: 0.5)
    comparison = run().compare(plan(own("reference")))
    assert comparison.other_processes_share == 0.5
    assert comparison.timings[0].missing == "too busy: other processes took 50% of the processors"
    assert comparison.timings[0].samples_ms and comparison.timings[0].median_ms is None


def test_what_is_kept_for_the_backward_pass_is_counted_without_the_inputs():
    def square(u, *others):
        return (u.exp() * u) + sum(tensor.sum() for tensor in others)

    _, memory = run().first_call(
        functools.partial(scan.forward_backward, square, inputs := scan.scan_inputs(TINY[0], requires_grad=True)),
        inputs,
    )
    assert memory["kept_for_backward_mib"] == pytest.approx(inputs[0].nbytes / 2**20)  # exp(u), and u is an input


def test_sleeping_threads_are_refused_because_they_flatter_the_ratios(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("liftbench.bench.measure.timing.idle_threads_spin", lambda: False)
    with pytest.raises(InputError, match="ratios would mislead; run again with GOMP_SPINCOUNT=300000"):
        scan.measure()


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


def test_a_longest_call_must_be_positive():
    with pytest.raises(InputError, match="must take more than 0 seconds, not 0"):
        scan.measure(longest_call_s=0)


@pytest.mark.parametrize("name", sorted(peers.PUBLIC - {"mamba_ssm"}))
def test_public_scans_agree_with_the_oracle_or_say_why_not(name):
    scans, absent = peers.public_scans()
    if name in absent:
        assert "is not installed" in absent[name] or "cannot be imported" in absent[name]
        pytest.skip(absent[name])
    assert scan._difference_of_scan(scans[name], "cpu") <= scan.PARITY
