"""The steps that `bench.measure.loader` measures, each in a fresh process.

`python steps.py STEP FILE` prints its seconds as JSON.
"""

import json
import pickle
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.data.clips import split_clips
from liftbench.baselines.data.formats.motionbert_schema import CAMERA_RESOLUTION

CLIP_FRAMES, TRAIN_STRIDE, CLIPS_READ = 243, 81, 2_000


def first_start(path: Path) -> dict[str, float]:
    """Open the file for the first time, which builds the cache."""
    from liftbench.baselines.data.formats.motionbert import Human36M

    started = time.perf_counter()
    Human36M(path)
    return {"start_s": time.perf_counter() - started}


def later_start(path: Path) -> dict[str, float]:
    """Open the file from its cache, and read random training clips with their targets."""
    from liftbench.baselines.data.formats.motionbert import Human36M

    started = time.perf_counter()
    data = Human36M(path)
    start_s = time.perf_counter() - started
    clips = data.clips("train", CLIP_FRAMES)
    started = time.perf_counter()
    for clip in np.random.default_rng(0).choice(clips, CLIPS_READ):
        data.inputs("train", clip), data.targets("train", clip)
    return {"start_s": start_s, "read_s": time.perf_counter() - started}


def official_way(path: Path) -> dict[str, float]:
    """Load, normalise and slice as MotionBERT's tools do, one pickle per clip; then read random training clips."""
    started = time.perf_counter()
    with open(path, "rb") as file:
        content = pickle.load(file)
    folder, written = path.parent / "clips", 0
    folder.mkdir()
    for split, stride in (("train", TRAIN_STRIDE), ("test", CLIP_FRAMES)):
        inputs, labels = _official_clips(content[split], stride)
        for number, (clip, label) in enumerate(zip(inputs, labels, strict=True)):
            with open(folder / f"{split}_{number:08d}.pkl", "wb") as file:
                pickle.dump({"data_input": clip, "data_label": label}, file)
        written += len(inputs)
    start_s = time.perf_counter() - started

    names = sorted(folder.glob("train_*.pkl"))
    started = time.perf_counter()
    for name in np.random.default_rng(0).choice(names, CLIPS_READ):
        with open(name, "rb") as file:
            pickle.load(file)
    read_s = time.perf_counter() - started
    shutil.rmtree(folder)
    return {"start_s": start_s, "read_s": read_s, "clips_written": written}


def _official_clips(part: dict[str, Any], stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs, (clips, T, 17, 3), and labels, (clips, T, 17, 3), of a split."""
    inputs = _normalized_frame_by_frame(part["joint_2d"], part["camera_name"], 2)
    inputs = np.concatenate([inputs, part["confidence"][..., None]], axis=2)
    labels = _normalized_frame_by_frame(part["joint3d_image"], part["camera_name"], 3)
    sources = np.array(part["source"])
    bounds = np.concatenate([[0], np.flatnonzero(sources[1:] != sources[:-1]) + 1, [len(sources)]])
    clips = split_clips(bounds, sources[bounds[:-1]], CLIP_FRAMES, stride)
    return inputs[clips], labels[clips]


def _normalized_frame_by_frame(pose: np.ndarray, camera_names: list[str], channels: int) -> np.ndarray:
    pose = pose[..., :channels].astype(np.float32)
    for frame, camera in enumerate(camera_names):
        width, height = CAMERA_RESOLUTION[camera]
        pose[frame, :, :2] = pose[frame, :, :2] / width * 2 - [1, height / width]
        pose[frame, :, 2:] = pose[frame, :, 2:] / width * 2
    return pose


STEPS = {"first_start": first_start, "later_start": later_start, "official_way": official_way}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]))))
