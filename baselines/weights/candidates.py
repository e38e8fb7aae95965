"""Find the registered model that the tensors of a file belong to."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import create_model, entry, list_models
from liftbench.baselines.weights.load import Fit, Shapes, compare, shapes_of

_LONGEST_CLIP = 10_000  # frames; tensors that claim more were not made for these models


@dataclass(frozen=True)
class Candidate:
    """A registered model or one stage of it (stage None: the whole model), and how the tensors of a file fit it."""

    model: str
    stage: str | None
    parameters: int
    fit: Fit

    def __str__(self) -> str:
        return f"{self.model}, stage {self.stage} only" if self.stage else self.model


def trained_frames(model: str, state: dict[str, Tensor]) -> int | None:
    """Return the clip length T that weights of a model were made for; None if no tensor shows a plausible one.

    state: the tensors of the whole model or of one stage of it.
    """
    frames = entry(model).frames_of(shapes_of(state))
    return frames if frames and frames <= _LONGEST_CLIP else None


def candidates(state: dict[str, Tensor]) -> list[Candidate]:
    """Return all registered models, and the stages of those trained in stages, the best fit first.

    Models that do not fit are ranked by the names and shapes that they share with the file. Models that fit equally
    well keep the order of the registry.
    """
    given = shapes_of(state)
    found = [candidate for name in list_models() for candidate in _fits(name, None, given)]
    # The clip length changes shapes, never names: no other model than these can fit, or be the nearest, with another.
    likely = {candidate.model for candidate in found if not (candidate.fit.missing or candidate.fit.unexpected)}
    likely.add(_best_first(found)[0].model)
    frames = {name: trained_frames(name, state) for name in likely}
    return _best_first(candidate for name in list_models() for candidate in _fits(name, frames.get(name), given))


def _fits(name: str, frames: int | None, given: Shapes) -> list[Candidate]:
    return [
        Candidate(name, stage, parameters, compare(module, own, given))
        for stage, module, parameters, own in _modules(name, frames)
    ]


def _best_first(found: Iterable[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda candidate: (not candidate.fit.exact, -candidate.fit.likeness))


def exact(state: dict[str, Tensor], where: str | Path) -> list[Candidate]:
    """Return the candidates that fit exactly; raises InputError if there are none."""
    nearest, *others = candidates(state)
    if not nearest.fit.exact:
        raise InputError(
            f"Cannot identify {where}: it fits no registered model; the nearest is {nearest} ({nearest.fit}). "
            "Give weights of a model that `liftbench models` lists."
        )
    return [nearest, *(candidate for candidate in others if candidate.fit.exact)]


def whole_models(state: dict[str, Tensor], where: str | Path) -> list[str]:
    """Return the names of the models that fit exactly; raises InputError if there are none, or only a stage fits."""
    fitting = exact(state, where)
    names = [candidate.model for candidate in fitting]
    if fitting[0].stage:
        raise InputError(
            f"Cannot use {where}: it holds only the stage {fitting[0].stage} of {' and '.join(names)}. "
            "Give the files of both stages together to `liftbench weights convert`."
        )
    return names


@functools.lru_cache(maxsize=256)
def _modules(name: str, frames: int | None) -> list[tuple[str | None, nn.Module, int, Shapes]]:
    """Return (None, the model, ...) and (stage, its module, ...) for every stage, with the number of its parameters and
    the shapes of its tensors. They keep no memory for their weights.
    """
    model = create_model(name, frames=frames).to("meta")
    modules = {None: model} | {stage: getattr(model, stage) for stage in entry(name).stages}
    return [
        (stage, module, sum(value.numel() for value in module.parameters()), shapes_of(module.state_dict()))
        for stage, module in modules.items()
    ]
