"""Frames come one by one: what a window holds, what it may not know, and what it costs against offline."""

import dataclasses

import numpy as np
import pytest
import torch

import liftbench
from liftbench import kernels
from liftbench.baselines.data.clips import online_windows
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import protocols
from liftbench.baselines.evaluation.inference import evaluate, official_clips
from liftbench.baselines.weights.trained import Weights
from liftbench.bench import records
from liftbench.bench.measure import online, timing
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.errors.online import online as online_table
from support.records import accuracy, data, write
from support.records import online as online_record

T = 5
MODELS = {
    "posemamba_toy": {"embed_dim": 8, "depth": 1}, "mdtf_tiny": {"embed_dim": 8, "depth": 1},
    "mlp": {"width": 16, "blocks": 1}, "lstm": {},
}  # fmt: skip
LOOK_AHEADS = (0, 1, 2)


@pytest.fixture(autouse=True)
def short(one_thread, any_machine, monkeypatch):
    monkeypatch.setattr(online, "_ROUND_S", 0.002)
    monkeypatch.setattr(online, "_BATCH", 512)


def weights(name="mlp", path=None, frames=T, **numbers):
    torch.manual_seed(0)
    numbers = numbers or MODELS.get(name, {})
    model = liftbench.create_model(name, frames=frames, **numbers).eval()
    return Weights(model, name, frames, numbers, None, path, 1, "last epoch", "h36m")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"weights")
    return path


def stream(dataset, name, **options):
    one = weights(name, **options)
    return online.Stream(one.model, dataset, one, "cpu")


def one_by_one(here, run, look_ahead):
    """{frame: pose}: push the frames of a take into a list, and answer each when its look-ahead is there."""
    start, stop = run
    seen, found, due = [], {}, start
    for frame in range(start, stop):
        seen.append(here.dataset.inputs("test", np.array(frame))[:, : here.channels])
        last = frame == stop - 1
        while due <= frame and (last or frame - due == look_ahead):
            if here.centre:
                window = [seen[min(max(due - start - T // 2 + i, 0), len(seen) - 1)] for i in range(T)]
            else:
                window = ([seen[0]] * T + seen)[-T:]
            with torch.inference_mode():
                answer = here.model(torch.from_numpy(np.stack(window)[None]))[0]
            found[due] = answer[0 if here.centre else T - 1 - (frame - due)].numpy()
            due += 1
    return found


@pytest.mark.parametrize("look_ahead", LOOK_AHEADS)
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_a_loop_over_the_frames(synthetic_dataset, name, look_ahead):
    here = stream(synthetic_dataset, name)
    start, stop = here.bounds[1:3]
    middle = start + 8
    here.bounds = np.insert(here.bounds, 2, middle)  # a short take, for the loop's sake
    found = one_by_one(here, (start, middle), look_ahead)
    at = np.array(list(found))
    assert at.tolist() == list(range(start, middle))
    own, _ = here.answers(at, look_ahead)
    np.testing.assert_allclose(own, np.stack(list(found.values())), atol=2e-5)


class Changed:
    """A data set whose inputs from a frame on are others."""

    def __init__(self, dataset, first):
        self.dataset, self.first, self.bounds = dataset, first, dataset.bounds

    def inputs(self, split, index):
        keypoints = self.dataset.inputs(split, index)
        return np.where((index >= self.first)[..., None, None], 0.7 - keypoints, keypoints)


@pytest.mark.parametrize("look_ahead", LOOK_AHEADS)
@pytest.mark.parametrize("name", MODELS)
def test_the_future_beyond_the_look_ahead_changes_nothing_and_the_frame_before_it_does(
    synthetic_dataset, name, look_ahead
):
    at = np.array([synthetic_dataset.bounds("test")[1] + 20])
    answers = [
        stream(changed, name).answers(at, look_ahead)
        for changed in (synthetic_dataset, *(Changed(synthetic_dataset, at[0] + look_ahead + k) for k in (1, 0)))
    ]
    for before, unseen, seen in zip(*answers):
        np.testing.assert_array_equal(before, unseen)
        assert np.abs(before - seen).max() > 1e-5


def test_windows_by_hand():
    bounds, at = np.array([0, 6, 20]), np.array([6, 9, 19])
    windows, places = online_windows(bounds, 4, at, 1, centre=False)
    assert windows.tolist() == [[6, 6, 6, 7], [7, 8, 9, 10], [16, 17, 18, 19]] and places.tolist() == [2, 2, 3]
    windows, places = online_windows(bounds, 5, at, 1, centre=True)
    assert windows.tolist() == [[6, 6, 6, 7, 7], [7, 8, 9, 10, 10], [17, 18, 19, 19, 19]]
    assert places.tolist() == [2, 2, 2]
    with pytest.raises(InputError, match="Cannot look 5 frames ahead: clips have 5"):
        online_windows(bounds, 5, at, 5, centre=True)


@pytest.mark.parametrize("frames, expected", [(9, "0 2 4"), (27, "0 6 13"), (243, "0 60 121"), (3, "0 1"), (1, "0")])
def test_look_aheads_are_shares_of_the_clip(frames, expected):
    found = online.look_aheads(frames)
    assert " ".join(map(str, found)) == expected and found[0] == "0" and set(found.values()) <= {"0", "1/4", "1/2"}


@pytest.mark.parametrize("name", ["posemamba_toy", "mlp"])
def test_offline_is_what_evaluate_finds(synthetic_dataset, name):
    here, clips = stream(synthetic_dataset, name), official_clips(name, synthetic_dataset, T)
    found = here.offline(clips, np.unique(clips), lambda *_: None)
    expected = evaluate(here.model, name, synthetic_dataset, T)
    official, plain = expected.variants["official"], expected.variants["without flip"]
    for quantity in ("mpjpe_mm", "p_mpjpe_mm", "mpjve_mm_per_frame"):
        assert getattr(found, quantity) == pytest.approx(official[quantity], rel=1e-6)
    assert found.mpjpe_mm_without_flip == pytest.approx(plain["mpjpe_mm"], rel=1e-6)


@pytest.mark.parametrize("name", ["posemamba_toy", "mlp"])
def test_a_whole_measurement(synthetic_dataset, file, tmp_path, name):
    told = []
    record = online.measure(weights(name, file), synthetic_dataset, step=20, progress=lambda *words: told.append(words))
    assert record.scored_frames == -(-record.data.test_frames // 20) and record.fps == 50
    assert [one.look_ahead_frames for one in record.windows] == list(LOOK_AHEADS)
    errors = [one.mpjpe_mm for one in record.windows]
    assert len(set(errors)) == 3 and all(0.5 < error / record.offline.mpjpe_mm < 2 for error in errors)
    if name == "mlp":  # a centre-frame model: with half a clip it sees what it sees offline
        assert errors[-1] == pytest.approx(record.offline.mpjpe_mm, rel=1e-6)
        assert [one.repeated_frames for one in record.windows] == [2, 1, 0]
    else:
        assert [one.repeated_frames for one in record.windows] == [0, 0, 0] and record.difference < 1e-5
    assert 0 < record.time.median_ms < record.time_with_flip.median_ms and record.time.missing is None
    assert told[-1] == (f"{name}, look-ahead 1/2", record.scored_frames, record.scored_frames)
    records.append(tmp_path / "a.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_every_nth_frame_is_scored_on_both_sides(synthetic_dataset, file):
    record = online.measure(weights("mlp", file), synthetic_dataset, step=7)
    assert record.step == 7 and record.scored_frames == -(-record.data.test_frames // 7)
    assert record.windows[-1].mpjpe_mm == pytest.approx(record.offline.mpjpe_mm, rel=1e-6)
    assert record.offline.mpjve_mm_per_frame is None


def test_a_model_that_mixes_the_clips_of_a_batch_gets_them_one_by_one(synthetic_dataset):
    here = stream(synthetic_dataset, "transformer_published", num_encoder_layers=1)
    at = synthetic_dataset.bounds("test")[0] + np.arange(20, 90, 10)
    own, _ = here.answers(at, 0)
    for frame, pose in zip(at, own):
        np.testing.assert_array_equal(here.answers(np.array([frame]), 0)[0][0], pose)


def test_what_cannot_be_measured_is_refused(synthetic_dataset, file, monkeypatch):
    metres = dataclasses.replace(weights("mlp", file), data="h36m_videopose3d")
    with pytest.raises(InputError, match="it was trained on h36m_videopose3d, this is h36m"):
        online.measure(metres, synthetic_dataset)
    with pytest.raises(InputError, match="Cannot score every 0-th frame"):
        online.measure(weights("mlp", file), synthetic_dataset, step=0)
    unknown = dataclasses.replace(protocols.PROTOCOLS["h36m"], fps=None)
    monkeypatch.setitem(protocols.PROTOCOLS, "h36m", unknown)
    with pytest.raises(InputError, match="it does not state its frames per second. Give --fps"):
        online.measure(weights("mlp", file), synthetic_dataset)
    assert online.measure(weights("mlp", file), synthetic_dataset, step=500, fps=25).fps == 25


def test_a_scan_that_is_wrong_is_not_measured(synthetic_dataset, file, monkeypatch):
    right = kernels.chunked.selective_scan
    monkeypatch.setattr(
        kernels.chunked, "selective_scan", lambda u, delta, A, *others: right(u, delta, A * 0.9, *others)
    )
    with kernels.using("chunked"), pytest.raises(kernels.ScanUnavailable, match="Cannot time the scan 'chunked'"):
        online.measure(weights("posemamba_toy", file), synthetic_dataset)


def test_a_busy_machine_leaves_the_errors_and_a_reason(synthetic_dataset, file, monkeypatch):
    monkeypatch.setattr(timing, "SPREAD", -1)
    record = online.measure(weights("mlp", file), synthetic_dataset, step=50)
    assert record.time.missing.startswith("too busy") and record.time.median_ms is None and record.time.samples_ms
    (row, *_) = online_table(Results([record])).rows
    assert row["window, ms"] == row["keeps up"] == Missing(record.time.missing) and row["MPJPE, mm"] > 0


def test_the_table_has_a_row_a_look_ahead_and_says_what_keeps_up():
    rows = online_table(Results([online_record("mlp", 60.0, frames=27)])).rows
    assert [row["look-ahead"] for row in rows] == ["0", "1/4 clip", "1/2 clip", "offline"]
    assert [row["over offline, mm"] for row in rows[:3]] == [2, 1, 0] and rows[3]["MPJPE, mm"] == 60
    assert [row["delay, ms"] for row in rows[:3]] == [0, 40, 80] and isinstance(rows[3]["delay, ms"], Missing)
    assert rows[0]["keeps up"] == "not mirrored" and rows[0]["windows/s"] == pytest.approx(1000 / 12)
    assert rows[0]["data"] == "synthetic data"
    shipped = {"file": "fast.safetensors", "sha256": "b" * 64, "epoch": 9, "chosen_by": "last epoch"}
    record = online_record(step=10, checkpoint=shipped)
    notes = online_table(Results([record])).notes
    assert "mlp, 243 frames, synthetic data: weights fast.safetensors, one frame in 10 was scored." in notes
    assert record.weights == "fast" and online_record().weights is None


def test_synthetic_data_is_never_called_human36m_and_two_files_are_told_apart(tmp_path):
    own = [online_record("mlp", data=data(sha="e")), accuracy("mlp")]
    results = Results(own, reference=[online_record("lstm")])
    assert sorted(results.online) == ["synthetic data aaaaaaa (reference)", "synthetic data eeeeeee"]
    assert list(results.accuracy) == ["synthetic data aaaaaaa"] and not results.real
    assert {key.model for key in results.keys} == {"mlp"}, "online records alone add no row to other tables"
    assert len(records.read(write(tmp_path, *own))) == 2
