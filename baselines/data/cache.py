"""The float32 memory-mapped copy of a data set's files, made on first use and shared by every process that reads it.

The folder FILE.cache/<first 16 digits of the SHA-256 of the files>-v<layout>/ lies beside the first file of the data
set. For each split it holds one .npy file per array of the format, the codes `camera`, `source` and `action`, (N,)
int32, and `bounds`, (R + 1,) int64, of the runs of one source. manifest.json holds what they were made from, the names
behind the codes and a digest of every file.

Files that have the sizes and modification times of the manifest count as unchanged; if they differ, the SHA-256
decides. A cache is built under a temporary name and renamed when complete, so an interrupted build leaves nothing that
could be mistaken for a cache, and simultaneous builds do not interfere. Set LIFTBENCH_CACHE to a folder to keep caches
there instead of beside the data.
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import sha256

SPLITS = ("train", "test")
CODES = ("camera", "source", "action")
FOLDER_VARIABLE = "LIFTBENCH_CACHE"
BLOCK_FRAMES = 1 << 15
ABANDONED_SECONDS = 3600  # a temporary folder this old belongs to a build that was killed


@dataclass
class Names:
    """One string per frame, as runs of equal strings.

    bounds: (R + 1,) int64, where each run starts, then N. codes: (R,) int32, each run's index in `table`.
    """

    bounds: np.ndarray
    codes: np.ndarray
    table: list

    @classmethod
    def of_runs(cls, bounds: np.ndarray, names: Sequence[str]) -> "Names":
        """Return the Names of runs; names: one for each run."""
        code = {name: index for index, name in enumerate(dict.fromkeys(names))}
        return cls(bounds, np.array([code[name] for name in names], np.int32), list(code))

    def per_frame(self) -> np.ndarray:
        """Return (N,) int32, each frame's index in `table`."""
        return np.repeat(self.codes, np.diff(self.bounds))


@dataclass
class SplitContent:
    """One split as read from the files. names: by "camera", "source" and "action".

    arrays: key -> (N, ...) array, or an iterable of the blocks of frames that it consists of.
    """

    frames: int
    arrays: dict
    names: dict

    def blocks(self, key: str) -> Iterable[np.ndarray]:
        """Return the array of that key, some frames at a time."""
        array = self.arrays[key]
        if not isinstance(array, np.ndarray):
            return array
        return (array[start : start + BLOCK_FRAMES] for start in range(0, self.frames, BLOCK_FRAMES))


@dataclass
class Content:
    """What was read from the files: {split: SplitContent}; origin, {} if they state none; left_out, in sentences."""

    splits: dict
    origin: dict
    left_out: list = field(default_factory=list)


@dataclass(frozen=True)
class Format:
    """A file format.

    layout: increase it when the files of a cache change their meaning. shapes: key -> shape of one frame. read(files)
    -> Content, checked except for the values of its numbers. check_numbers(block, place, start) raises InputError for
    what no frame may hold; block: (n, ...) float32, the frames from `start` on; place: file, split and key. It is None
    if the blocks check themselves.
    """

    layout: int
    shapes: dict
    read: Callable
    check_numbers: Callable | None = None

    @property
    def files(self) -> list[str]:
        """The names of the arrays in a cache."""
        return [f"{split}_{name}.npy" for split in SPLITS for name in (*self.shapes, *CODES, "bounds")]


@dataclass
class Split:
    """The memory-mapped arrays of one split, read-only, and the names behind its codes."""

    arrays: dict  # key of the format -> (N, ...) float32
    codes: dict  # "camera", "source", "action" -> (N,) int32
    names: dict  # "camera", "source", "action" -> list of names
    bounds: np.ndarray  # (R + 1,) int64, where each run of one source starts, then N


@dataclass
class Cache:
    """An open cache; `folder` is enough to open it again in another process."""

    folder: Path
    digest: str  # SHA-256 of the file, or of the digests of several
    origin: dict
    left_out: list  # sentences on what of the files is not used
    splits: dict  # "train", "test" -> Split


def prepare(files: Sequence[str | Path], form: Format, progress: Callable[[int, int], None] | None = None) -> "Cache":
    """Return the Cache of `files` of the Format `form`, built first where there is none; it lies beside the first of
    them.

    progress(done, of) is called while a cache is built, in bytes read and checked.
    Raises InputError if a file cannot be read or does not fit the format, or the cache cannot be written.
    """
    files = [Path(file) for file in files]
    home, stamp = _home(files[0]), _source_stamp(files)
    for folder in home.glob(f"*-v{form.layout}"):
        manifest = _read_manifest(folder, form)
        if manifest and manifest["source"]["stamp"] == stamp and (cache := open_cache(folder, form)):
            return cache

    done, total = 0, 2 * sum(stamp[::2])

    def advance(size: int):
        nonlocal done
        done += size
        if progress:
            progress(min(done, total), total)

    digest = _digest(files, advance)
    folder = home / _folder_name(digest, form)
    if cache := open_cache(folder, form):
        manifest = _read_manifest(folder, form)
        manifest["source"]["stamp"] = stamp
        _refresh_manifest(folder, manifest)
        return cache
    _build(files, form, digest, stamp, folder, advance)
    cache = open_cache(folder, form)
    if cache is None:
        raise InputError(f"Cannot read the cache {folder}: it was changed while it was opened. Start again.")
    return cache


def open_cache(folder: Path, form: Format) -> "Cache | None":
    """Return the Cache in `folder`, or None if it is missing, incomplete, damaged or of another layout."""
    manifest = _read_manifest(folder, form)
    if manifest is None or not _files_intact(folder, manifest, form):
        return None
    try:
        splits = {split: _open_split(folder, split, manifest["splits"][split], form) for split in SPLITS}
        left_out = manifest.get("left_out", [])
        return Cache(folder, manifest["source"]["sha256"], manifest["origin"], left_out, splits)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _open_split(folder: Path, split: str, manifest: dict[str, Any], form: Format) -> "Split":
    def array(name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        array = np.load(folder / f"{split}_{name}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} does not fit the manifest")
        return array

    frames = manifest["frames"]
    return Split(
        arrays={key: array(key, np.float32, (frames, *shape)) for key, shape in form.shapes.items()},
        codes={name: array(name, np.int32, (frames,)) for name in CODES},
        names={name: manifest["names"][name] for name in CODES},
        bounds=array("bounds", np.int64, (manifest["runs"] + 1,)),
    )


def _files_intact(folder: Path, manifest: dict[str, Any], form: Format) -> bool:
    """Return whether every file is as it was written, by its size and time or else by its digest."""
    moved = False
    try:
        for name in form.files:
            record, stamp = manifest["files"][name], _stamp(folder / name)
            if record["stamp"] != stamp:
                if record["sha256"] != sha256(folder / name):
                    return False
                record["stamp"], moved = stamp, True
    except (OSError, InputError, LookupError, TypeError):
        return False
    if moved:
        _refresh_manifest(folder, manifest)
    return True


def _read_manifest(folder: Path, form: Format) -> dict[str, Any] | None:
    """Return the manifest in `folder`, or None if there is none or it belongs to another file or layout."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        source = manifest["source"]
        named = folder.name == _folder_name(source["sha256"], form)
        ours = manifest["layout"] == form.layout and named and source["stamp"]
        return manifest if ours else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _refresh_manifest(folder: Path, manifest: dict[str, Any]):
    """Replace the manifest. If it cannot be written, the next start verifies digests again."""
    with contextlib.suppress(OSError):
        temporary = folder / f"manifest.json.{secrets.token_hex(4)}.tmp"
        temporary.write_text(json.dumps(manifest), encoding="utf-8")
        temporary.replace(folder / "manifest.json")


def _build(
    files: Sequence[Path], form: Format, digest: str, stamp: list[int], folder: Path, advance: Callable[[int], None]
):
    content = form.read(files)
    numbers_of_frame = sum(math.prod(shape) for shape in form.shapes.values()) + len(CODES)
    size = 4 * numbers_of_frame * sum(part.frames for part in content.splits.values())
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        manifest = {"layout": form.layout, "source": {"sha256": digest, "stamp": stamp}, "splits": {}}
        manifest |= {"origin": content.origin, "left_out": content.left_out}
        for split, part in content.splits.items():
            manifest["splits"][split] = _write_split(temporary, split, part, form, files[0], advance)
        manifest["files"] = {
            name: {"stamp": _stamp(temporary / name), "sha256": sha256(temporary / name)} for name in form.files
        }
        (temporary / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        if _source_stamp(files) != stamp:
            raise InputError(f"Cannot read {files[0]}: it changed meanwhile. Start again when it is complete.")
        _publish(temporary, folder, form)
    except OSError as error:
        raise InputError(
            f"Cannot write the cache of {files[0]} in {folder.parent}: {error.strerror}. Set {FOLDER_VARIABLE} to a "
            f"folder that can be written and has {size / 1e6:.0f} MB to spare."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds a cache, this one or an earlier one
            folder.parent.rmdir()


def _write_split(
    folder: Path, split: str, content: SplitContent, form: Format, path: Path, advance: Callable[[int], None]
) -> dict[str, Any]:
    for key, shape in form.shapes.items():
        with open(folder / f"{split}_{key}.npy", "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (content.frames, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            start = 0
            for block in content.blocks(key):
                with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is refused below
                    block = np.ascontiguousarray(block, "<f4")
                if form.check_numbers:
                    form.check_numbers(block, f"{path}: {split}/{key}", start)
                file.write(block)
                start += len(block)
                advance(block.nbytes)
    for name in CODES:
        np.save(folder / f"{split}_{name}.npy", content.names[name].per_frame())
    bounds = content.names["source"].bounds
    np.save(folder / f"{split}_bounds.npy", bounds)
    names = {name: content.names[name].table for name in CODES}
    return {"frames": content.frames, "runs": len(bounds) - 1, "names": names}


def _publish(temporary: Path, folder: Path, form: Format):
    """Give a complete cache its name, unless another build was first; then remove what it replaces."""
    if folder.exists() and open_cache(folder, form) is None:
        shutil.rmtree(folder)
    try:
        temporary.rename(folder)
    except OSError:
        if open_cache(folder, form) is None:
            raise
    for outdated in folder.parent.glob("*-v*[0-9]"):
        if outdated != folder:
            shutil.rmtree(outdated, ignore_errors=True)
    for abandoned in folder.parent.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - abandoned.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(abandoned, ignore_errors=True)


def _folder_name(digest: str, form: Format) -> str:
    return f"{digest[:16]}-v{form.layout}"


def _home(path: Path) -> Path:
    """Return the folder that holds the caches of this one file."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
        return Path(folder) / f"{path.name}-{place}.cache"
    return path.with_name(f"{path.name}.cache")


def _source_stamp(files: Sequence[Path]) -> list[int]:
    """Size and modification time of every file, in one list."""
    return [number for path in files for number in _file_stamp(path)]


def _file_stamp(path: Path) -> list[int]:
    advice = f"Give the path of the {path.suffix or '.pkl'} file."
    try:
        if not path.is_file():
            raise InputError(f"Cannot read {path}: it is {'a folder' if path.is_dir() else 'missing'}. {advice}")
        return _stamp(path)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. {advice}") from None


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _digest(files: Sequence[Path], advance: Callable[[int], None]) -> str:
    digests = [sha256(file, advance) for file in files]
    return digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
