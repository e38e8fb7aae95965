"""A module of the user's own: `path/to/file.py:build`, where build() returns it. The file is run."""

import contextlib
import importlib.util
import sys
import traceback
from pathlib import Path

from torch import nn
from torch.nn.parameter import is_lazy

from liftbench.baselines.errors import InputError


def is_own(name):
    """Whether a name is a file's and not a registered model's."""
    return ".py" in name or ":" in name


@contextlib.contextmanager
def imports(where):
    """Within it, as with `python file.py`, what lies beside the file can be imported; afterwards it is forgotten, for
    another file may have neighbours of the same name."""
    folder = Path(where.rpartition(":")[0]).absolute().parent
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


def build(where):
    """Run the file of `path/to/file.py:build` and call its function -> (`file.py:build`, the module).

    Raises InputError where there is no such file or function, where either fails, for what is no module, and for one
    whose parameters have no shape yet.
    """
    file, _, function = where.rpartition(":")
    if not file.endswith(".py") or not function:
        raise InputError(f"{where!r} names no function of a Python file; write it as path/to/file.py:build.")
    path, name = Path(file), f"{Path(file).name}:{function}"
    if not path.is_file():
        raise InputError(f"There is no file {path}; check the path before the colon.")
    module = _run(path)
    if not callable(getattr(module, function, None)):
        raise InputError(f"{path} has no function {function!r}; define one that returns the module.")
    try:
        model = getattr(module, function)()
    except (Exception, SystemExit) as error:
        raise InputError(f"{name} fails when it is called without arguments: {reason(error, path)}.") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} returns a {type(model).__name__}; it must return a torch.nn.Module.")
    if any(map(is_lazy, model.parameters())):
        raise InputError(f"{name} returns a module with parameters that have no shape yet; call it on a clip first.")
    return name, model


def _run(path):
    """The file as a module."""
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses, for one, look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be imported: {reason(error, path)}.") from error
    return module


def reason(error, file):
    """An exception in one line: its type, the first line of its message, and the line of the file where it arose."""
    file = str(Path(file).absolute())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    place = f" (line {lines[-1]})" if lines else ""
    message = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}{': ' * bool(message)}{message}{place}"
