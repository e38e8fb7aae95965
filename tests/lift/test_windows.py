"""Recordings of any length through models whose answer is known."""

import tracemalloc

import numpy as np
import pytest
import torch

from liftbench.lift.windows import lift_blocks, lift_windows


class Known(torch.nn.Module):
    """Answers x, y and twice x; in each clip off by what an eager model might be at its ends and as a whole."""

    def __init__(self, frames, centre=False, wrong_at_ends=0.0, wrong_as_a_whole=0.0):
        super().__init__()
        self.frames, self.centre, self.ends, self.whole = frames, centre, wrong_at_ends, wrong_as_a_whole
        self.seen = 0

    def forward(self, clips):
        assert clips.shape[1:] == (self.frames, 17, 2)
        self.seen = max(self.seen, len(clips))
        pose = torch.cat([clips, 2 * clips[..., :1]], dim=-1)
        away = (torch.arange(self.frames) - (self.frames - 1) / 2).abs() / (self.frames / 2)
        pose = pose + self.ends * away[:, None, None] ** 2
        pose = pose + self.whole * torch.sin(1e3 * clips[:, :1, :1, :1])  # another one in each clip
        return pose[:, self.frames // 2 : self.frames // 2 + 1] if self.centre else pose


def moving(frames):
    """(frames, 17, 2): all joints move to the right at a constant speed."""
    return (np.linspace(-1, 1, frames)[:, None, None] * np.ones((17, 2))).astype(np.float32)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("frames", [1, 8, 9, 27])
@pytest.mark.parametrize("length", [1, 2, 9, 10, 26, 28, 300])
def test_every_frame_is_answered(length, frames, centre):
    inputs = moving(length) if length > 1 else moving(2)[:1]
    done = []
    poses = lift_windows(Known(frames, centre), inputs, frames, centre, flip=False, progress=done.append)
    np.testing.assert_allclose(poses, np.concatenate([inputs, 2 * inputs[..., :1]], axis=-1), atol=1e-6)
    assert sum(done) == length


@pytest.mark.parametrize("wrong", [{"wrong_at_ends": 0.05}, {"wrong_as_a_whole": 0.01}])
def test_no_seam(wrong):
    """A model that is wrong at the ends of its clips, or by another amount in each, makes no jump where clips meet."""
    frames, inputs = 27, moving(400)
    poses = lift_windows(Known(frames, **wrong), inputs, frames, False, flip=False)
    truth = np.concatenate([inputs, 2 * inputs[..., :1]], axis=-1)
    side_by_side = np.concatenate(
        [lift_windows(Known(frames, **wrong), inputs[start : start + frames], frames, False, flip=False)
         for start in range(0, 400, frames)]
    )  # fmt: skip
    velocity, jumps = (np.abs(np.diff(p - truth, axis=0)).max(axis=(1, 2))[30:370] for p in (poses, side_by_side))
    borders = np.zeros(399, bool)
    borders[np.arange(0, 399, frames // 2)] = borders[np.arange(0, 399, frames // 2) - 1] = True
    borders = borders[30:370]
    assert velocity[borders].max() <= 1.1 * velocity[~borders].max()
    assert velocity.max() < 0.3 * jumps.max() or not wrong.get("wrong_as_a_whole")


def test_windows_come_in_batches():
    model = Known(9)
    lift_windows(model, moving(2000), 9, False)
    assert model.seen == 16
    centre = Known(9, centre=True)
    lift_windows(centre, moving(2000), 9, True)
    assert centre.seen == 256


def test_the_mirrored_answer_is_averaged():
    class Lopsided(torch.nn.Module):
        """Says that every joint is 0.1 to the left of where it is."""

        def forward(self, clips):
            return torch.cat([clips - torch.tensor([0.1, 0.0]), clips[..., :1] * 0], dim=-1)

    inputs = np.random.default_rng(0).uniform(-1, 1, (40, 17, 2)).astype(np.float32)
    poses = lift_windows(Lopsided(), inputs, 9, False)
    np.testing.assert_allclose(poses[..., :2], inputs, atol=1e-6)


def all_at_once(model, inputs, frames):
    """Every window, and the weighted mean of them at each frame."""
    starts = sorted({*range(0, len(inputs) - frames, max(1, frames // 2)), len(inputs) - frames})
    weight = np.minimum(np.arange(1, frames + 1), np.arange(frames, 0, -1))[:, None, None]
    sums, weights = np.zeros((len(inputs), 17, 3)), np.zeros((len(inputs), 1, 1))
    for start in starts:
        window = slice(start, start + frames)
        sums[window] += weight * model(torch.from_numpy(inputs[window][None]))[0].numpy()
        weights[window] += weight
    return sums / weights


@pytest.mark.parametrize("frames, length", [(9, 500), (8, 333), (27, 28), (27, 1000), (1, 40), (2, 99)])
def test_blocks_are_what_all_windows_at_once_give(frames, length):
    inputs = np.random.default_rng(0).uniform(-1, 1, (length, 17, 2)).astype(np.float32)
    model = Known(frames, wrong_at_ends=0.1, wrong_as_a_whole=0.1)
    poses = lift_windows(model, inputs, frames, False, flip=False)
    np.testing.assert_allclose(poses, all_at_once(model, inputs, frames), atol=1e-6)


@pytest.mark.parametrize("centre", [False, True])
def test_memory_does_not_grow_with_the_recording(centre):
    """Frames are made when they are asked for and forgotten when they are lifted, so that only blocks are held."""

    def peak(length):
        tracemalloc.start()
        seen = 0
        for block, poses in lift_blocks(Known(27, centre), still, length, 27, centre, flip=False):
            assert block.start == seen and len(poses) == block.stop - block.start
            seen = block.stop
        assert seen == length
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    def still(start, stop):
        return np.zeros((stop - start, 17, 2), np.float32)

    peak(500)
    assert peak(40_000) < 1.1 * peak(4_000) + 50_000  # 40,000 frames take 8 MB and more
