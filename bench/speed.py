"""How fast a model is: latency (one clip) and throughput (the best batch), measured separately.

Rules: float32, eval and inference mode, lifting only (no loading, no mirrored copy), random inputs already on the
device. Every batch size is warmed up first and synchronised around each sample; the number of threads stays as it is
and stands in the record. All samples are kept; throughput is that of the median. Only an implementation of the scan
that agrees with `kernels.reference` is timed.
"""

import ctypes
import inspect
import time
from pathlib import Path

import numpy as np
import torch

import kernels
from baselines import create_model
from baselines.errors import InputError
from baselines.registry import entry

from . import environment
from .records import SpeedRecord, Timing

BATCHES = tuple(2**k for k in range(11))
_SAMPLES = (3, 200)  # a batch size gets at least and at most so many
_WORTHWHILE = 1.03  # one of two larger batches must raise the throughput by this factor, or the sweep ends
_MEMORY_SHARE = 0.5  # of what is free, that a batch may be expected to take
_PARITY_FRAMES = 5
_PARITY = 2e-5  # of the largest output: float32 rounding reaches 2e-6 over 40 mixers, A wrong by a tenth gives 5e-4


def measure(name, frames=None, device="cpu", seconds=10.0, batches=BATCHES, progress=None, **numbers):
    """Time a registered model's forward pass on clips of `frames` frames (default: as published) -> SpeedRecord.

    seconds: what to aim at in all, half of it for the latency; a slow model takes as long as its fewest samples need.
    batches: sizes of the sweep, rising from 1; it ends where throughput stops growing, or time or memory run out.
    progress(text) is called before every batch size.

    Raises InputError as `baselines.create_model` does and for an unusable device, `kernels.ScanUnavailable` for a scan
    that cannot run or does not agree with the reference.
    """
    frames = entry(name).frames if frames is None else frames
    device = _device(device)
    model = create_model(name, frames=frames, **numbers).to(device).eval()
    scan = _checked_scan(model, name, frames, device, numbers) if _scans(name) else None
    meter = _meter(device)

    def timing(batch, budget_s):
        if progress:
            progress(f"{name}: batch {batch}")
        clips = torch.rand(batch, frames, 17, entry(name).channels, device=device) * 2 - 1
        return _time(lambda: model(clips), batch, budget_s, meter)

    with torch.inference_mode():
        output_frames = model(torch.zeros(1, frames, 17, entry(name).channels, device=device)).shape[1]
        latency = timing(1, seconds / 2)
        sweep, ended_by = _sweep(timing, latency, batches, seconds / 2, meter)
    best = max(sweep, key=_clips_per_s)
    return SpeedRecord(
        environment=environment.describe(device, scan),
        model=name,
        frames=frames,
        numbers=numbers,
        device=device.type,
        output_frames=output_frames,
        latency=latency,
        throughput=best,
        throughput_clips_per_s=_clips_per_s(best),
        throughput_output_frames_per_s=_clips_per_s(best) * output_frames,
        sweep=sweep,
        sweep_ended_by=ended_by,
        peak_memory_method=meter.method,
    )


def _device(device):
    if str(device).partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"Speed is measured on cpu or cuda, not on {device}.")
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no usable CUDA device; measure with the device cpu.")
    return device


def _scans(name):
    return "scan_implementation" in inspect.signature(entry(name).build).parameters


def _checked_scan(model, name, frames, device, numbers):
    """The scan implementation that `model` runs, after comparing its output with the reference on a tiny clip."""
    chosen = kernels.choose(device.type, numbers.get("scan_implementation", "auto"))
    reference = create_model(name, frames=frames, **numbers | {"scan_implementation": "reference"}).to(device).eval()
    reference.load_state_dict(model.state_dict())
    clip = torch.rand(1, min(frames, _PARITY_FRAMES), 17, entry(name).channels, device=device) * 2 - 1
    with torch.inference_mode():
        expected = reference(clip)
        difference = ((model(clip) - expected).abs().max() / expected.abs().max()).item()
    if not difference <= _PARITY:
        raise kernels.ScanUnavailable(
            f"scan implementation {chosen!r} is not timed: on {name} it differs from the reference by {difference:.1e} "
            f"of the largest output, {_PARITY:.0e} is allowed"
        )
    return chosen


def _time(forward, batch, budget_s, meter):
    """Warm up twice (the second time watching the memory), then sample for `budget_s` seconds -> Timing."""
    began = time.perf_counter()
    forward()
    peak = meter.peak_mib(forward)
    samples = []
    fewest, most = _SAMPLES
    while len(samples) < fewest or (len(samples) < most and time.perf_counter() - began < budget_s):
        meter.synchronize()
        start = time.perf_counter()
        forward()
        meter.synchronize()
        samples.append((time.perf_counter() - start) * 1e3)
    p20, median, p80 = np.percentile(samples, [20, 50, 80]).tolist()
    return Timing(batch=batch, samples_ms=samples, p20_ms=p20, median_ms=median, p80_ms=p80, peak_memory_mib=peak)


def _sweep(timing, latency, batches, budget_s, meter):
    """Timings of growing batches, the latency's first, and why it ended there."""
    sweep, ends = [latency], time.perf_counter() + budget_s
    for batch in batches[1:]:
        last = sweep[-1]
        growth = batch / last.batch
        call_s = last.median_ms / 1e3 * growth
        remaining = ends - time.perf_counter()
        if call_s * (_SAMPLES[0] + 2) > remaining:
            return sweep, "time limit"
        if last.peak_memory_mib is not None and last.peak_memory_mib * growth > meter.free_mib() * _MEMORY_SHARE:
            return sweep, "memory limit"
        try:
            sweep.append(timing(batch, remaining / 4))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return sweep, "memory limit"
        if len(sweep) > 2 and max(map(_clips_per_s, sweep[-2:])) < _WORTHWHILE * max(map(_clips_per_s, sweep[:-2])):
            return sweep, "no further gain"
    return sweep, "largest batch"


def _clips_per_s(timing):
    return timing.batch / timing.median_ms * 1e3


def _meter(device):
    """The meter of a device: `method` says how it measures, or why it cannot; it synchronises, and tells the peak
    memory of a call and the free memory in MiB."""
    if device.type == "cuda":
        return _CudaMeter(device)
    try:
        _ResidentMeter().peak_mib(lambda: None)
    except (OSError, AttributeError) as error:
        return _NoMeter(error)
    return _ResidentMeter()


class _CudaMeter:
    method = "torch.cuda.max_memory_allocated of a warm forward pass, weights included"

    def __init__(self, device):
        self.device = device

    def synchronize(self):
        torch.cuda.synchronize(self.device)

    def peak_mib(self, forward):
        torch.cuda.reset_peak_memory_stats(self.device)
        forward()
        return torch.cuda.max_memory_allocated(self.device) / 2**20

    def free_mib(self):
        return torch.cuda.mem_get_info(self.device)[0] / 2**20


class _NoMeter:
    def __init__(self, error):
        self.method = f"not measured: the peak of resident memory cannot be reset here ({error!r})"

    def synchronize(self):
        """A CPU call is over when it returns."""

    def peak_mib(self, forward):
        forward()


class _ResidentMeter:
    method = "rise of the peak of resident memory (VmHWM of Linux) in a warm forward pass, weights not included"

    def synchronize(self):
        """A CPU call is over when it returns."""

    def peak_mib(self, forward):
        ctypes.CDLL(None).malloc_trim(0)  # give freed memory back to the system, so that using it again shows
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from the present value
        before = _kib("/proc/self/status", "VmHWM")
        forward()
        return (_kib("/proc/self/status", "VmHWM") - before) / 1024

    def free_mib(self):
        return _kib("/proc/meminfo", "MemAvailable") / 1024


def _kib(file, key):
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
