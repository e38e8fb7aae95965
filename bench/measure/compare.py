"""Measure which of two is faster, with a confidence interval: both are timed in turn, in one process.

Each is a model, or one model with different settings: NAME[@SETTING[+SETTING...]][:FRAMES], where NAME is registered or
your own `path/to/file.py:build`, and a setting is a scan implementation, a precision or a mode: `posemamba_s@cpu`,
`lstm@compile+bfloat16:243`, `mine.py:build@bfloat16:81`. `bench.measure.calls` says what is timed and checked.

Each round calls one and then the other; every second round reverses the order. The ratio is the median over the rounds
of the first one's time over the second one's, each the median of its round, so that drift of the machine cancels out.
Its interval is a percentile bootstrap over rounds. Times are refused as in `bench.measure.speed`.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.bench.measure import meters, timing
from liftbench.bench.measure.calls import DTYPES, FORWARD, MODES, Timed
from liftbench.bench.records import CompareRecord, Contender, environment

ROUNDS = (7, 60)  # at least and at most
ROUND_S = 0.1  # of one contender
CONFIDENCE = 0.95
_DRAWS = 10_000
_FORM = re.compile(r"(?P<name>[^@:]+\.py:[^\W\d]\w*|[^@:]+)(@(?P<settings>[^@:]+))?(:(?P<frames>\d+))?")


def measure(
    first: str,
    second: str,
    device: str | torch.device = "cpu",
    batch: int = 1,
    call: str = FORWARD,
    seconds: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> CompareRecord:
    """Time two contenders, written as above, on batches of `batch` clips.

    seconds: the time to aim at, without parity checks and compilation. progress(done, of) is called every round.

    Raises InputError for a contender that cannot be read, InputError and `kernels.ScanUnavailable` as
    `bench.measure.calls.Timed` does, and `timing.TooBusy` for times that must not be used.
    """
    timing.check_seconds(seconds, "the comparison")
    device = timing.ready_device(device)
    meter = meters.meter(device)
    contenders, calls = [], {}
    for i, text in enumerate((first, second)):
        name, settings = parse(text)
        contenders.append(timed := Timed(name, device=device, call=call, **settings))
        one = timed.on(batch)
        one()  # compiles, where something is to be compiled
        calls[i] = one, min(meters.times(one, 2, meter))
    round_s = sum(max(ROUND_S, taken_s) for _, taken_s in calls.values())
    rounds = min(max(int(seconds / round_s), ROUNDS[0]), ROUNDS[1])
    share = timing.Share()
    samples = timing.in_turn(calls, rounds, ROUND_S, meter, progress=progress)
    share = share.so_far()
    medians = [timing.medians(samples[i]) for i in calls]
    if reason := timing.why_refused(device, share, *medians):
        raise timing.TooBusy(
            f"Cannot compare {first} with {second}: the machine was too busy, {reason}. Measure again when it is idle."
        )
    ratio, low, high = ratio_of_medians(*medians)
    return CompareRecord(
        **environment.stamp(device),
        device=device.type,
        clock=meter.clock,
        batch=batch,
        first=_contender(contenders[0], samples[0]),
        second=_contender(contenders[1], samples[1]),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        confidence=CONFIDENCE,
        other_processes_share=share,
    )


def parse(text: str) -> tuple[str, dict[str, int | str]]:
    """Parse a contender into (name, settings of `Timed`). Raises InputError if it cannot be read."""
    if not (found := _FORM.fullmatch(text)):
        raise InputError(
            f"Cannot read the contender {text!r}: it does not follow NAME[@SETTING[+SETTING...]][:FRAMES]. Write for "
            "example posemamba_s@cpu:81."
        )
    settings = {"frames": int(found["frames"])} if found["frames"] else {}
    for word in (found["settings"] or "").split("+"):
        for key, known in (("scan", kernels.IMPLEMENTATIONS), ("dtype", DTYPES), ("mode", MODES)):
            if word in known:
                if key in settings:
                    raise InputError(
                        f"Cannot use the contender {text!r}: it has both {settings[key]} and {word}. Leave one out."
                    )
                settings[key] = word
                break
        else:
            if word:
                everything = ", ".join([*kernels.IMPLEMENTATIONS, *DTYPES, *MODES])
                raise InputError(
                    f"Cannot use the contender {text!r}: {word!r} is not a setting. Known are {everything}."
                )
    return found["name"], settings


def ratio_of_medians(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Return (ratio, low, high): the median over rounds of first / second, and its bootstrap interval."""
    ratios = np.divide(first, second)
    drawn = np.random.default_rng(0).choice(ratios, (_DRAWS, len(ratios)))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.median(drawn, axis=1), [tail, 100 - tail])
    return float(np.median(ratios)), float(low), float(high)


def _contender(timed: Timed, samples_ms: list[list[float]]) -> Contender:
    times = timing.percentiles(timing.medians(samples_ms))
    return Contender(**timed.facts, scan_implementation=timed.scan, samples_ms=samples_ms, **times)
