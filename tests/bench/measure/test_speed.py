import numpy as np
import pytest
import torch

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.bench import records
from liftbench.bench.measure import calls, meters, speed, timing


@pytest.fixture(autouse=True)
def few_batches(one_thread, any_machine, monkeypatch):
    monkeypatch.setattr(speed, "BATCHES", (1, 2, 4))


def measure(name, frames=9, **settings):
    return speed.measure(name, **{"frames": frames, "seconds": 0.4} | settings)


def check(one):
    assert one.p20_ms <= one.median_ms <= one.p80_ms
    assert [one.p20_ms, one.median_ms, one.p80_ms] == np.percentile(one.samples_ms, [20, 50, 80]).tolist()
    assert 3 <= len(one.samples_ms) <= 200


def test_a_record_says_what_was_timed_and_survives_the_round_trip(tmp_path):
    record = measure("lstm", hidden_dim=32)
    assert (record.model, record.frames, record.numbers, record.device) == ("lstm", 9, {"hidden_dim": 32}, "cpu")
    assert record.environment.scan_implementation is None
    assert record.environment.threads == 1
    assert [one.batch for one in record.sweep] == [1, 2, 4][: len(record.sweep)]
    assert record.sweep[0] == record.latency
    for one in record.sweep:
        check(one)
    records.append(tmp_path / "a.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_a_module_of_ones_own_is_timed(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from torch import nn\n\n\ndef build():\n    return nn.Linear(2, 3)\n")
    record = measure(f"{file}:build")
    assert (record.model, record.frames, record.output_frames) == ("mine.py:build", 9, 9)
    assert record.ceilings.macs_per_clip == 9 * 17 * 2 * 3


def test_throughput_is_that_of_the_best_batch():
    record = measure("mlp")
    rates = {one.batch: one.batch / one.median_ms * 1e3 for one in record.sweep}
    assert record.throughput_clips_per_s == max(rates.values()) == rates[record.throughput.batch]
    assert record.throughput_output_frames_per_s == record.throughput_clips_per_s  # a centre-frame model


@pytest.mark.parametrize("implementation", ["chunked", "reference"])
def test_the_scan_that_ran_is_recorded(implementation):
    record = measure("posemamba_toy", depth=1, scan=implementation)
    assert record.environment.scan_implementation == implementation
    assert record.throughput_output_frames_per_s == pytest.approx(9 * record.throughput_clips_per_s)


def test_a_scan_that_is_wrong_is_not_timed(monkeypatch):
    def wrong(u, delta, A, B, C, D, delta_bias):
        return right(u, delta, A * 0.9, B, C, D, delta_bias)

    right = kernels.chunked.selective_scan
    monkeypatch.setattr(kernels.chunked, "selective_scan", wrong)
    with pytest.raises(kernels.ScanUnavailable, match="Cannot time the scan 'chunked': on posemamba_toy it differs"):
        measure("posemamba_toy", depth=1, scan="chunked")


def test_one_input_shape_is_timed_warm():
    called = []
    found = speed._time(lambda: called.append(1), 2, 0.0, meters._NoMeter(OSError()))
    assert len(found.samples_ms) == 3
    assert len(called) == 5  # two warm-ups
    assert found.peak_memory_mib is None


def test_a_forward_pass_runs_in_inference_mode_and_a_training_step_trains():
    assert calls.Timed("mlp", 9).on(2)().is_inference()
    timed = calls.Timed("transformer", 9, call="training step")
    step = timed.on(2)
    before = {name: value.clone() for name, value in timed.model.named_parameters()}
    step()
    assert timed.model.training
    assert all(value.grad is not None for value in timed.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in timed.model.named_parameters())  # learning rate 0


def test_the_share_of_the_product_follows_from_the_macs():
    record = measure("mlp")
    macs = 9 * 34 * 1024 + 1024 * 51
    assert record.ceilings.macs_per_clip == macs
    assert record.ceilings.product_share == pytest.approx(2 * macs * record.throughput_clips_per_s / 100e9)


@pytest.mark.parametrize(
    "settings, setting",
    [
        ({"call": "training step"}, "training step"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "bfloat16", "call": "training step"}, "training step, bfloat16"),
    ],
)
def test_a_record_says_in_which_setting_it_was_timed(settings, setting, tmp_path):
    record = measure("posemamba_toy", depth=1, **settings)
    assert record.setting == setting
    assert 0 < record.difference <= calls.PARITY[record.dtype]
    assert (record.ceilings.product_share is None) == (record.call == "training step")
    records.append(tmp_path / "a.jsonl", record)
    assert records.read(tmp_path) == [record]


@pytest.mark.parametrize("name", ["posemamba_toy", "transformer"])
def test_end_to_end_gives_poses_in_mm(name, synthetic_dataset):
    timed = calls.Timed(name, 27, dataset=synthetic_dataset)
    poses = timed.on(3)()
    assert poses.shape == (3, 1 if name == "transformer" else 27, 17, 3)
    assert not poses[..., 0, :].any()
    assert 10 < np.abs(poses).max() < 1e4
    record = measure(name, 27, dataset=synthetic_dataset)
    assert record.setting == "end to end" and record.data.sha256 == synthetic_dataset.digest
    assert record.data.origin["kind"] == "synthetic"


def test_a_graph_that_answers_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: lambda clips: model(clips) + 1)
    with pytest.raises(kernels.ScanUnavailable, match="Cannot time float32, compile: on mlp it differs from float32"):
        measure("mlp", mode="compile")


def test_wrong_gradients_are_not_timed(monkeypatch):
    def wrong(u, *others):
        return right(u.detach(), *others)

    right = kernels.chunked.selective_scan
    monkeypatch.setattr(kernels.chunked, "selective_scan", wrong)
    settings = {"depth": 1, "scan": "chunked"}
    assert measure("posemamba_toy", **settings)
    with pytest.raises(kernels.ScanUnavailable, match="Cannot time the scan 'chunked'"):
        measure("posemamba_toy", call="training step", **settings)


def test_settings_that_do_not_go_together_are_input_errors(synthetic_dataset):
    with pytest.raises(InputError, match="Cannot capture a CUDA graph: the device is a CPU. Choose eager or compile"):
        measure("mlp", mode="cuda-graph")
    with pytest.raises(InputError, match="of mdtf_tiny: it is trained in 2 stages"):
        measure("mdtf_tiny", call="training step")
    with pytest.raises(InputError, match="Cannot time end to end with these settings: only the forward pass"):
        measure("mlp", dtype="bfloat16", dataset=synthetic_dataset)


def test_nothing_is_reported_where_the_machine_was_too_busy(monkeypatch):
    monkeypatch.setattr(timing, "OTHERS_SHARE", 0.1)
    monkeypatch.setattr(timing.Share, "so_far", lambda self: 0.5)
    with pytest.raises(timing.TooBusy, match="Cannot time mlp: the machine was too busy, other processes took 50%"):
        measure("mlp")


def test_sleeping_threads_are_refused(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(timing, "idle_threads_spin", lambda: False)
    with pytest.raises(InputError, match="GOMP_SPINCOUNT=300000"):
        measure("mlp")


def sweep(medians_ms, seconds=1e6, peak_mib=1.0, free_mib=1e6):
    """Return the batches that a sweep with these median times tries, and why it ends."""

    class Meter:
        def free_mib(self):
            return free_mib

    def sample(batch, budget_s):
        ms = medians_ms[speed.BATCHES.index(batch)]
        return records.Timing(
            batch=batch, samples_ms=[ms], p20_ms=ms, median_ms=ms, p80_ms=ms, peak_memory_mib=batch * peak_mib
        )

    timings, ended_by = speed._sweep(sample, sample(1, 0), seconds, Meter())
    return [one.batch for one in timings], ended_by


def test_the_sweep_ends_where_it_should(monkeypatch):
    monkeypatch.setattr(speed, "BATCHES", (1, 2, 4, 8, 16))
    linear = [10.0] * 5
    assert sweep(linear) == ([1, 2, 4, 8, 16], "largest batch")
    assert sweep([10, 20, 40, 80, 160]) == ([1, 2, 4, 8], "no further gain")
    assert sweep([10, 20, 40, 50, 60]) == ([1, 2, 4, 8, 16], "largest batch"), "batches 2 and 4 gain nothing, 8 does"
    assert sweep([10, 15, 30, 60, 120]) == ([1, 2, 4, 8, 16], "no further gain")
    assert sweep(linear, seconds=0.05) == ([1], "time limit")
    assert sweep(linear, peak_mib=100, free_mib=1000) == ([1, 2, 4], "memory limit")


def test_running_out_of_memory_ends_the_sweep():
    def sample(batch, budget_s):
        raise torch.OutOfMemoryError("out of memory")

    latency = records.Timing(batch=1, samples_ms=[1], p20_ms=1, median_ms=1, p80_ms=1, peak_memory_mib=None)
    assert speed._sweep(sample, latency, 1e6, None) == ([latency], "memory limit")


def test_devices_that_cannot_be_measured_are_input_errors():
    with pytest.raises(InputError, match="Cannot measure on meta: there is no such device. Choose cpu or cuda"):
        measure("mlp", device="meta")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no usable CUDA device"):
            measure("mlp", device="cuda")
