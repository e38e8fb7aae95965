"""Read YAML, write files so that a reader never sees half of one, and compute digests of files."""

import contextlib
import fcntl
import glob
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from liftbench.baselines.errors import InputError

_BLOCK_BYTES = 1 << 22
_YAML_BYTES = 1 << 16  # a recipe has 1 kB; the parser takes about a second for this many


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """Read the `key: value` lines of a YAML file: strings, numbers, booleans, None, lists and dicts with string keys.

    what: what the file is, for messages, such as "the recipe". The size of the file bounds the work and memory: it has
    at most 64 kB, no aliases, no key twice and no tag for other types.
    Raises InputError, which names the line, for everything that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_YAML_BYTES + 1)
        if len(content) > _YAML_BYTES:
            raise yaml.YAMLError(f"it is larger than {_YAML_BYTES // 1024} kB")
        text = content.decode("utf-8")
        values = _parsed(text)
        if not isinstance(values, dict):
            raise yaml.YAMLError("it holds no 'key: value' lines")
    except OSError as error:
        raise InputError(f"Cannot read {what} {path}: {error.strerror}. Check the path.") from None
    except RecursionError:
        raise InputError(f"Cannot read {what} {path}: it is nested too deeply. Write it flat.") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"Cannot read {what} {path}: line {line}: it is not UTF-8 text. Save it as UTF-8.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"Cannot read {what} {path}: line {line}: the character U+{error.character:04X} is not allowed. Remove it."
        ) from None
    except yaml.YAMLError as error:
        raise InputError(f"Cannot read {what} {path}: {_problem(error)}. Correct the file.") from None
    return values


def _parsed(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except (ValueError, ArithmeticError):  # "\\UFFFFFFFF", or %YAML 1.9...9 with 5,000 digits
        raise yaml.MarkedYAMLError(problem="a number is out of range", problem_mark=loader.get_mark()) from None


_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{tag}": word
    for tag, word in (
        ("null", "null"), ("bool", "true or false"), ("int", "a whole number of at most 64 bits"),
        ("float", "a number"), ("str", "text"), ("seq", "a list"), ("map", "a dict"),
    )
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """Build strings, numbers, booleans, null, lists and dicts; refuse whatever could cost more work than its length."""

    yaml_constructors = {
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in {None, *_PLAIN_TAGS}
    }
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag in _PLAIN_TAGS]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            _refuse("an alias is not allowed", self.peek_event())
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError):  # !!int 1.0, !!float "", !!bool maybe, 1:1:...:1.0
            _refuse(f"{str(node.value)[:40]!r} is not {_PLAIN_TAGS[node.tag]}", node)

    def construct_undefined(self, node: yaml.Node) -> NoReturn:
        _refuse(f"the tag {node.tag[:40]} is not allowed", node)

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[str, Any]:
        known = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                _refuse("a key is not a word", key)
            if key.value in known:
                _refuse(f"key {key.value[:40]} is given twice", key)
            known.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.Node) -> int:
        value = self.construct_yaml_int(node)
        if value.bit_length() > 64:
            _refuse("a number has more than 64 bits", node)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
_Loader.add_constructor(None, _Loader.construct_undefined)


def _refuse(problem: str, node: yaml.Node | yaml.Event) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _problem(error: yaml.YAMLError) -> str:
    """Describe what is wrong with a YAML file in one short line."""
    text = getattr(error, "problem", None) or str(error)
    if text.startswith("but "):
        text = f"{error.context}, {text}"
    text = " ".join(text.split())
    mark = getattr(error, "problem_mark", None)
    return (f"line {mark.line + 1}: " if mark else "") + (text if len(text) <= 160 else f"{text[:157]}...")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path`, otherwise it is removed.

    Every file of this project is written through this function. To write several files or none, enter one context per
    file before you write the first. Makes a missing folder, and removes what killed writers of the same file left
    there. Raises InputError if the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            _remove_abandoned(abandoned)
        handle, temporary = _temporary_beside(path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # what a plain open() would have given
        os.replace(temporary, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _temporary_beside(path: Path) -> tuple[int, Path]:
    """Return (handle, path) of a new file. Its lock is held until the handle is closed, so nobody takes it
    for abandoned.
    """
    while True:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:  # else another writer took it for abandoned before the lock was held
                return handle, Path(temporary)
        except OSError:  # a file system without locks
            os.unlink(temporary)
            os.close(handle)
            raise
        os.close(handle)


def _remove_abandoned(temporary: Path):
    """Remove a temporary file unless a living process holds its lock."""
    with contextlib.suppress(OSError), open(temporary, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"Cannot write {path}: {error.strerror or error}. Choose another folder or free the disk.")


def sha256(path: str | Path, advance: Callable[[int], None] = lambda size: None) -> str:
    """Return the SHA-256 of a file; for a folder, of what `sha256sum` prints for its files, sorted by name.

    advance(size) is called after every block, with its bytes. Raises InputError for a file that cannot be read.
    """
    path, digest = Path(path), hashlib.sha256()
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink()):
            digest.update(f"{sha256(file, advance)}  {file.relative_to(path).as_posix()}\n".encode())
        return digest.hexdigest()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                advance(len(block))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Make it readable.") from None
    return digest.hexdigest()
