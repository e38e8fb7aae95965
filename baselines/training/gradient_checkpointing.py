"""Gradient checkpointing: blocks keep only their input, and compute their activations again in the backward pass."""

import contextlib
import functools

from torch import nn
from torch.utils.checkpoint import checkpoint

from liftbench import kernels
from liftbench.baselines.errors import InputError


def recompute_blocks(model):
    """Let every residual block of the model compute its activations again instead of keeping them.

    A block is a module with a `drop_path` of its own, or a layer of a Transformer. Gradients and stochastic depth are
    the same as without, and so are the running statistics of BatchNorm, to which a batch adds once. Raises InputError
    for a model without blocks.
    """
    blocks = [
        module for module in model.modules()
        if hasattr(module, "drop_path") or isinstance(module, nn.TransformerEncoderLayer)
    ]  # fmt: skip
    if not blocks:
        raise InputError(
            f"{type(model).__name__} has no blocks whose activations could be computed again; leave "
            "gradient_checkpointing out of the recipe."
        )
    for block in blocks:
        again = functools.partial(_contexts, block)
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False, context_fn=again)


def _contexts(block):
    return contextlib.nullcontext(), _repeated(block, kernels.current())


@contextlib.contextmanager
def _repeated(block, scan):
    """The second forward pass of a block: by the scan of the first one, and without a trace in BatchNorm."""
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
