"""How fast the selective scans are: those of `kernels` and public ones, interleaved in one process.

Rules: float32 and random inputs as trained models have them. Every contender is compared with `kernels.reference` in
float64 first, output and gradients of a small case, and one that differs is not timed. Contenders take turns: in each
round every one is called for about SAMPLE_S seconds, at least once, after an unrecorded call to warm up where a call
is short. Percentiles are those of the rounds' medians; a ratio is the median over the rounds of the baseline's time
over the contender's, so that a machine that drifts cancels out. All samples are kept.

PyTorch's idle threads must spin for a while, as they do unless told otherwise: asleep (OMP_WAIT_POLICY=PASSIVE, which
this package sets for its other commands) they slow thousands of small operators down, the sequential reference and the
peers by up to 2.5 times, but not the C++ scan, and every ratio would flatter it. Whether they spin is observed.

A contender is given up for a shape where a call would take too long or too much memory, which is extrapolated from its
shorter shapes. Times are refused, with the reason, where they spread too far or where other processes had a share of
the processors. Memory is the rise of the peak in one call, its output included; what is kept for the backward pass is
counted through saved-tensor hooks, inputs left out.

Ceilings, measured in the same run: bandwidth, by a copy far larger than the caches (read and written bytes); and
operations, by a matrix product (two an element product), of the faster of two libraries. A scan of B clips, D channels
of all groups, N states and L steps is B D N L state steps; its intensity is state steps per compulsory byte (inputs and
outputs of the forward pass, each moved once). A state step is OPERATIONS[device]: on a CPU the 13 vector operations of
kernels/README.md, as a core starts about as many simple operations as it counts operations of multiply-adds; on a GPU
an exp2, of which there is one where there are 16 operations of multiply-adds (NVIDIA, compute capability 8.0 and 9.0).
Softplus and the projections of a grid are extra.
"""

import functools
import math
import os
import time
from typing import NamedTuple

import numpy as np
import torch

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.bench.measure.peers import PUBLIC, public_scans
from liftbench.bench.measure.timing import (
    OTHERS_SHARE,
    SPREAD,
    Share,
    bandwidth_gb_per_s,
    in_short,
    product_gflop_per_s,
    refuse_sleeping_threads,
    times,
)
from liftbench.bench.measure.timing import meter as memory_meter
from liftbench.bench.records import ScanComparison, ScanRecord, ScanTiming, environment
from liftbench.kernels import cpu, grid

STATES, RANK = 16, 8
OPERATIONS = {"cpu": 13, "cuda": 16}
LONGEST_CALL_S = 20.0
QUICK_CALL_S, QUICK_STEPS = 2.0, 70_000_000
ROUNDS = (3, 7)
SAMPLE_S, MOST_CALLS = 0.2, 10
MEMORY_SHARE = 0.5  # of what is free, that a call may be expected to take
MEMORY_METHODS = {
    "cpu": "rise of the peak of resident memory (VmHWM of Linux) in one call, output included",
    "cuda": "rise of torch.cuda.max_memory_allocated in one call, output included",
}
PARITY = 2e-5  # as in tests/kernels/test_interface.py: float32 rounding times the conditioning of long sums


class Case(NamedTuple):
    """A shape: (B, groups x channels, L) tensors."""

    name: str
    batch: int
    groups: int
    channels: int  # of a group
    length: int

    @property
    def steps(self):
        return self.batch * self.groups * self.channels * STATES * self.length


# From short to long: what a contender took in one says what to expect in the next.
CASES = (
    Case("length 17", 1, 4, 128, 17),
    Case("MDTF joints", 243, 1, 128, 17),
    Case("length 64", 1, 4, 128, 64),
    Case("length 243", 1, 4, 128, 243),
    Case("MDTF frames", 17, 1, 128, 243),
    Case("length 1024", 1, 4, 128, 1024),
    Case("PoseMamba-S", 1, 4, 128, 4131),
    Case("PoseMamba-B", 1, 4, 256, 4131),
    Case("PoseMamba-B, 8 clips", 8, 4, 256, 4131),
    Case("length 16384", 1, 4, 128, 16384),
    Case("length 65536", 1, 4, 128, 65536),
)
GRID_CASES = (
    Case("grid of PoseMamba-B, 1 clip", 1, 4, 256, 4131),
    Case("grid of PoseMamba-B, 8 clips", 8, 4, 256, 4131),
)
BY_LENGTH = (1, 4, 128)  # batch, groups and channels of the plots against the length
BY_INSTRUCTION_SET = "PoseMamba-B"
FUSED = ("cpu", "gpu")  # implementations with a fused grid_scan


def measure(device="cpu", longest_call_s=None, quick=False, progress=None):
    """Measure all usable scans on a device -> ScanRecord.

    longest_call_s: contenders are given up where one call would take longer (default 20; 2 if quick). quick: fewer
    rounds, and no shape larger than PoseMamba-B's. progress(text, done, total) is called before every comparison.

    Raises InputError for a time that is not positive, and on a CPU where PyTorch's idle threads sleep.
    """
    longest_call_s = (QUICK_CALL_S if quick else LONGEST_CALL_S) if longest_call_s is None else longest_call_s
    if not longest_call_s > 0:
        raise InputError(f"The longest call must take more than 0 seconds, not {longest_call_s:g}.")
    device = torch.device(device)
    refuse_sleeping_threads(device)
    run = _Run(device, longest_call_s, quick)
    if progress:
        progress("checking results", 0, 1)
    plans, absent, differences = _plans(device, quick)
    ceilings = bandwidth_gb_per_s(run.meter, device), product_gflop_per_s(run.meter, device)
    comparisons = []
    for i, plan in enumerate(plans):
        if progress:
            progress(f"{plan.case.name}, {plan.call}", i, len(plans))
        comparisons.append(run.compare(plan))
    return ScanRecord(
        **environment.stamp(device, kernels.choose(device.type)),
        device=device.type,
        quick=quick,
        longest_call_s=longest_call_s,
        absent=absent,
        differences=differences,
        bandwidth_gb_per_s=ceilings[0],
        product_gflop_per_s=ceilings[1],
        operations_per_state_step=OPERATIONS[device.type],
        peak_memory_method=run.memory_method,
        comparisons=comparisons,
    )


def scan_inputs(case, device="cpu", requires_grad=False):
    """u, delta, A, B, C, D, delta_bias as trained models have them: delta 0.001 to 1 after softplus, A = -1 .. -16."""
    generator, total = torch.Generator().manual_seed(0), case.groups * case.channels
    tensors = [
        torch.randn(case.batch, total, case.length, generator=generator),
        torch.randn(case.batch, total, case.length, generator=generator) - 3,
        -torch.arange(1.0, STATES + 1).repeat(total, 1),
        torch.randn(case.batch, case.groups, STATES, case.length, generator=generator),
        torch.randn(case.batch, case.groups, STATES, case.length, generator=generator),
        torch.ones(total),
        torch.zeros(total),
    ]
    return [tensor.to(device).requires_grad_(requires_grad) for tensor in tensors]


def grid_inputs(case, device="cpu", requires_grad=False):
    """x, x_proj_weight, dt_weight, dt_bias, A, D of a `grid_scan` over length / 17 frames, a direction a group."""
    generator, channels, directions = torch.Generator().manual_seed(0), case.channels, case.groups
    tensors = [
        torch.randn(case.batch, case.length // 17, 17, channels, generator=generator),
        torch.randn(directions, RANK + 2 * STATES, channels, generator=generator) * channels**-0.5,
        torch.randn(directions, channels, RANK, generator=generator) * 0.3,
        torch.randn(directions, channels, generator=generator) - 3,
        -torch.arange(1.0, STATES + 1).repeat(directions * channels, 1),
        torch.ones(directions * channels),
    ]
    return [tensor.to(device).requires_grad_(requires_grad) for tensor in tensors]


def forward(scan, tensors):
    """The output, without a graph."""
    with torch.inference_mode():
        return scan(*tensors)


def forward_backward(scan, tensors):
    """The gradients of all inputs; the output serves as its own gradient, which is as dense as a real one."""
    y = scan(*tensors)
    return torch.autograd.grad(y, tensors, y.detach())


CALLS = {"forward": forward, "forward + backward": forward_backward}


def contenders(device="cpu"):
    """({name: selective_scan}, {name: why it is not timed}, {name: difference from the oracle}), own ones first."""
    device = torch.device(device)
    scans = {name: functools.partial(kernels.selective_scan, implementation=name) for name in kernels.IMPLEMENTATIONS}
    absent = {name: reason for name in scans if (reason := kernels.unusable(name, device.type))}
    public, absent_public = public_scans()
    usable = {name: scan for name, scan in scans.items() if name not in absent} | public
    right, wrong, differences = _agreeing(usable, _difference_of_scan, device)
    return right, absent | absent_public | wrong, differences


def _plans(device, quick):
    """Every comparison to make, what is absent from them and why, and the differences from the oracle."""
    scans, absent, differences = contenders(device)
    plans = [_Plan("implementations", case, call, "reference", scans, scan_inputs) for call in CALLS for case in CASES]

    if device.type == "cpu" and "cpu" in scans:
        by_set = {name: functools.partial(_on, name, scans["cpu"]) for name in instruction_sets()}
        by_set, wrong, more = _agreeing(by_set, _difference_of_scan, device)
        absent, differences = absent | wrong, differences | more
        case = next(case for case in CASES if case.name == BY_INSTRUCTION_SET)
        plans += [_Plan("instruction sets", case, call, next(iter(by_set)), by_set, scan_inputs) for call in CALLS]

    grids, wrong, more = grid_contenders(scans, device)
    absent, differences = absent | wrong, differences | more
    if unfused := next((name for name in grids if name.endswith("unfused")), None):
        plans += [_Plan("grid", case, call, unfused, grids, grid_inputs) for call in CALLS for case in GRID_CASES]
    return [plan for plan in plans if not quick or plan.case.steps <= QUICK_STEPS], absent, differences


def grid_contenders(scans, device="cpu"):
    """As `contenders`, of the scans over PoseMamba's grid: fused, and around a selective_scan from `scans`."""
    grids = {}
    for name in (*FUSED, "mamba_ssm"):
        if name in scans:
            if name in FUSED:
                grids[f"{name}, fused"] = functools.partial(kernels.grid_scan, implementation=name)
            grids[f"{name}, unfused"] = functools.partial(grid.grid_scan, scans[name], limb_gradient="exact")
    grids = {name: functools.partial(_over_grid, scan) for name, scan in grids.items()}
    return _agreeing(grids, _difference_of_grid, torch.device(device))


def _over_grid(scan, x, *weights):
    orders, limb = _orders(x.shape[1])
    return scan(x, *weights, orders=orders, limb=limb)


@torch.inference_mode(False)  # a cached tensor of inference mode could not be used for a backward pass later
def _orders(frames):
    return kernels.scan_orders("posemamba", frames)


def instruction_sets():
    """Those of liftbench.kernels.cpu that this processor has, the best one first."""
    names = []
    for name in ("avx512", "avx2", "portable"):
        try:
            names.append(cpu.use_instruction_set(name))
        except ValueError:
            pass
    _restore_instruction_set()
    return names


def _on(instruction_set, scan, *tensors):
    """The same scan on another instruction set, which stays for its backward pass."""
    cpu.use_instruction_set(instruction_set)
    return scan(*tensors)


def _restore_instruction_set():
    if cpu.unusable() is None:
        cpu.use_instruction_set(os.environ.get("LIFTBENCH_SCAN_ISA", "auto"))


def _agreeing(scans, difference, device):
    """({name: scan} of those that agree with the oracle, {name: what is wrong} of the others, {name: difference})."""
    right, wrong, differences = {}, {}, {}
    for name, scan in scans.items():
        try:
            differences[name] = difference(scan, device)
        except Exception as error:  # somebody else's code, with inputs it may not expect
            wrong[name] = f"it failed with {in_short(error)}"
            continue
        if differences[name] <= PARITY:
            right[name] = scan
        else:
            wrong[name] = f"it differs from the oracle by {differences[name]:.1e} of the largest value"
    _restore_instruction_set()
    return right, wrong, differences


def _difference_of_scan(scan, device):
    """From the oracle, of a small case with two groups that share A, D and bias, as some peers need them."""
    case = Case("", 2, 2, 24, 70)

    def tied(scan):
        return lambda u, delta, A, B, C, *rest: scan(u, delta, A.repeat(2, 1), B, C, *(row.repeat(2) for row in rest))

    u, delta, A, B, C, D, bias = scan_inputs(case)
    inputs = u, delta, A[: case.channels], B, C, u[0, : case.channels, 0], u[1, : case.channels, 0]
    return _difference(tied(scan), tied(kernels.reference.selective_scan), inputs, device)


def _difference_of_grid(scan, device):
    oracle = functools.partial(_over_grid, functools.partial(kernels.grid_scan, implementation="reference"))
    return _difference(scan, oracle, grid_inputs(Case("", 2, 4, 24, 5 * 17)), device)


def _difference(scan, oracle, inputs, device):
    """The largest one of output and gradients, relative to the largest value of each; infinite if any is NaN."""
    largest = 0.0
    tensors = [tensor.detach().to(device).requires_grad_() for tensor in inputs]
    exact = [tensor.detach().double().to(device).requires_grad_() for tensor in inputs]
    found = [forward(scan, tensors), *forward_backward(scan, tensors)]
    for value, expected in zip(found, [forward(oracle, exact), *forward_backward(oracle, exact)], strict=True):
        difference = ((value - expected).abs().max() / expected.abs().max()).item()
        largest = max(largest, difference if math.isfinite(difference) else math.inf)
    return largest


class _Plan(NamedTuple):
    """One comparison to make."""

    comparison: str
    case: Case
    call: str
    baseline: str
    scans: dict
    inputs: callable


class _Taken(NamedTuple):
    """What one call took."""

    steps: int
    length: int
    seconds: float
    mib: float | None


class _Run:
    """What the comparisons of one run share: device, limits, and what every contender took so far."""

    def __init__(self, device, longest_call_s, quick):
        self.device, self.longest_call_s = device, longest_call_s
        self.fewest, self.most = (ROUNDS[0], ROUNDS[0]) if quick else ROUNDS
        self.sample_s = SAMPLE_S / 4 if quick else SAMPLE_S
        self.meter = memory_meter(device)
        measured = not self.meter.method.startswith("not measured")
        self.memory_method = MEMORY_METHODS[device.type] if measured else self.meter.method
        self.taken = {}  # (comparison, call, contender): [_Taken]

    def compare(self, plan):
        """All contenders of one comparison, taking turns -> ScanComparison."""
        tensors = plan.inputs(plan.case, self.device, requires_grad=plan.call != "forward")
        calls = {name: functools.partial(CALLS[plan.call], scan, tensors) for name, scan in plan.scans.items()}
        timings, first_s = {}, {}
        for name, call in calls.items():
            if reason := self.too_much((plan.comparison, plan.call, name), plan.case):
                timings[name] = {"missing": reason}
                continue
            try:
                first_s[name], timings[name] = self.first_call(call, tensors)
            except (RuntimeError, MemoryError) as error:
                timings[name] = {"missing": f"it failed with {in_short(error)}"}

        rounds = self.rounds(sum(first_s.values()))
        share = Share()
        samples = {name: [] for name in first_s}
        for _ in range(rounds):
            for name, seconds in first_s.items():
                samples[name].append(self.samples_ms(calls[name], seconds))
        share = share.so_far()
        _restore_instruction_set()

        for name, rows in samples.items():
            seconds, mib = np.median([np.median(row) for row in rows]) / 1e3, timings[name]["peak_memory_mib"]
            taken = _Taken(plan.case.steps, plan.case.length, seconds, mib)
            self.taken.setdefault((plan.comparison, plan.call, name), []).append(taken)
        busy = self.device.type == "cpu" and share is not None and share > OTHERS_SHARE
        refused = f"too busy: other processes took {share:.0%} of the processors" if busy else None
        return ScanComparison(
            comparison=plan.comparison,
            case=plan.case.name,
            call=plan.call,
            batch=plan.case.batch,
            groups=plan.case.groups,
            channels=plan.case.channels,
            length=plan.case.length,
            states=STATES,
            state_steps=plan.case.steps,
            compulsory_bytes=4 * (sum(tensor.numel() for tensor in tensors) + tensors[0].numel()),
            baseline=plan.baseline,
            other_processes_share=share,
            timings=[
                ScanTiming(
                    name=name,
                    public=name in PUBLIC,
                    **evaluated(samples.get(name), samples.get(plan.baseline), refused) | timings[name],
                )
                for name in plan.scans
            ],
        )

    def too_much(self, key, case):
        """Why a call is not made: the time per state step is taken to grow with the length as it did before."""
        taken = self.taken.get(key)
        if not taken:
            return None
        last, growth = taken[-1], 0.0
        if shorter := next((one for one in reversed(taken) if one.length < last.length), None):
            slower = (last.seconds / last.steps) / (shorter.seconds / shorter.steps)
            growth = min(max(math.log(slower) / math.log(last.length / shorter.length), 0.0), 1.0)
        seconds = last.seconds * case.steps / last.steps * (case.length / last.length) ** growth
        if seconds > self.longest_call_s:
            return f"too slow: a call would take about {seconds:.2g} s, {self.longest_call_s:g} s are allowed"
        if last.mib is not None:
            mib, free = last.mib * case.steps / last.steps, self.meter.free_mib()
            if mib > MEMORY_SHARE * free:
                return f"too large: a call would take about {mib / 1024:.2g} GiB, {free / 1024:.2g} GiB are free"
        return None

    def first_call(self, call, tensors):
        """(seconds, what memory it took) of a call that also warms up."""
        kept, inputs = {}, {tensor.untyped_storage().data_ptr() for tensor in tensors}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in inputs:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        if self.device.type == "cuda":
            call()  # compiles and tunes
        before = torch.cuda.memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else 0
        self.meter.synchronize()
        began = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            peak = self.meter.peak_mib(call)
        self.meter.synchronize()
        seconds = time.perf_counter() - began
        memory = {"peak_memory_mib": None if peak is None else max(peak - before, 0)}
        if tensors[0].requires_grad:
            memory["kept_for_backward_mib"] = sum(kept.values()) / 2**20
        return seconds, memory

    def rounds(self, seconds):
        """How many, if one takes that long."""
        return min(max(int(2 * self.longest_call_s / max(seconds, 1e-9)), self.fewest), self.most)

    def samples_ms(self, call, expected_s):
        """The calls of one round."""
        calls = min(max(int(self.sample_s / expected_s), 1), MOST_CALLS)
        if calls > 1:
            call()  # the turns of the others left the caches cold and the threads asleep
        return [round(seconds * 1e3, 5) for seconds in times(call, calls, self.meter)]


def evaluated(samples_ms, baseline_ms, refused):
    """The fields of a ScanTiming that follow from its rounds and the baseline's; refused: why they are, or None."""
    if samples_ms is None:
        return {}
    own, spread = _medians(samples_ms)
    fields = {"samples_ms": samples_ms}
    if refused is None and spread > SPREAD:
        refused = f"too busy: p80 - p20 is {spread:.0%} of the median"
    if refused:
        return fields | {"missing": refused}
    fields |= dict(zip(("p20_ms", "median_ms", "p80_ms"), np.percentile(own, [20, 50, 80]).tolist()))
    if baseline_ms is not None:
        baseline, spread = _medians(baseline_ms)
        if spread <= SPREAD:
            fields["ratio"] = float(np.median(np.divide(baseline, own)))
    return fields


def _medians(samples_ms):
    """The medians of the rounds, and their spread."""
    medians = [float(np.median(row)) for row in samples_ms]
    p20, median, p80 = np.percentile(medians, [20, 50, 80])
    return medians, (p80 - p20) / median


def by_length(record, call):
    """{contender: [(length, ScanTiming)]}, from short to long, of one clip with the channels of PoseMamba-S."""
    series = {}
    for one in record.comparisons:
        if (one.comparison, one.call, one.batch, one.groups, one.channels) == ("implementations", call, *BY_LENGTH):
            for timing in one.timings:
                series.setdefault(timing.name, []).append((one.length, timing))
    return series


def ceiling(record, comparison):
    """State steps a second, in 1e9, that bandwidth and operations allow; the forward pass only."""
    intensity = comparison.state_steps / comparison.compulsory_bytes
    return min(record.product_gflop_per_s / record.operations_per_state_step, record.bandwidth_gb_per_s * intensity)


def ratio_to_best_public(comparison, timing):
    """Median over the rounds of the time of the fastest public contender over this one's; None where there is none."""
    public = [one for one in comparison.timings if one.public and one.median_ms]
    if not public or timing.public or timing.median_ms is None:
        return None
    best = min(public, key=lambda one: one.median_ms)
    return float(np.median(np.divide(_medians(best.samples_ms)[0], _medians(timing.samples_ms)[0])))
