"""Choose the implementation of the scan: the one that `using` names, else LIFTBENCH_SCAN, else the first usable one."""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from liftbench.kernels import chunked, cpu, gpu, mamba_ssm, onnx, reference
from liftbench.kernels.operators import ScanUnavailable, constant_when_traced

# In order of preference. gpu (Triton) first checks itself on the device and reports what it found. chunked runs
# everywhere, so the implementations after it run only by name.
IMPLEMENTATIONS = {
    "cpu": cpu, "gpu": gpu, "chunked": chunked, "mamba_ssm": mamba_ssm, "reference": reference, "onnx": onnx,
}  # fmt: skip
FLOAT64 = ("chunked", "reference")  # the others compute in float32 only

_named = ContextVar("liftbench_scan", default="auto")


@contextlib.contextmanager
def using(implementation: str) -> Iterator[None]:
    """Run the scans inside the `with` block by this implementation; "auto" restores the default choice.

    The choice belongs to the thread or task that makes it. A backward pass uses the implementation of its forward pass,
    wherever it runs. Gradient checkpointing repeats the forward pass: give `torch.utils.checkpoint.checkpoint` a
    context_fn that enters `using(current())` for the repetition. torch.compile keeps the choice made while it traced.

    Raises ScanUnavailable for an unknown name. An implementation that cannot run raises it when a scan starts.
    """
    _check_known(implementation)
    token = _named.set(implementation)
    try:
        yield
    finally:
        _named.reset(token)


def current() -> str:
    """Return the name that `using` set, "auto" outside of it."""
    return _named.get()


def unusable(name: str, device_type: str = "cpu", dtype: torch.dtype = torch.float32) -> str | None:
    """Return why implementation `name` cannot run on a device type ("cpu", "cuda") and dtype, or None if it can."""
    if dtype == torch.float64 and name not in FLOAT64:
        return f"it computes in float32, and the tensors are float64; use {' or '.join(FLOAT64)}"
    return IMPLEMENTATIONS[name].unusable(device_type)


def choose(device_type: str = "cpu", dtype: torch.dtype = torch.float32) -> str:
    """Return the name of the implementation that will run. Raises ScanUnavailable if it is unknown or cannot run.

    An implementation named by `using` or LIFTBENCH_SCAN is never replaced by another one.
    """
    return choose_or_take("auto", device_type, dtype)


@constant_when_traced  # torch.compile chooses once, while it traces
def choose_or_take(named: str, device_type: str, dtype: torch.dtype) -> str:
    """Return `named`, or what `choose` returns if `named` is "auto"."""
    if named == "auto":
        named = current()
    if named == "auto":
        named = os.environ.get("LIFTBENCH_SCAN", "auto")
    _check_known(named)
    refuse_trace()
    if named == "auto":
        return next(name for name in IMPLEMENTATIONS if unusable(name, device_type, dtype) is None)
    if reason := unusable(named, device_type, dtype):
        raise ScanUnavailable(f"Cannot run the scan {named!r} here: {reason}. See `liftbench doctor`.")
    return named


def refuse_trace() -> None:
    """Raise ScanUnavailable inside torch.jit.trace, which keeps what holds for one shape only."""
    if torch.jit.is_tracing():
        raise ScanUnavailable(
            "Cannot trace the scan: torch.jit.trace and the old exporter of ONNX write wrong files. Use `liftbench "
            "export` or torch.export."
        )


def refuse_script(module: torch.nn.Module) -> None:
    """Raise ScanUnavailable: the `__prepare_scriptable__` of modules that scan, which torch.jit.script calls first."""
    raise ScanUnavailable(
        f"Cannot script {type(module).__name__}: torch.jit.script knows no scan. Use `liftbench export` or "
        "torch.export."
    )


def _check_known(name: str):
    if name != "auto" and name not in IMPLEMENTATIONS:
        raise ScanUnavailable(
            f"Cannot use the scan {name!r}: no scan has that name. Use auto, {', '.join(IMPLEMENTATIONS)}."
        )


def scans(model: torch.nn.Module) -> bool:
    """Return whether a model scans, that is, whether any of its modules has `scans = True`."""
    return any(getattr(module, "scans", False) for module in model.modules())
