"""The clock and memory meter of a device, and the ceilings of a machine."""

import ctypes
import functools
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from liftbench.baselines.errors import InputError


def usable_device(device: str | torch.device) -> torch.device:
    """Return the torch.device of "cpu" or "cuda". Raises InputError for any other and for a GPU that is not there."""
    if str(device).partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"Cannot measure on {device}: there is no such device. Choose cpu or cuda.")
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("Cannot measure on cuda: PyTorch finds no usable CUDA device here. Choose cpu.")
    return device


def meter(device: torch.device) -> "Meter":
    """Return the meter of a device.

    seconds(call) times a call and synchronises. peak_mib(call) is its peak of memory, None if that cannot be measured;
    held_mib() is the part of it that was in use before. free_mib() is the free memory. `method` says how memory is
    measured, or why it cannot be.
    """
    if device.type == "cuda":
        return _CudaMeter(device)
    try:
        _ResidentMeter().peak_mib(lambda: None)
    except (OSError, AttributeError) as error:
        return _NoMeter(error)
    return _ResidentMeter()


class _CudaMeter:
    method = "torch.cuda.max_memory_allocated of a warm call, weights included"
    clock = "CUDA events"

    def __init__(self, device: torch.device):
        self.device = device

    def synchronize(self):
        torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], object]) -> float:
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.synchronize()
        began.record()
        call()
        ended.record()
        self.synchronize()
        return began.elapsed_time(ended) / 1e3

    def peak_mib(self, call: Callable[[], object]) -> float:
        torch.cuda.reset_peak_memory_stats(self.device)
        call()
        return torch.cuda.max_memory_allocated(self.device) / 2**20

    def held_mib(self) -> float:
        return torch.cuda.memory_allocated(self.device) / 2**20

    def free_mib(self) -> float:
        return torch.cuda.mem_get_info(self.device)[0] / 2**20


class _CpuMeter:
    clock = "perf_counter"

    def synchronize(self):
        """Do nothing: a CPU call is over when it returns."""

    def held_mib(self) -> float:
        return 0.0

    def seconds(self, call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began


class _NoMeter(_CpuMeter):
    def __init__(self, error: Exception):
        self.method = f"not measured: the peak of resident memory cannot be reset here ({error!r})"

    def peak_mib(self, call: Callable[[], object]):
        call()


class _ResidentMeter(_CpuMeter):
    method = "rise of the peak of resident memory (VmHWM of Linux) in a warm call, weights not included"

    def peak_mib(self, call: Callable[[], object]) -> float:
        ctypes.CDLL(None).malloc_trim(0)  # give freed memory back to the system, so that using it again shows
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from the present value
        before = _kib("/proc/self/status", "VmHWM")
        call()
        return (_kib("/proc/self/status", "VmHWM") - before) / 1024

    def free_mib(self) -> float:
        return _kib("/proc/meminfo", "MemAvailable") / 1024


def _kib(file: str, key: str) -> int:
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


Meter = _CudaMeter | _CpuMeter


def times(call: Callable[[], object], calls: int, meter: Meter) -> list[float]:
    """Return the seconds that each of `calls` calls takes."""
    return [meter.seconds(call) for _ in range(calls)]


def bandwidth_gb_per_s(meter: Meter, device: torch.device) -> float:
    """Measure the bytes read and written per second by a copy of 256 MiB."""
    source = torch.ones(2**26, device=device)
    target = torch.zeros_like(source)
    return 2 * 2**28 / min(times(lambda: target.copy_(source), 10, meter)) / 1e9


def product_gflop_per_s(
    meter: Meter, device: torch.device, size: int = 2048, dtype: torch.dtype = torch.float32
) -> float:
    """Measure the operations per second of a matrix product, the faster of torch.mm and a channels-last 1 x 1
    convolution."""
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    image = left.view(1, 64, -1, size).permute(0, 3, 1, 2)  # channels last
    products = lambda: torch.mm(left, right), lambda: F.conv2d(image, right[:, :, None, None])  # noqa: E731
    with torch.inference_mode():
        return 2 * size**3 / min(min(times(product, 20, meter)) for product in products) / 1e9


@functools.cache
def ceilings(device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """{bandwidth_gb_per_s, product_gflop_per_s} of a device, measured once in a process."""
    clock = meter(device)
    return {
        "bandwidth_gb_per_s": bandwidth_gb_per_s(clock, device),
        "product_gflop_per_s": product_gflop_per_s(clock, device, dtype=dtype),
    }
