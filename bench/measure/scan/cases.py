"""The shapes on which scans are timed, and tensors of these shapes."""

from typing import NamedTuple

import torch

STATES, RANK = 16, 8


class Case(NamedTuple):
    """A shape: tensors (B, groups x channels, L)."""

    name: str
    batch: int
    groups: int
    channels: int  # of a group
    length: int

    @property
    def steps(self) -> int:
        """State steps of a call: B D N L."""
        return self.batch * self.groups * self.channels * STATES * self.length


# From short to long: the time of one case predicts that of the next.
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
BY_INSTRUCTION_SET = "PoseMamba-B"


def scan_inputs(case: Case, device: str | torch.device = "cpu", requires_grad: bool = False) -> list[torch.Tensor]:
    """Make u, delta, A, B, C, D, delta_bias as in trained models: delta 0.001 to 1 after softplus, A = -1 .. -16."""
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


def grid_inputs(case: Case, device: str | torch.device = "cpu", requires_grad: bool = False) -> list[torch.Tensor]:
    """Make x, x_proj_weight, dt_weight, dt_bias, A, D of a `grid_scan` over length / 17 frames; a group is a
    direction.
    """
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
