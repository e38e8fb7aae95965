"""The pickle reader: reads what numpy writes, in every spelling, and never does what a file tells it to."""

import pickle
import random
import re

import numpy as np
import pytest

from liftbench.baselines.data.formats import unpickle
from liftbench.baselines.errors import InputError

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=np.float64).reshape(2, 3).T,
    np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(1, 0, 2),
    np.arange(3, dtype=">f8"),
    np.array(["54138969", "55011271"]),
    np.array([["left", "right"], [1.5, None]], dtype=object),
    np.array([True, False]),
    np.zeros((0, 17, 2)),
    np.array(3.5),
]
PLAIN = {
    "text": "é" * 300,
    "numbers": [0, 255, 70_000, -5, 2**80, 1.5, True, None],
    "tuples": ((), (1,), (1, 2, 3, 4)),
    5: b"",
}


def old_names(data):
    """The same pickle as numpy before version 2 wrote it."""
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        data = data.replace(bytes([len(new)]) + new, bytes([len(old)]) + old).replace(b"c" + new, b"c" + old)
    return data


@pytest.mark.parametrize("spelling", [bytes, old_names], ids=["numpy-2", "numpy-1"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_numpy_writes(protocol, spelling):
    data = spelling(pickle.dumps([ARRAYS, PLAIN, np.float32(2.5), np.str_("x"), ARRAYS[0]], protocol))
    assert (b"numpy._core" in data) == (spelling is bytes)
    arrays, plain, number, text, again = unpickle.loads(data, "file")
    for expected, found in zip(ARRAYS, arrays, strict=True):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)
    assert plain == PLAIN
    assert (number, type(number), text, type(text)) == (2.5, np.float32, "x", np.str_)
    assert again is arrays[0]


def test_arrays_are_views_of_the_file(tmp_path):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(np.arange(1000.0), 4))
    array = unpickle.load(path)
    assert not array.flags.owndata and not array.flags.writeable
    np.testing.assert_array_equal(array, np.arange(1000.0))


class Call:
    """Pickles as the call function(*arguments)."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile_pickles(marker):
    import builtins
    import os

    create = f"open({str(marker)!r}, 'w').close()"
    in_array = np.array([Call(os.system, f"touch {marker}")], dtype=object)
    by_getattr = f"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(Vos\ntRVsystem\ntR(Vtouch {marker}\ntR.".encode()
    shell = b"X" + len(f"touch {marker}").to_bytes(4, "little") + f"touch {marker}".encode()
    by_line = f"cos\nsystem\n(Vtouch {marker}\ntR.".encode()
    by_inst = b"(" + shell + b"ios\nsystem\n."
    by_obj = b"(cos\nsystem\n" + shell + b"o."
    return {
        "os.system": (pickle.dumps(Call(os.system, f"touch {marker}"), 2), "the name '(posix|nt).system'"),
        "eval": (pickle.dumps(Call(builtins.eval, create), 4), "the name 'builtins.eval'"),
        "exec": (pickle.dumps({"train": Call(builtins.exec, create)}, 5), "the name 'builtins.exec'"),
        "getattr": (b"\x80\x02" + by_getattr, "the name '__builtin__.getattr'"),
        "in an array": (pickle.dumps(in_array, 4), "the name '(posix|nt).system'"),
        "line": (b"\x80\x02" + by_line, "the name 'os.system'"),
        "inst": (b"\x80\x02" + by_inst, "the pickle instruction b'i'"),
        "obj": (b"\x80\x02" + by_obj, "the name 'os.system'"),
        "tofile": (pickle.dumps(Call(np.ndarray.tofile, np.zeros(1), str(marker)), 4), "the name 'builtins.getattr'"),
        "numpy.savetxt": (pickle.dumps(Call(np.savetxt, str(marker), [0.0]), 4), "the name 'numpy.savetxt'"),
        "memmap": (pickle.dumps(Call(np.memmap, str(marker), "u1", "w+", 0, 1), 4), "the name 'numpy.memmap'"),
    }


@pytest.mark.parametrize("name", hostile_pickles("marker"))
def test_runs_nothing(tmp_path, name):
    marker = tmp_path / "marker"
    data, refused = hostile_pickles(marker)[name]
    with pytest.raises(InputError, match=rf"^Cannot read file: it asks for {refused} at byte \d+, but "):
        unpickle.loads(data, "file")
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists(), "the pickle is harmless and shows nothing"


@pytest.mark.parametrize(
    "data, refused",
    [
        (b"\x80\x02cnumpy\nload\n.", "the name 'numpy.load'"),
        (b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93.", "the name 'numpy.ndarray.__reduce__'"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "state for something that is neither an array nor a dtype"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", r"the pickle instruction b'\\x81'"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "a call of something that is not a function"),
        (b"\x80\x02]Q.", "the pickle instruction b'Q'"),
        (b"\x80\x02\x82\x01.", r"the pickle instruction b'\\x82'"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0base64\x86R.", "an encoding that is not latin1"),
        (b"\x80\x02}))s.", "a tuple as a key"),
        (pickle.dumps(np.zeros(2, [("a", "f4")])), "the dtype 'V4'"),
        (pickle.dumps(np.zeros(2, "M8[s]")), "the dtype 'M8'"),
        (pickle.dumps(np.zeros(2, np.dtype("f4", metadata={"a": 1}))), "a structured dtype or a dtype with metadata"),
        (pickle.dumps(np.ma.zeros(2)), "the name 'numpy.ma._?core._mareconstruct'"),
        (
            b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\ndtype\n)K\0\x87R.",
            "an array that is not a numpy.ndarray",
        ),
    ],
)
def test_refuses_by_name(data, refused):
    with pytest.raises(InputError, match=rf"^Cannot read file: it asks for {refused} at byte \d+, but "):
        unpickle.loads(data, "file")


def sharing(text, times):
    """A pickle of one text that is encoded again and again."""
    start = (
        b"\x80\x02](c_codecs\nencode\nq\x01X"
        + len(text).to_bytes(4, "little")
        + text
        + b"q\x02X\6\0\0\0latin1q\x03\x86R"
    )
    return start + times * b"h\x01h\x02h\x03\x86R" + b"e."


def test_work_is_bounded_by_the_size_of_the_file():
    assert len(unpickle.loads(sharing(b"a" * 1000, 2), "file")) == 3
    with pytest.raises(InputError, match="it asks for more work than its size allows at byte"):
        unpickle.loads(sharing(b"a" * 100_000, 100_000), "file")  # 10 GB
    shape = b"(" + 100_000 * b"M\xff\xff" + b"tq\x01"
    pending = b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"
    state = b"(K\1" + shape + b"cnumpy\ndtype\nX\2\0\0\0f4\x89\x88\x87R\x89C\0tb."
    with pytest.raises(InputError, match="damaged"):  # a product of 100,000 lengths would take minutes
        unpickle.loads(pending + state, "file")


@pytest.mark.parametrize(
    "key, refused",
    [
        (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x1f", "an int"),
        (b"G\x3f\xf8\0\0\0\0\0\0", "a float"),
        (b"N", "None"),
    ],
)
def test_keys_whose_hashes_can_be_made_to_collide(key, refused):
    with pytest.raises(InputError, match=f"asks for {refused} as a key"):
        unpickle.loads(b"\x80\x02}" + key + b"K\1s.", "file")


def test_long_names_are_cut():
    with pytest.raises(InputError, match="a name of more than 100 characters") as caught:
        unpickle.loads(b"\x80\x02c" + b"x" * 5000 + b"\ny\n.", "file")
    long = b"\x8d" + (10**6).to_bytes(8, "little") + b"a\n" * 500_000
    with pytest.raises(InputError, match="asks for the name 'a") as caught:
        unpickle.loads(b"\x80\x04" + long + long + b"\x93.", "file")
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_truncation_is_reported(protocol):
    data = pickle.dumps([ARRAYS[:2], PLAIN], protocol)
    for length in range(2, len(data)):
        with pytest.raises(InputError, match="^Cannot read file: it ends in the middle of a value"):
            unpickle.loads(data[:length], "file")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_damage_is_reported_or_harmless(protocol):
    data, chance = pickle.dumps([ARRAYS, PLAIN], protocol), random.Random(0)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[chance.randrange(2, len(data))] = chance.randrange(256)
        try:
            unpickle.loads(bytes(damaged), "file")
        except InputError:
            refused += 1
    assert 500 < refused < 1500


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"abc.", "ends in the middle"),
        (b"\x80\x04.", "damaged"),
        (b"\x80\x04R.", "damaged"),
        (b"\x80\x04h\x05.", "damaged"),
        (b"\x80\x04K\x01K\x02a.", "damaged"),
        (b"\x80\x04\x8c\x01\xff.", "damaged"),
        (b"\x80\x04}(K\x01u.", "damaged"),
        (b"\x80\x04}]K\x01s.", "a list as a key"),
        (b"\x80\x04K\x01K\x02\x93.", "damaged"),
        (pickle.dumps(np.arange(9.0), 4).replace(b"K\x09\x85", b"K\x08\x85"), "damaged"),
        (pickle.dumps(np.array([None] * 9), 4).replace(b"K\x09\x85", b"K\x08\x85"), "damaged"),
        (pickle.dumps(np.full(3, 0x110000, "<u4").view("<U1")), "damaged"),
        (pickle.dumps(np.str_("abcd"), 4).replace(b"a\0\0\0", b"a\0\x11\0"), "damaged"),
        (b"PK\x03\x04", "not a pickle of protocol 2 to 5"),
        (pickle.dumps([1], 0), "not a pickle of protocol 2 to 5"),
        (b"\x80\x06.", "not a pickle of protocol 2 to 5"),
        (b"", "not a pickle of protocol 2 to 5"),
    ],
)
def test_crafted_data(data, problem):
    with pytest.raises(InputError, match=problem):
        unpickle.loads(data, "file")


def test_unusable_paths(tmp_path, monkeypatch):
    empty = tmp_path / "empty.pkl"
    empty.touch()
    for path, problem in (
        (empty, f"Cannot read {empty}: it is empty. Copy or download it again."),
        (tmp_path, f"Cannot read {tmp_path}: Is a directory. Give the path of a readable pickle file."),
        (tmp_path / "no", f"Cannot read {tmp_path / 'no'}: No such file or directory. Give the path of a readable"),
    ):
        with pytest.raises(InputError, match="^" + re.escape(problem)):
            unpickle.load(path)

    def denied(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(InputError, match="Permission denied"):
        unpickle.load(empty)
