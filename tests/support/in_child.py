"""Child processes, most of which train and are killed: forked from a server that has imported everything."""

import copy
import multiprocessing
import os
import signal
import socket
import threading
import time

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["liftbench.baselines.training.loop", "liftbench.baselines.data.formats.motionbert"])


def few_clips(dataset):
    """The data set with only every tenth of its clips."""
    few = copy.copy(dataset)
    few.clips = lambda *arguments: dataset.clips(*arguments)[::10]
    return few


def start(function, *arguments, environment=None):
    """A started child process that runs function(*arguments)."""
    child = CHILDREN.Process(target=_run, args=(function, arguments, environment or {}), daemon=True)
    child.start()
    return child


def start_together(processes, function, *arguments):
    """As many children as torchrun would start, with the environment that it would give them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": 0,
        "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes,
    }  # fmt: skip
    return [
        start(function, *arguments, environment=shared | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in range(processes)
    ]


def _run(function, arguments, environment):
    import torch

    os.environ.update({key: str(value) for key, value in environment.items()})
    torch.set_num_threads(1)
    function(*arguments)


def train(settings, path, folder, minutes=10, on_progress=None):
    """Train in this process, and leave an InputError's sentence in FOLDER.error."""
    from liftbench.baselines.data.formats.motionbert import Human36M
    from liftbench.baselines.errors import InputError
    from liftbench.baselines.training.loop import train
    from liftbench.baselines.training.recipe import Recipe

    dataset = few_clips(Human36M(path))
    try:
        train(Recipe(**settings), dataset, folder, "cpu", True, on_progress=on_progress, checkpoint_minutes=minutes)
    except InputError as error:
        rank = os.environ.get("RANK", "")
        folder.with_name(f"{folder.name}{rank}.error").write_text(str(error))
        raise SystemExit(2) from error


def train_until_killed(settings, path, folder, moment):
    """Train with a checkpoint after every step, and SIGKILL this process `moment` step times after the third step."""
    ends = []

    def on_progress(what, done, total):
        ends.append(time.monotonic())
        if len(ends) == 3:
            step_s = (ends[2] - ends[0]) / 2
            threading.Timer(moment * step_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

    train(settings, path, folder, minutes=0, on_progress=on_progress)


def distributed_case():
    """Return (model, keypoints of four clips) to train on."""
    import torch

    from liftbench import create_model

    torch.manual_seed(0)
    model = create_model("posemamba_s", frames=5, embed_dim=16, depth=1).eval()
    return model, torch.randn(4, 3, 17, 2, generator=torch.Generator().manual_seed(1))


def gradients_of_half(folder):
    """One step on every second clip as one of two processes of DDP; the gradients go to FOLDER/RANK.pt."""
    import torch

    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    model, keypoints = distributed_case()
    network = torch.nn.parallel.DistributedDataParallel(model)
    network(keypoints[rank::2]).square().mean().backward()
    torch.save({name: parameter.grad for name, parameter in model.named_parameters()}, folder / f"{rank}.pt")
    del network  # while the group lives: the last reference to a group waits for its thread, which may wait for Python
    torch.distributed.destroy_process_group()


def command_line(words, told):
    """Run the command line `liftbench WORDS...` in this process; what it prints goes to the file `told`."""
    import sys

    from liftbench.bench import cli

    with open(told, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the server that forked this process ignores
    sys.argv = ["liftbench", *map(str, words)]
    cli.main()
