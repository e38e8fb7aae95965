"""Selective scans under pytest-benchmark, grouped by shape; README.md beside this file has the commands."""

import functools

import pytest
import torch

from liftbench.bench.measure import timing
from liftbench.bench.measure.scan import cases, contenders

if torch.get_num_threads() > 1 and not timing.idle_threads_spin():
    pytest.skip(timing.SLEEPING, allow_module_level=True)

LARGEST = {"reference": 2**24, "chunked": 2**26, "mambapy": 2**24, "transformers": 2**24}  # state steps of a call
CASES = {case.name: case for case in cases.CASES if case.length <= 4131}
SCANS, _, _ = contenders.contenders()


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("call", contenders.CALLS)
@pytest.mark.parametrize("case", CASES)
def test_selective_scan(benchmark, case, call, name):
    case = CASES[case]
    if case.steps > LARGEST.get(name, case.steps):
        pytest.skip(f"{name} is slow: up to {LARGEST[name]:,} state steps only, {case.name} has {case.steps:,}")
    run(benchmark, case, call, SCANS[name], cases.scan_inputs)


GRIDS, _, _ = contenders.grid_contenders(SCANS)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("call", contenders.CALLS)
@pytest.mark.parametrize("case", cases.GRID_CASES, ids=lambda case: case.name)
def test_grid_scan(benchmark, case, call, name):
    run(benchmark, case, call, GRIDS[name], cases.grid_inputs)


def run(benchmark, case, call, contender, inputs):
    benchmark.group = f"{case.name}, {call}"
    tensors = inputs(case, requires_grad=call != "forward")
    benchmark.pedantic(functools.partial(contenders.CALLS[call], contender, tensors), warmup_rounds=1, rounds=7)
