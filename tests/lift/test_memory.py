"""Long recordings: what lifting holds in memory grows by little with each frame, and the disk may be full."""

import errno
import gc
import os
import tracemalloc

import numpy as np
import pytest
import torch

import liftbench
from liftbench.baselines.data import scratch
from liftbench.baselines.errors import InputError
from liftbench.baselines.training.checkpoint import write_weights
from liftbench.baselines.weights.trained import open_weights

MOST_BYTES = 320  # a frame; the arrays that lie on the disk have 2,000


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    numbers, path = {"width": 8}, tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    state = liftbench.create_model("mlp", frames=1, **numbers).state_dict()
    write_weights(path, state, {"model": "mlp", "frames": 1, "numbers": numbers, "data": "h36m", "joint_9": "neck"})
    return open_weights(path)


def keypoints(path, frames):
    """Write somebody who sways, with joints that are missing now and then."""
    random = np.random.default_rng(0)
    points = 500 + 100 * random.normal(size=(17, 2)) + 50 * np.sin(np.arange(frames) / 20)[:, None, None]
    seen = random.random((frames, 17, 1)) > 0.05
    np.save(path, np.concatenate([points * seen, seen], axis=-1).astype(np.float32))
    return path


@pytest.mark.slow  # tracemalloc takes minutes
def test_memory_grows_by_little_with_every_frame(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "LARGE", 1 << 16)
    # The first call imports modules. NumPy compresses 16 MiB of an array at once: all of 82,000 frames.
    peaks, lengths = [], (500, 84_000, 96_000)
    for frames in lengths:
        path = keypoints(tmp_path / f"{frames}.npy", frames)
        gc.collect()
        tracemalloc.start()
        lifted = liftbench.lift(path, (1000, 1000), 50, weights, layout="h36m17", refined=False)
        lifted.save(tmp_path / "out", to=["csv", "json", "trc"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert lifted.poses_world.shape == (frames, 17, 3) and np.isfinite(lifted.poses_world).mean() > 0.9
    assert (peaks[2] - peaks[1]) / (lengths[2] - lengths[1]) < MOST_BYTES


def test_on_the_disk_or_in_memory_the_poses_are_the_same(weights, tmp_path, monkeypatch):
    path, lifted = keypoints(tmp_path / "sways.npy", 500), []
    for large, frames in ((1 << 40, 4096), (1, 64)):
        monkeypatch.setattr(scratch, "LARGE", large)
        monkeypatch.setattr(scratch, "FRAMES", frames)
        lifted.append(liftbench.lift(path, (1000, 1000), 50, weights, layout="h36m17", smooth=6.0, rigid=True))
    for name in ("keypoints_2d", "poses_3d", "root", "poses_world", "valid"):
        np.testing.assert_array_equal(*(getattr(one, name) for one in lifted), err_msg=name)


def test_a_full_disk_is_one_sentence(weights, tmp_path, monkeypatch):
    def full(handle, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(os, "posix_fallocate", full)
    path = keypoints(tmp_path / "sways.npy", 50)
    with pytest.raises(InputError, match="No space left on device. Free the disk, or name another folder in TMPDIR."):
        liftbench.lift(path, (1000, 1000), 50, weights, layout="h36m17")
