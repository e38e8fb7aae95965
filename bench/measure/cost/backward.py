"""Measure a backward pass: the activations that autograd keeps, and the parameters that get a gradient."""

import copy

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from liftbench import kernels
from liftbench.bench.measure.cost.plain import plain_graph, twin


def kept_bytes(model: nn.Module, clip: torch.Tensor, device: str = "meta") -> int | None:
    """Count the bytes that autograd keeps from a forward pass of a clip in training mode until the backward pass.

    Each storage counts once and as a whole; parameters and buffers do not count. A scan keeps its inputs. Returns None
    if the clip gives a batch norm a single value, so that the model cannot train on one clip (VideoPose3D).
    """
    model = twin(model, device).train()
    own = {value.untyped_storage()._cdata for value in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor: torch.Tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage

    with plain_graph(), torch.random.fork_rng(devices=[]), torch.enable_grad(), saved_tensors_hooks(keep, id):
        try:
            model(clip.to(device))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            return None
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


def without_gradient_in_training(model: nn.Module, clip: torch.Tensor, stages: tuple[str, ...] = ()) -> list[str]:
    """Apply `without_gradient` as a model is trained: each of its `stages` but the last by itself, because no gradient
    reaches it from the next one."""
    unused = without_gradient(model, clip)
    for stage in stages[:-1]:
        alone = {f"{stage}.{key}" for key in without_gradient(getattr(model, stage), clip)}
        unused = [key for key in unused if not key.startswith(f"{stage}.") or key in alone]
    return unused


def without_gradient(model: nn.Module, clip: torch.Tensor) -> list[str]:
    """Name the parameters that a backward pass on a random clip like `clip` leaves without a gradient, or with a zero
    one."""
    model = copy.deepcopy(model).eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the operators are tiny: on a busy machine several threads wait far longer than they work
    try:
        with torch.random.fork_rng(devices=[]), kernels.using("chunked"):
            torch.manual_seed(0)
            output = model(torch.randn_like(clip))
            if output.requires_grad:
                (output * torch.randn_like(output)).sum().backward()
    finally:
        torch.set_num_threads(threads)
    return [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
