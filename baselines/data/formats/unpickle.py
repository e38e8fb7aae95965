"""Read a pickle of numpy arrays and plain containers without running it.

`pickle.load` calls whatever function a file names. This reader interprets the opcodes of protocols 2 to 5 itself: it
imports nothing, sets no attribute, and knows only the few names in `_GLOBALS` that numpy uses for arrays, dtypes and
scalars. The size of the file bounds its work: a value that the file repeats is not processed again without limit, and
keys are text or small numbers, whose hashes cannot be made to collide.

Arrays are read-only views of the memory-mapped file, so a file of gigabytes costs no memory until its pages are read.
"""

import math
import mmap
import os
import pickle
import re
import struct
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from liftbench.baselines.data.formats.checks import type_of
from liftbench.baselines.errors import InputError


class _RefusedError(Exception):
    """The pickle asks for something that is not data."""


class _Array:
    """A numpy.ndarray between `_reconstruct` and its state; `memo_keys` are its keys in the memo."""

    def __init__(self):
        self.memo_keys = []

    def complete(self, state: tuple) -> np.ndarray:
        _, shape, dtype, fortran_order, data = state
        return array_of(shape, dtype, fortran_order, data)


class _Dtype:
    """A numpy.dtype between its type string and its state, which holds the byte order."""

    def __init__(self, dtype: np.dtype):
        self.memo_keys = []
        self.dtype = dtype

    def complete(self, state: tuple) -> np.dtype:
        _, byte_order, subarray, names, fields, *_ = state
        if (subarray, names, fields) != (None, None, None) or (len(state) > 8 and state[8]):
            raise _RefusedError("a structured dtype or a dtype with metadata")
        return self.dtype.newbyteorder(byte_order)


_MOST_AXES = 8
_WORK = 4  # bytes and items handled per byte of the file; numpy's own files take 2 at most, for text of protocol 2
_LARGEST_KEY = 2**60  # whole numbers below are their own hashes
_NDARRAY = object()  # stands for the class numpy.ndarray, which numpy passes to _reconstruct


def _dtype(spec: str, align: bool = False, copy: bool = True) -> _Dtype:
    if not re.fullmatch(r"[fiuc]\d{1,2}|b1|O[48]?|[US]\d{1,9}", spec):
        raise _RefusedError(f"the dtype {spec[:40]!r}")
    return _Dtype(np.dtype("O" if spec[0] == "O" else spec))


def _reconstruct(array_type: Any, shape: Any, type_code: Any) -> _Array:
    if array_type is not _NDARRAY:
        raise _RefusedError("an array that is not a numpy.ndarray")
    return _Array()


def array_of(shape: tuple[int, ...], dtype: np.dtype, fortran_order: bool, data: Any) -> np.ndarray:
    """Return a read-only array over `data`: bytes, or a list if the dtype is object. Raises ValueError if
    they disagree.
    """
    if len(shape) > _MOST_AXES or not all(type(length) is int and 0 <= length < 2**48 for length in shape):
        raise ValueError("an array of impossible shape")
    count, order = math.prod(shape), "F" if fortran_order else "C"
    if len(data) != count * (1 if dtype.hasobject else dtype.itemsize):
        raise ValueError("an array whose shape and data disagree")
    if dtype.hasobject:
        return np.fromiter(data, object, count).reshape(shape, order=order)
    if dtype.kind == "U" and (np.frombuffer(data, f"{dtype.byteorder}u4") > sys.maxunicode).any():
        raise ValueError("text that is not Unicode")
    return np.ndarray(shape, dtype, data, order=order)


def _frombuffer(
    data: Any, dtype: np.dtype, shape: tuple[int, ...], order: str, axis_order: tuple[int, ...] | None = None
) -> np.ndarray:
    array = array_of(shape, dtype, order == "F", data)
    return array if axis_order is None else array.transpose(axis_order)


def _scalar(dtype: np.dtype, data: Any) -> np.generic:
    return array_of((), dtype, False, data)[()]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _RefusedError("an encoding that is not latin1")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


_GLOBALS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,  # bytes in protocol 2
    ("__builtin__", "bytes"): _empty_bytes,  # b"" in protocol 2
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _GLOBALS[f"{_core}.multiarray", "scalar"] = _scalar
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = _frombuffer  # protocol 5


_CONSTANTS = {
    pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False, pickle.EMPTY_TUPLE: ()
}  # fmt: skip
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_NUMBERS = {
    pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"
}  # fmt: skip
_SIZES = {
    pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q",
    pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES: "<I", pickle.BINBYTES8: "<Q", pickle.BYTEARRAY8: "<Q",
    pickle.LONG1: "<B", pickle.LONG4: "<I",
    pickle.BINGET: "<B", pickle.LONG_BINGET: "<I", pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I",
    pickle.PROTO: "<B", pickle.FRAME: "<Q",
}  # fmt: skip
_LAYOUTS = {opcode[0]: struct.Struct(layout) for opcode, layout in (_NUMBERS | _SIZES).items()}


_SIZED = (str, bytes, memoryview, list, tuple, dict)
_DAMAGE = (AttributeError, LookupError, MemoryError, OverflowError, RecursionError, TypeError, ValueError)


class _Reader:
    """The pickle machine: a stack, a memo, and one method for each kind of opcode that carries data."""

    def __init__(self, data: Any):
        self.data = memoryview(data)
        self.position = 0
        self.stack = []
        self.marks = []
        self.memo = {}
        self.work = 0

    def read(self) -> Any:
        actions = {opcode[0]: getattr(self, name) for name, opcodes in _ACTIONS.items() for opcode in opcodes}
        end, stop = len(self.data), pickle.STOP[0]
        while self.position < end:
            self.opcode = self.data[self.position]
            self.position += 1
            if self.opcode == stop:
                return self.stack.pop()
            if self.opcode not in actions:
                raise _RefusedError(f"the pickle instruction {bytes([self.opcode])!r}")
            actions[self.opcode]()
        raise EOFError

    def take(self, length: int) -> memoryview:
        start = self.position
        self.position += length
        if self.position > len(self.data):
            raise EOFError
        return self.data[start : self.position]

    def number(self) -> int | float:
        """Return the number that follows the opcode: a value, a length, a memo key."""
        layout = _LAYOUTS[self.opcode]
        return layout.unpack(self.take(layout.size))[0]

    def spend(self, values: Any):
        """Count the work on values, because a file can hold a value once and name it many times."""
        self.work += len(values) + sum(len(value) for value in values if isinstance(value, _SIZED))
        if self.work > _WORK * len(self.data) + _WORK:
            raise _RefusedError("more work than its size allows")

    def line(self) -> str:
        start = self.position
        while self.take(1) != b"\n":
            if self.position - start > 100:
                raise _RefusedError("a name of more than 100 characters")
        return str(self.data[start : self.position - 1], "utf-8")

    def pop_since_mark(self) -> list:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def container(self, wanted: type) -> Any:
        if type(self.stack[-1]) is not wanted:
            raise TypeError(f"an item outside a {wanted.__name__}")
        return self.stack[-1]

    def push_constant(self):
        self.stack.append(_CONSTANTS[bytes([self.opcode])])

    def push_number(self):
        self.stack.append(self.number())

    def push_long(self):
        self.stack.append(int.from_bytes(self.take(self.number()), "little", signed=True))

    def push_text(self):
        self.stack.append(str(self.take(self.number()), "utf-8", "surrogatepass"))

    def push_bytes(self):
        self.stack.append(bytes(self.take(self.number())))

    def push_view(self):
        self.stack.append(self.take(self.number()))

    def push_list(self):
        self.stack.append([])

    def push_dict(self):
        self.stack.append({})

    def mark(self):
        self.marks.append(len(self.stack))

    def tuple_since_mark(self):
        self.stack.append(tuple(self.pop_since_mark()))

    def short_tuple(self):
        start = len(self.stack) - _TUPLES[bytes([self.opcode])]
        self.stack[start:] = [tuple(self.stack[start:])]

    def append_item(self):
        item = self.stack.pop()
        self.container(list).append(item)

    def append_items(self):
        items = self.pop_since_mark()
        self.container(list).extend(items)

    def set_item(self):
        self.marks.append(len(self.stack) - 2)
        self.set_items()

    def set_items(self):
        items = self.pop_since_mark()
        for key in items[::2]:
            if not _is_key(key):
                raise _RefusedError(f"{type_of(key)} as a key")
        self.container(dict).update(zip(items[::2], items[1::2], strict=True))

    def remember(self, key: int):
        value = self.stack[-1]
        self.memo[key] = value
        if isinstance(value, (_Array, _Dtype)):
            value.memo_keys.append(key)

    def put(self):
        self.remember(self.number())

    def memoize(self):
        self.remember(len(self.memo))

    def get(self):
        self.stack.append(self.memo[self.number()])

    def global_by_line(self):
        module = self.line()
        self.push_global(module, self.line())

    def global_by_stack(self):
        name, module = self.stack.pop(), self.stack.pop()
        self.push_global(module, name)

    def push_global(self, module: Any, name: Any):
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a name that is not text")
        if (module, name) not in _GLOBALS:
            raise _RefusedError(f"the name {f'{module[:80]}.{name[:80]}'[:80]!r}")
        self.stack.append(_GLOBALS[module, name])

    def call(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, FunctionType):  # the only functions in reach are those of _GLOBALS
            raise _RefusedError("a call of something that is not a function")
        self.spend(arguments)
        self.stack.append(function(*arguments))

    def set_state(self):
        """Complete the array or dtype on the stack, and in the memo."""
        state, pending = self.stack.pop(), self.stack[-1]
        if not isinstance(pending, (_Array, _Dtype)):
            raise _RefusedError("state for something that is neither an array nor a dtype")
        self.spend(state)
        complete = pending.complete(state)
        self.stack[-1] = complete
        for key in pending.memo_keys:
            self.memo[key] = complete


def _is_key(key: Any) -> bool:
    """Return whether a dict may have this key. Others can be made to collide, or exhaust the stack when hashed."""
    return isinstance(key, str) or (type(key) is int and abs(key) < _LARGEST_KEY)


_ACTIONS = {
    "number": (pickle.PROTO, pickle.FRAME),
    "push_constant": _CONSTANTS,
    "push_number": _NUMBERS,
    "push_long": (pickle.LONG1, pickle.LONG4),
    "push_text": (pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8),
    "push_bytes": (pickle.SHORT_BINBYTES,),
    "push_view": (pickle.BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8),
    "push_list": (pickle.EMPTY_LIST,),
    "push_dict": (pickle.EMPTY_DICT,),
    "mark": (pickle.MARK,),
    "tuple_since_mark": (pickle.TUPLE,),
    "short_tuple": _TUPLES,
    "append_item": (pickle.APPEND,),
    "append_items": (pickle.APPENDS,),
    "set_item": (pickle.SETITEM,),
    "set_items": (pickle.SETITEMS,),
    "put": (pickle.BINPUT, pickle.LONG_BINPUT),
    "memoize": (pickle.MEMOIZE,),
    "get": (pickle.BINGET, pickle.LONG_BINGET),
    "global_by_line": (pickle.GLOBAL,),
    "global_by_stack": (pickle.STACK_GLOBAL,),
    "call": (pickle.REDUCE,),
    "set_state": (pickle.BUILD,),
}


def load(path: str | Path) -> Any:
    """Return the content of the pickle file `path`; its arrays are read-only views of the mapped file.

    Raises what `loads` raises, and InputError if the file is missing, unreadable or empty.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise InputError(f"Cannot read {path}: it is empty. Copy or download it again.")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Give the path of a readable pickle file.") from None
    return loads(data, path)


def loads(data: Any, where: str | Path) -> Any:
    """Return the content of the pickle in `data`, a bytes-like object; `where` names it in messages.

    Byte strings of 256 bytes or more become read-only memoryviews of `data`. Numbers, strings, lists, tuples, dicts and
    numpy arrays, dtypes and scalars are allowed. Raises InputError for anything else, and for data that are not a
    pickle, or truncated, or damaged.
    """
    if data[0:1] != pickle.PROTO or data[1:2] not in (b"\2", b"\3", b"\4", b"\5"):
        raise InputError(f"Cannot read {where}: it is not a pickle of protocol 2 to 5. Give the data set's own file.")
    reader = _Reader(data)
    try:
        return reader.read()
    except _RefusedError as refused:
        raise InputError(
            f"Cannot read {where}: it asks for {refused} at byte {reader.position}, but data need only numpy arrays "
            f"and plain containers. Get the file from its publisher."
        ) from None
    except EOFError:
        raise InputError(f"Cannot read {where}: it ends in the middle of a value. Copy or download it again.") from None
    except _DAMAGE as error:
        raise InputError(
            f"Cannot read {where}: it is damaged at byte {reader.position} ({type(error).__name__}). "
            "Copy or download it again."
        ) from None
