"""Make the copy of a model that is counted: its fused operators take their plain form, and its scans do not run."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from liftbench import kernels


class SelectiveScan(torch.autograd.Function):
    """Stands for a scan: computes nothing, keeps its inputs for the backward pass, and has its name in a trace."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, *others) -> torch.Tensor:
        ctx.save_for_backward(u, *others)
        return torch.zeros_like(u)


def twin(model: nn.Module, device: str) -> nn.Module:
    """Copy the modules to a device, in eval mode: counting leaves traces in them."""
    return copy.deepcopy(model).to(device).eval()


@contextlib.contextmanager
def plain_graph(
    on_scan: Callable[[int, int, int, int, bool], None] | None = None, onednn: bool = False
) -> Iterator[None]:
    """Let every model inside consist of PyTorch's own operators, whatever runs fastest here.

    Each scan calls on_scan(clips, channels, length, states, whether there is a skip) instead of running. onednn: keep
    it for its speed, if nobody looks inside its LSTM, which is one operator.
    """

    def scan(
        u: torch.Tensor,
        delta: torch.Tensor,
        A: torch.Tensor,
        B: torch.Tensor,
        C: torch.Tensor,
        D: torch.Tensor | None = None,
        delta_bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if on_scan:
            on_scan(*u.shape, A.shape[1], D is not None)
        return SelectiveScan.apply(u, delta, A, B, C, D, delta_bias)

    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    with (
        kernels.using("chunked"),
        mock.patch.object(kernels.chunked, "selective_scan", scan),
        mock.patch.object(kernels.choice, "refuse_trace", lambda: None),  # fvcore traces to count
        sdpa_kernel(SDPBackend.MATH),
    ):
        torch.backends.mha.set_fastpath_enabled(False)
        torch.backends.mkldnn.enabled = before[1] and onednn
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before[0])
            torch.backends.mkldnn.enabled = before[1]
