import functools

import numpy as np
import pytest
import torch

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.bench import records
from liftbench.bench.measure import meters, scan, timing
from liftbench.bench.measure.scan import cases, contenders, peers
from liftbench.bench.measure.scan.cases import Case
from liftbench.bench.records import readings

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = (Case("length 5", *readings.BY_LENGTH, 5), Case("length 9", *readings.BY_LENGTH, 9))


@pytest.fixture
def tiny(any_machine, monkeypatch):
    """Measure in seconds instead of minutes, whatever other processes do and however far times spread."""
    monkeypatch.setattr(cases, "CASES", TINY)
    monkeypatch.setattr(cases, "GRID_CASES", (Case("grid", 1, 4, 8, 3 * 17),))
    monkeypatch.setattr(cases, "BY_INSTRUCTION_SET", "length 5")
    monkeypatch.setattr(scan, "SAMPLE_S", 0.004)
    monkeypatch.setattr(contenders, "public_scans", lambda: ({}, {"mambapy": "not installed"}))
    monkeypatch.setattr(meters, "bandwidth_gb_per_s", lambda *_: 40.0)
    monkeypatch.setattr(meters, "product_gflop_per_s", lambda *_: 130.0)


def contest(longest_call_s=60.0):
    return scan._contest(torch.device("cpu"), longest_call_s, quick=True)


def plan(scans, case=TINY[0], call="forward", baseline="reference"):
    return scan._Plan("implementations", case, call, baseline, scans, cases.scan_inputs)


def own(*names):
    return {name: functools.partial(kernels.selective_scan, implementation=name) for name in names}


def test_a_run_measures_everything_usable_and_survives_the_round_trip(tiny, tmp_path):
    said = []
    record = scan.measure(quick=True, progress=lambda *what: said.append(what))
    usable = [name for name in kernels.IMPLEMENTATIONS if kernels.unusable(name) is None]
    first = record.comparisons[0]
    assert [timing.name for timing in first.timings] == usable
    assert set(record.absent) == set(kernels.IMPLEMENTATIONS) - set(usable) | {"mambapy"}
    assert all(0 <= record.differences[name] <= contenders.PARITY for name in usable)
    assert first.state_steps == 1 * 4 * 128 * 16 * 5
    assert first.compulsory_bytes == 4 * (3 * 512 * 5 + 2 * 4 * 16 * 5 + 512 * 16 + 2 * 512)
    assert said == [(f"{one.case}, {one.call}", i, len(record.comparisons)) for i, one in enumerate(record.comparisons)]
    for comparison in record.comparisons:
        baseline = next(one for one in comparison.timings if one.name == comparison.baseline)
        for one in comparison.timings:
            medians = [np.median(row) for row in one.samples_ms]
            assert len(medians) == scan.ROUNDS[0]
            assert one.median_ms == pytest.approx(np.median(medians))
            ratios = np.divide([np.median(row) for row in baseline.samples_ms], medians)
            assert one.ratio == pytest.approx(np.median(ratios))
            assert (one.kept_for_backward_mib is None) == (comparison.call == "forward")
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
    monkeypatch.setattr(contenders, "public_scans", lambda: ({"wrong": wrong, "failing": failing}, {}))
    scans, absent, differences = contenders.contenders()
    assert "reference" in scans and not {"wrong", "failing"} & set(scans)
    assert absent["wrong"].startswith("it differs from the oracle by") and differences["wrong"] > contenders.PARITY
    assert absent["failing"] == "it failed with RuntimeError: no such kernel"


def test_nan_is_a_difference():
    nan = contenders.difference(lambda x: x * float("nan"), lambda x: x, [torch.ones(3)], "cpu")
    assert nan == float("inf")


def test_a_failure_while_timing_is_recorded_and_the_others_go_on():
    def failing(*tensors):
        raise torch.OutOfMemoryError("out of memory")

    comparison = scan._compare(contest(), plan(own("reference") | {"failing": failing}))
    reference, failed = comparison.timings
    assert reference.samples_ms and not failed.samples_ms
    assert failed.missing == "it failed with OutOfMemoryError: out of memory"


def test_given_up_contenders_stand_in_the_record_and_ratios_need_the_baseline(any_machine):
    limited = contest(longest_call_s=1e-9)
    assert scan._compare(limited, plan(own("reference"))).timings[0].samples_ms
    comparison = scan._compare(limited, plan(own("reference", "chunked"), TINY[1]))
    reference, chunked = comparison.timings
    assert reference.missing.startswith("too slow: ") and reference.median_ms is None
    assert chunked.samples_ms and chunked.ratio is None


def test_a_busy_machine_is_noticed(monkeypatch):
    monkeypatch.setattr(timing.Share, "so_far", lambda self: 0.5)
    comparison = scan._compare(contest(), plan(own("reference")))
    assert comparison.other_processes_share == 0.5
    assert comparison.timings[0].missing == "too busy: other processes took 50% of the processors"
    assert comparison.timings[0].samples_ms and comparison.timings[0].median_ms is None


def test_what_is_kept_for_the_backward_pass_is_counted_without_the_inputs():
    def square(u, *others):
        return (u.exp() * u) + sum(tensor.sum() for tensor in others)

    inputs = cases.scan_inputs(TINY[0], requires_grad=True)
    kept_mib = scan._kept_mib(functools.partial(contenders.forward_backward, square, inputs), inputs)
    assert kept_mib == pytest.approx(inputs[0].nbytes / 2**20)  # exp(u), and u is an input


def test_sleeping_threads_are_refused_because_they_flatter_the_ratios(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("liftbench.bench.measure.timing.idle_threads_spin", lambda: False)
    with pytest.raises(InputError, match="ratios would mislead. Run again with GOMP_SPINCOUNT=300000"):
        scan.measure()


def test_a_longest_call_must_be_positive():
    with pytest.raises(InputError, match="with 0 seconds: the longest call must take more than 0"):
        scan.measure(longest_call_s=0)


@pytest.mark.parametrize("name", sorted(peers.PUBLIC - {"mamba_ssm"}))
def test_public_scans_agree_with_the_oracle_or_say_why_not(name):
    scans, absent = peers.public_scans()
    if name in absent:
        assert "is not installed" in absent[name] or "cannot be imported" in absent[name]
        pytest.skip(absent[name])
    assert contenders.difference_of_scan(scans[name], "cpu") <= contenders.PARITY
