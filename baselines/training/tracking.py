"""Log the numbers of a training run while it trains: to log.csv always, and to the services that were asked for."""

import contextlib
import importlib.util
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing


@contextlib.contextmanager
def tracking(
    folder: Path, recipe: dict[str, Any], history: Sequence[dict] = (), services: Iterable[str] = ("tensorboard",)
) -> Iterator[Callable[[Sequence[dict]], None]]:
    """Yield log(history). Call it after every epoch with all rows so far, one flat dict per epoch.

    folder: the run folder, which receives log.csv, TensorBoard's events and the files of Weights & Biases; recipe: a
    dict; history: the rows that an interrupted run already has, which are not logged twice; services: names in
    SERVICES. Only the first of several processes may call this. Raises InputError for a service that is unknown, not
    installed or does not start.
    """
    check_services(services)
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(SERVICES[name](folder, recipe, len(history))) for name in services]

        def log(history: Sequence[dict]):
            numbers = {key: value for key, value in history[-1].items() if isinstance(value, int | float)}
            epoch = numbers.pop("epoch", len(history) - 1)
            for add in services:
                add(numbers, epoch)
            with replacing(folder / "log.csv") as temporary:
                pd.DataFrame(history).to_csv(temporary, index=False)

        yield log


def check_services(names: Iterable[str]):
    """Raise InputError for a service that is unknown or not installed."""
    for name in names:
        if name not in SERVICES:
            raise InputError(f"Cannot log to {name!r}: there is no such service. Choose {' or '.join(SERVICES)}.")
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise InputError("Cannot log to wandb: it is not installed. Install it with `pip install 'liftbench[wandb]'`.")


@contextlib.contextmanager
def _tensorboard(
    folder: Path, recipe: dict[str, Any], epochs_done: int
) -> Iterator[Callable[[dict[str, float], int], None]]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder, purge_step=epochs_done) as board:  # what a killed run wrote beyond its checkpoint goes

        def add(numbers: dict[str, float], epoch: int):
            for key, value in numbers.items():
                board.add_scalar(key, value, epoch)
            board.flush()

        yield add


@contextlib.contextmanager
def _wandb(folder: Path, recipe: dict[str, Any], epochs_done: int) -> Iterator[Callable[[dict[str, float], int], None]]:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    identity = folder / "wandb.id"  # a resumed run goes on in the same place
    known = identity.read_text().strip() if epochs_done and identity.is_file() else secrets.token_hex(4)
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "liftbench"), name=str(folder), config=recipe, dir=folder,
            id=known, resume="allow", reinit="finish_previous",
        )  # fmt: skip
    except wandb.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"Cannot log to wandb: it does not start ({reason}). Log in with `wandb login`, or set WANDB_MODE=offline."
        ) from error
    with run:
        with replacing(identity) as temporary:
            temporary.write_text(known)
        yield lambda numbers, epoch: run.log(numbers, step=epoch)


SERVICES = {"tensorboard": _tensorboard, "wandb": _wandb}
