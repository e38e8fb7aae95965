"""What every timing shares: the clock and memory meter of a device, a machine's ceilings, and when it is too busy."""

import ctypes
import functools
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from liftbench.baselines.errors import InputError

SPREAD = 0.5  # (p80 - p20) / median, above which times are refused
OTHERS_SHARE = 0.1  # of the processors taken by other processes, above which times on a CPU are refused
SLEEPING = (
    "PyTorch's idle threads sleep in this process, which slows small operators down up to threefold, but not those in "
    "C++, so ratios would mislead; run again with GOMP_SPINCOUNT=300000, libgomp's own default, in the environment."
)


class TooBusy(RuntimeError):
    """Times are not reported because the machine was too busy; the message says how that shows."""


def refuse_sleeping_threads(device):
    """Raises InputError on a CPU where PyTorch's idle threads sleep."""
    if device.type == "cpu" and torch.get_num_threads() > 1 and not idle_threads_spin():
        raise InputError(SLEEPING)


def idle_threads_spin():
    """Whether threads go on using the processor after a parallel operator, while this one sleeps."""
    burnt_s, x = [], torch.ones(2**20)
    for _ in range(9):
        x.exp_().fill_(1)
        before = time.process_time()
        time.sleep(0.005)
        burnt_s.append(time.process_time() - before)
    return float(np.median(burnt_s)) > 5e-4  # asleep 0.05 ms, spinning 4 ms of a processor


class Share:
    """The share of this process's processors that all other processes take from now on."""

    def __init__(self):
        self.others_s, self.began = self._others_s(), time.perf_counter()

    def so_far(self):
        """None where the system does not say."""
        if self.others_s is None:
            return None
        elapsed = (time.perf_counter() - self.began) * len(os.sched_getaffinity(0))
        return max(0.0, self._others_s() - self.others_s) / elapsed

    @staticmethod
    def _others_s():
        try:
            lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        except OSError:
            return None
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        # user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user
        ticks = sum(sum(map(int, fields[1:4] + fields[6:9])) for fields in lines if fields[0] in mine)
        children_s = sum(os.times()[2:4])  # such as the compiler's
        return ticks / os.sysconf("SC_CLK_TCK") - time.process_time() - children_s


def why_refused(device, share, *samples):
    """Why times are not to be used, or None. share: what `Share` said; samples: lists of times, each of one call."""
    if device.type == "cpu" and share is not None and share > OTHERS_SHARE:
        return f"other processes took {share:.0%} of the processors"
    worst = max(map(spread, samples))
    return f"p80 - p20 is {worst:.0%} of the median" if worst > SPREAD else None


def spread(samples):
    """(p80 - p20) / median."""
    p20, median, p80 = np.percentile(samples, [20, 50, 80])
    return (p80 - p20) / median


def percentiles(samples_ms):
    """The fields p20_ms, median_ms and p80_ms of a record."""
    return dict(zip(("p20_ms", "median_ms", "p80_ms"), np.percentile(samples_ms, [20, 50, 80]).tolist()))


def in_turn(calls, rounds, round_s, meter, progress=None):
    """{name: [[ms] a round]} of calls that take turns: in each round every one runs for about round_s seconds, at least
    once, after an unrecorded call where calls are short; every second round goes backwards.

    calls: {name: (call, seconds that it takes)}. progress(done, of) is called after every round.
    """
    samples = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            call, seconds = calls[name]
            repeats = max(int(round_s / seconds), 1)
            if repeats > 1:
                call()  # the turns of the others left the caches cold
            samples[name].append([round(s * 1e3, 5) for s in times(call, repeats, meter)])
        if progress:
            progress(number + 1, rounds)
    return samples


def times(call, calls, meter):
    """Seconds of each of some calls."""
    return [meter.seconds(call) for _ in range(calls)]


def bandwidth_gb_per_s(meter, device):
    """Bytes read and written a second, of a copy of 256 MiB."""
    source = torch.ones(2**26, device=device)
    target = torch.zeros_like(source)
    return 2 * 2**28 / min(times(lambda: target.copy_(source), 10, meter)) / 1e9


def product_gflop_per_s(meter, device, size=2048, dtype=torch.float32):
    """Operations a second of a matrix product, as torch.mm or as a channels-last 1 x 1 convolution: other libraries."""
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    image = left.view(1, 64, -1, size).permute(0, 3, 1, 2)  # channels last
    products = lambda: torch.mm(left, right), lambda: F.conv2d(image, right[:, :, None, None])  # noqa: E731
    with torch.inference_mode():
        return 2 * size**3 / min(min(times(product, 20, meter)) for product in products) / 1e9


@functools.cache
def ceilings(device, dtype=torch.float32):
    """{bandwidth_gb_per_s, product_gflop_per_s} of a device, measured once in a process."""
    clock = meter(device)
    return {
        "bandwidth_gb_per_s": bandwidth_gb_per_s(clock, device),
        "product_gflop_per_s": product_gflop_per_s(clock, device, dtype=dtype),
    }


def in_short(error):
    """An exception in one short line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def usable_device(device):
    """The torch.device of "cpu" or "cuda"; raises InputError for others and for a GPU that is not there."""
    if str(device).partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"Speed is measured on cpu or cuda, not on {device}.")
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no usable CUDA device; measure with the device cpu.")
    return device


def meter(device):
    """The meter of a device: it times a call, synchronises, and tells the peak memory of a call and the free memory in
    MiB; `method` says how it measures memory, or why it cannot."""
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

    def __init__(self, device):
        self.device = device

    def synchronize(self):
        torch.cuda.synchronize(self.device)

    def seconds(self, call):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.synchronize()
        began.record()
        call()
        ended.record()
        self.synchronize()
        return began.elapsed_time(ended) / 1e3

    def peak_mib(self, call):
        torch.cuda.reset_peak_memory_stats(self.device)
        call()
        return torch.cuda.max_memory_allocated(self.device) / 2**20

    def free_mib(self):
        return torch.cuda.mem_get_info(self.device)[0] / 2**20


class _CpuMeter:
    clock = "perf_counter"

    def synchronize(self):
        """A CPU call is over when it returns."""

    def seconds(self, call):
        began = time.perf_counter()
        call()
        return time.perf_counter() - began


class _NoMeter(_CpuMeter):
    def __init__(self, error):
        self.method = f"not measured: the peak of resident memory cannot be reset here ({error!r})"

    def peak_mib(self, call):
        call()


class _ResidentMeter(_CpuMeter):
    method = "rise of the peak of resident memory (VmHWM of Linux) in a warm call, weights not included"

    def peak_mib(self, call):
        ctypes.CDLL(None).malloc_trim(0)  # give freed memory back to the system, so that using it again shows
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from the present value
        before = _kib("/proc/self/status", "VmHWM")
        call()
        return (_kib("/proc/self/status", "VmHWM") - before) / 1024

    def free_mib(self):
        return _kib("/proc/meminfo", "MemAvailable") / 1024


def _kib(file, key):
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
