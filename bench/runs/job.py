"""What a job of a sweep runs. It is a module of its own so that it imports fast wherever the job starts."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from submitit import helpers


@dataclass(frozen=True)
class Job:
    """Train and evaluate one row by the command line; called on every node, returns what went wrong or None.

    train, evaluate: arguments of `liftbench`; gpus: of each node.
    """

    train: tuple
    evaluate: tuple
    gpus: int

    def __call__(self) -> str | None:
        place = helpers.TorchDistributedEnvironment()  # one task per node
        launcher = []
        if self.gpus > 1 or place.world_size > 1:
            launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={max(self.gpus, 1)}"]
            launcher += ["--standalone"] if place.world_size == 1 else [
                f"--nnodes={place.world_size}", f"--node_rank={place.rank}", f"--master_addr={place.master_addr}",
                f"--master_port={place.master_port}",
            ]  # fmt: skip
            launcher += ["-m", "--"]  # or --run would be torchrun's
        trouble = run_python([*(launcher or ["-m"]), "liftbench", *self.train])
        if trouble or place.rank > 0:
            return trouble
        return run_python(["-m", "liftbench", *self.evaluate])

    def checkpoint(self) -> helpers.DelayedSubmission:
        """Slurm is about to end the job and queues it again: the run folder is the checkpoint."""
        return helpers.DelayedSubmission(self)


def run_python(arguments: Sequence[str]) -> str | None:
    """Run Python with these arguments; if it fails, the line of its stderr that says why."""
    with subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            _, told = process.communicate()
        except BaseException:
            process.terminate()  # torchrun then ends its processes; if killed, it could not
            raise
    print(told, file=sys.stderr, end="", flush=True)
    if process.returncode == 0:
        return None
    for pattern in (r"^error: (.+)", r"^(?:\[rank\d+\]: *)?([\w.]*(?:Error|Exception): .+)", r"^(.*\S.*)"):
        if found := re.findall(pattern, told, re.MULTILINE):
            return found[-1]
    return f"exit code {process.returncode}"
