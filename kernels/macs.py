"""The mamba authors' rule for what a selective scan costs, and that rule as formulas for PyTorch's FlopCounterMode.

FlopCounterMode counts two operations for a MAC and sees a fused kernel as one operator; its formula holds what
is inside: the scan by the rule, and the projections that the operator does itself. A backward pass counts twice, as for
PyTorch's own products.
"""

import math

from torch.utils.flop_counter import register_flop_formula


def scan_macs(batch, channels, length, states, skip=True):
    """Operations of one scan: 9 B L D N, plus B D L for the skip, with D channels of all directions together.

    Source: `flops_selective_scan_fn` of the VMamba and PoseMamba code. The rule counts operations of the associative
    (parallel) form; a sequential scan needs fewer.
    """
    return 9 * batch * length * channels * states + (batch * channels * length if skip else 0)


def register_scan_formulas(scan, scan_backward):
    """For operators that take [u, delta, A, B, C, D, delta_bias] of one stream or two: scan(tensors, ...) and
    scan_backward(dy, tensors, ...)."""

    def forward(tensors, *_, **__):
        batch, channels, length = tensors[0]
        return 2 * len(tensors) // 7 * scan_macs(batch, channels, length, states=tensors[2][1])

    register_flop_formula(scan)(forward)
    register_flop_formula(scan_backward)(lambda dy, tensors, *_, **__: 2 * forward(tensors))


def register_grid_formulas(grid_scan, grid_scan_backward, projects):
    """For operators (x, projection, dt_weight, dt_bias, A, ...) on x: (B, T, J, C), and theirs with dy in front.

    projects: whether the operator multiplies by the projection's weight (K, R + 2N, C) itself.
    """

    def forward(x, projection, dt_weight, dt_bias, A, *_, **__):
        (batch, *grid, channels), (directions, _, rank), states = x, dt_weight, A[1]
        length = math.prod(grid)
        products = rank + (rank + 2 * states if projects else 0)
        scan = scan_macs(batch, directions * channels, length, states)
        return 2 * (scan + batch * length * directions * channels * products)

    register_flop_formula(grid_scan)(forward)
    register_flop_formula(grid_scan_backward)(lambda dy, *arguments, **__: 2 * forward(*arguments))
