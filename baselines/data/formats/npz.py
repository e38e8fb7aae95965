"""Read the arrays of an .npz file without running it.

`numpy.load` unpickles members of dtype object, which calls whatever function a file names. This module reads them with
`baselines.data.formats.unpickle`, reads numbers straight from their bytes, and limits how much a member may grow when
it is inflated.
"""

import io
import os
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.data.formats import unpickle
from liftbench.baselines.errors import InputError

GROWTH = 20  # a member larger than this many times its file is not pose data: deflate halves floats at most
HEADER_BYTES = 1 << 16
BLOCK_BYTES = 1 << 22

_DAMAGE = (  # a header is a Python literal, hence its errors
    zipfile.BadZipFile, zlib.error, EOFError, LookupError, MemoryError, NotImplementedError, OverflowError,
    RecursionError, SyntaxError, TypeError, ValueError, tokenize.TokenError,
)  # fmt: skip


def load(path: str | Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return the members `names` of an .npz file, and those of `optional` that it has: {name: content}.

    An array of numbers or text becomes a read-only numpy array. An object that `numpy.savez` wrapped in an array
    without dimensions, such as a dict, is returned unwrapped. Other members are not read. Raises InputError if the file
    is missing, unreadable, truncated or damaged, is no .npz file, lacks one of the names, or holds anything but numbers
    and plain containers of them.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\3\4":
                raise InputError(f"Cannot read {path}: it is not an .npz file. Give the data set's own file.")
            with zipfile.ZipFile(file) as archive:
                found = set(archive.namelist())
                wanted = [*names, *(name for name in optional if f"{name}.npy" in found)]
                return {name: _member(archive, name, path) for name in wanted}
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise InputError(f"Cannot read {path}: {reason}. Give the path of a readable .npz file.") from None
    except _DAMAGE as error:
        raise InputError(
            f"Cannot read {path}: it is truncated or damaged ({type(error).__name__}). Copy or download it again."
        ) from None


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        found = ", ".join(repr(entry.removesuffix(".npy"))[:40] for entry in archive.namelist()[:20]) or "nothing"
        raise InputError(
            f"Cannot read {path}: it has no array {name!r}, only {found}. Give the data set's own file."
        ) from None
    if info.flag_bits & 1:
        raise InputError(f"Cannot read {path}: {name} is encrypted. Give the data set's own file.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"Cannot read {path}: {name} is compressed in a way numpy does not use. Give the data set's own file."
        )
    size = os.fstat(archive.fp.fileno()).st_size
    if info.file_size > GROWTH * size + HEADER_BYTES:
        raise InputError(
            f"Cannot read {path}: {name} would grow from {size:,} to {info.file_size:,} bytes, which no pose data do. "
            "Get the file from its publisher."
        )
    return _content(_bytes_of(archive, info), f"{path}: {name}")


def _bytes_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> memoryview:
    """Inflate a member and check its CRC."""
    data = memoryview(bytearray(info.file_size))
    filled = 0
    with archive.open(info) as stream:
        while count := stream.readinto(data[filled : filled + BLOCK_BYTES]):
            filled += count
    if filled != len(data):
        raise EOFError
    return data.toreadonly()


def _content(data: memoryview, where: str) -> Any:
    header = io.BytesIO(data[:HEADER_BYTES])
    version = np.lib.format.read_magic(header)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(header)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(header)
    else:
        raise InputError(
            f"Cannot read {where}: the .npy version is {version}, expected 1.0 or 2.0. Save it with plain dtypes."
        )
    body = data[header.tell() :]
    if dtype.kind == "O":
        content = unpickle.loads(body, where)
        return content[()] if isinstance(content, np.ndarray) and not content.ndim else content
    if dtype.kind not in "biufU":
        raise InputError(
            f"Cannot read {where}: the dtype is {str(dtype)[:40]}, expected numbers, text or objects. "
            "Give the data set's own file."
        )
    return unpickle.array_of(shape, dtype, fortran_order, body)
