"""Load a user's own model from a Python file: `path/to/file.py:build`. This runs the file.

build(frames) or build() returns a module that maps keypoints (B, T, 17, C), image coordinates in [-1, 1] and for C = 3
the confidence, to normalised poses (B, T, 17, 3), or (B, 1, 17, 3) for the centre frame. A trial on a clip shows which
of these it is.
"""

import contextlib
import functools
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import Entry
from liftbench.baselines.skeleton import JOINTS

FRAMES = 243  # clip length T of a model that has none of its own

_entries = {}  # (path, its time and size, function) -> Entry
_tried = set()  # (key of _entries, frames)


def entry(where: str, frames: int | None = None) -> Entry:
    """Return the entry of `path/to/file.py:build`, tried on a clip of `frames` frames.

    frames defaults to the default of build(frames=...), or to the attribute `frames` of the module that build()
    returns, or to 243. Raises InputError if the file or the function is missing or fails, if it returns no module or a
    module with parameters that have no shape, and if the module does not accept the clip or returns anything but poses.
    """
    file, _, function = where.rpartition(":")
    if not file.endswith(".py") or not function:
        raise InputError(
            f"Cannot find the model {where[:200]!r}: this names no function of a file. Write path/to/file.py:build."
        )
    path = Path(file).absolute()
    if not os.path.isfile(path):
        raise InputError(f"Cannot read {file}: there is no such file. Check the path before the colon.")
    if frames is not None and (not isinstance(frames, int) or frames < 1):
        raise InputError(
            f"Cannot build {path.name}:{function}: {frames!r} is not a number of frames. Give a positive whole number."
        )
    stat = path.stat()
    key = path, stat.st_mtime_ns, stat.st_size, function
    if key not in _entries or (frames and (key, frames) not in _tried):
        _entries[key] = _read(_entries.get(key), path, function, frames)
        _tried.add((key, frames))
    return _entries[key]


def _read(known: Entry | None, path: Path, function: str, frames: int | None) -> Entry:
    name = f"{path.name}:{function}"
    if known:
        build, usual = known.build, known.frames
    else:
        made = getattr(_run(path), function, None)
        if not callable(made):
            raise InputError(f"Cannot use {path}: it has no function {function!r}. Define one that returns the module.")
        build = _checked(made, name, path)
        usual = _usual_frames(made, build)
    channels, output = _try(build, name, path, frames or usual)
    return Entry(
        name=name, builder=build, frames=usual, channels=channels, output=output, source=str(path), family=name,
        file=str(path),
    )  # fmt: skip


@contextlib.contextmanager
def imports(file: str | Path) -> Iterator[None]:
    """Let code import what lies beside the file, as `python file.py` does. Forget it afterwards, because another file
    may have neighbours of the same name."""
    folder = Path(file).absolute().parent
    path, loaded = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - loaded:
            package = name.partition(".")[0]
            if package not in loaded and any((folder / beside).exists() for beside in (package, f"{package}.py")):
                del sys.modules[name]


def _run(path: Path) -> ModuleType:
    """Run the file and return it as a module."""
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses, for one, look their module up
    try:
        with imports(path):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"Cannot import {path}: {reason(error, path)}. Correct the file.") from error
    return module


def _takes_frames(made: Callable[..., Any]) -> bool:
    try:
        return "frames" in inspect.signature(made).parameters
    except ValueError:  # written in another language than Python
        return False


def _checked(made: Callable[..., Any], name: str, path: Path) -> Callable[..., nn.Module]:
    """Wrap the user's function as build(frames, **numbers), which raises InputError for whatever goes wrong."""
    takes_frames = _takes_frames(made)

    @functools.wraps(made)
    def build(frames: int, **numbers) -> nn.Module:
        arguments = {"frames": frames} if takes_frames else {}
        try:
            with imports(path):
                model = made(**arguments, **numbers)
        except (Exception, SystemExit) as error:
            how = f"with frames={frames}" if takes_frames else "without arguments"
            raise InputError(f"Cannot call {name} {how}: {reason(error, path)}. Correct the function.") from error
        if not isinstance(model, nn.Module):
            raise InputError(
                f"Cannot use {name}: it returns {type(model).__name__}, not a module. Let it return a torch.nn.Module."
            )
        if any(map(is_lazy, model.parameters())):
            raise InputError(
                f"Cannot use {name}: parameters of its module have no shape yet. Call the module on a clip first."
            )
        return model

    return build


def _usual_frames(made: Callable[..., Any], build: Callable[..., nn.Module]) -> int:
    if _takes_frames(made):
        default = inspect.signature(made).parameters["frames"].default
        return default if isinstance(default, int) and default > 0 else FRAMES
    with torch.random.fork_rng(devices=[]):
        own = getattr(build(FRAMES), "frames", None)
    return own if isinstance(own, int) and own > 0 else FRAMES


def _try(
    build: Callable[..., nn.Module], name: str, path: Path, frames: int
) -> tuple[int, Literal["sequence", "centre"]]:
    """Return (channels, output) of a model, found by trying a clip of zeros, first without and then with confidence."""
    failures = []
    for channels in (2, 3):
        clip = torch.zeros(1, frames, len(JOINTS), channels)
        try:
            with imports(path), torch.no_grad(), torch.random.fork_rng(devices=[]):
                answer = build(frames).eval()(clip)
        except InputError:
            raise
        except Exception as error:
            failures.append(f"on a clip of shape {tuple(clip.shape)}: {reason(error, path)}")
            continue
        shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        if shape == (1, frames, len(JOINTS), 3):
            return channels, "sequence"
        if shape == (1, 1, len(JOINTS), 3):
            return channels, "centre"
        raise InputError(
            f"Cannot use {name}: it answers a clip of shape {tuple(clip.shape)} with {shape}. Let it return one tensor "
            "(1, frames, 17, 3), or (1, 1, 17, 3) from a centre-frame model."
        )
    raise InputError(f"Cannot run {name}: it fails {', and '.join(failures)}. Correct the module.")


def reason(error: BaseException, file: str | Path) -> str:
    """Return an exception in one line: its type, the first line of its message, and the line of `file` where
    it arose.
    """
    file = str(Path(file).absolute())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    place = f" (line {lines[-1]})" if lines else ""
    message = (str(error).strip().splitlines() or [""])[0][:300].rstrip(".")
    return f"{type(error).__name__}{': ' * bool(message)}{message}{place}"
