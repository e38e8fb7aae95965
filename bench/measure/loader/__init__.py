"""Measure the time and memory of the Human3.6M loader on a file of full size, beside the official way.

The file has random content in MotionBERT's schema. Three steps are measured, each in a fresh process: the first start,
which builds the cache; a later start, which then reads random clips; and the official way (MotionBERT's tools), which
loads the whole pickle, normalises frame by frame and stores one pickle per clip. Files are read from the page cache,
where writing them left them.
"""

import functools
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liftbench.baselines.data.formats.motionbert_schema import CAMERA_RESOLUTION, JOINT_SHAPES, RELEASE_FRAMES
from liftbench.baselines.errors import InputError
from liftbench.bench.measure import timing
from liftbench.bench.measure.loader import steps
from liftbench.bench.measure.loader.steps import CLIP_FRAMES, CLIPS_READ, STEPS, TRAIN_STRIDE
from liftbench.bench.records import LoaderRecord, environment

FEWEST_FRAMES = 4 * CLIP_FRAMES  # a quarter of them is the test split, which needs a clip
_FRAMES_PER_SOURCE = 2_500
_POLL_S = 0.02


def measure(
    frames: int | None = None, folder: Path | None = None, progress: timing.Progress | None = None
) -> LoaderRecord:
    """Measure all steps.

    frames: of both splits together; a quarter of them is the test split (default: as many as the licensed file has).
    folder: receives temporary files, about 8 GB at full size (default: the system's). progress is called before every
    step.

    Raises InputError for too few frames and for a folder that cannot be written, and `timing.TooBusy` if other
    processes had a share of the processors.
    """
    if frames is not None and frames < FEWEST_FRAMES:
        raise InputError(f"Cannot time the loader: {frames} frames are too few. Choose {FEWEST_FRAMES} or more.")
    test = RELEASE_FRAMES["test"] if frames is None else frames // 4
    train = RELEASE_FRAMES["train"] if frames is None else frames - test
    say = progress or (lambda *_: None)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            path, share = Path(temporary) / "h36m_random.pkl", timing.Share()
            say("writing the file", 0, 1 + len(STEPS))
            _write_file(path, train, test)
            found = {}
            for done, step in enumerate(STEPS, start=1):
                say(step.replace("_", " "), done, 1 + len(STEPS))
                found[step] = _in_fresh_process(step, path)
            share, size = share.so_far(), path.stat().st_size
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise InputError(
            f"Cannot write to {where}: {error.strerror}. Choose another folder, or free the disk."
        ) from error
    if reason := timing.why_refused(torch.device("cpu"), share):
        raise timing.TooBusy(
            f"Cannot time the loader: the machine was too busy, {reason}. Measure again when it is idle."
        )
    return LoaderRecord(
        **environment.stamp(),
        numpy=np.__version__,
        train_frames=train,
        test_frames=test,
        file_bytes=size,
        clip_frames=CLIP_FRAMES,
        train_stride=TRAIN_STRIDE,
        clips_read=CLIPS_READ,
        clips_written=found["official_way"].pop("clips_written"),
        other_processes_share=share,
        **found,
    )


class _Lazy:
    """Pickles as the array that make() returns, and makes it only when it is written."""

    def __init__(self, make: Callable[[], Any]):
        self.make = make

    def __reduce__(self) -> str | tuple:
        return self.make().__reduce__()


def _random(frames: int, key: str) -> np.ndarray:
    """Make one key of a split, (frames, *shape) float32."""
    if key == "joints_2.5d_image":  # mm, as the other two say
        values = _random(frames, "joint3d_image")
        values *= _random(frames, "2.5d_factor")[:, None, None]
        return values
    low, high = {"2.5d_factor": (3, 5), "confidence": (0, 1)}.get(key, (0, 1000))
    values = np.random.default_rng(0).random((frames, *JOINT_SHAPES[key]), np.float32)
    values *= high - low
    values += low
    return values


def _write_file(path: Path, train_frames: int, test_frames: int):
    """Write a random file of MotionBERT's schema, with one array at a time in memory."""
    content = {}
    for split, frames, subjects in (("train", train_frames, (1, 5, 6, 7, 8)), ("test", test_frames, (9, 11))):
        run = np.arange(frames) // _FRAMES_PER_SOURCE
        cameras = list(CAMERA_RESOLUTION)
        sources = [
            f"s_{subjects[number % len(subjects)]:02d}_act_{2 + number // 10 % 15:02d}_subact_{number // 150 + 1:02d}"
            f"_ca_{number % 4 + 1:02d}"
            for number in range(run[-1] + 1)
        ]
        content[split] = {key: _Lazy(functools.partial(_random, frames, key)) for key in JOINT_SHAPES}
        content[split]["camera_name"] = np.array(cameras)[run % 4]
        content[split]["source"] = [sources[number] for number in run]
        content[split]["action"] = [sources[number][5:11] for number in run]
    with open(path, "wb") as file:
        pickler = pickle.Pickler(file, protocol=4)
        pickler.fast = True  # no memo, which would keep every array alive
        pickler.dump(content)


def _in_fresh_process(step: str, path: Path) -> dict[str, Any]:
    """Run a step, and return its figures and the peak of its memory in MiB: all, private, and shared pages of files."""
    command = [sys.executable, steps.__file__, step, str(path)]  # not -m, which would import this module and torch
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = {}
        while process.poll() is None:
            for field, mib in _memory_mib(process.pid).items():
                peak[field] = max(mib, peak.get(field, 0))
            time.sleep(_POLL_S)
        if process.returncode:
            raise RuntimeError(f"the step {step} failed with exit code {process.returncode}")
        return json.loads(process.stdout.read()) | peak


def _memory_mib(pid: int) -> dict[str, int]:
    fields = {"VmHWM": "peak_rss_mib", "RssAnon": "peak_private_mib", "RssFile": "peak_file_mib"}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    status = dict(line.split(":", 1) for line in lines)
    return {name: int(status[key].split()[0]) // 1024 for key, name in fields.items() if key in status}
