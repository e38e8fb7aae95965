"""ONNX files: written by torch's dynamo exporter, simplified, and run by ONNX Runtime."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liftbench import kernels
from liftbench.baselines.errors import InputError

OPSET = 18
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_FOLDED_BYTES = 1 << 26  # what depends on weights and order tables only is computed once


def check_packages() -> None:
    """Raise InputError if a package is missing."""
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"Cannot export to onnx: the package {name} is not installed. Run pip install 'liftbench[onnx]'."
            )


def write(model: nn.Module, clips: torch.Tensor, metadata: dict[str, str], path: Path) -> None:
    """Write a model as ONNX: keypoints -> poses, any batch, the frames of `clips`."""
    import onnxscript.optimizer
    from onnx_ir.passes import common

    from liftbench.kernels.onnx.translation import TRANSLATIONS

    with _quiet():
        with kernels.using("onnx" if kernels.scans(model) else "auto"):
            traced = torch.export.export(
                model, (clips,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=False
            )
        program = torch.onnx.export(
            traced, (), dynamo=True, optimize=False, verbose=False, opset_version=OPSET,
            input_names=["keypoints"], output_names=["poses"], custom_translation_table=TRANSLATIONS,
        )  # fmt: skip
        onnxscript.optimizer.inline(program.model)
        common.CommonSubexpressionEliminationPass()(program.model)
        onnxscript.optimizer.fold_constants(
            program.model, input_size_limit=_FOLDED_BYTES, output_size_limit=_FOLDED_BYTES
        )  # fmt: skip
        onnxscript.optimizer.remove_unused_nodes(program.model)
        common.DeduplicateInitializersPass(size_limit=_FOLDED_BYTES)(program.model)
        program.model.metadata_props.clear()
        program.model.metadata_props.update(metadata)
        program.save(path)


def load(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the file as a function of keypoints, on as many threads as PyTorch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run(["poses"], {"keypoints": clips.numpy()})[0])


def facts(path: Path) -> dict[str, Any]:
    """Return what a record says about the file: its size in operators, those inside a Scan included, and versions."""
    import onnx

    def count(graph: onnx.GraphProto) -> int:
        inner = (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))
        return len(graph.node) + sum(map(count, inner))

    versions = {name: version(name) for name in _PACKAGES}
    return {"nodes": count(onnx.load(path).graph), "opset": OPSET, "versions": versions}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns of packages that nobody needs here."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)
