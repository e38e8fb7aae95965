"""Training on several processes, which `torchrun` starts: one gradient, one evaluation, one writer."""

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation.inference import predict

TIMEOUT = timedelta(minutes=10)  # until a process that no longer answers counts as dead


def start(device: str) -> Fabric:
    """Return a Fabric for this process alone, or, under torchrun, for the processes that it started on all nodes.

    device: "cpu", "cuda" or "auto". Gradients travel by NCCL between GPUs, and by Gloo between processors. Raises
    InputError if torchrun started more processes than there are GPUs.
    """
    if not torch.distributed.is_torchelastic_launched():
        return Fabric(accelerator=device, devices=1, plugins=LightningEnvironment())  # even inside a job of Slurm
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if device != "cpu" and 0 < torch.cuda.device_count() < local:
        raise InputError(
            f"Cannot train with {local} processes: PyTorch sees {torch.cuda.device_count()} GPUs here, and each "
            "process needs one. Start fewer with --nproc_per_node, or choose --device cpu."
        )
    fabric = Fabric(accelerator=device, devices=local, num_nodes=world // local, strategy=DDPStrategy(timeout=TIMEOUT))
    fabric.launch()
    signal.signal(signal.SIGTERM, _stop)  # torchrun sends it when another process has died
    return fabric


def _stop(*_):
    raise InputError(f"Cannot go on: this process was stopped, since another one has ended. {_START_AGAIN}.")


_START_AGAIN = "Start all processes again with --resume to go on from the last checkpoint"


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """Raise InputError if a collective operation fails because another process has died."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower():
            raise InputError(
                f"Cannot go on: another process of this run has ended or no longer answers. {_START_AGAIN}."
            ) from error
        raise


def begin_together(fabric: Fabric, place: tuple, folder: Path) -> None:
    """Raise InputError in all processes if they would not begin at the same place: epochs and steps done."""
    if fabric.world_size == 1:
        return
    everyone = [None] * fabric.world_size
    torch.distributed.all_gather_object(everyone, place)
    if len(set(everyone)) > 1:
        raise InputError(
            f"Cannot begin: the processes of this run do not find the same checkpoint in {folder}. Choose a folder "
            "that all of them see with --run."
        )


def parts_of(numbers: np.ndarray, accumulate: int, rank: int, processes: int) -> list[tuple[np.ndarray, float]]:
    """Return the parts of a batch that one process computes, one per backward pass: [(clip numbers, share of the
    batch)].

    numbers: the batch's clips. They are cut into processes * accumulate parts, equal up to one clip, or into fewer if
    there are not enough. A process without a part computes the batch's first clip with a share of zero: all processes
    must run equally many passes, because they wait for each other's gradients and statistics of SyncBatchNorm.
    """
    each = min(accumulate, -(-len(numbers) // processes))
    parts = np.array_split(numbers, processes * each)[rank::processes]
    return [(part, len(part) / len(numbers)) if len(part) else (numbers[:1], 0.0) for part in parts]


def predict_together(fabric: Fabric, progress: Callable[[int, int], None] | None = None) -> Callable:
    """Return `evaluation.predict` without flip, in which every process predicts its part of the clips and gets the
    rest.

    progress(done, of) counts the clips of this process.
    """
    if fabric.world_size == 1:
        return functools.partial(predict, progress=progress)

    def predict_part(
        model: torch.nn.Module,
        dataset: Dataset,
        index: np.ndarray,
        channels: int,
        device: torch.device | str,
        flip: bool,
    ) -> tuple[np.ndarray, None]:
        each = -(-len(index) // fabric.world_size)
        rows = np.arange(each * fabric.global_rank, each * (fabric.global_rank + 1)).clip(max=len(index) - 1)
        own, _ = predict(model, dataset, index[rows], channels, device=device, flip=flip, progress=progress)
        own = torch.from_numpy(own).to(device)
        everyone = [torch.empty_like(own) for _ in range(fabric.world_size)]
        torch.distributed.all_gather(everyone, own)
        return torch.cat(everyone)[: len(index)].cpu().numpy(), None  # without what filled the last part up

    return predict_part


def equal_buffers(fabric: Fabric, model: torch.nn.Module) -> None:
    """Copy the first process's buffers, the running statistics of BatchNorm, to all processes."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)
