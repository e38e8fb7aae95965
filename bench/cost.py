"""What a model costs: parameters and multiply-accumulates (MACs), by stated rules that leave nothing out silently.

Rules, all for one clip and a forward pass in eval mode:
- Contractions (linear, convolution, einsum, attention, LSTM, other matrix products): the MACs of the matrix product or
  convolution that PyTorch runs, half of what its FlopCounterMode formula gives; biases are free, as in thop.
  "attention" holds the products of two activations; its projections are "linear".
- Scans: `kernels.scan_macs`, the mamba authors' rule. What happens inside a scan is counted nowhere else.
- thop: whatever thop prints, because that is what the papers print.
- Every other operator that computes something is listed as uncounted, by PyTorch's name for it and how often it ran.
  Operators that only view, copy or allocate are left out.

Counting walks the plain module graph on PyTorch's meta device: it needs no data and runs no kernel, so it does not
depend on the implementation that is fastest here.
"""

import collections
import contextlib
import copy
from dataclasses import dataclass
from unittest import mock

import thop
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import kernels
import kernels.chunked
from baselines import create_model
from baselines.registry import entry

from . import environment
from .records import CostRecord, ScanCalls, ThopCount

_GRADIENT_FRAMES = 3  # enough to reach every parameter

# Whose contractions are not what their operator's name says.
_CALLERS = {
    torch.einsum: "einsum",
    torch.lstm: "LSTM",
    F.multi_head_attention_forward: "attention",
    F.scaled_dot_product_attention: "attention",
}
_PRODUCTS_OF_WEIGHTS = {"mm": "linear", "addmm": "linear", "convolution": "convolution"}

# Operators that copy, allocate or index and compute nothing; views know it of themselves.
_MOVES = {
    "_to_copy", "_unsafe_view", "arange", "cat", "clone", "constant_pad_nd", "copy_", "empty", "empty_like", "flip",
    "full", "full_like", "gather", "index", "index_select", "new_empty", "new_zeros", "ones", "repeat", "set_", "stack",
    "unsafe_split", "zeros", "zeros_like",
}  # fmt: skip


@dataclass
class Count:
    """What was seen in one forward pass: MACs by operator, calls by scan shape, calls by uncounted operator."""

    contraction_macs: collections.Counter
    scans: collections.Counter  # keys (channels, length, states, has a skip)
    uncounted: collections.Counter
    output_frames: int


def measure(name, frames=None, **numbers):
    """Count a registered model on one clip of `frames` frames (default: the published length) -> CostRecord.

    A parameter counts as having a gradient if a backward pass through random weights gives it one that is not zero.
    Raises InputError as `baselines.create_model` does.
    """
    frames = entry(name).frames if frames is None else frames
    model = create_model(name, frames=frames, **numbers)
    clip = torch.zeros(1, frames, 17, entry(name).channels)
    seen = count(model, clip)
    short = min(frames, _GRADIENT_FRAMES)
    unused = without_gradient(create_model(name, frames=short, **numbers), clip[:, :short])
    parameters = {key: value.numel() for key, value in model.named_parameters()}
    scans = [
        ScanCalls(
            channels=channels, length=length, states=states, calls=calls,
            macs_per_call=kernels.scan_macs(1, channels, length, states, skip),
        )
        for (channels, length, states, skip), calls in sorted(seen.scans.items())
    ]  # fmt: skip
    contraction_macs, scan_macs = seen.contraction_macs.total(), sum(scan.calls * scan.macs_per_call for scan in scans)
    return CostRecord(
        environment=environment.describe(),
        model=name,
        frames=frames,
        numbers=numbers,
        output_frames=seen.output_frames,
        parameters=sum(parameters.values()),
        parameters_with_gradient=sum(size for key, size in parameters.items() if key not in unused),
        parameter_names_without_gradient=unused,
        buffer_elements=sum(buffer.numel() for buffer in model.buffers()),
        thop=count_by_thop(model, clip),
        contraction_macs=contraction_macs,
        contraction_macs_by_operator=dict(sorted(seen.contraction_macs.items())),
        scan_macs=scan_macs,
        scans=scans,
        macs_per_clip=contraction_macs + scan_macs,
        macs_per_output_frame=(contraction_macs + scan_macs) / seen.output_frames,
        uncounted_operator_calls=dict(sorted(seen.uncounted.items())),
    )


def count(model, clip):
    """Count any module on a batch of one clip, (1, T, ...); the model itself is not touched -> Count."""
    seen = Count(collections.Counter(), collections.Counter(), collections.Counter(), 0)
    with _plain_graph(seen), _Operators(seen) as operators, _Callers(operators):
        seen.output_frames = _on_meta(model)(clip.to("meta")).shape[1]
    return seen


def count_by_thop(model, clip):
    """Parameters and MACs as thop counts them -> ThopCount. thop leaves buffers behind, so it gets a copy."""
    with _plain_graph():
        macs, parameters = thop.profile(_on_meta(model), (clip.to("meta"),), verbose=False)
    return ThopCount(parameters=int(parameters), macs=int(macs))


def without_gradient(model, clip):
    """Names of the parameters that a backward pass on a random clip like `clip` leaves without a gradient."""
    parameters = dict(model.named_parameters())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the operators are tiny: on a busy machine several threads wait far longer than they work
    try:
        with torch.random.fork_rng(devices=[]), mock.patch.object(kernels, "choose", lambda *_, **__: "chunked"):
            torch.manual_seed(0)
            output = _twin(model, lambda tensor: tensor)(torch.randn_like(clip))
            weighted = (output * torch.randn_like(output)).sum()
            gradients = torch.autograd.grad(weighted, parameters.values(), allow_unused=True)
    finally:
        torch.set_num_threads(threads)
    return [key for key, gradient in zip(parameters, gradients) if gradient is None or not gradient.any()]


def _twin(model, tensor):
    """The same modules in eval mode, apart from `model`, with tensor(t) in the place of each parameter and buffer t."""
    tensors = {id(value): tensor(value) for value in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, tensors).eval()


def _on_meta(model):
    return _twin(model, lambda tensor: tensor.to("meta"))


@contextlib.contextmanager
def _plain_graph(seen=None):
    """Scans are noted instead of run, and fused operators take their plain form, whose parts have formulas."""

    def scan(u, delta, A, B, C, D=None, delta_bias=None):
        if seen is not None:
            seen.scans[u.shape[1], u.shape[2], A.shape[1], D is not None] += len(u)
        return torch.zeros_like(u)

    fused_attention = torch.backends.mha.get_fastpath_enabled()
    with (
        torch.no_grad(),
        mock.patch.object(kernels, "choose", lambda *_, **__: "chunked"),
        mock.patch.object(kernels.chunked, "selective_scan", scan),
    ):
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused_attention)


class _Operators(TorchDispatchMode):
    """Sorts every operator that runs into contraction, move or uncounted."""

    def __init__(self, seen):
        super().__init__()
        self.seen, self.caller = seen, None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.overloadpacket in flop_registry:
            flops = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=output)
            self.seen.contraction_macs[self._label(name)] += flops // 2
        elif not func.is_view and name not in _MOVES:
            self.seen.uncounted[name.strip("_")] += 1
        return output

    def _label(self, name):
        if self.caller in ("einsum", "LSTM"):
            return self.caller
        return _PRODUCTS_OF_WEIGHTS.get(name) or self.caller or "matrix product"


class _Callers(TorchFunctionMode):
    """Tells `_Operators` which of the functions in _CALLERS is running."""

    def __init__(self, operators):
        super().__init__()
        self.operators = operators

    def __torch_function__(self, func, types, args=(), kwargs=None):
        outer = self.operators.caller
        self.operators.caller = outer or _CALLERS.get(func)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.operators.caller = outer
