"""What a measurement depends on besides the code: machine, versions, commit. Part of every record."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, PositiveInt

if TYPE_CHECKING:
    import torch


class Environment(BaseModel):
    """Where a record was made. A field is None if it does not apply or cannot be determined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    cores: PositiveInt  # that this process may use
    threads: PositiveInt  # that PyTorch uses within an operator
    gpu: str | None
    gpu_driver: str | None
    os: str
    python: str
    torch: str
    liftbench: str
    git_commit: str | None
    git_dirty: bool | None  # whether anything outside results/ differs from the commit
    scan_implementation: str | None  # that ran, None if no scan did

    @property
    def machine(self) -> str:
        """The machine's name: the GPU, or the CPU and its threads."""
        return self.gpu or f"{self.cpu}, {self.threads} thread{'s' * (self.threads > 1)}"


def stamp(device: "str | torch.device" = "cpu", scan_implementation: str | None = None) -> dict[str, Any]:
    """Return the fields that every record begins with: when and where it was made."""
    return {"created_utc": datetime.now(timezone.utc), "environment": describe(device, scan_implementation)}


def describe(device: "str | torch.device" = "cpu", scan_implementation: str | None = None) -> Environment:
    """Return the Environment of a measurement on `device` (anything torch.device takes), made here and now."""
    import torch  # here, so that records are read without it

    device = torch.device(device)
    on_gpu = device.type == "cuda"
    commit, dirty = _git(Path(__file__).resolve().parents[2])
    return Environment(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(device) if on_gpu else None,
        gpu_driver=_output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else None,
        os=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        liftbench=importlib.metadata.version("liftbench"),
        git_commit=commit,
        git_dirty=dirty,
        scan_implementation=scan_implementation,
    )


def _cpu() -> str:
    """Return the processor's name, with the numbers that distinguish generations of one name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else name


def _git(folder: Path) -> tuple[str | None, bool | None]:
    """Return (commit, dirty) of the checkout at `folder`; (None, None) if it is none or has no commit yet."""
    top = _output("git", "-C", str(folder), "rev-parse", "--show-toplevel")
    commit = _output("git", "-C", str(folder), "rev-parse", "--verify", "HEAD")
    if top is None or commit is None or Path(top) != folder:
        return None, None
    changes = _output("git", "-C", str(folder), "status", "--porcelain", "--", ".", ":!results")
    return commit, changes != ""


def _output(*command) -> str | None:
    """Return the first line that a command prints ("" if none), None if it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else None
