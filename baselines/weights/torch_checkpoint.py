"""Load torch checkpoints, or refuse them, without running anything in them. Their size bounds the time it takes."""

import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from liftbench.baselines.errors import InputError


class _Generator:
    """A stand-in for the state of numpy's random generator, which VideoPose3D's code and its descendants keep beside
    the weights. It runs nothing."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _: Any):
        pass


_OF_A_GENERATOR = [
    *(f"numpy.random._pickle.{name}" for name in ("__randomstate_ctor", "__bit_generator_ctor")),
    "numpy.random.__RandomState_ctor", "numpy.random._mt19937.MT19937", "numpy.ndarray",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
]  # fmt: skip
# A checkpoint may hold its best loss as a numpy scalar. Only these and tensors are allowed.
_SAFE_GLOBALS = [
    *((_Generator, name) for name in _OF_A_GENERATOR),
    np.dtype, *(type(np.dtype(kind)) for kind in ("float64", "float32", "uint32")),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]  # fmt: skip
_MOST_INSTRUCTIONS = 1_000_000  # in a pickle; Pose3DM-L with its optimizer has 320,000
_LARGEST_KEY = 2**60  # whole numbers below are their own hashes
_ONLY_WEIGHTS = "Save the weights alone, as a dict of tensors"
# What a pickle may call. Others that torch knows, such as sets and bytearrays, can cost far more than their size.
_CALLS = re.compile(
    r"torch\._utils _rebuild_\w+|collections OrderedDict|_codecs encode|numpy dtype|torch (device|Size)|"
    r"numpy\._?core\.multiarray (scalar|_reconstruct)|numpy\.random(\._pickle)? __\w+_ctor"
)
_DAMAGE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, MemoryError, OverflowError,
    AssertionError, NotImplementedError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def pack(folder: Path) -> bytes:
    """Return the bytes of the torch checkpoint that was unpacked into `folder`, or into a single folder inside it.

    Raises InputError if there is no checkpoint or more than one, and for links.
    """
    found = [folder] if (folder / "data.pkl").exists() else sorted(file.parent for file in folder.glob("*/data.pkl"))
    if len(found) != 1:
        raise InputError(
            f"Cannot read {folder}: it holds {len(found) or 'no'} unpacked checkpoint{'s' if found else ''} (data.pkl "
            "beside data/). Give a checkpoint file, or the folder into which one was unpacked."
        )
    root = found[0]
    if not root.joinpath("data").is_dir() or root.joinpath("data").is_symlink():
        raise InputError(f"Cannot read {root}: it lacks the folder data/. Unpack the checkpoint again.")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/version", "3\n")
        storages = [file for file in root.joinpath("data").iterdir() if file.name.isdecimal()]
        for file in [root / "data.pkl", root / "byteorder", *sorted(storages)]:
            if file.is_symlink() or (file.exists() and not file.is_file()):
                raise InputError(f"Cannot read {root}: {file.name} is a link or not a plain file. Unpack it again.")
            if file.exists():
                archive.writestr(f"archive/{file.relative_to(root).as_posix()}", file.read_bytes())
    return content.getvalue()


def load(content: bytes, path: Path) -> Any:
    """Load a checkpoint from its bytes, on the CPU. `path` names it in messages.

    Raises InputError for a file that is damaged, is not a checkpoint, asks to run something, or would cost far more
    than its size.
    """
    try:
        if content.startswith(b"PK\3\4"):
            _check_pickle(io.BytesIO(_check_zip(content, path)), path)
        else:
            stream = io.BytesIO(content)
            for _ in range(5):  # magic number, version, machine, content, names of storages
                _check_pickle(stream, path)
        with torch.serialization.safe_globals(_SAFE_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S{1,80})", str(error))
        what = f"it asks to run {name[1]}" if name else "it holds more than tensors and plain containers"
        raise InputError(f"Cannot read {path}: {what}. {_ONLY_WEIGHTS}.") from error
    except _DAMAGE as error:
        lost = re.search(r"locating file (data/\d+)", str(error))
        what = f"it lacks the file {lost[1]}" if lost else "it is not a torch checkpoint, or it is damaged"
        raise InputError(f"Cannot read {path}: {what}. Copy it again, it may be cut short.") from error


def _check_zip(content: bytes, path: Path) -> bytes:
    """Return the pickle in an archive; raises InputError for an archive that torch would not have written."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    pickled = next((name for name in names if PurePosixPath(name).name == "data.pkl"), None)
    if not pickled:
        raise InputError(f"Cannot read {path}: it is a zip archive, but not a checkpoint. Give the checkpoint inside.")
    root = names[0].split("/")[0]
    odd = [name for name in names if not name.startswith(f"{root}/") or ".." in name.split("/")]
    if odd or len(set(names)) < len(names):
        raise InputError(
            f"Cannot read {path}: no checkpoint has the entry {(odd or names)[0][:80]!r}. {_ONLY_WEIGHTS}."
        )
    size = sum(entry.file_size for entry in entries)
    if size > len(content):
        raise InputError(
            f"Cannot read {path}: it is compressed ({size:,} bytes in {len(content):,}), which a checkpoint never is. "
            "If you compressed it, unpack it and give the folder."
        )
    return archive.read(pickled)


def _check_pickle(stream: io.BytesIO, path: Path):
    """Walk through one pickle without building anything; raise InputError for calls and keys that could be expensive.

    The stack holds a (kind, value) for each object: "text", "number", "global", "empty" for (), or "other".
    """
    stack, memo = [], {}
    for done, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if done > _MOST_INSTRUCTIONS:
            raise InputError(f"Cannot read {path}: its pickle is longer than any checkpoint's. {_ONLY_WEIGHTS}.")
        name, before = opcode.name, opcode.stack_before
        if name == "MARK":
            stack.append(None)
        elif name == "MEMOIZE" or "PUT" in name:
            memo[len(memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif "GET" in name:
            stack.append(memo[int(argument)])
        else:
            start = len(stack) - len(before)
            if pickletools.markobject in before:
                mark = len(stack) - 1 - stack[::-1].index(None)
                start = mark - before.index(pickletools.markobject)
                items = stack[mark + 1 :]
            else:
                items = stack[start + 1 :] if name == "SETITEM" else []
            if name in ("SETITEM", "SETITEMS", "DICT"):
                for key in items[::2]:
                    _check_key(key, path)
            if name == "REDUCE":
                _check_call(*stack[-2:], path)
            made = _made(name, argument, stack)
            del stack[start:]
            stack += [made] * len(opcode.stack_after)


def _made(name: str, argument: Any, stack: list[tuple[str, Any] | None]) -> tuple[str, Any]:
    if "UNICODE" in name or "STRING" in name:
        return "text", argument
    if name in ("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "NEWTRUE", "NEWFALSE"):
        return "number", argument
    if name == "GLOBAL":
        return "global", argument
    if name == "STACK_GLOBAL":
        return "global", f"{stack[-2][1]} {stack[-1][1]}"
    return ("empty" if name == "EMPTY_TUPLE" else "other"), None


def _check_key(key: tuple[str, Any], path: Path):
    kind, value = key
    if kind != "text" and not (kind == "number" and abs(value or 0) < _LARGEST_KEY):
        raise InputError(f"Cannot read {path}: a key in it is neither text nor a number. {_ONLY_WEIGHTS}.")


def _check_call(function: tuple[str, Any], arguments: tuple[str, Any], path: Path):
    kind, name = function
    called = name if kind == "global" else "an object"
    if not _CALLS.fullmatch(called) or (called == "collections OrderedDict" and arguments[0] != "empty"):
        raise InputError(f"Cannot read {path}: it asks to run {called[:80].replace(' ', '.', 1)}. {_ONLY_WEIGHTS}.")
