"""Writing files so that a reader never sees half of one, and digests of files."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from liftbench.baselines.errors import InputError

_BLOCK_BYTES = 1 << 22


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


def sha256(path, advance=lambda size: None):
    """SHA-256 of a file; of a folder, that of what `sha256sum` prints for the files in it, sorted by name.

    advance(size) is called for the bytes just read. Raises InputError for a file that cannot be read.
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
        raise InputError(f"cannot read {path} ({error.strerror}): make it readable") from None
    return digest.hexdigest()
