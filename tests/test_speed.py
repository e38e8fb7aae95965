import numpy as np
import pytest
import torch

import kernels
import kernels.chunked
from baselines.errors import InputError
from bench import records, speed


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny operators of several threads wait far longer than they work where other processes are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def measure(name, frames=9, **settings):
    return speed.measure(name, **{"frames": frames, "seconds": 0.4, "batches": (1, 2, 4)} | settings)


def check(timing):
    assert timing.p20_ms <= timing.median_ms <= timing.p80_ms
    assert [timing.p20_ms, timing.median_ms, timing.p80_ms] == np.percentile(timing.samples_ms, [20, 50, 80]).tolist()
    assert 3 <= len(timing.samples_ms) <= 200


def test_a_record_says_what_was_timed_and_survives_the_round_trip(tmp_path):
    said = []
    record = measure("lstm", progress=said.append, hidden_dim=32)
    assert (record.model, record.frames, record.numbers, record.device) == ("lstm", 9, {"hidden_dim": 32}, "cpu")
    assert record.environment.scan_implementation is None
    assert record.environment.threads == 1
    assert [timing.batch for timing in record.sweep] == [1, 2, 4][: len(record.sweep)]
    assert said == [f"lstm: batch {timing.batch}" for timing in record.sweep]
    assert record.sweep[0] == record.latency
    for timing in record.sweep:
        check(timing)
    records.append(tmp_path / "a.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_throughput_is_that_of_the_best_batch():
    record = measure("mlp")
    rates = {timing.batch: timing.batch / timing.median_ms * 1e3 for timing in record.sweep}
    assert record.throughput_clips_per_s == max(rates.values()) == rates[record.throughput.batch]
    assert record.throughput_output_frames_per_s == record.throughput_clips_per_s  # a centre-frame model


@pytest.mark.parametrize("implementation", ["chunked", "reference"])
def test_the_scan_that_ran_is_recorded(implementation):
    record = measure("posemamba_toy", depth=1, scan_implementation=implementation)
    assert record.environment.scan_implementation == implementation
    assert record.throughput_output_frames_per_s == pytest.approx(9 * record.throughput_clips_per_s)


def test_a_scan_that_is_wrong_is_not_timed(monkeypatch):
    def wrong(u, delta, A, B, C, D, delta_bias):
        return right(u, delta, A * 0.9, B, C, D, delta_bias)

    right = kernels.chunked.selective_scan
    monkeypatch.setattr(kernels.chunked, "selective_scan", wrong)
    with pytest.raises(kernels.ScanUnavailable, match="'chunked' is not timed: on posemamba_toy it differs"):
        measure("posemamba_toy", depth=1, scan_implementation="chunked")


def test_one_input_shape_is_timed_warm_and_in_inference_mode(monkeypatch):
    calls = []

    def forward():
        calls.append(torch.is_inference_mode_enabled())

    timing = speed._time(forward, 2, 0.0, speed._NoMeter(OSError()))
    assert len(timing.samples_ms) == 3
    assert len(calls) == 5  # two warm-ups
    assert timing.peak_memory_mib is None


def sweep(medians_ms, batches=(1, 2, 4, 8, 16), seconds=1e6, peak_mib=1.0, free_mib=1e6):
    """The batches that a sweep tries, and why it ends, if their median times are these."""

    class Meter:
        def free_mib(self):
            return free_mib

    def timing(batch, budget_s):
        ms = medians_ms[batches.index(batch)]
        return records.Timing(
            batch=batch, samples_ms=[ms], p20_ms=ms, median_ms=ms, p80_ms=ms, peak_memory_mib=batch * peak_mib
        )

    timings, ended_by = speed._sweep(timing, timing(1, 0), batches, seconds, Meter())
    return [timing.batch for timing in timings], ended_by


def test_the_sweep_ends_where_it_should():
    linear = [10.0] * 5
    assert sweep(linear) == ([1, 2, 4, 8, 16], "largest batch")
    assert sweep([10, 20, 40, 80, 160]) == ([1, 2, 4], "no further gain")
    assert sweep([10, 20, 30, 60, 120]) == ([1, 2, 4, 8, 16], "no further gain")
    assert sweep(linear, seconds=0.05) == ([1], "time limit")
    assert sweep(linear, peak_mib=100, free_mib=1000) == ([1, 2, 4], "memory limit")


def test_running_out_of_memory_ends_the_sweep():
    def timing(batch, budget_s):
        raise torch.OutOfMemoryError("out of memory")

    latency = records.Timing(batch=1, samples_ms=[1], p20_ms=1, median_ms=1, p80_ms=1, peak_memory_mib=None)
    assert speed._sweep(timing, latency, (1, 2), 1e6, None) == ([latency], "memory limit")


def test_peak_memory_is_that_of_the_call():
    meter = speed._meter(torch.device("cpu"))
    if isinstance(meter, speed._NoMeter):
        pytest.skip(meter.method)

    def forward(mib):
        return torch.ones(mib, 2**18)

    for mib in (64, 256, 64):
        assert meter.peak_mib(lambda mib=mib: forward(mib)) == pytest.approx(mib, abs=8)


def test_memory_that_cannot_be_measured_is_missing_with_a_reason(monkeypatch):
    def refused(*arguments):
        raise PermissionError("refused")

    monkeypatch.setattr(speed.Path, "write_text", refused)
    meter = speed._meter(torch.device("cpu"))
    assert meter.peak_mib(lambda: None) is None
    assert meter.method.startswith("not measured: ") and "refused" in meter.method


def test_devices_that_cannot_be_measured_are_input_errors():
    with pytest.raises(InputError, match="on cpu or cuda, not on meta"):
        measure("mlp", device="meta")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no usable CUDA device"):
            measure("mlp", device="cuda")
