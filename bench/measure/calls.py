"""What is timed: a model's forward pass or training step, in a stated precision and mode, after a parity check.

forward: eval and inference mode. training step: forward, MPJPE against a random pose, backward, and AdamW at learning
rate 0, fused as in training, so that every sample does the same work. Inputs are random and already on the device.
End to end: clips of a data set pass through the loader, the model and the average with the mirrored copy, and become
root-relative mm. bfloat16: PyTorch's autocast; the C++ scan then reads and writes bfloat16 and computes in float32.
compile: torch.compile, one graph per shape. cuda-graph: one captured call, replayed.

Parity, before anything is timed: the scan is compared with `kernels.reference` on a short clip, and another precision
or mode with plain float32 on a whole clip. Outputs are compared, and for a training step all gradients too.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from liftbench import kernels
from liftbench.baselines.data.dataset import Dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation.inference import predict
from liftbench.baselines.registry import Number, create_model, entry
from liftbench.baselines.training import losses
from liftbench.bench.measure import cost

FORWARD, TRAINING_STEP = CALLS = ("forward", "training step")
DTYPES = ("float32", "bfloat16")
MODES = ("eager", "compile", "cuda-graph")
_PARITY_FRAMES = 5
# The largest allowed difference, as a share of the largest output or the largest of all gradients. float32: rounding
# reaches 2e-6 over 40 mixers, and A wrong by a tenth gives 5e-4. bfloat16: its rounding of 4e-3 reaches 1.3e-2 in
# outputs and 5.3e-2 in gradients.
PARITY = {"float32": 2e-5, "bfloat16": 1e-1}


class Timed:
    """A model, checked and ready to be timed; `on(batch)` returns the call.

    name: a registered model, or the user's own, `path/to/file.py:build`. frames: clip length (default: as published).
    dataset: a `baselines.data.dataset.Dataset` for timing end to end, on its test split. scan: the implementation
    (default: what `kernels.choose` returns). model: the network itself, trained (default: one with random weights).
    numbers: overrides of the variant's numbers.

    Attributes: registered, the registry's entry; name, frames, numbers, device, call, dtype, mode, dataset; scan, the
    implementation that runs, or None; difference, the largest that the parity check found, None if there was nothing to
    check.

    Raises InputError as `liftbench.create_model` does and for settings that do not go together, and
    `kernels.ScanUnavailable` for a scan that cannot run and for whatever fails the parity check.
    """

    def __init__(
        self,
        name: str,
        frames: int | None = None,
        device: str | torch.device = "cpu",
        call: str = FORWARD,
        dtype: str = "float32",
        mode: str = "eager",
        dataset: Dataset | None = None,
        scan: str | None = None,
        model: nn.Module | None = None,
        **numbers: Number,
    ):
        self.registered, self.numbers = entry(name, frames), numbers
        self.name = self.registered.name
        self.frames = self.registered.frames if frames is None else frames
        self.device, self.call, self.dtype, self.mode = torch.device(device), call, dtype, mode
        self.dataset = dataset
        self._check_settings()
        if model is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = create_model(name, frames=self.frames, **numbers)
        self.model = model.to(self.device).eval()
        self._named_scan = kernels.current() if scan is None else scan
        if scan is not None and not kernels.scans(self.model):
            raise InputError(f"Cannot run {self.name} by the scan {scan!r}: the model has no scan. Leave {scan} out.")
        with kernels.using(self._named_scan):
            self.scan, scan_difference = self._check_scan()
            differences = [scan_difference, self._check_precision_and_mode()]
        self.difference = max((one for one in differences if one is not None), default=None)

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that describe it in records."""
        names = ("frames", "numbers", "call", "dtype", "mode", "difference")
        return {"model": self.name} | {name: getattr(self, name) for name in names}

    def on(self, batch: int) -> Callable[[], object]:
        """Return a call without arguments on a batch of clips."""
        with kernels.using(self._named_scan):
            call = self._call(batch)

        def by_its_scan() -> object:
            with kernels.using(self._named_scan):
                return call()

        return by_its_scan

    def _call(self, batch: int) -> Callable[[], object]:
        if self.mode == "compile":
            torch.compiler.reset()  # one shape at a time, or the limit of recompilations ends the sweep
            torch._inductor.config.compile_threads = 1  # workers that go on would count as other processes
        if self.dataset:
            return self._end_to_end(batch)
        clips = self._clips(batch, self.frames)
        call = self._training_step(clips) if self.call == TRAINING_STEP else self._forward(clips)
        return _captured(call, self.device) if self.mode == "cuda-graph" else call

    def _check_settings(self):
        if self.mode == "cuda-graph" and self.device.type != "cuda":
            raise InputError(
                "Cannot capture a CUDA graph: the device is a CPU. Choose eager or compile, or --device cuda."
            )
        if self.call == TRAINING_STEP and self.registered.stages:
            raise InputError(
                f"Cannot time a training step of {self.name}: it is trained in {len(self.registered.stages)} stages, "
                "each with its own step. Time the forward pass."
            )
        if self.dataset and (self.call, self.dtype, self.mode) != (FORWARD, "float32", "eager"):
            raise InputError(
                "Cannot time end to end with these settings: only the forward pass in float32, eager, runs from file "
                "to mm. Leave the others out."
            )

    def _clips(self, batch: int, frames: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(0)
        return (torch.rand(batch, frames, 17, self.registered.channels, generator=draw) * 2 - 1).to(self.device)

    def _network(self) -> nn.Module:
        return torch.compile(self.model, dynamic=False) if self.mode == "compile" else self.model

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.dtype))

    def _forward(self, clips: torch.Tensor) -> Callable[[], torch.Tensor]:
        network = self._network()

        def forward() -> torch.Tensor:
            with torch.inference_mode(), self._autocast():
                return network(clips)

        return forward

    def _training_step(self, clips: torch.Tensor) -> Callable[[], None]:
        network, parameters = self._network(), self.model.train().parameters()
        optimizer = torch.optim.AdamW(parameters, lr=0.0, fused=True, capturable=self.mode == "cuda-graph")
        frames = 1 if self.registered.output == "centre" else self.frames
        target = self._clips(len(clips), frames)[..., :1].expand(-1, -1, -1, 3)

        def step():
            optimizer.zero_grad()
            with self._autocast():
                loss = losses.mpjpe(network(clips), target)
            loss.backward()
            optimizer.step()

        return step

    def _end_to_end(self, batch: int) -> Callable[[], np.ndarray]:
        index = answered = np.resize(self.dataset.clips("test", self.frames), (batch, self.frames))
        if self.registered.output == "centre":
            answered = index[:, :1]
            index = self.dataset.windows("test", self.frames, centres=answered[:, 0])

        def from_file_to_mm() -> np.ndarray:
            _, poses = predict(self.model, self.dataset, index, self.registered.channels, batch, self.device)
            poses[..., 0, :] = 0
            return self.dataset.millimetres("test", answered, poses)

        return from_file_to_mm

    def _check_scan(self) -> tuple[str | None, float | None]:
        """Return (the scan implementation that runs, its difference from the reference), or (None, None)."""
        if not kernels.scans(self.model):
            return None, None
        chosen = kernels.choose(self.device.type)
        clip = self._clips(1, min(self.frames, _PARITY_FRAMES))
        found = self._outcome(self.model, clip)
        with kernels.using("reference"):
            expected = self._outcome(self.model, clip)
        difference = _difference(found, expected)
        self._refuse(f"the scan {chosen!r}", "the reference", difference, PARITY["float32"])
        return chosen, difference

    def _check_precision_and_mode(self) -> float | None:
        if (self.dtype, self.mode) == ("float32", "eager"):
            return None
        clip = self._clips(1, self.frames)
        expected = self._outcome(self.model, clip)
        if self.mode == "cuda-graph":  # shows its output only
            found, expected = [_captured(self._forward(clip), self.device)()], expected[:1]
        else:
            try:
                with self._autocast():
                    found = self._outcome(self._network(), clip)
            except NotImplementedError as error:
                raise InputError(str(error)) from error
        difference = _difference(found, expected)
        self._refuse(f"{self.dtype}, {self.mode}", "float32, eager", difference, PARITY[self.dtype])
        return difference

    def _outcome(self, network: nn.Module, clip: torch.Tensor) -> list[torch.Tensor]:
        """Return its output in eval mode, and for a training step the gradients of all parameters."""
        if self.call == FORWARD:
            with torch.inference_mode():
                return [network(clip)]
        output = network(clip)
        weights = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output)
        parameters = list(network.parameters())
        gradients = torch.autograd.grad((output * weights).sum(), parameters, allow_unused=True)
        flat = [gradient.flatten().float() for gradient in gradients if gradient is not None]
        return [output.detach(), torch.cat(flat)]

    def _refuse(self, what: str, other: str, difference: float, allowed: float) -> None:
        if not difference <= allowed:
            raise kernels.ScanUnavailable(
                f"Cannot time {what}: on {self.name} it differs from {other} by {difference:.1e} of the largest value, "
                f"and {allowed:.0e} is allowed. Choose another one."
            )


def macs_per_clip(model: nn.Module, clip: torch.Tensor, device: str = "meta") -> int:
    """MACs of a forward pass, contractions and scans, as `bench.measure.cost` counts them. clip: (1, T, 17, C)."""
    return cost.count(model, clip, device).macs_by_module.total()


def _difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Return the largest difference, relative to the largest value of its tensor."""
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, expected, strict=True))


def _captured(call: Callable[[], torch.Tensor], device: torch.device) -> Callable[[], torch.Tensor]:
    """Capture the call as a CUDA graph."""
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(3):  # warm up: what is captured must not allocate for the first time
            call()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()

    def replay() -> torch.Tensor:
        graph.replay()
        return output

    return replay
