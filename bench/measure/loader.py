"""Time and memory of the Human3.6M loader on a file of the full size, beside the official way.

`python -m liftbench.bench.measure.loader [--frames N] [--record FILE]` writes a file of random content, then measures
in fresh processes: the first start, which builds the cache; a later start that reads random clips; and the official
way (MotionBERT's tools), which loads the whole pickle, normalises frame by frame and stores one pickle for every
clip. The files are read from the page cache, where the writing left them.
"""

import argparse
import json
import os
import pickle
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from liftbench.baselines.data.clips import split_clips
from liftbench.baselines.data.formats.motionbert_schema import CAMERA_RESOLUTION, JOINT_SHAPES, RELEASE_FRAMES

FRAMES_PER_SOURCE = 2_500
CLIP_FRAMES, TRAIN_STRIDE, CLIPS_READ = 243, 81, 2_000
POLL_SECONDS = 0.02


class RandomArray:
    """Pickles as a (frames, *shape) float32 array that is made only while it is written."""

    def __init__(self, frames, shape, low, high):
        self.frames, self.shape, self.low, self.high = frames, shape, low, high

    def __reduce__(self):
        values = np.random.default_rng(0).random((self.frames, *self.shape), np.float32)
        values *= self.high - self.low
        values += self.low
        return values.__reduce__()


def write_full_size_file(path, train_frames, test_frames):
    """Write a random file of the MotionBERT schema, holding one array at a time in memory."""
    content = {}
    for split, frames, subjects in (("train", train_frames, (1, 5, 6, 7, 8)), ("test", test_frames, (9, 11))):
        run = np.arange(frames) // FRAMES_PER_SOURCE
        cameras = list(CAMERA_RESOLUTION)
        sources = [
            f"s_{subjects[number % len(subjects)]:02d}_act_{2 + number // 10 % 15:02d}_subact_{number // 150 + 1:02d}"
            f"_ca_{number % 4 + 1:02d}"
            for number in range(run[-1] + 1)
        ]
        # One seed and one shape: joints_2.5d_image is joint3d_image times the factor, to the bit.
        limits = {"2.5d_factor": (4, 4), "confidence": (0, 1), "joints_2.5d_image": (0, 4000)}
        content[split] = {
            key: RandomArray(frames, shape, *limits.get(key, (0, 1000))) for key, shape in JOINT_SHAPES.items()
        }
        content[split]["camera_name"] = np.array(cameras)[run % 4]
        content[split]["source"] = [sources[number] for number in run]
        content[split]["action"] = [sources[number][5:11] for number in run]
    with open(path, "wb") as file:
        pickler = pickle.Pickler(file, protocol=4)
        pickler.fast = True  # no memo, which would keep every array alive
        pickler.dump(content)


def first_start(path, share):
    """Build the cache."""
    from liftbench.baselines.data.formats.motionbert import Human36M

    started = time.perf_counter()
    Human36M(path)
    return {"start_s": time.perf_counter() - started}


def later_start(path, share):
    """Start from the cache and read random training clips with their targets."""
    from liftbench.baselines.data.formats.motionbert import Human36M

    started = time.perf_counter()
    data = Human36M(path)
    start_s = time.perf_counter() - started
    clips = data.clips("train", CLIP_FRAMES)
    started = time.perf_counter()
    for clip in np.random.default_rng(0).choice(clips, CLIPS_READ):
        data.inputs("train", clip), data.targets("train", clip)
    return {"start_s": start_s, "read_s": time.perf_counter() - started}


def official_way(path, share):
    """Load, normalise and slice as MotionBERT's tools do, writing `share` of the clips; then read random ones."""
    started = time.perf_counter()
    with open(path, "rb") as file:
        content = pickle.load(file)
    folder, written, total = path.parent / "clips", 0, 0
    folder.mkdir()
    for split, stride in (("train", TRAIN_STRIDE), ("test", CLIP_FRAMES)):
        part = content[split]
        inputs = _normalized_frame_by_frame(part["joint_2d"], part["camera_name"], 2)
        inputs = np.concatenate([inputs, part["confidence"][..., None]], axis=2)
        labels = _normalized_frame_by_frame(part["joint3d_image"], part["camera_name"], 3)
        sources = np.array(part["source"])
        bounds = np.concatenate([[0], np.flatnonzero(sources[1:] != sources[:-1]) + 1, [len(sources)]])
        clips = split_clips(bounds, sources[bounds[:-1]], CLIP_FRAMES, stride)
        inputs, labels = inputs[clips], labels[clips]
        chosen = round(share * len(clips))
        for number in range(chosen):
            with open(folder / f"{split}_{number:08d}.pkl", "wb") as file:
                pickle.dump({"data_input": inputs[number], "data_label": labels[number]}, file)
        written, total = written + chosen, total + len(clips)
    start_s = time.perf_counter() - started

    names = sorted(folder.glob("train_*.pkl"))
    started = time.perf_counter()
    for name in np.random.default_rng(0).choice(names, CLIPS_READ):
        with open(name, "rb") as file:
            pickle.load(file)
    read_s = time.perf_counter() - started
    shutil.rmtree(folder)
    return {"start_s": start_s, "read_s": read_s, "clips_written": written, "clips": total}


def _normalized_frame_by_frame(pose, camera_names, channels):
    pose = pose[..., :channels].astype(np.float32)
    for frame, camera in enumerate(camera_names):
        width, height = CAMERA_RESOLUTION[camera]
        pose[frame, :, :2] = pose[frame, :, :2] / width * 2 - [1, height / width]
        pose[frame, :, 2:] = pose[frame, :, 2:] / width * 2
    return pose


STEPS = {"first_start": first_start, "later_start": later_start, "official_way": official_way}


def measure(step, path, share):
    """Run one step in a fresh process; its own figures and its peak memory: all, private, and shared file pages."""
    command = [
        sys.executable,
        "-m",
        "liftbench.bench.measure.loader",
        "--step",
        step,
        "--data",
        str(path),
        "--share",
        str(share),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = {}
    while process.poll() is None:
        for field, mebibytes in _memory(process.pid).items():
            peak[field] = max(mebibytes, peak.get(field, 0))
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise RuntimeError(f"the step {step} failed with exit code {process.returncode}")
    return json.loads(process.stdout.read()) | peak


def _memory(pid):
    fields = {"VmHWM": "peak_rss_mib", "RssAnon": "peak_private_mib", "RssFile": "peak_file_mib"}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    status = dict(line.split(":", 1) for line in lines)
    return {name: int(status[key].split()[0]) // 1024 for key, name in fields.items() if key in status}


def table(record):
    """The record as a Markdown table and the conditions under it."""
    rows = [
        "| | start, s | 2,000 clips, s | peak memory, MiB | private, MiB | file pages, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for step in STEPS:
        figures = record[step]
        read = f"{figures['read_s']:.2f}" if "read_s" in figures else "—"
        rows.append(
            f"| {step.replace('_', ' ')} | {figures['start_s']:.2f} | {read} | {figures['peak_rss_mib']:,} "
            f"| {figures['peak_private_mib']:,} | {figures['peak_file_mib']:,} |"
        )
    official = record["official_way"]
    rows += [
        "",
        f"{record['train_frames']:,} training and {record['test_frames']:,} test frames, {record['file_bytes']:,} "
        f"bytes; clips of {CLIP_FRAMES} frames, training stride {TRAIN_STRIDE}; the official way wrote "
        f"{official['clips_written']:,} of its {official['clips']:,} clips; the first start reads no clips.",
    ]
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, help="frames in both splits together (default: as in the licensed file)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the clips the official way writes")
    parser.add_argument(
        "--folder", type=Path, help="where to put the files, about 8 GB at full size (default: temporary)"
    )
    parser.add_argument("--record", type=Path, help="append the figures to this file as one JSON line")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step](arguments.data, arguments.share)))
        return

    test_frames = RELEASE_FRAMES["test"] if arguments.frames is None else arguments.frames // 4
    train_frames = RELEASE_FRAMES["train"] if arguments.frames is None else arguments.frames - test_frames
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "h36m_random.pkl"
        write_full_size_file(path, train_frames, test_frames)
        record = {
            "schema": 1,
            "kind": "loader",
            "train_frames": train_frames,
            "test_frames": test_frames,
            "file_bytes": path.stat().st_size,
            "clip_frames": CLIP_FRAMES,
            "clips_read": CLIPS_READ,
            "environment": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "machine": platform.machine(),
                "cpus": os.cpu_count(),
            },
        }
        for step in STEPS:
            record[step] = measure(step, path, arguments.share)
    print(table(record))
    if arguments.record:
        with open(arguments.record, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
