"""Where the numbers of a training run go while it trains: log.csv always, and the services that were asked for."""

import contextlib
import importlib.util
import os
import secrets

import pandas as pd

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing


@contextlib.contextmanager
def tracking(folder, recipe, history=(), services=("tensorboard",)):
    """Yield log(history), to be called after every epoch with all rows so far: one flat dict an epoch.

    folder: the run folder, which receives log.csv, TensorBoard's events and the files of Weights & Biases; recipe: a
    dict; history: the rows that an interrupted run already has, which are not logged twice; services: of SERVICES.
    Of several processes only the first may call this. Raises InputError for a service that is unknown, not installed
    or does not start.
    """
    check_services(services)
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(SERVICES[name](folder, recipe, len(history))) for name in services]

        def log(history):
            numbers = {key: value for key, value in history[-1].items() if isinstance(value, int | float)}
            epoch = numbers.pop("epoch", len(history) - 1)
            for add in services:
                add(numbers, epoch)
            with replacing(folder / "log.csv") as temporary:
                pd.DataFrame(history).to_csv(temporary, index=False)

        yield log


def check_services(names):
    """Raises InputError for a service that is unknown or not installed."""
    for name in names:
        if name not in SERVICES:
            raise InputError(f"There is no tracking service {name!r}; choose of {', '.join(SERVICES)}.")
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise InputError("Weights & Biases is not installed; install it with `pip install 'liftbench[wandb]'`.")


@contextlib.contextmanager
def _tensorboard(folder, recipe, epochs_done):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder, purge_step=epochs_done) as board:  # what a killed run wrote beyond its checkpoint goes

        def add(numbers, epoch):
            for key, value in numbers.items():
                board.add_scalar(key, value, epoch)
            board.flush()

        yield add


@contextlib.contextmanager
def _wandb(folder, recipe, epochs_done):
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
            f"Weights & Biases does not start ({reason}); log in with `wandb login`, or set WANDB_MODE=offline."
        ) from error
    with run:
        with replacing(identity) as temporary:
            temporary.write_text(known)
        yield lambda numbers, epoch: run.log(numbers, step=epoch)


SERVICES = {"tensorboard": _tensorboard, "wandb": _wandb}
