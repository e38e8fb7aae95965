"""The engine of all timings: rounds in which calls take turns, limits on time and memory, percentiles, refusals.

Turns: in each round every call runs for about a set time, at least once; short calls run once unrecorded first. Every
second round goes backwards. All samples are kept. Percentiles are those of the rounds' medians.

Limits: a call is skipped if smaller calls before it show that it would take too long or too much memory.

Refusals: times are not used if they spread too far or if other processes had a share of the processors; the reason is
given. On a CPU, PyTorch's idle threads must spin, as they do by default. Asleep they slow thousands of small operators
down, but not operators in C++, so every ratio would flatter the latter.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from liftbench.baselines.errors import InputError
from liftbench.bench.measure import meters

SPREAD = 0.5  # times with a larger (p80 - p20) / median are refused
OTHERS_SHARE = 0.1  # times on a CPU are refused if other processes take a larger share of the processors
MEMORY_SHARE = 0.5  # the largest share of the free memory that a call may be expected to take
SLEEPING = (
    "Cannot time on this CPU: PyTorch's idle threads sleep, which slows small operators down up to threefold, but not "
    "those in C++, so ratios would mislead. Run again with GOMP_SPINCOUNT=300000, libgomp's own default."
)

Call = Callable[[], object]
Progress = Callable[[str, int, int], None]  # (what is measured, how many are done, of how many)


class TooBusy(RuntimeError):
    """The machine was too busy to report times; the message gives the evidence."""


def check_seconds(seconds: float, what: str) -> None:
    """Raise InputError for a time that is not positive and finite. what: what takes that time."""
    if not 0 < seconds < math.inf:
        raise InputError(
            f"Cannot measure with {seconds:g} seconds: {what} must take more than 0 seconds. Give a positive number."
        )


def ready_device(device: str | torch.device) -> torch.device:
    """Return the device to measure on. Raises InputError if it is not usable or if PyTorch's idle threads sleep."""
    device = meters.usable_device(device)
    if device.type == "cpu" and torch.get_num_threads() > 1 and not idle_threads_spin():
        raise InputError(SLEEPING)
    return device


def idle_threads_spin() -> bool:
    """Return whether threads keep using the processor after a parallel operator, while this thread sleeps."""
    burnt_s, x = [], torch.ones(2**20)
    for _ in range(9):
        x.exp_().fill_(1)
        before = time.process_time()
        time.sleep(0.005)
        burnt_s.append(time.process_time() - before)
    return float(np.median(burnt_s)) > 5e-4  # asleep 0.05 ms, spinning 4 ms of a processor


class Share:
    """The share of this process's processors that other processes take from now on."""

    def __init__(self):
        self.others_s, self.began = self._others_s(), time.perf_counter()

    def so_far(self) -> float | None:
        """Return the share so far, or None if the system does not report it."""
        if self.others_s is None:
            return None
        elapsed = (time.perf_counter() - self.began) * len(os.sched_getaffinity(0))
        return max(0.0, self._others_s() - self.others_s) / elapsed

    @staticmethod
    def _others_s() -> float | None:
        try:
            lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        except OSError:
            return None
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        # user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user
        ticks = sum(sum(map(int, fields[1:4] + fields[6:9])) for fields in lines if fields[0] in mine)
        children_s = sum(os.times()[2:4])  # such as the compiler's
        return ticks / os.sysconf("SC_CLK_TCK") - time.process_time() - children_s


def why_refused(device: torch.device, share: float | None, *samples: Sequence[float]) -> str | None:
    """Return why times must not be used, or None. share: what `Share` reported; samples: lists of times, one
    per call.
    """
    if device.type == "cpu" and share is not None and share > OTHERS_SHARE:
        return f"other processes took {share:.0%} of the processors"
    worst = max(map(spread, samples), default=0.0)
    return f"p80 - p20 is {worst:.0%} of the median" if worst > SPREAD else None


def spread(samples: Sequence[float]) -> float:
    """Return (p80 - p20) / median."""
    p20, median, p80 = np.percentile(samples, [20, 50, 80])
    return (p80 - p20) / median


def percentiles(samples_ms: Sequence[float]) -> dict[str, float]:
    """Return the fields p20_ms, median_ms and p80_ms of a record."""
    return dict(zip(("p20_ms", "median_ms", "p80_ms"), np.percentile(samples_ms, [20, 50, 80]).tolist()))


def medians(rounds_ms: Iterable[Sequence[float]]) -> list[float]:
    """Return the median of each round."""
    return [float(np.median(row)) for row in rounds_ms]


def in_turn(
    calls: Mapping[Any, tuple[Call, float]],
    rounds: int,
    round_s: float,
    meter: meters.Meter,
    most_calls: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Any, list[list[float]]]:
    """Time calls that take turns -> {name: its rounds, each a list of ms}.

    calls: {name: (call, seconds that it takes)}. round_s: how long each runs in a round. most_calls: the most calls of
    one name in a round. progress(done, of) is called after every round.
    """
    samples = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            call, seconds = calls[name]
            repeats = max(int(round_s / max(seconds, 1e-9)), 1)
            repeats = repeats if most_calls is None else min(repeats, most_calls)
            if repeats > 1:
                call()  # the turns of the others left the caches cold
            samples[name].append([round(s * 1e3, 5) for s in meters.times(call, repeats, meter)])
        if progress:
            progress(number + 1, rounds)
    return samples


class Size(NamedTuple):
    """How much work a call does, and the length along which its time may grow faster than that."""

    work: int
    length: int


class _Taken(NamedTuple):
    """What one call took."""

    size: Size
    seconds: float
    mib: float | None


class Outcome(NamedTuple):
    """One contender at one place. `missing` says why there are no times, or why its samples must not be used."""

    rounds_ms: list[list[float]] = []
    peak_mib: float | None = None
    missing: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a record that follow from it."""
        times = {} if self.missing else percentiles(medians(self.rounds_ms))
        return {"samples_ms": self.rounds_ms, "missing": self.missing} | times


class Contest:
    """Contenders that meet at one place after another, from small to large, within limits.

    longest_call_s: a contender is skipped if one call would take longer. rounds: the fewest and the most; round_s and
    most_calls as in `in_turn`.
    """

    def __init__(
        self, device: torch.device, longest_call_s: float, rounds: tuple[int, int], round_s: float,
        most_calls: int | None = None,
    ):  # fmt: skip
        self.device, self.longest_call_s, self.rounds = device, longest_call_s, rounds
        self.round_s, self.most_calls = round_s, most_calls
        self.meter = meters.meter(device)
        self.taken = {}  # (*series, contender): [_Taken]

    def meet(
        self, makers: Mapping[str, Callable[[], Call]], size: Size, series: tuple = ()
    ) -> tuple[dict[str, Outcome], float | None]:
        """Time all contenders at one place -> ({name: Outcome}, the share that other processes took).

        makers: {name: function that makes the call}, so that making it may fail too. series: the key that places with
        growing sizes share.
        """
        calls, peaks, missing = {}, {}, {}
        for name, make in makers.items():
            if reason := self.too_much((*series, name), size):
                missing[name] = reason
                continue
            try:
                call = make()
                seconds, peaks[name] = self._first_call(call)
                calls[name] = call, seconds
            except InputError as error:
                missing[name] = f"it failed: {error}"
            except (RuntimeError, MemoryError) as error:
                missing[name] = f"it failed with {in_short(error)}"
        share = Share()
        samples = in_turn(calls, self._rounds(calls), self.round_s, self.meter, self.most_calls)
        share = share.so_far()
        for name, rounds_ms in samples.items():
            seconds = float(np.median(medians(rounds_ms))) / 1e3
            self.taken.setdefault((*series, name), []).append(_Taken(size, seconds, peaks[name]))
            if reason := why_refused(self.device, share, medians(rounds_ms)):
                missing[name] = f"too busy: {reason}"
        return {name: Outcome(samples.get(name, []), peaks.get(name), missing.get(name)) for name in makers}, share

    def too_much(self, key: tuple, size: Size) -> str | None:
        """Return why a call is skipped, or None. Time and memory are assumed to grow as between earlier sizes."""
        taken = self.taken.get(key)
        if not taken:
            return None
        seconds = _expected([(one.size, one.seconds) for one in taken], size)
        if seconds > self.longest_call_s:
            return f"too slow: a call would take about {seconds:.2g} s, {self.longest_call_s:g} s are allowed"
        if taken[-1].mib:
            mib = _expected([(one.size, one.mib) for one in taken if one.mib], size)
            free = self.meter.free_mib()
            if mib > MEMORY_SHARE * free:
                return f"too large: a call would take about {mib / 1024:.2g} GiB, {free / 1024:.2g} GiB are free"
        return None

    def _first_call(self, call: Call) -> tuple[float, float | None]:
        """Return (seconds, rise of the peak of memory in MiB or None)."""
        held = self.meter.held_mib()
        self.meter.synchronize()
        began = time.perf_counter()
        peak = self.meter.peak_mib(call)
        self.meter.synchronize()
        return time.perf_counter() - began, None if peak is None else max(peak - held, 0.0)

    def _rounds(self, calls: Mapping[str, tuple[Call, float]]) -> int:
        """Return how many rounds to run, if one round takes as long as all calls together."""
        fewest, most = self.rounds
        seconds = max(sum(seconds for _, seconds in calls.values()), 1e-9)
        return min(max(int(2 * self.longest_call_s / seconds), fewest), most)


def _expected(points: Sequence[tuple[Size, float]], size: Size) -> float:
    """Extrapolate to a larger size: in proportion to the work, times a power of the length between 0 and 1. The last
    point and the last shorter one give that power.
    """
    (last, value), growth = points[-1], 0.0
    if shorter := next(((one, v) for one, v in reversed(points) if one.length < last.length), None):
        before, value_before = shorter
        faster = (value / last.work) / (value_before / before.work)
        growth = min(max(math.log(faster) / math.log(last.length / before.length), 0.0), 1.0)
    return value * (size.work / last.work) * (size.length / last.length) ** growth


def in_short(error: BaseException) -> str:
    """Describe an exception in one short line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]
