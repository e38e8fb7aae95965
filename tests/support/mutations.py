"""Damage for the fuzzer: to the bytes of a file, to a member of an archive, and to a value in its content."""

import copy
import io
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

_COUNTS = (0, 1, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_TOKENS = (
    b"", b"\0", b"\n", b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"{}", b"[]", b'""', b'"\\ud800"', b"\xff\xfe",
    b"9" * 5000, b"[" * 5000, b'{"a":' * 3000, b"]" * 5000, b"(" * 5000, b"\x85" * 3000, b"k" * 1000, b"!!int 1.0",
    b"!!float ''", b"!!python/name:os.system", b"? [a]\n: 1\n", b"&a [*a]", b"<<: 1\n", b"2024-13-45", b"1:1:1:1.0",
    b"cos\nsystem\n", b"},", b",,,", b"\r\n\r\n", b"- ", b": ", b"'", b'"',
)  # fmt: skip


def damaged_bytes(data: bytes, draw: Random) -> bytes:
    """`data` with one to three kinds of damage."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(_KINDS)(data, draw)
    return data


def _chunk(data, draw):
    """(begin, end) of up to 200 bytes."""
    begin = draw.randrange(len(data) + 1)
    return begin, min(len(data), begin + draw.choice((1, 2, 4, 8, 50, 200)))


def _flip(data, draw):
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8) if data else 0):
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _truncate(data, draw):
    return data[: draw.choice((0, 1, len(data) - 1, draw.randrange(len(data) + 1)))]


def _insert(data, draw):
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(_TOKENS) + data[at:]


def _replace(data, draw):
    begin, end = _chunk(data, draw)
    return data[:begin] + draw.choice(_TOKENS) + data[end:]


def _remove(data, draw):
    begin, end = _chunk(data, draw)
    return data[:begin] + data[end:]


def _duplicate(data, draw):
    begin, end = _chunk(data, draw)
    return data[:end] + data[begin:end] * draw.choice((1, 2, 100)) + data[end:]


def _splice(data, draw):
    """One chunk written over another."""
    begin, end = _chunk(data, draw)
    at = draw.randrange(len(data) + 1)
    return data[:at] + data[begin:end] + data[at + end - begin :]


def _swap(data, draw):
    (a, b), (c, d) = sorted((_chunk(data, draw), _chunk(data, draw)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _count(data, draw):
    """A number of 1, 4 or 8 bytes overwritten by a small or a huge one."""
    size, at = draw.choice((1, 4, 8)), draw.randrange(len(data) + 1)
    count = draw.choice(_COUNTS) % 256**size
    return data[:at] + count.to_bytes(size, "little") + data[at + size :]


_KINDS = (_flip, _truncate, _insert, _replace, _remove, _duplicate, _splice, _swap, _count)


def damaged_member(data: bytes, draw: Random) -> bytes:
    """A zip archive of which one member is damaged, doubled, renamed, left out or deflated; its checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = draw.randrange(len(members))
    name, content = members[at]
    kind = draw.choice(("damage", "damage", "damage", "damage", "head", "double", "rename", "leave out"))
    if kind == "damage":
        members[at] = name, damaged_bytes(content, draw)
    elif kind == "head":
        members[at] = name, damaged_bytes(content[:200], draw) + content[200:]
    elif kind == "double":
        members.append((name, content))
    elif kind == "rename":
        members[at] = draw.choice(("x.npy", "../x", "a/" * 200, "\udcff".encode("utf-8", "replace").decode())), content
    else:
        del members[at]
    changed = io.BytesIO()
    compression = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(changed, "w", compression) as archive:
        for member in members:
            archive.writestr(*member)
    return changed.getvalue()


def damaged_value(content: Any, draw: Random, hostile: Callable[[Any, Random], Any]) -> Any:
    """A copy of `content`, made of dicts and lists, in which one to three values are hostile, doubled or left out."""
    content = copy.deepcopy(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        holder, places = content, _places(content)
        if not places:
            return hostile(content, draw)
        place = draw.choice(places)
        while _places(holder[place]) and draw.random() < 0.8:
            holder = holder[place]
            place = draw.choice(_places(holder))
        kind = draw.choice(("value", "value", "value", "value", "leave out", "key", "double"))
        if kind == "value":
            holder[place] = hostile(holder[place], draw)
        elif kind == "leave out":
            del holder[place]
        elif isinstance(holder, list):
            holder.insert(place, holder[place])
        else:
            key = draw.choice(("", "k" * 1000, "two\nlines", "\x1b[31m", "module." + str(place), str(place).upper()))
            holder[key] = holder[place] if kind == "double" else holder.pop(place)
    return content


def _places(value):
    return list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []


def plain_hostile(value: Any, draw: Random) -> Any:
    """Return a value that JSON and YAML can hold and that a reader may not expect in the place of `value`."""
    nested = []
    for _ in range(40):
        nested = [nested]
    odd = [
        None, True, False, 0, -1, 2**31, 2**63, -(2**70), 10**400, 0.5, 1e300, float("nan"), float("inf"), "", "x",
        "k" * 1000, "two\nlines", "\x1b[31m", "\x00", "../../etc", [], {}, [[]], {"a": {}}, nested, [None] * 300,
        [1, [2]], ["a", 1],
    ]  # fmt: skip
    if isinstance(value, (int, float)):
        odd += [-value, value * 1e30, value * 1e9, str(value), [value]] * 2
    if isinstance(value, list):
        odd += [value[:1], value * 2, value[::-1], value + [None], {"0": value[:1]}] * 2
    return draw.choice(odd)


def array_hostile(value: Any, draw: Random) -> Any:
    """Return what `plain_hostile` returns, or an array, for pickles."""
    if not isinstance(value, np.ndarray) or draw.random() < 0.15:
        bomb = ["x" * 9]
        for _ in range(40):
            bomb = [bomb, bomb]
        arrays = [np.zeros(0), np.array(None), np.array(b"x"), np.zeros((2, 3), "c16"), b"x", (1, 2), 1j, bomb, {1: 2}]
        return draw.choice(arrays) if draw.random() < 0.3 else plain_hostile(value, draw)
    kinds = ("f2", "f4", "f8", "i1", "i8", "u8", "c8", "?", "S4", "U4", "O", "M8[s]", "V4", "i4,f4")
    kind = draw.choice(("dtype", "shape", "values", "values", "order"))
    if kind == "dtype":
        return np.zeros(value.shape, draw.choice(kinds))
    if kind == "shape":
        shapes = (value[:0], value[:1], value[1:], value[..., :1], value.ravel(), value[None], value[..., None],
                  np.concatenate([value, value]), np.zeros((0, *value.shape[1:]), value.dtype),
                  value.reshape(-1)[0] if value.size else value)  # fmt: skip
        return np.array(draw.choice(shapes))
    if kind == "order":
        return np.asfortranarray(value) if draw.random() < 0.5 else value[::-1].copy()
    changed = value.copy()
    if not changed.size:
        return changed
    at = draw.randrange(changed.size) if draw.random() < 0.7 else slice(None)
    if changed.dtype.kind == "f":
        changed.reshape(-1)[at] = draw.choice((np.nan, np.inf, -np.inf, 0, -1, 1e-30, 1e20, 3e38, 1e9))
    elif changed.dtype.kind in "iu":
        changed.reshape(-1)[at] = draw.choice((0, 1, np.iinfo(changed.dtype).max, np.iinfo(changed.dtype).min))
    elif changed.dtype.kind in "U":
        changed.reshape(-1)[at] = draw.choice(("", "\n", "x", "\x1b[3m"))
    return changed
