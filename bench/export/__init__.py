"""Write a model to a file that runs elsewhere: ONNX, or torch.export with this project's operators.

Every file is checked before it takes its place: by ONNX Runtime, or by what torch.export loads, against the model
itself, on random clips of batches that were not traced. A difference above TOLERANCE of the largest output is refused.
Then both are timed in turn, in one process and with the same number of threads, on one clip.
"""

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing, sha256
from liftbench.baselines.registry import create_model, entry, is_file, list_models, located
from liftbench.baselines.skeleton import JOINTS
from liftbench.baselines.weights.trained import Weights, open_weights
from liftbench.bench.export import onnx_file, torch_file
from liftbench.bench.measure import meters, timing
from liftbench.bench.measure.compare import ratio_of_medians
from liftbench.bench.records import Checkpoint, ExportRecord, environment
from liftbench.kernels import choose, scans
from liftbench.lift.lifting import answers_in_metres
from liftbench.lift.weights import shipped

FORMATS = {"onnx": onnx_file, "torch": torch_file}
TOLERANCE = 1e-4  # rounding reaches 2e-6
_TRACED, _CHECKED = 2, (1, 3)  # clips
_ROUNDS, _ROUND_S = (5, 40), 0.1
RANDOM = Path("random weights")


def open_model(what: str, model_name: str | None = None, frames: int | None = None, best: bool = False) -> Weights:
    """Return the weights of a run folder or a file, those called accurate or fast, or random ones of a model's name.

    Raises InputError as `open_weights` and `create_model` do.
    """
    if what not in list_models() and not is_file(what):
        return open_weights(shipped(what), model_name, frames, best=best)
    name, frames = located(what, "."), frames or entry(what, frames).frames
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(name, frames=frames)
    return Weights(model, name, frames, {}, None, RANDOM, None, None)


def export(
    weights: Weights,
    form: str,
    path: Path,
    seconds: float = 5.0,
    progress: Callable[[str], None] = lambda doing: None,
) -> ExportRecord:
    """Write a model to `path`, check the file and time it. form: a key of FORMATS.

    seconds: the time to aim at for the timing; 0 leaves it out. progress(doing) says what is done. Raises InputError
    for a model that cannot be exported, for packages that are missing and for a file whose answers differ; then
    nothing is written.
    """
    FORMATS[form].check_packages()
    model, registered = weights.model.eval(), entry(weights.model_name, weights.frames)

    def clips(batch: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(batch)
        return torch.rand(batch, weights.frames, len(JOINTS), registered.channels, generator=draw) * 2 - 1

    with torch.no_grad(), replacing(path) as temporary:
        progress(f"exporting {weights.name}")
        began = time.perf_counter()
        try:
            FORMATS[form].write(model, clips(_TRACED), metadata(weights), temporary)
        except InputError:
            raise
        except Exception as error:  # exporters raise all kinds
            raise InputError(
                f"Cannot export {weights.name} to {form}: {type(error).__name__}: {_last_line(error)}. Export another "
                "model or format."
            ) from error
        took_s = time.perf_counter() - began
        progress("checking the file")
        run = FORMATS[form].load(temporary)
        difference = max(_difference(run(clips(batch)), model(clips(batch))) for batch in _CHECKED)
        if not difference <= TOLERANCE:
            raise InputError(
                f"Cannot export {weights.name} to {form}: the file's answers differ from the model's by "
                f"{difference:.1e} of the largest, and {TOLERANCE:.0e} is allowed. Export another format."
            )
        progress("timing both in turn")
        clip = clips(1)
        timed = _timed(lambda: model(clip), lambda: run(clip), seconds)
        facts = FORMATS[form].facts(temporary)
        size = temporary.stat().st_size
    blocks = _blocks(model)
    return ExportRecord(
        **environment.stamp("cpu", choose("cpu") if scans(model) else None),
        model=weights.name, frames=weights.frames, numbers=weights.numbers, format=form,
        checkpoint=_checkpoint(weights), file_bytes=size, export_s=took_s, difference=difference,
        blocks=blocks or None, **facts, **timed,
    )  # fmt: skip


def metadata(weights: Weights) -> dict[str, str]:
    """Say what a file holds, what it takes and what it gives, as texts."""
    registered, metric = entry(weights.model_name, weights.frames), answers_in_metres(weights)
    frames = "1 frame, the centre" if registered.output == "centre" else f"{weights.frames} frames"
    confidence = ", confidence from 0 to 1" if registered.channels == 3 else ""
    unit = "metres" if metric else "halves of the image's width (1 is width / 2 pixels)"
    random = weights.path == RANDOM
    facts = {
        "liftbench": version("liftbench"), "model": weights.name, "numbers": json.dumps(weights.numbers),
        "weights": "random, seed 0" if random else weights.path.name,
        "weights_sha256": "" if random else sha256(weights.path), "epoch": weights.epoch, "data": weights.data,
        "joint_9": weights.joint_9, "frames": weights.frames,
        "input": f"keypoints: float32 (batch, {weights.frames} frames, 17 joints, {registered.channels}): x to the "
                 f"right, y down{confidence}",
        "normalisation": "x = 2 x_pixel / width - 1, y = 2 y_pixel / width - height / width",
        "output": f"poses: float32 (batch, {frames}, 17 joints, 3): x to the right, y down, z away from the camera; "
                  "subtract joint 0",
        "units": unit, "joints": json.dumps(JOINTS),
    }  # fmt: skip
    return {key: "" if value is None else str(value) for key, value in facts.items()}


def _timed(own: Callable[[], object], exported: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Return the fields of a record that say how fast both are, or why that is not known."""
    if not seconds:
        return {"missing": "not asked for"}
    if torch.get_num_threads() > 1 and not timing.idle_threads_spin():
        return {"missing": "PyTorch's idle threads sleep, which slows it down; unset OMP_WAIT_POLICY"}
    meter = meters.meter(torch.device("cpu"))
    calls = {name: (call, min(meters.times(call, 2, meter))) for name, call in (("own", own), ("file", exported))}
    round_s = sum(max(_ROUND_S, taken_s) for _, taken_s in calls.values())
    share = timing.Share()
    samples = timing.in_turn(calls, min(max(int(seconds / round_s), _ROUNDS[0]), _ROUNDS[1]), _ROUND_S, meter)
    share = share.so_far()
    medians = [timing.medians(samples[name]) for name in calls]
    fields = {"own_samples_ms": samples["own"], "file_samples_ms": samples["file"], "other_processes_share": share}
    if reason := timing.why_refused(torch.device("cpu"), share, *medians):
        return fields | {"missing": f"too busy: {reason}"}
    own_ms, file_ms = (timing.percentiles(one)["median_ms"] for one in medians)
    names = ("ratio", "ratio_low", "ratio_high")
    return fields | {"own_ms": own_ms, "file_ms": file_ms} | dict(zip(names, ratio_of_medians(*reversed(medians))))


def _blocks(model: nn.Module) -> int:
    """Count the modules whose class is called a block or a layer of an encoder and that hold none of their kind."""

    def is_block(module: nn.Module) -> bool:
        return type(module).__name__.endswith(("Block", "EncoderLayer"))

    return sum(is_block(one) and sum(map(is_block, one.modules())) == 1 for one in model.modules())


def _checkpoint(weights: Weights) -> Checkpoint | None:
    if weights.path == RANDOM:
        return None
    return Checkpoint(
        file=weights.path.name, sha256=sha256(weights.path), epoch=weights.epoch, chosen_by=weights.chosen_by
    )


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    if found.shape != expected.shape:
        return float("inf")
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _last_line(error: BaseException) -> str:
    """Return the root of an error in one line: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else "no reason given"
