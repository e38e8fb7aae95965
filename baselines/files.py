"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import tempfile
from pathlib import Path

from .errors import InputError


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path in the same folder; on success it takes the place of `path`, else it is removed.

    Makes the folder where it is missing. Raises InputError where the folder cannot be written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise InputError(
            f"Cannot write to {path}: {error.strerror}; choose another folder or free the disk."
        ) from error
    os.close(handle)
    temporary = Path(temporary)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # what a plain open() would have given
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}; choose another folder or free the disk.") from error
    finally:
        temporary.unlink(missing_ok=True)
