"""The float32 memory-mapped copy of a Human3.6M pickle, made on first use and shared by every process that reads it.

FILE.cache/<first 16 digits of the file's SHA-256>-v<layout>/ holds, for each split, one .npy file for each array of
`baselines.h36m_schema`, `camera`, `source` and `action` codes (N,) int32, and `bounds` (R + 1,) int64 of the runs of
one source; manifest.json holds what they were made from, the names behind the codes and a digest of every file.

A file whose size and modification time are those of the manifest is taken to be unchanged; where they differ its
SHA-256 decides. A cache is built under a temporary name and renamed when complete, so an interrupted build leaves
nothing that could be mistaken for one, and builders at the same time do not meet. Set LIFTBENCH_CACHE to a folder to
keep caches there instead of beside the data.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baselines import unpickle
from baselines.errors import InputError
from baselines.h36m_schema import JOINT_SHAPES, SPLITS, check, check_numbers

LAYOUT = 1  # raise it when the files of a cache change their meaning
FOLDER_VARIABLE = "LIFTBENCH_CACHE"
BLOCK_FRAMES = 1 << 15
HASH_BYTES = 1 << 22
PATIENCE_SECONDS = 5
ABANDONED_SECONDS = 3600  # a temporary folder this old belongs to a build that was killed

CODES = {"camera": "camera_name", "source": "source", "action": "action"}  # file in the cache: key of the pickle
FILES = [f"{split}_{name}.npy" for split in SPLITS for name in (*JOINT_SHAPES, *CODES, "bounds")]


@dataclass
class Split:
    """The memory-mapped arrays of one split, read-only, and the names behind its codes."""

    arrays: dict  # key of the pickle -> (N, ...) float32
    codes: dict  # "camera", "source", "action" -> (N,) int32
    names: dict  # "camera", "source", "action" -> list of names
    bounds: np.ndarray  # (R + 1,) int64, where each run of one source starts, then N


@dataclass
class Cache:
    """An open cache; `folder` is enough to open it again in another process."""

    folder: Path
    digest: str  # SHA-256 of the pickle
    origin: dict
    splits: dict  # "train", "test" -> Split


def prepare(path):
    """The Cache of the pickle file `path`, built first where there is none.

    Raises InputError if the file cannot be read or does not fit the schema, or the cache cannot be written.
    """
    path = Path(path)
    home, stamp = _home(path), _source_stamp(path)
    for folder in home.glob(f"*-v{LAYOUT}"):
        manifest = _read_manifest(folder)
        if manifest and manifest["source"]["stamp"] == stamp and (cache := open_cache(folder)):
            return cache

    with _Progress(f"reading {path.name}", total=2 * stamp[0]) as advance:
        digest = _sha256(path, advance)
        folder = home / _folder_name(digest)
        if cache := open_cache(folder):
            manifest = _read_manifest(folder)
            manifest["source"]["stamp"] = stamp
            _refresh_manifest(folder, manifest)
            return cache
        _build(path, digest, stamp, folder, advance)
    cache = open_cache(folder)
    if cache is None:
        raise InputError(f"the cache {folder} was changed while it was opened: start again")
    return cache


def open_cache(folder):
    """The Cache in `folder`, or None if it is missing, incomplete, damaged or of another layout."""
    manifest = _read_manifest(folder)
    if manifest is None or not _files_intact(folder, manifest):
        return None
    try:
        splits = {split: _open_split(folder, split, manifest["splits"][split]) for split in SPLITS}
        return Cache(folder, manifest["source"]["sha256"], manifest["origin"], splits)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _open_split(folder, split, manifest):
    def array(name, dtype, shape):
        array = np.load(folder / f"{split}_{name}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} does not fit the manifest")
        return array

    frames = manifest["frames"]
    return Split(
        arrays={key: array(key, np.float32, (frames, *shape)) for key, shape in JOINT_SHAPES.items()},
        codes={name: array(name, np.int32, (frames,)) for name in CODES},
        names={name: manifest["names"][name] for name in CODES},
        bounds=array("bounds", np.int64, (manifest["runs"] + 1,)),
    )


def _files_intact(folder, manifest):
    """Whether every file is as it was written: by its size and time, else by its digest."""
    moved = False
    try:
        for name in FILES:
            record, stamp = manifest["files"][name], _stamp(folder / name)
            if record["stamp"] != stamp:
                if record["sha256"] != _sha256(folder / name):
                    return False
                record["stamp"], moved = stamp, True
    except (OSError, InputError, LookupError, TypeError):
        return False
    if moved:
        _refresh_manifest(folder, manifest)
    return True


def _read_manifest(folder):
    """The manifest in `folder`, or None if there is none or it belongs to another file or layout."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        source = manifest["source"]
        ours = manifest["layout"] == LAYOUT and folder.name == _folder_name(source["sha256"]) and source["stamp"]
        return manifest if ours else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _refresh_manifest(folder, manifest):
    """Replace the manifest; without leave to write, the next start verifies digests again."""
    with contextlib.suppress(OSError):
        temporary = folder / f"manifest.json.{secrets.token_hex(4)}.tmp"
        temporary.write_text(json.dumps(manifest), encoding="utf-8")
        temporary.replace(folder / "manifest.json")


def _build(path, digest, stamp, folder, advance):
    splits, origin = check(unpickle.load(path), path)
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        manifest = {"layout": LAYOUT, "source": {"sha256": digest, "stamp": stamp}, "origin": origin, "splits": {}}
        for split, content in splits.items():
            manifest["splits"][split] = _write_split(temporary, split, content, path, advance)
        manifest["files"] = {
            name: {"stamp": _stamp(temporary / name), "sha256": _sha256(temporary / name)} for name in FILES
        }
        (temporary / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        if _source_stamp(path) != stamp:
            raise InputError(f"{path} changed while it was read: start again when it is complete")
        _publish(temporary, folder)
    except OSError as error:
        raise InputError(
            f"cannot write the cache of {path} in {folder.parent} ({error.strerror}): set {FOLDER_VARIABLE} to a "
            f"folder that can be written and has {stamp[0] / 1e6:.0f} MB to spare"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_split(folder, split, content, path, advance):
    for key, array in content.arrays.items():
        with open(folder / f"{split}_{key}.npy", "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, content.frames, BLOCK_FRAMES):
                with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is refused below
                    block = np.ascontiguousarray(array[start : start + BLOCK_FRAMES], "<f4")
                check_numbers(block, f"{path}: {split}/{key}", start)
                file.write(block)
                advance(block.nbytes)
    for name, key in CODES.items():
        np.save(folder / f"{split}_{name}.npy", content.names[key].per_frame())
    bounds = content.names["source"].bounds
    np.save(folder / f"{split}_bounds.npy", bounds)
    names = {name: content.names[key].table for name, key in CODES.items()}
    return {"frames": content.frames, "runs": len(bounds) - 1, "names": names}


def _publish(temporary, folder):
    """Give a complete cache its name, unless another builder was first; then clear away what it replaces."""
    if folder.exists() and open_cache(folder) is None:
        shutil.rmtree(folder)
    try:
        temporary.rename(folder)
    except OSError:
        if open_cache(folder) is None:
            raise
    for outdated in folder.parent.glob(f"*-v{LAYOUT}"):
        if outdated != folder:
            shutil.rmtree(outdated, ignore_errors=True)
    for abandoned in folder.parent.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - abandoned.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(abandoned, ignore_errors=True)


def _folder_name(digest):
    return f"{digest[:16]}-v{LAYOUT}"


def _home(path):
    """The folder that holds the caches of this one file."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
        return Path(folder) / f"{path.name}-{place}.cache"
    return path.with_name(f"{path.name}.cache")


def _source_stamp(path):
    try:
        if not path.is_file():
            raise InputError(f"{path} is {'a folder' if path.is_dir() else 'missing'}: give the path of the .pkl file")
        return _stamp(path)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): give the path of the .pkl file") from None


def _stamp(path):
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256(path, advance=lambda size: None):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(HASH_BYTES):
                digest.update(block)
                advance(len(block))
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): make it readable") from None
    return digest.hexdigest()


class _Progress:
    """A bar on standard error, shown once the work has taken PATIENCE_SECONDS; called with the bytes just done."""

    def __init__(self, description, total):
        self.description, self.total = description, total
        self.started, self.done, self.bar = time.monotonic(), 0, None

    def __enter__(self):
        return self

    def __call__(self, size):
        self.done += size
        if self.bar is None and time.monotonic() - self.started > PATIENCE_SECONDS:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task(self.description, total=self.total)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done)

    def __exit__(self, failure, *details):
        if self.bar is not None:
            if failure is None:
                self.bar.update(self.task, completed=self.total)
            self.bar.stop()
