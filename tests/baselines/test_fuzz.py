"""Damaged files: every reader succeeds or refuses in one line, quickly, in little memory, and leaves nothing behind."""

import random
import resource
import shutil
import signal
import warnings

import pytest

from liftbench.baselines.data.dataset import open_dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import entry
from liftbench.baselines.training.recipe import read_recipe
from liftbench.baselines.weights.read import read_checkpoint
from liftbench.bench import records
from liftbench.lift.keypoints.read import read_keypoints
from support.good_files import good_files
from support.mutations import array_hostile, damaged_bytes, damaged_member, damaged_value, plain_hostile

FILES = good_files()
SEED = 0
CASES, SLOW_CASES = 40, 500  # of each format
MOST_SECONDS = 2  # of the processor, for a file of a few kB
MOST_KB = 256 << 10
LONGEST_MESSAGE = 600


class _TooSlowError(BaseException):
    """A BaseException, because a reader might take an Exception for damage."""


def _stop(*_):
    raise _TooSlowError


def damaged(good, draw):
    """Return the bytes of `good` after one kind of damage."""
    kind = draw.choice(("bytes", "member", "value", "value"))
    if kind == "value":
        try:
            content = damaged_value(good.content, draw, array_hostile if good.arrays else plain_hostile)
            return good.encode(content)
        except Exception:  # this format cannot hold the hostile value
            kind = "member"
    whole = good.encode(good.content)
    if kind == "member" and good.zipped:
        return damaged_member(whole, draw)
    return damaged_bytes(whole, draw)


def fault(name, seed, case, folder):
    """Read damaged file number `case` of a format. Return a sentence about what went wrong, or None."""
    good = FILES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = damaged(good, random.Random(f"{name} {seed} {case}"))
    folder.mkdir()
    good.write(folder, data)
    before, memory = set(folder.rglob("*")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            good.read(folder)
        problem = None
    except InputError as error:
        message = str(error)
        problem = None
        if not message.isprintable() or len(message) > LONGEST_MESSAGE + len(str(folder)):
            problem = f"the message is not one short printable line: {message[:1000]!r}"
        elif left := set(folder.rglob("*")) - before:
            problem = f"files are left behind: {sorted(map(str, left))}"
    except _TooSlowError:
        problem = f"it takes over {MOST_SECONDS} s"
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        shutil.rmtree(folder)
    if problem is None and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory > MOST_KB:
        problem = f"it takes over {MOST_KB >> 10} MiB"
    return problem and f"{name}, seed {seed}, case {case}: {problem}"


def faults(name, seed, cases, folder):
    return [found for case in range(cases) if (found := fault(name, seed, case, folder / "case"))]


@pytest.mark.parametrize("name", FILES)
def test_good_files_are_read(name, tmp_path):
    FILES[name].write(tmp_path, FILES[name].encode(FILES[name].content))
    FILES[name].read(tmp_path)


@pytest.mark.parametrize("read", [read_recipe, read_keypoints, read_checkpoint, open_dataset, records.read, entry])
def test_a_path_longer_than_any_file_name_is_missing(read):
    """`Path.is_file` raises OSError for it."""
    with pytest.raises(InputError):
        read("k" * 1000 + ".py:build")


@pytest.mark.parametrize("name", FILES)
def test_damaged_files(name, tmp_path):
    assert not faults(name, SEED, CASES, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_damaged_files(name, tmp_path):
    assert not faults(name, SEED + 1, SLOW_CASES, tmp_path)
