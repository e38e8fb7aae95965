"""Measure how fast a model is: latency (one clip) and throughput (the best batch), separately.

`bench.measure.calls` says what is timed and what is checked before. Every batch size is warmed up first and
synchronised around each sample. The number of threads is left unchanged and recorded; idle threads spin, which is
PyTorch's default. All samples are kept; throughput follows from the median. Times are refused if they spread too far or
if other processes had a share of the processors (`bench.measure.timing`).

The record also holds two ceilings of the machine, measured in the same process: bandwidth, and the operations of a
matrix product in the same precision. A forward pass counts two operations per MAC of `bench.measure.cost`, contractions
and scans; product_share is the share of the product's rate that they reach at the best batch.
"""

import time
from collections.abc import Callable

import torch

from liftbench.baselines.data.dataset import Dataset
from liftbench.bench.measure import meters, timing
from liftbench.bench.measure.calls import FORWARD, Timed, macs_per_clip
from liftbench.bench.records import Ceilings, SpeedRecord, TimedData, Timing, environment

BATCHES = tuple(2**k for k in range(11))  # the sweep ends earlier if time, memory or gain run out
_SAMPLES = (3, 200)  # the fewest and the most for one batch size
_WORTHWHILE = 1.03  # one of three larger batches must raise the throughput by this factor, or the sweep ends


def measure(
    name: str, frames: int | None = None, device: str | torch.device = "cpu", seconds: float = 10.0, **settings
) -> SpeedRecord:
    """Time a model on clips of `frames` frames (default: as published).

    name: a registered model, or `path/to/file.py:build`. seconds: the time to aim at, half of it for the latency; a
    slow model takes as long as its fewest samples need. settings: those of `bench.measure.calls.Timed`.

    Raises InputError and `kernels.ScanUnavailable` as `Timed` does, InputError for an unusable device and for idle
    threads that sleep, and `timing.TooBusy` for times that must not be used.
    """
    timing.check_seconds(seconds, "each model")
    device = timing.ready_device(device)
    timed = Timed(name, frames, device, **settings)
    meter, share = meters.meter(device), timing.Share()

    def sample(batch: int, budget_s: float) -> Timing:
        return _time(timed.on(batch), batch, budget_s, meter)

    latency = sample(1, seconds / 2)
    sweep, ended_by = _sweep(sample, latency, seconds / 2, meter)
    best, share = max(sweep, key=_clips_per_s), share.so_far()
    if reason := timing.why_refused(device, share, latency.samples_ms, best.samples_ms):
        raise timing.TooBusy(f"Cannot time {name}: the machine was too busy, {reason}. Measure again when it is idle.")
    output_frames = 1 if timed.registered.output == "centre" else timed.frames
    return SpeedRecord(
        **environment.stamp(device, timed.scan),
        **timed.facts,
        device=device.type,
        data=_data(timed.dataset),
        clock=meter.clock,
        other_processes_share=share,
        output_frames=output_frames,
        latency=latency,
        throughput=best,
        throughput_clips_per_s=_clips_per_s(best),
        throughput_output_frames_per_s=_clips_per_s(best) * output_frames,
        sweep=sweep,
        sweep_ended_by=ended_by,
        peak_memory_method=meter.method,
        ceilings=_ceilings(timed, best),
    )


def _data(dataset: Dataset | None) -> TimedData | None:
    return TimedData(name=dataset.path.name, sha256=dataset.digest, origin=dataset.origin) if dataset else None


def _ceilings(timed: Timed, best: Timing) -> Ceilings:
    ceilings = meters.ceilings(timed.device, getattr(torch, timed.dtype))
    if timed.call != FORWARD or timed.dataset:
        return Ceilings(**ceilings)
    where = "meta" if timed.registered.file is None else "cpu"  # a user's own model may look at its numbers
    macs = macs_per_clip(timed.model, torch.zeros(1, timed.frames, 17, timed.registered.channels), where)
    share = 2 * macs * _clips_per_s(best) / 1e9 / ceilings["product_gflop_per_s"]
    return Ceilings(**ceilings, macs_per_clip=macs, product_share=share)


def _time(call: Callable[[], object], batch: int, budget_s: float, meter: meters.Meter) -> Timing:
    """Warm up twice (the second time watching the memory), then sample for `budget_s` seconds -> Timing."""
    call()  # compiles, where something is to be compiled
    began = time.perf_counter()
    peak = meter.peak_mib(call)
    samples = []
    fewest, most = _SAMPLES
    while len(samples) < fewest or (len(samples) < most and time.perf_counter() - began < budget_s):
        samples.append(meter.seconds(call) * 1e3)
    return Timing(batch=batch, samples_ms=samples, **timing.percentiles(samples), peak_memory_mib=peak)


def _sweep(
    sample: Callable[[int, float], Timing], latency: Timing, budget_s: float, meter: meters.Meter
) -> tuple[list[Timing], str]:
    """Time growing batches, starting from the latency's; return the timings and why the sweep ended."""
    sweep = [latency]
    for batch in BATCHES[1:]:
        last = sweep[-1]
        growth = batch / last.batch
        call_s = last.median_ms / 1e3 * growth
        remaining = budget_s - sum(sum(one.samples_ms) + 2 * one.median_ms for one in sweep[1:]) / 1e3
        if call_s * (_SAMPLES[0] + 2) > remaining:
            return sweep, "time limit"
        if last.peak_memory_mib is not None and last.peak_memory_mib * growth > meter.free_mib() * timing.MEMORY_SHARE:
            return sweep, "memory limit"
        try:
            sweep.append(sample(batch, remaining / 4))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return sweep, "memory limit"
        if len(sweep) > 3 and max(map(_clips_per_s, sweep[-3:])) < _WORTHWHILE * max(map(_clips_per_s, sweep[:-3])):
            return sweep, "no further gain"
    return sweep, "largest batch"


def _clips_per_s(timing: Timing) -> float:
    return timing.batch / timing.median_ms * 1e3
