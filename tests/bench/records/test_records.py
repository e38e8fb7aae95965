import errno
import json
import threading
from pathlib import Path

import pytest

from liftbench.baselines.errors import InputError
from liftbench.bench import records
from liftbench.bench.records import environment, exchange
from support.records import accuracy, cost, data, speed
from support.records import training as trained


def training(**changes):
    fields = {
        **environment.stamp(),
        "model": "mlp",
        "frames": 81,
        "data": {
            "name": "toy.pkl", "sha256": "0" * 64, "origin": {"kind": "synthetic", "seed": 0}, "protocol": "h36m",
            "input": "sh", "test_frames": 810, "test_clips": 10,
        },
        "recipe": {"loss": {"mpjpe": 1.0}},
        "epochs": [0, 1],
        "loss": [0.5, 0.25],
        "test_mpjpe_mm": [300.0, None],
        "learning_rate": [1e-3, 9.9e-4],
        "epoch_s": [1.5, 1.25],
        "clips_per_s": 100.0,
        "processes": 1,
    }  # fmt: skip
    return records.TrainingRecord(**fields | changes)


def test_a_record_survives_the_round_trip(tmp_path):
    written = [training(), training(model="lstm", numbers={"hidden_dim": 64})]
    for record in written:
        records.append(tmp_path / "deep" / "a.jsonl", record)
    assert records.read(tmp_path / "deep") == written


def test_a_line_names_schema_kind_time_and_environment(tmp_path):
    records.append(tmp_path / "a.jsonl", training())
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    content = json.loads(line)
    assert content["schema"] == 1
    assert content["kind"] == "training"
    assert content["created_utc"].endswith("Z")
    assert content["environment"]["torch"] == __import__("torch").__version__
    assert content["environment"]["cores"] >= 1


def test_folders_are_read_in_order_of_file_and_line(tmp_path):
    for file, model in (("b", "lstm"), ("a", "mlp"), ("a", "transformer")):
        records.append(tmp_path / f"{file}.jsonl", training(model=model))
    assert [record.model for record in records.read(tmp_path)] == ["mlp", "transformer", "lstm"]


def test_writers_at_the_same_time_do_not_mix_lines(tmp_path):
    record = training(recipe={"note": "x" * 20_000})
    threads = [
        threading.Thread(target=lambda: [records.append(tmp_path / "a.jsonl", record) for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records.read(tmp_path)) == 40


def test_a_torn_line_is_named_and_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "a.jsonl"
    records.append(path, training())
    with open(path, "a") as file:
        file.write('{"schema": 1, "kind": "tra')
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: it is not a whole JSON record"):
        records.read(tmp_path)
    records.append(path, training(model="lstm"))
    lines = path.read_text().splitlines()
    assert json.loads(lines[2])["model"] == "lstm"
    path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert [record.model for record in records.read(tmp_path)] == ["mlp", "lstm"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema": 4}, r"line 1: it has schema 4, and this version reads schema 1"),
        ({"schema": None}, r"line 1: it has schema None"),
        ({"speed_ms": 3}, r"line 1, key training\.speed_ms: no such key is known"),
        ({"clips_per_s": "fast"}, r"line 1, key training\.clips_per_s: it should be a valid number"),
        ({"kind": "guess"}, r"line 1: 'guess' is none of 'cost', 'speed'"),
        ({"epochs": [0]}, r"line 1, key training: loss has 2 entries for 1 epochs"),
        ({"epochs": [10**400]}, r"line 1, key training\.epochs\.0: it should be less than or equal to 9"),
    ],
)
def test_a_line_that_does_not_validate_is_named(tmp_path, change, message):
    content = json.loads(training().model_dump_json(by_alias=True)) | change
    (tmp_path / "a.jsonl").write_text(json.dumps(content) + "\n")
    with pytest.raises(InputError, match=message):
        records.read(tmp_path)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        training(clips_per_s=float("nan"))


def test_a_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        records.read(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot append to"):
        records.append(tmp_path / "file" / "a.jsonl", training())


def test_commit_and_dirt_are_those_of_the_checkout(tmp_path):
    def git(*arguments):
        return environment._output("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments)

    assert environment._git(tmp_path) == (None, None)
    git("init")
    assert environment._git(tmp_path) == (None, None)
    git("commit", "--allow-empty", "-m", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.jsonl").write_text("")
    assert environment._git(tmp_path.resolve()) == (commit, False)
    (tmp_path / "new.py").write_text("")
    assert environment._git(tmp_path.resolve()) == (commit, True)
    assert environment._git(tmp_path.resolve() / "results") == (None, None)


def test_a_record_without_its_time_is_refused_instead_of_dated(tmp_path):
    content = json.loads(training().model_dump_json(by_alias=True))
    del content["created_utc"]
    (tmp_path / "a.jsonl").write_text(json.dumps(content) + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl, line 1, key training\.created_utc: it is missing"):
        records.read(tmp_path)


def folder_of(path, *written):
    for record in written:
        records.append(path / f"{record.kind}.jsonl", record)
    return path


def test_merging_drops_what_is_there_twice_and_keeps_the_order_of_time(tmp_path):
    both, here, there = cost("mlp", minutes=1), speed("mlp", 2.0), cost("lstm", minutes=2)
    a = folder_of(tmp_path / "a", there, both, here)
    b = folder_of(tmp_path / "b", both, cost("transformer", minutes=3), accuracy("mlp"), trained("mlp"))
    assert exchange.merge([a, b], tmp_path / "c") == 3 + 3
    merged = records.read(tmp_path / "c")
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "cost.jsonl", "speed.jsonl", "accuracy.jsonl", "training.jsonl",
    }  # fmt: skip
    assert [one for one in merged if one.kind == "cost"] == [both, there, cost("transformer", minutes=3)]
    assert exchange.merge([tmp_path / "c", a], tmp_path / "d") == len(merged)
    assert records.read(tmp_path / "d") == merged
    with pytest.raises(InputError, match="c: it holds records already. Choose a new folder"):
        exchange.merge([a, b], tmp_path / "c")
    with pytest.raises(InputError, match="there is no folder"):
        exchange.merge([a, tmp_path / "nowhere"], tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_merging_writes_all_kinds_or_none(tmp_path, monkeypatch):
    a = folder_of(tmp_path / "a", cost("mlp"), speed("mlp"), accuracy("mlp"))
    write, written = Path.write_text, []

    def write_until_the_disk_is_full(path, text, **options):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", write_until_the_disk_is_full)
    with pytest.raises(InputError, match="No space left on device"):
        exchange.merge([a], tmp_path / "b")
    assert len(written) == 2 and not list((tmp_path / "b").iterdir())


def test_comparing_pairs_the_newest_of_the_same_and_gives_their_ratio(tmp_path):
    a = folder_of(
        tmp_path / "a", speed("mlp", 2.0, minutes=1), speed("mlp", 9.0), cost("mlp", contraction=100), cost("lstm"),
        speed("mlp", 5.0, frames=27), accuracy("mlp", 80.0),
    )  # fmt: skip
    b = folder_of(
        tmp_path / "b", speed("mlp", 4.0), cost("mlp", contraction=150), cost("mlp", numbers={"depth": 2}),
        accuracy("mlp", 100.0),
    )  # fmt: skip
    rows = {(row.what, row.quantity): row for row in exchange.compare(a, b)}
    latency = rows["speed mlp 243 frames", "latency, ms"]
    assert latency.ratio == pytest.approx(2) and latency.second > latency.first
    assert rows["cost mlp 243 frames", "MACs per clip"][2:] == (100, 150, 1.5)
    assert rows["accuracy mlp 243 frames", "MPJPE, mm"].ratio == pytest.approx(1.25)
    assert {what for what, _ in rows} == {"speed mlp 243 frames", "cost mlp 243 frames", "accuracy mlp 243 frames"}
    assert exchange.machines(a) == "Test CPU, 2 threads" and exchange.machines(b) == "Test CPU, 2 threads"
    with pytest.raises(InputError, match="hold no record of the same kind, model, frames and settings"):
        exchange.compare(a, folder_of(tmp_path / "c", cost("transformer")))


def test_errors_on_other_data_are_not_compared(tmp_path):
    a = folder_of(tmp_path / "a", accuracy("mlp", 80.0), cost("mlp"))
    b = folder_of(tmp_path / "b", accuracy("mlp", 90.0, on=data(sha="b")), cost("mlp"))
    assert {row.what for row in exchange.compare(a, b)} == {"cost mlp 243 frames"}


def test_an_error_by_the_former_mean_of_videopose3d_s_files_is_refused(tmp_path):
    """Their official row was the mean over frames and is now the mean over actions; the two never share a column."""
    on = data() | {"protocol": "h36m_videopose3d", "input": "cpn"}
    record = accuracy("mlp", on=on)
    folder = tmp_path
    records.append(folder / "test.jsonl", record)
    assert records.read(folder) == [record]
    text = (folder / "test.jsonl").read_text().replace('"frame-wise"', '"action-wise"')
    (folder / "test.jsonl").write_text(text)
    with pytest.raises(InputError, match="it is one over actions now, so evaluate again"):
        records.read(folder)
