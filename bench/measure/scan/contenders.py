"""The contenders: our scans, public ones, each instruction set, and the fused grid. Each is checked first.

Parity: every contender is compared with `kernels.reference` in float64, output and gradients of a small case. A
contender that differs or fails is not timed, and the record says why.
"""

import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from liftbench import kernels
from liftbench.bench.measure.scan.cases import Case, grid_inputs, scan_inputs
from liftbench.bench.measure.scan.peers import public_scans
from liftbench.bench.measure.timing import in_short
from liftbench.kernels import cpu, grid

FUSED = ("cpu", "gpu")  # implementations with a fused grid_scan
PARITY = 2e-5  # as in tests/kernels/test_interface.py: float32 rounding times the conditioning of long sums
Scan = Callable[..., torch.Tensor]


def forward(scan: Scan, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Run the forward pass without a graph, and return the output."""
    with torch.inference_mode():
        return scan(*tensors)


def forward_backward(scan: Scan, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return the gradients of all inputs. The output serves as its own gradient, which is as dense as a real one."""
    y = scan(*tensors)
    return torch.autograd.grad(y, tensors, y.detach())


CALLS = {"forward": forward, "forward + backward": forward_backward}


class Checked(NamedTuple):
    """The scans that passed the parity check, those that did not and why, and each one's difference from the oracle."""

    scans: dict[str, Scan]
    absent: dict[str, str]
    differences: dict[str, float]


def contenders(device: str | torch.device = "cpu") -> Checked:
    """Return all selective scans that run on a device, our own first."""
    device = torch.device(device)
    scans = {name: functools.partial(kernels.selective_scan, implementation=name) for name in kernels.IMPLEMENTATIONS}
    absent = {name: reason for name in scans if (reason := kernels.unusable(name, device.type))}
    public, absent_public = public_scans()
    usable = {name: scan for name, scan in scans.items() if name not in absent} | public
    right, wrong, differences = _agreeing(usable, difference_of_scan, device)
    return Checked(right, absent | absent_public | wrong, differences)


def instruction_set_contenders(scan: Scan, device: str | torch.device = "cpu") -> Checked:
    """Return the scan of `kernels.cpu` on each instruction set of this processor, the best one first."""
    by_set = {name: functools.partial(_on_instruction_set, name, scan) for name in instruction_sets()}
    return _agreeing(by_set, difference_of_scan, torch.device(device))


def grid_contenders(scans: Mapping[str, Scan], device: str | torch.device = "cpu") -> Checked:
    """Return the scans over PoseMamba's grid: fused ones, and unfused ones around the selective scans of `scans`."""
    grids = {}
    for name in (*FUSED, "mamba_ssm"):
        if name in scans:
            if name in FUSED:
                grids[f"{name}, fused"] = functools.partial(_fused, name)
            grids[f"{name}, unfused"] = functools.partial(grid.grid_scan, scans[name], limb_gradient="exact")
    grids = {name: functools.partial(_over_grid, scan) for name, scan in grids.items()}
    return _agreeing(grids, difference_of_grid, torch.device(device))


def _fused(implementation: str, *tensors, **tables) -> torch.Tensor:
    with kernels.using(implementation):
        return kernels.grid_scan(*tensors, **tables)


def _over_grid(scan: Callable[..., torch.Tensor], x: torch.Tensor, *weights) -> torch.Tensor:
    orders, limb = _orders(x.shape[1])
    return scan(x, *weights, orders=orders, limb=limb)


@torch.inference_mode(False)  # a cached tensor of inference mode could not be used for a backward pass later
def _orders(frames: int) -> tuple[torch.Tensor, tuple[bool, ...]]:
    return kernels.scan_orders("posemamba", frames)


def instruction_sets() -> list[str]:
    """Return the instruction sets of `kernels.cpu` that this processor has, the best one first."""
    names = []
    for name in ("avx512", "avx2", "portable"):
        try:
            names.append(cpu.use_instruction_set(name))
        except ValueError:
            pass
    restore_instruction_set()
    return names


def _on_instruction_set(instruction_set: str, scan: Callable[..., torch.Tensor], *tensors) -> torch.Tensor:
    """Run the scan on another instruction set, which stays set for its backward pass."""
    cpu.use_instruction_set(instruction_set)
    return scan(*tensors)


def restore_instruction_set() -> None:
    """Go back to the instruction set that the environment asks for."""
    if cpu.unusable() is None:
        cpu.use_instruction_set(os.environ.get("LIFTBENCH_SCAN_ISA", "auto"))


def _agreeing(
    scans: dict[str, Callable[..., torch.Tensor]], difference_of: Callable[..., float], device: torch.device
) -> tuple[dict[str, Callable[..., torch.Tensor]], dict[str, str], dict[str, float]]:
    right, wrong, differences = {}, {}, {}
    for name, scan in scans.items():
        try:
            differences[name] = difference_of(scan, device)
        except Exception as error:  # other projects' code, with inputs that it may not expect
            wrong[name] = f"it failed with {in_short(error)}"
            continue
        if differences[name] <= PARITY:
            right[name] = scan
        else:
            wrong[name] = f"it differs from the oracle by {differences[name]:.1e} of the largest value"
    restore_instruction_set()
    return Checked(right, wrong, differences)


def difference_of_scan(scan: Scan, device: str | torch.device) -> float:
    """Return the difference from the oracle on a small case. Its two groups share A, D and bias; some peers
    need that.
    """
    case = Case("", 2, 2, 24, 70)

    def tied(scan: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda u, delta, A, B, C, *rest: scan(u, delta, A.repeat(2, 1), B, C, *(row.repeat(2) for row in rest))

    u, delta, A, B, C, D, bias = scan_inputs(case)
    inputs = u, delta, A[: case.channels], B, C, u[0, : case.channels, 0], u[1, : case.channels, 0]
    return difference(tied(scan), tied(kernels.reference.selective_scan), inputs, device)


def difference_of_grid(scan: Scan, device: str | torch.device) -> float:
    """Return the difference from the oracle on a small grid with four directions."""
    oracle = functools.partial(_over_grid, functools.partial(_fused, "reference"))
    return difference(scan, oracle, grid_inputs(Case("", 2, 4, 24, 5 * 17)), device)


def difference(scan: Scan, oracle: Scan, inputs: Iterable[torch.Tensor], device: str | torch.device) -> float:
    """Return the largest difference of output and gradients, relative to the largest value of each; inf for NaN."""
    largest = 0.0
    tensors = [tensor.detach().to(device).requires_grad_() for tensor in inputs]
    exact = [tensor.detach().double().to(device).requires_grad_() for tensor in inputs]
    found = [forward(scan, tensors), *forward_backward(scan, tensors)]
    for value, expected in zip(found, [forward(oracle, exact), *forward_backward(oracle, exact)], strict=True):
        apart = ((value - expected).abs().max() / expected.abs().max()).item()
        largest = max(largest, apart if math.isfinite(apart) else math.inf)
    return largest
