"""Which implementation of the scan runs: the one that `using` names, or else LIFTBENCH_SCAN, or else the fastest."""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from liftbench.kernels import chunked, cpu, gpu, mamba_ssm, reference
from liftbench.kernels.operators import constant_when_traced

# In order of preference; gpu (Triton) first runs a check of its own on the device and says what it found. What comes
# behind chunked, which runs everywhere, runs only by name.
IMPLEMENTATIONS = {"cpu": cpu, "gpu": gpu, "chunked": chunked, "mamba_ssm": mamba_ssm, "reference": reference}
FLOAT64 = ("chunked", "reference")  # the others compute in float32 only

_named = ContextVar("liftbench_scan", default="auto")


class ScanUnavailable(RuntimeError):
    """The scan implementation asked for cannot run here; the message says why and what to do."""


@contextlib.contextmanager
def using(implementation: str) -> Iterator[None]:
    """Within it, scans run by this implementation; "auto" gives the choice back to LIFTBENCH_SCAN and the preferences.

    The choice belongs to the thread or task that makes it. A backward pass runs by the implementation of its forward
    pass, wherever it runs. Gradient checkpointing repeats the forward pass: give `torch.utils.checkpoint.checkpoint` a
    context_fn that enters `using(current())` for the repetition. torch.compile keeps the choice with which it traced.

    Raises ScanUnavailable for an unknown name. Whether the implementation can run is known where a scan starts.
    """
    _check_known(implementation)
    token = _named.set(implementation)
    try:
        yield
    finally:
        _named.reset(token)


def current() -> str:
    """The name that `using` gave, "auto" outside."""
    return _named.get()


def unusable(name: str, device_type: str = "cpu", dtype: torch.dtype = torch.float32) -> str | None:
    """Why implementation `name` cannot run on a device type ("cpu", "cuda") and dtype, or None if it can."""
    if dtype == torch.float64 and name not in FLOAT64:
        return f"it computes in float32, and the tensors are float64; use {' or '.join(FLOAT64)}"
    return IMPLEMENTATIONS[name].unusable(device_type)


def choose(device_type: str = "cpu", dtype: torch.dtype = torch.float32) -> str:
    """The name of the implementation that will run; raises ScanUnavailable if it is unknown or cannot run.

    One that is named, by `using` or by LIFTBENCH_SCAN, is never replaced by another one.
    """
    return choose_or_take("auto", device_type, dtype)


@constant_when_traced  # under torch.compile the choice is made once, when it traces
def choose_or_take(named, device_type, dtype):
    """`choose`, or the implementation that is named here, unless that is "auto"."""
    if named == "auto":
        named = current()
    if named == "auto":
        named = os.environ.get("LIFTBENCH_SCAN", "auto")
    _check_known(named)
    if named == "auto":
        return next(name for name in IMPLEMENTATIONS if unusable(name, device_type, dtype) is None)
    if reason := unusable(named, device_type, dtype):
        raise ScanUnavailable(f"scan implementation {named!r} cannot run here: {reason}")
    return named


def _check_known(name):
    if name != "auto" and name not in IMPLEMENTATIONS:
        raise ScanUnavailable(f"unknown scan implementation {name!r}; choose auto or {', '.join(IMPLEMENTATIONS)}")


def scans(model: torch.nn.Module) -> bool:
    """Whether a model scans: any of its modules says so by `scans = True`."""
    return any(getattr(module, "scans", False) for module in model.modules())
