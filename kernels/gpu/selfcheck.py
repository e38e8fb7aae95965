"""Check the values of the Triton scan on the device at hand, because compilers and drivers can be wrong.

Six cases of 34 steps compare all three functions, forward and backward, in one pass and in chunks, with the oracle in
float64 on the same device. Nothing is timed: every case gives the tuners one configuration, and the cases take turns
over the configurations. The first run compiles the programs; later runs find them in Triton's cache.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import torch

from liftbench.kernels import gpu, grid, reference
from liftbench.kernels.orders import scan_orders

# Relative to the largest value. The programs round to 1e-5, but torch's products around them may be TF32, with an eps
# of 5e-4. A wrong index, a missing term or a race changes values by 1e-2 and more.
TOLERANCE = 2e-3

ROUTES = {"in one pass": {"FULL_WARPS": 0}, "in chunks": {"FULL_WARPS": float("inf")}}
FRAMES, DIRECTIONS, CHANNELS, STATES, RANK = 2, 2, 20, 16, 3
LENGTH = 34  # intervals of 12, 12 and 10 steps, each a chunk where the route is in chunks
STREAM = ("u", "delta", "A", "B", "C", "D", "delta_bias")


def difference(device: torch.device) -> str | None:
    """Describe the first case that fails or differs from the oracle on `device`; return None if all agree."""
    # Use a new thread: the caller may be tracing, without gradients, or under autocast.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_difference, device).result()


def _difference(device: torch.device) -> str | None:
    with torch.cuda.device(device if device.type == "cuda" else -1):
        name = torch.cuda.get_device_name() if device.type == "cuda" else "the cpu"
        for i, (route, function) in enumerate(itertools.product(ROUTES, _FUNCTIONS)):
            case = f"{function} {route} on {name}"
            try:
                with mock.patch.multiple(gpu, **ROUTES[route]), _configuration(i):
                    differences = _FUNCTIONS[function](device)
            except Exception as error:  # compilers, drivers and launches fail in many ways
                reason = str(error).strip().partition("\n")[0]
                return f"the Triton scan failed its check, {case}, with {type(error).__name__}: {reason}"
            worst = max(differences, key=differences.get)
            if differences[worst] > TOLERANCE:
                return (
                    f"the Triton scan failed its check, {case}: {worst} differs from the reference by "
                    f"{differences[worst]:.1e} of its largest value, and {TOLERANCE:.0e} is allowed"
                )
    return None


@contextlib.contextmanager
def _configuration(i: int) -> Iterator[None]:
    """Leave every tuner only its configuration i, modulo their number."""
    programs = gpu._programs()
    with contextlib.ExitStack() as stack:
        for tuner in (programs.local, programs.forward, programs.backward):
            one = tuner.configs[i % len(tuner.configs)]
            stack.enter_context(mock.patch.object(tuner, "configs", [one]))
        yield


def _selective_scan(device: torch.device) -> dict[str, float]:
    return _differences(gpu.selective_scan, reference.selective_scan, _stream(device))


def _bidirectional_scan(device: torch.device) -> dict[str, float]:
    def on_both(scan: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda **t: scan(list(t.values())[: len(STREAM)], list(t.values())[len(STREAM) :])

    tensors = _stream(device) | {f"reversed {name}": tensor for name, tensor in _stream(device, seed=1).items()}
    return _differences(on_both(gpu.bidirectional_scan), on_both(reference.bidirectional_scan), tensors)


def _grid_scan(device: torch.device) -> dict[str, float]:
    orders, limb = scan_orders("posemamba", FRAMES)
    table = {"orders": orders[:DIRECTIONS], "limb": limb[:DIRECTIONS], "limb_gradient": "exact"}
    total = DIRECTIONS * CHANNELS
    tensors = _normal(
        device,
        x=(1, FRAMES, 17, CHANNELS),
        x_proj_weight=(DIRECTIONS, RANK + 2 * STATES, CHANNELS),
        dt_weight=(DIRECTIONS, CHANNELS, RANK),
        dt_bias=(DIRECTIONS, CHANNELS),
        A=(total, STATES),
        D=(total,),
    )
    tensors["x_proj_weight"] *= 0.3
    tensors["dt_weight"] *= 0.3

    def oracle(**tensors) -> torch.Tensor:
        return grid.grid_scan(reference.selective_scan, **tensors, **table)

    return _differences(lambda **tensors: gpu.grid_scan(**tensors, **table), oracle, tensors)


_FUNCTIONS = {"selective_scan": _selective_scan, "bidirectional_scan": _bidirectional_scan, "grid_scan": _grid_scan}


def _stream(device: torch.device, seed: int = 0) -> dict[str, torch.Tensor]:
    total, rows = DIRECTIONS * CHANNELS, (1, DIRECTIONS, STATES, LENGTH)
    return _normal(
        device, seed, u=(1, total, LENGTH), delta=(1, total, LENGTH), A=(total, STATES), B=rows, C=rows, D=(total,),
        delta_bias=(total,),
    )  # fmt: skip


def _normal(device: torch.device, seed: int = 0, **shapes) -> dict[str, torch.Tensor]:
    """{name: random tensor}, the bias of delta around -2 and A negative."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=draw, dtype=torch.float32) for name, shape in shapes.items()}
    tensors["A"] = -tensors["A"].exp()
    tensors["dt_bias" if "dt_bias" in tensors else "delta_bias"] -= 2
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _differences(
    own: Callable[..., torch.Tensor], oracle: Callable[..., torch.Tensor], tensors: dict[str, torch.Tensor]
) -> dict[str, float]:
    """{"y" or "the gradient of ...": largest difference over largest value}, infinite for NaN."""
    values, expected = _run(own, tensors), _run(oracle, {name: tensor.double() for name, tensor in tensors.items()})
    relative = {name: (values[name].double() - e).abs().max() / e.abs().max() for name, e in expected.items()}
    return {name: float(value.nan_to_num(float("inf"))) for name, value in relative.items()}


def _run(scan: Callable[..., torch.Tensor], tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    y = scan(**tensors)
    weights = torch.linspace(-1, 1.5, y.numel(), dtype=torch.float64, device=y.device).view_as(y)
    gradients = torch.autograd.grad((y.double() * weights).sum(), list(tensors.values()))
    return {"y": y.detach(), **{f"the gradient of {name}": value for name, value in zip(tensors, gradients)}}
