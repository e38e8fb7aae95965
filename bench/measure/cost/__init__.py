"""What a model costs: parameters, multiply-accumulates (MACs) by three conventions, elementwise operations, memory.

The rules stand in `rules.py`, in words; nothing is left out silently. Counting walks a copy of the model: of a
registered one on PyTorch's meta device, which needs no data and runs no kernel, so that the counts do not depend on the
implementation that is fastest here.
"""

import torch

from liftbench import kernels
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import create_model, entry
from liftbench.bench.measure.cost import own
from liftbench.bench.measure.cost.backward import kept_bytes, without_gradient, without_gradient_in_training
from liftbench.bench.measure.cost.conventions import count_by_fvcore, count_by_thop
from liftbench.bench.measure.cost.operators import Count, count
from liftbench.bench.measure.cost.peak import peak_bytes
from liftbench.bench.records import environment
from liftbench.bench.records.records import CostRecord, FvcoreCount, ScanCalls
from liftbench.pose3dm import Pose3DM

__all__ = [
    "Count", "count", "count_by_fvcore", "count_by_thop", "kept_bytes", "measure", "measure_own", "official_layout",
    "peak_bytes", "without_gradient",
]  # fmt: skip

JOINTS = 17
OWN_FRAMES, OWN_CHANNELS = 243, 2  # of the clip for a module of the user's, by default
_GRADIENT_FRAMES = 3  # enough to reach every parameter of a registered model

# The numbers with which a model is built as its official code builds it, where that is more than what runs.
_OFFICIAL_LAYOUTS = {Pose3DM: {"official_depth": 5}}


def official_layout(name):
    """The numbers that build a registered model as its official code builds it; {} where ours is built the same way."""
    return _OFFICIAL_LAYOUTS.get(entry(name).build, {})


def measure(name, frames=None, **numbers):
    """Count a registered model on one clip of `frames` frames (default: the published length) -> CostRecord.

    A parameter counts as having a gradient if a backward pass through random weights gives it one that is not zero;
    those of a stage that is trained by itself, if such a pass through that stage does.
    Raises InputError as `liftbench.create_model` does.
    """
    frames = entry(name).frames if frames is None else frames
    model = create_model(name, frames=frames, **numbers)
    clip = torch.zeros(1, frames, JOINTS, entry(name).channels)
    short = min(frames, _GRADIENT_FRAMES)
    unused = without_gradient_in_training(create_model(name, frames=short, **numbers), clip[:, :short])
    return _record(
        model, count(model, clip), model=name, frames=frames, numbers=numbers, **_gradients(model, unused),
        thop=count_by_thop(model, clip),
        fvcore=count_by_fvcore(model, clip),
        activation_bytes_kept_for_backward=kept_bytes(model, clip),
        activation_bytes_peak_inference=peak_bytes(model, clip),
    )  # fmt: skip


def measure_own(where, frames=OWN_FRAMES, channels=OWN_CHANNELS):
    """Count a module of the user's, `path/to/file.py:build`, on a clip (1, frames, 17, channels) -> CostRecord.

    It runs on the CPU, for it may look at its numbers. What PyTorch cannot trace or differentiate is missing from the
    record, which says why. Raises InputError as `own.build` does, and where the module does not take such a clip or
    answers with something else than (1, frames, joints, coordinates).
    """
    if frames < 1:
        raise InputError(f"A clip needs a positive whole number of frames, not {frames}.")
    with own.imports(where):
        name, model = own.build(where)
        clip, file = torch.zeros(1, frames, JOINTS, channels), where.rpartition(":")[0]
        shape = tuple(clip.shape)
        try:
            seen, peak = count(model, clip, "cpu"), peak_bytes(model, clip, "cpu")
        except Exception as error:
            raise InputError(f"{name} fails on a clip of shape {shape}: {own.reason(error, file)}.") from error
        try:
            by_thop = count_by_thop(model, clip, "cpu")
        except Exception as error:
            raise InputError(f"thop cannot count {name}: {own.reason(error, file)}.") from error
        answer = tuple(seen.output.shape) if isinstance(seen.output, torch.Tensor) else type(seen.output).__name__
        if not isinstance(answer, tuple) or len(answer) != 4 or answer[0] != 1 or 0 in answer:
            raise InputError(
                f"{name} answers a clip of shape {shape} with {answer}; it must be one tensor (1, frames, joints, "
                "coordinates), with one frame from a centre-frame model."
            )
        try:
            by_fvcore = count_by_fvcore(model, clip)
        except Exception as error:
            by_fvcore = FvcoreCount(missing=f"fvcore cannot count it: {own.reason(error, file)}")
        kept = None
        try:
            kept = kept_bytes(model, clip, "cpu")
            gradients = _gradients(model, without_gradient(model, clip))
        except Exception as error:
            missing = f"it cannot be trained: {own.reason(error, file)}"
            gradients = {"parameters_with_gradient": None, "gradient_missing": missing}
        return _record(
            model, seen, model=name, frames=frames, **gradients, thop=by_thop, fvcore=by_fvcore,
            activation_bytes_kept_for_backward=kept,
            activation_bytes_peak_inference=peak,
        )  # fmt: skip


def _gradients(model, unused):
    return {
        "parameters_with_gradient": sum(value.numel() for key, value in model.named_parameters() if key not in unused),
        "parameter_names_without_gradient": unused,
    }


def _record(module, seen, **fields):
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
