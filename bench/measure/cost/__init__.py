"""Count what a model costs: parameters, multiply-accumulates (MACs) by three conventions, elementwise operations,
memory.

`bench.report.tables.cost_rules` states the rules in words; nothing is left out silently. Counting uses a copy of the
model. A registered model is counted on PyTorch's meta device, which needs no data and runs no kernel, so the counts do
not depend on the implementation that is fastest here.
"""

from typing import Any

import torch
from torch import nn

from liftbench import kernels
from liftbench.baselines import own
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import Entry, Number, create_model, entry
from liftbench.bench.measure.cost.backward import kept_bytes, without_gradient, without_gradient_in_training
from liftbench.bench.measure.cost.conventions import count_by_fvcore, count_by_thop
from liftbench.bench.measure.cost.operators import Count, count
from liftbench.bench.measure.cost.peak import peak_bytes
from liftbench.bench.records import CostRecord, FvcoreCount, ScanCalls, environment

__all__ = [
    "Count", "count", "count_by_fvcore", "count_by_thop", "kept_bytes", "measure", "peak_bytes", "without_gradient",
]  # fmt: skip

JOINTS = 17
_GRADIENT_FRAMES = 3  # enough to reach every parameter of a registered model, unless its row says more


def measure(name: str, frames: int | None = None, **numbers: Number) -> CostRecord:
    """Count a model on one clip of `frames` frames (default: the published length).

    A parameter counts as having a gradient if a backward pass with random weights gives it one that is not zero. For a
    stage that is trained by itself, the pass goes through that stage. A user's own model is counted on the CPU, because
    it may look at values. Whatever PyTorch cannot trace or differentiate in it is missing from the record, which says
    why. Raises InputError as `liftbench.create_model` does, and if a user's own model cannot be run or counted.
    """
    found = entry(name, frames)
    frames = found.frames if frames is None else frames
    model = create_model(name, frames=frames, **numbers)
    clip = torch.zeros(1, frames, JOINTS, found.channels)
    facts = {"model": found.name, "frames": frames, "numbers": numbers}
    if found.file is not None:
        with own.imports(found.file):
            return _measure_own(found, model, clip, facts)
    short = min(frames, max(_GRADIENT_FRAMES, found.shortest))
    small = create_model(name, frames=short, **numbers)
    unused = without_gradient_in_training(small, clip[:, :short], found.stages)
    kept = kept_bytes(model, clip)
    return _record(
        model, count(model, clip), **facts, **_gradients(model, unused),
        thop=count_by_thop(model, clip),
        fvcore=count_by_fvcore(model, clip),
        gradient_missing="it does not train on one clip alone" if kept is None else None,
        activation_bytes_kept_for_backward=kept,
        activation_bytes_peak_inference=peak_bytes(model, clip),
    )  # fmt: skip


def _measure_own(found: Entry, model: nn.Module, clip: torch.Tensor, facts: dict[str, Any]) -> CostRecord:
    try:
        seen, peak = count(model, clip, "cpu"), peak_bytes(model, clip, "cpu")
    except Exception as error:
        raise InputError(
            f"Cannot run {found.name} on a clip of shape {tuple(clip.shape)}: {own.reason(error, found.file)}. "
            "Correct the module."
        ) from error
    try:
        by_thop = count_by_thop(model, clip, "cpu")
    except Exception as error:
        raise InputError(
            f"Cannot count {found.name} by thop: {own.reason(error, found.file)}. Correct the module."
        ) from error
    try:
        by_fvcore = count_by_fvcore(model, clip)
    except Exception as error:
        by_fvcore = FvcoreCount(missing=f"fvcore cannot count it: {own.reason(error, found.file)}")
    kept = None
    try:
        kept = kept_bytes(model, clip, "cpu")
        gradients = _gradients(model, without_gradient(model, clip))
    except Exception as error:
        missing = f"it cannot be trained: {own.reason(error, found.file)}"
        gradients = {"parameters_with_gradient": None, "gradient_missing": missing}
    return _record(
        model, seen, **facts, **gradients, thop=by_thop, fvcore=by_fvcore,
        activation_bytes_kept_for_backward=kept,
        activation_bytes_peak_inference=peak,
    )  # fmt: skip


def _gradients(model: nn.Module, unused: list[str]) -> dict[str, Any]:
    return {
        "parameters_with_gradient": sum(value.numel() for key, value in model.named_parameters() if key not in unused),
        "parameter_names_without_gradient": unused,
    }


def _record(module: nn.Module, seen: Count, **fields) -> CostRecord:
    scans = [
        ScanCalls(
            channels=channels, length=length, states=states, calls=calls,
            macs_per_call=kernels.scan_macs(1, channels, length, states, skip),
        )
        for (channels, length, states, skip), calls in sorted(seen.scans.items())
    ]  # fmt: skip
    output_frames = seen.output.shape[1]
    contraction_macs, scan_macs = seen.contraction_macs.total(), sum(scan.calls * scan.macs_per_call for scan in scans)
    return CostRecord(
        **environment.stamp(),
        output_frames=output_frames,
        parameters=sum(value.numel() for value in module.parameters()),
        buffer_elements=sum(buffer.numel() for buffer in module.buffers()),
        contraction_macs=contraction_macs,
        contraction_macs_by_operator=dict(sorted(seen.contraction_macs.items())),
        scan_macs=scan_macs,
        scans=scans,
        macs_per_clip=contraction_macs + scan_macs,
        macs_per_output_frame=(contraction_macs + scan_macs) / output_frames,
        macs_by_module=dict(seen.macs_by_module),
        elementwise_operations=seen.elementwise.total(),
        elementwise_operations_by_operator=dict(sorted(seen.elementwise.items())),
        uncounted_operator_calls=dict(sorted(seen.uncounted.items())),
        **fields,
    )
