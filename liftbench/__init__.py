"""Reproduce, measure and compare monocular 3D human pose lifting: the public API.

Every name loads its module at first use, so that `import liftbench` is cheap. The names below are stable.
"""

import importlib

_HOMES = {
    "Human36M": "baselines.data.formats.motionbert",
    "InputError": "baselines.errors",
    "create_model": "baselines.registry",
    "evaluate": "baselines.evaluation.inference",
    "lift": "lift.lifting",
    "list_models": "baselines.registry",
    "load_published": "bench.report.frames",
    "load_records": "bench.report.frames",
    "load_weights": "baselines.weights.load",
    "open_dataset": "baselines.data.dataset",
    "register": "baselines.registry",
    "read_recipe": "baselines.training.recipe",
    "score": "baselines.evaluation.protocols",
    "selective_scan": "kernels",
    "train": "baselines.training.loop",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return globals().setdefault(name, value)  # `lift` is a package already, which may be called


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
