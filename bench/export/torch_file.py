"""Files of torch.export: PyTorch runs them by this project's operators, without the code of the model."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

METADATA = "metadata.json"  # among the extra files


def check_packages() -> None:
    """Do nothing: PyTorch is all that is needed."""


def write(model: nn.Module, clips: torch.Tensor, metadata: dict[str, str], path: Path) -> None:
    """Write a model as torch.export does: keypoints -> poses, any batch, the frames of `clips`."""
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    with warnings.catch_warnings(action="ignore"):
        program = torch.export.export(model, (clips,), dynamic_shapes=shapes, strict=False)
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={METADATA: json.dumps(metadata)})
    path.write_bytes(content.getvalue())


def load(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the file as a function of keypoints."""
    return torch.export.load(io.BytesIO(path.read_bytes())).module()


def facts(path: Path) -> dict[str, Any]:
    """Return what a record says about the file: its operators."""
    graph = torch.export.load(io.BytesIO(path.read_bytes())).graph
    return {"nodes": sum(node.op == "call_function" for node in graph.nodes)}
