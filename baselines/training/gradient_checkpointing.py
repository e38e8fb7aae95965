"""Gradient checkpointing: blocks keep only their input and recompute their activations in the backward pass."""

import contextlib
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager

from torch import nn
from torch.utils.checkpoint import checkpoint

from liftbench import kernels
from liftbench.baselines.errors import InputError


def recompute_blocks(model: nn.Module):
    """Let every residual block of the model recompute its activations instead of keeping them.

    A block is a module with a `drop_path` of its own, a layer of a Transformer, or the method that a module's class
    names as `recomputed`. Gradients, dropout, stochastic depth and the running statistics of BatchNorm are the same as
    without it; a batch enters the statistics once. Raises InputError for a model without blocks.
    """
    blocks = [(module, method) for module in model.modules() if (method := _recomputed(module))]
    if not blocks:
        raise InputError(
            f"Cannot checkpoint the gradients of {type(model).__name__}: it has no blocks to compute again. Leave "
            "gradient_checkpointing out of the recipe."
        )
    for block, method in blocks:
        again, plain = functools.partial(_contexts, block), getattr(block, method)
        setattr(block, method, functools.partial(checkpoint, plain, use_reentrant=False, context_fn=again))


def _recomputed(module: nn.Module) -> str | None:
    """Return the name of the method that computes a residual block, or None if the module is not a block."""
    layer = hasattr(module, "drop_path") or isinstance(module, nn.TransformerEncoderLayer)
    return getattr(module, "recomputed", "forward" if layer else None)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return contextlib.nullcontext(), _repeated(block, kernels.current())


@contextlib.contextmanager
def _repeated(block: nn.Module, scan: str) -> Iterator[None]:
    """Run the second forward pass of a block with the scan of the first, and without a trace in BatchNorm."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # the batch then adds nothing to the running statistics
    try:
        with kernels.using(scan):
            yield
    finally:
        for norm, (momentum, batches) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)
