"""One function reads every YAML file, one helper writes every file."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import time

import pytest

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import read_yaml, replacing


def test_what_a_message_quotes_stays_on_its_line():
    error = InputError("Cannot read a\nb\u2028c: key \x1b[31m\x00\udcff is unknown. Rename it.")
    assert str(error) == "Cannot read a b c: key \\x1b[31m\\x00\\udcff is unknown. Rename it."


def test_plain_yaml_is_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: [1.5, true, null, word]\nc: {d: 2e-4, e: 2020-01-01}\nf: 0x10\n")
    content = {"a": 1, "b": [1.5, True, None, "word"], "c": {"d": "2e-4", "e": "2020-01-01"}, "f": 16}
    assert read_yaml(path, "the list") == content, "as PyYAML reads YAML 1.1, dates aside"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it holds no 'key: value' lines"),
        ("- a", "it holds no 'key: value' lines"),
        ("a: 1\na: 2", "line 2: key a is given twice"),
        ("a: {b: 1, b: 2}", "line 1: key b is given twice"),
        ("1: 2", "line 1: a key is not a word"),
        ("? [a]\n: 2", "line 1: a key is not a word"),
        ("? !!str [a]\n: 2", "line 1: a key is not a word"),
        ("a: [", "line 1: expected the node content, but found '<stream end>'"),
        ("a: " + "[" * 500, "it is nested too deeply"),
        ("a: " + "[" * 60_000, "it is nested too deeply"),
        ("a: &x [1]\nb: *x", "line 2: an alias is not allowed"),
        ('a: !!int "1.0"', "line 1: '1.0' is not a whole number"),
        ('a: !!float ""', "line 1: '' is not a number"),
        ("a: !!bool maybe", "line 1: 'maybe' is not true or false"),
        ("a: !!int [1]", "line 1: expected a scalar node, but found sequence"),
        ("a: !!map [1]", "line 1: expected a mapping node, but found sequence"),
        ("a: !!omap [1]", "line 1: the tag tag:yaml.org,2002:omap is not allowed"),
        ("a: !!pairs {b: 1}", "line 1: the tag tag:yaml.org,2002:pairs is not allowed"),
        ("a: !!python/object:os.system {}", "line 1: the tag tag:yaml.org,2002:python/object:os.syste"),
        ("a: !" + "x" * 1000, "line 1: the tag !xxx"),
        (
            "a: " + "9" * 5000,
            "line 1: '9999999999999999999999999999999999999999' is not a whole number of at most 64 bits",
        ),
        ("a: 0x" + "f" * 5000, "line 1: a number has more than 64 bits"),
        ("a: 1" + ":1" * 20_000, "line 1: a number has more than 64 bits"),
        ("a: 1" + ":1" * 2000 + ":1.5", "line 1: '1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:' is not a number"),
        ("".join(f"k{number}: 1\n" for number in range(30_000)), "it is larger than 64 kB"),
        ("b: 1\na: \x07", "line 2: the character U+0007 is not allowed"),
        ('b: 1\na: "\\UFFFFFFFF"', "line 2: a number is out of range"),
        ("%YAML 1." + "9" * 5000 + "\n--- a", "line 1: a number is out of range"),
        ("a: 1\n--- b", "line 2: expected a single document in the stream, but found another"),
    ],
)
def test_hostile_yaml_is_refused_in_one_short_sentence(tmp_path, text, problem):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        read_yaml(path, "the list")
    assert time.process_time() - start < 5, "bounded by the size of the file"
    message = str(caught.value)
    assert message.startswith(f"Cannot read the list {path}: {problem}"), message
    assert message.endswith((" file.", " flat.", ". Remove it.")), message
    assert "\n" not in message and len(message) < len(str(path)) + 250


def test_unreadable_yaml(tmp_path):
    with pytest.raises(InputError, match="Cannot read the list .*none.yaml: No such file or directory. Check the path"):
        read_yaml(tmp_path / "none.yaml", "the list")
    with pytest.raises(InputError, match="Is a directory"):
        read_yaml(tmp_path, "the list")
    (tmp_path / "binary.yaml").write_bytes(b"a: 1\nb: \xff\xfe\x00")
    with pytest.raises(InputError, match="line 2: it is not UTF-8 text. Save it as UTF-8"):
        read_yaml(tmp_path / "binary.yaml", "the list")


def test_many_keys_take_time_in_proportion(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("".join(f"k{number}: 1\n" for number in range(6000)))
    assert len(read_yaml(path, "the list")) == 6000


def test_a_full_disk_leaves_the_old_file(tmp_path, full_disk):
    path = tmp_path / "a" / "file"
    with replacing(path) as temporary:
        temporary.write_text("old")
    full_disk(1000)
    message = "^Cannot write .*file: File too large. Choose another folder or free the disk.$"
    with pytest.raises(InputError, match=message), replacing(path) as temporary:
        temporary.write_bytes(bytes(2000))
    assert path.read_text() == "old" and [file.name for file in path.parent.iterdir()] == ["file"]


def test_several_files_or_none(tmp_path):
    with pytest.raises(InputError, match="Cannot write .*b: "), contextlib.ExitStack() as stack:
        files = [stack.enter_context(replacing(tmp_path / name)) for name in "ab"]
        files[0].write_text("whole")
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_a_living_one_writes_is_not(tmp_path):
    code = (
        "import sys, time; from liftbench.baselines.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n    print('ready', flush=True); time.sleep(60)"
    )
    path = tmp_path / "data[1].pkl"
    killed = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    killed.stdout.readline()
    with replacing(path) as temporary:
        temporary.write_text("mine")
        assert len(list(tmp_path.glob(".*.tmp"))) == 2, "another writer is at work"
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    with replacing(path) as temporary:
        temporary.write_text("next")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "next"


def test_a_file_that_another_writer_removes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    flock, removed = fcntl.flock, []

    def late(handle, how):
        if not removed:
            removed.extend(tmp_path.glob(".*.tmp"))  # a new file without its lock: it looks abandoned
            removed[0].unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with replacing(tmp_path / "file") as temporary, open(temporary, "w") as file:
        assert temporary not in removed
        with pytest.raises(BlockingIOError):
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write("whole")
    assert (tmp_path / "file").read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match="Cannot write .*file: No locks available"), replacing(tmp_path / "file"):
        pass
    assert not list(tmp_path.iterdir())
