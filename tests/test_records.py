import json
import threading

import pytest

from baselines.errors import InputError
from bench import environment, records


def training(**changes):
    fields = {
        "environment": environment.describe(),
        "model": "mlp",
        "frames": 81,
        "data": {
            "name": "toy.pkl", "sha256": "0" * 64, "origin": {"kind": "synthetic", "seed": 0}, "input": "sh",
            "test_frames": 810, "test_clips": 10,
        },
        "recipe": {"loss": {"mpjpe": 1.0}},
        "epochs": [0, 1],
        "loss": [0.5, 0.25],
        "test_mpjpe_mm": [300.0, None],
        "learning_rate": [1e-3, 9.9e-4],
        "epoch_s": [1.5, 1.25],
        "clips_per_s": 100.0,
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
    with pytest.raises(InputError, match=r"a\.jsonl, line 2 is not a whole JSON record"):
        records.read(tmp_path)
    records.append(path, training(model="lstm"))
    lines = path.read_text().splitlines()
    assert json.loads(lines[2])["model"] == "lstm"
    path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert [record.model for record in records.read(tmp_path)] == ["mlp", "lstm"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema": 2}, r"line 1 has schema 2 but this version reads schema 1"),
        ({"schema": None}, r"line 1 has schema None"),
        ({"speed_ms": 3}, r"line 1, key training\.speed_ms: Extra inputs are not permitted"),
        ({"clips_per_s": "fast"}, r"line 1, key training\.clips_per_s: Input should be a valid number"),
        ({"kind": "guess"}, r"line 1, key .*kind|line 1, key : Input tag 'guess'"),
        ({"epochs": [0]}, r"line 1, key training: Value error, loss has 2 entries for 1 epochs"),
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
    with pytest.raises(InputError, match="There is no records folder"):
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
