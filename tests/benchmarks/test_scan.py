"""Selective scans under pytest-benchmark, grouped by shape; README.md beside this file has the commands."""

import functools

import pytest
import torch

from liftbench.bench.measure import scan, timing

if torch.get_num_threads() > 1 and not timing.idle_threads_spin():
    pytest.skip(timing.SLEEPING, allow_module_level=True)

LARGEST = {"reference": 2**24, "chunked": 2**26, "mambapy": 2**24, "transformers": 2**24}  # state steps of a call
CASES = {case.name: case for case in scan.CASES if case.length <= 4131}
SCANS, _, _ = scan.contenders()


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("call", scan.CALLS)
@pytest.mark.parametrize("case", CASES)
def test_selective_scan(benchmark, case, call, name):
    case = CASES[case]
    if case.steps > LARGEST.get(name, case.steps):
        pytest.skip(f"{name} is slow: up to {LARGEST[name]:,} state steps only, {case.name} has {case.steps:,}")
    run(benchmark, case, call, SCANS[name], scan.scan_inputs)


GRIDS, _, _ = scan.grid_contenders(SCANS)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("call", scan.CALLS)
@pytest.mark.parametrize("case", scan.GRID_CASES, ids=lambda case: case.name)
def test_grid_scan(benchmark, case, call, name):
    run(benchmark, case, call, GRIDS[name], scan.grid_inputs)


def run(benchmark, case, call, contender, inputs):
    benchmark.group = f"{case.name}, {call}"
    tensors = inputs(case, requires_grad=call != "forward")
    benchmark.pedantic(functools.partial(scan.CALLS[call], contender, tensors), warmup_rounds=1, rounds=7)
