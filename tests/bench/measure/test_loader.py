import pytest

from liftbench.baselines.errors import InputError
from liftbench.bench import records
from liftbench.bench.measure import loader, timing


def test_all_steps_are_measured_and_survive_the_round_trip(any_machine, tmp_path):
    said = []
    record = loader.measure(frames=loader.FEWEST_FRAMES, folder=tmp_path, progress=lambda *what: said.append(what))
    assert (record.train_frames, record.test_frames) == (3 * 243, 243)
    assert [text for text, *_ in said] == ["writing the file", "first start", "later start", "official way"]
    assert record.clips_written == (3 * 243 - 243) // 81 + 1 + 1  # of one take each
    for step in (record.first_start, record.later_start, record.official_way):
        assert step.start_s > 0 and (step.read_s is None) == (step is record.first_start)
        assert step.peak_rss_mib < 150, "PyTorch, which the loader does not need, would take more"
    assert not list(tmp_path.iterdir()), "temporary files are gone"
    records.append(tmp_path / "loader.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_what_cannot_be_measured_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="5 frames are too few. Choose 972 or more"):
        loader.measure(frames=5)
    with pytest.raises(InputError, match="Cannot write to .*nowhere: No such file or directory. Choose another"):
        loader.measure(frames=loader.FEWEST_FRAMES, folder=tmp_path / "nowhere")


def test_times_of_a_busy_machine_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(timing.Share, "so_far", lambda self: 0.5)
    monkeypatch.setattr(loader, "_in_fresh_process", lambda step, path: {"start_s": 1.0, "clips_written": 1})
    with pytest.raises(
        timing.TooBusy, match="Cannot time the loader: the machine was too busy, other processes took 50%"
    ):
        loader.measure(frames=loader.FEWEST_FRAMES, folder=tmp_path)
