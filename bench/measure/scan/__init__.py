"""Measure how fast the selective scans are: those of `kernels` and public ones, which take turns in one process.

Inputs are random float32, distributed as in trained models. Every contender is checked first (`contenders`). Rounds,
limits and refusals are those of `bench.measure.timing`: in each round a contender runs for about SAMPLE_S seconds, at
most MOST_CALLS times. A ratio is the median over the rounds of the baseline's time over the contender's. Memory is the
rise of the peak in one call, its output included. Saved-tensor hooks count what is kept for the backward pass, without
the inputs.

The ceilings are measured in the same run: bandwidth by a copy far larger than the caches (bytes read and written), and
operations by a matrix product (two for each product of elements). A scan of B clips, D channels of all groups, N states
and L steps makes B D N L state steps. Its intensity is state steps per compulsory byte (inputs and outputs of the
forward pass, each moved once). A state step costs OPERATIONS[device]: on a CPU 13 vector operations, because a core
starts about as many simple operations as multiply-adds count operations; on a GPU one exp2, which takes the time of 16
operations of multiply-adds (NVIDIA, compute capability 8.0 and 9.0). Softplus and the projections of a grid are extra.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from liftbench import kernels
from liftbench.bench.measure import meters, timing
from liftbench.bench.measure.scan import cases, contenders
from liftbench.bench.measure.scan.cases import Case
from liftbench.bench.measure.scan.contenders import CALLS, Scan
from liftbench.bench.measure.scan.peers import PUBLIC
from liftbench.bench.records import ScanComparison, ScanRecord, ScanTiming, environment, readings

OPERATIONS = {"cpu": 13, "cuda": 16}
LONGEST_CALL_S = 20.0
QUICK_CALL_S, QUICK_STEPS = 2.0, 70_000_000
ROUNDS = (3, 7)  # the fewest and the most
SAMPLE_S, MOST_CALLS = 0.2, 10
MEMORY_METHODS = {
    "cpu": "rise of the peak of resident memory (VmHWM of Linux) in one call, output included",
    "cuda": "rise of torch.cuda.max_memory_allocated in one call, output included",
}


def measure(
    device: str | torch.device = "cpu",
    longest_call_s: float | None = None,
    quick: bool = False,
    progress: timing.Progress | None = None,
) -> ScanRecord:
    """Measure all usable scans on a device.

    longest_call_s: contenders are skipped if one call would take longer (default 20; 2 if quick). quick: fewer rounds,
    and no shape larger than PoseMamba-B's. progress is called before every comparison.

    Raises InputError for a time that is not positive, and on a CPU if PyTorch's idle threads sleep.
    """
    longest_call_s = (QUICK_CALL_S if quick else LONGEST_CALL_S) if longest_call_s is None else longest_call_s
    timing.check_seconds(longest_call_s, "the longest call")
    device = timing.ready_device(device)
    plans, absent, differences = _plans(device, quick)
    contest = _contest(device, longest_call_s, quick)
    ceilings = {
        "bandwidth_gb_per_s": meters.bandwidth_gb_per_s(contest.meter, device),
        "product_gflop_per_s": meters.product_gflop_per_s(contest.meter, device),
    }
    comparisons = []
    for i, plan in enumerate(plans):
        if progress:
            progress(f"{plan.case.name}, {plan.call}", i, len(plans))
        comparisons.append(_compare(contest, plan))
    method = contest.meter.method
    return ScanRecord(
        **environment.stamp(device, kernels.choose(device.type)),
        device=device.type,
        quick=quick,
        longest_call_s=longest_call_s,
        absent=absent,
        differences=differences,
        **ceilings,
        operations_per_state_step=OPERATIONS[device.type],
        peak_memory_method=method if method.startswith("not measured") else MEMORY_METHODS[device.type],
        comparisons=comparisons,
    )


class _Plan(NamedTuple):
    """One comparison to make."""

    comparison: str
    case: Case
    call: str
    baseline: str
    scans: Mapping[str, Scan]
    inputs: Callable[..., list[torch.Tensor]]


def _plans(device: torch.device, quick: bool) -> tuple[list[_Plan], dict[str, str], dict[str, float]]:
    """Return every comparison to make, what is absent and why, and the differences from the oracle."""
    scans, absent, differences = contenders.contenders(device)
    plans = [
        _Plan("implementations", case, call, "reference", scans, cases.scan_inputs)
        for call in CALLS
        for case in cases.CASES
    ]
    if device.type == "cpu" and "cpu" in scans:
        by_set, wrong, more = contenders.instruction_set_contenders(scans["cpu"], device)
        absent, differences = absent | wrong, differences | more
        case = next(case for case in cases.CASES if case.name == cases.BY_INSTRUCTION_SET)
        best = next(iter(by_set))
        plans += [_Plan("instruction sets", case, call, best, by_set, cases.scan_inputs) for call in CALLS]
    grids, wrong, more = contenders.grid_contenders(scans, device)
    absent, differences = absent | wrong, differences | more
    if unfused := next((name for name in grids if name.endswith("unfused")), None):
        plans += [
            _Plan("grid", case, call, unfused, grids, cases.grid_inputs) for call in CALLS for case in cases.GRID_CASES
        ]
    return [plan for plan in plans if not quick or plan.case.steps <= QUICK_STEPS], absent, differences


def _contest(device: torch.device, longest_call_s: float, quick: bool) -> timing.Contest:
    rounds = (ROUNDS[0], ROUNDS[0]) if quick else ROUNDS
    return timing.Contest(device, longest_call_s, rounds, SAMPLE_S / 4 if quick else SAMPLE_S, MOST_CALLS)


def _compare(contest: timing.Contest, plan: _Plan) -> ScanComparison:
    """Time all contenders of one comparison -> ScanComparison."""
    case = plan.case
    tensors = plan.inputs(case, contest.device, requires_grad=plan.call != "forward")
    kept_mib = {}
    makers = {
        name: functools.partial(_call, functools.partial(CALLS[plan.call], scan, tensors), tensors, kept_mib, name)
        for name, scan in plan.scans.items()
    }
    size = timing.Size(case.steps, case.length)
    outcomes, share = contest.meet(makers, size, (plan.comparison, plan.call))
    contenders.restore_instruction_set()
    baseline = outcomes[plan.baseline] if plan.baseline in outcomes else None
    return ScanComparison(
        comparison=plan.comparison,
        case=case.name,
        call=plan.call,
        batch=case.batch,
        groups=case.groups,
        channels=case.channels,
        length=case.length,
        states=cases.STATES,
        state_steps=case.steps,
        compulsory_bytes=4 * (sum(tensor.numel() for tensor in tensors) + tensors[0].numel()),
        baseline=plan.baseline,
        other_processes_share=share,
        timings=[
            ScanTiming(
                name=name,
                public=name in PUBLIC,
                **outcome.fields,
                ratio=_ratio(outcome, baseline),
                peak_memory_mib=outcome.peak_mib,
                kept_for_backward_mib=kept_mib.get(name),
            )
            for name, outcome in outcomes.items()
        ],
    )


def _ratio(outcome: timing.Outcome, baseline: timing.Outcome | None) -> float | None:
    """Return the baseline's time over this one's, or None if either is missing."""
    if baseline is None or not baseline.rounds_ms or baseline.missing or outcome.missing:
        return None
    return readings.ratio(baseline.rounds_ms, outcome.rounds_ms)


def _call(
    call: Callable[[], object], tensors: list[torch.Tensor], kept_mib: dict[str, float | None], name: str
) -> Callable[[], object]:
    """Return the call to be timed; its first run also measures what it keeps for a backward pass."""
    if tensors[0].is_cuda:
        call()  # compiles and tunes
    if not tensors[0].requires_grad:
        return call

    def watched_once() -> object:
        if name in kept_mib:
            return call()
        kept_mib[name] = None
        kept_mib[name] = _kept_mib(call, tensors)

    return watched_once


def _kept_mib(call: Callable[[], object], tensors: list[torch.Tensor]) -> float:
    """Measure what a call keeps for its backward pass, in MiB, without its inputs."""
    kept, inputs = {}, {tensor.untyped_storage().data_ptr() for tensor in tensors}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inputs:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call()
    return sum(kept.values()) / 2**20
