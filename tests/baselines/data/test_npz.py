"""The .npz reader: reads what `numpy.savez` writes, and refuses in one sentence what a file should not hold."""

import io
import pickle
import random
import re
import struct
import zipfile

import numpy as np
import pytest

from liftbench.baselines.data.formats import npz
from liftbench.baselines.errors import InputError

POSES = {"S1 Seq1": [{"0": {"data_3d": np.arange(102.0).reshape(2, 17, 3)}}, 25], "empty": np.zeros((0, 3))}
NUMBERS = np.arange(6, dtype=">f4").reshape(2, 3).T
NAMES = np.array(["walk", "wéit"])


def save(path, compress=True, **arrays):
    (np.savez_compressed if compress else np.savez)(path, **arrays)
    return path


def same(found, expected):
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and np.array_equal(found, expected)


@pytest.mark.parametrize("compress", [False, True])
def test_reads_what_numpy_writes(tmp_path, compress):
    path = save(
        tmp_path / "data.npz",
        compress,
        data=POSES,
        numbers=NUMBERS,
        text=NAMES,
        one=np.array(3.5),
        none=np.zeros((0, 4)),
    )
    found = npz.load(path, ["data", "numbers", "text", "one", "none"])
    assert same(found["data"], POSES)
    assert found["numbers"].dtype == NUMBERS.dtype and found["none"].shape == (0, 4) and found["one"][()] == 3.5
    np.testing.assert_array_equal(found["numbers"], NUMBERS)
    np.testing.assert_array_equal(found["text"], NAMES)
    assert not found["numbers"].flags.writeable


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_other_versions(tmp_path, protocol):
    body = pickle.dumps(np.array(POSES, dtype=object), protocol)
    if protocol < 4:
        body = body.replace(b"numpy._core", b"numpy.core")  # numpy 1 wrote its old module names
    assert same(npz.load(write_member(tmp_path, body), ["data"])["data"], POSES)


def write_member(folder, body, descr="|O", shape=(), compression=zipfile.ZIP_DEFLATED):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    path = folder / "data.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("data.npy", header.getvalue() + body)
    return path


def refusal(path, *names):
    with pytest.raises(InputError) as error:
        npz.load(path, names or ["data"])
    message = str(error.value)
    assert message.startswith(f"Cannot read {path}") and "\n" not in message
    return message.removeprefix("Cannot read ").replace(str(path), "FILE")


class Call:
    """Pickles as a call that creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_runs_nothing(tmp_path):
    marker = tmp_path / "marker"
    path = save(tmp_path / "data.npz", data=np.array({"S1 Seq1": Call(marker)}, dtype=object))
    message = refusal(path)
    assert re.match(r"FILE: data: it asks for the name '_?io.open' at byte \d+, but data need", message)
    assert not marker.exists()
    np.load(path, allow_pickle=True)["data"]
    assert marker.exists(), "the file is harmless and shows nothing"


def test_not_there(tmp_path):
    advice = "Give the path of a readable .npz file."
    assert refusal(tmp_path / "none.npz") == f"FILE: No such file or directory. {advice}"
    assert refusal(tmp_path) == f"FILE: Is a directory. {advice}"


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps(POSES), b"PK\5\6" + bytes(18)])
def test_another_format(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    assert refusal(path) == "FILE: it is not an .npz file. Give the data set's own file."


def test_missing_member(tmp_path):
    path = save(tmp_path / "data.npz", positions_3d=NUMBERS, metadata=NUMBERS)
    expected = "FILE: it has no array 'data', only 'positions_3d', 'metadata'. Give the data set's own file."
    assert refusal(path, "metadata", "data") == expected


def test_every_truncation_is_reported(tmp_path):
    path = save(tmp_path / "data.npz", data=POSES)
    content = path.read_bytes()
    for length in range(4, len(content)):
        path.write_bytes(content[:length])
        assert refusal(path).startswith("FILE: it is truncated or damaged (")


@pytest.mark.parametrize("compress", [False, True])
def test_damage_is_reported_or_harmless(tmp_path, compress):
    path = save(tmp_path / "data.npz", compress, data=POSES)
    content, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(400):
        damaged = bytearray(content)
        damaged[chance.randrange(4, len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            assert same(npz.load(path, ["data"])["data"], POSES)
        except InputError:
            refused += 1
    assert refused > 300


def test_bomb(tmp_path):
    path = write_member(tmp_path, bytes(1 << 26), "<f8", (1 << 23,))
    assert re.match(r"FILE: data would grow from 65,\d+ to 67,108,992 bytes, which no pose data do", refusal(path))


def test_lie_about_the_size(tmp_path):
    """A directory that promises fewer bytes than the member holds: the rest is not inflated, and its absence
    is noticed.
    """
    path = write_member(tmp_path, bytes(1 << 16), "<f8", (1 << 13,))
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, directory + 24, 5000)
    path.write_bytes(content)
    assert refusal(path).startswith("FILE: it is truncated or damaged (")


@pytest.mark.parametrize("shape", [(2,), (4,), (2**40,), (-3,)])
def test_shape_and_data_disagree(tmp_path, shape):
    path = write_member(tmp_path, bytes(24), "<f8", shape)
    assert refusal(path) == "FILE: it is truncated or damaged (ValueError). Copy or download it again."


@pytest.mark.parametrize(
    "header", ["{(", "{'descr': 'f8,(', 'fortran_order': False, 'shape': ()}", "'''", " a\n  b\n c"]
)
def test_damaged_header(tmp_path, header):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + bytes(8))
    assert refusal(path).startswith("FILE: it is truncated or damaged (")


@pytest.mark.parametrize("descr, kind", [("|S3", "|S3"), ([("a", "<f8")], "[('a', '<f8')]"), ("<c8", "complex64")])
def test_other_dtypes(tmp_path, descr, kind):
    path = write_member(tmp_path, bytes(24), descr, (1,))
    expected = f"FILE: data: the dtype is {kind}, expected numbers, text or objects. Give the data set's own file."
    assert refusal(path) == expected


def test_other_ways_to_pack(tmp_path):
    path = write_member(tmp_path, bytes(8), "<f8", (1,), compression=zipfile.ZIP_BZIP2)
    assert refusal(path).startswith("FILE: data is compressed in a way numpy does not use")
    path = write_member(tmp_path, bytes(8), "<f8", (1,))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert refusal(path) == "FILE: data is encrypted. Give the data set's own file."
