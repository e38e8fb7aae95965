"""Download official checkpoints from where their authors host them, and convert them.

The hosts are configuration: checkpoints.yaml, and the user's own file of the same form.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from liftbench.baselines.errors import InputError, in_words
from liftbench.baselines.files import read_yaml, sha256
from liftbench.baselines.registry import entry
from liftbench.baselines.weights.convert import convert, new_file
from liftbench.baselines.weights.metadata import in_short


class HuggingFaceFile(BaseModel, extra="forbid"):
    """A file of a model repository on Hugging Face."""

    host: Literal["huggingface"]
    repo: str
    file: str

    @property
    def url(self) -> str:
        """The page of the file."""
        return f"https://huggingface.co/{self.repo}/blob/main/{self.file}"

    def download(self, path: Path) -> None:
        """Write the file to `path`, going on from what an interrupted call has left beside it."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get  # hf_hub_download itself begins anew in every process

        url = hf_hub_url(self.repo, self.file)
        published = get_hf_file_metadata(url)
        part = path.with_name(f"{path.name}.{published.etag[:16]}.part")  # of this version of the file only
        with open(part, "ab") as stream:
            http_get(url, stream, resume_size=stream.tell(), expected_size=published.size)
        if len(published.etag) == 64 and sha256(part) != published.etag:  # the etag of a large file is its SHA-256
            part.unlink()
            raise InputError(f"Cannot use what {self.url} sent: it arrived damaged. Run the same command again.")
        part.replace(path)


class GoogleDriveFile(BaseModel, extra="forbid"):
    """A file on Google Drive; `file` names it here."""

    host: Literal["google_drive"]
    id: str
    file: str

    @property
    def url(self) -> str:
        """The page of the file."""
        return f"https://drive.google.com/file/d/{self.id}"

    def download(self, path: Path) -> None:
        """Write the file to `path`, going on from what an interrupted call has left beside it."""
        import gdown

        gdown.download(id=self.id, output=str(path), resume=True, use_cookies=False, quiet=not sys.stderr.isatty())


class Hosted(BaseModel, extra="forbid"):
    """Where the checkpoint of a model is: the authors' page, and its file, one file per stage, or none."""

    page: str
    files: list[Annotated[HuggingFaceFile | GoogleDriveFile, Field(discriminator="host")]] = []


def hosts(path: str | Path | None = None) -> dict[str, Hosted]:
    """Return the known checkpoints by model name; an entry of the user's file `path` replaces ours.

    Raises InputError if a file is missing or not of the form of checkpoints.yaml.
    """
    found = {}
    for source in [Path(__file__).with_name("checkpoints.yaml"), *([path] if path else [])]:
        try:
            found |= TypeAdapter(dict[str, Hosted]).validate_python(read_yaml(source, "the list of checkpoints"))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part)[:40] for part in first["loc"])
            raise InputError(
                f"Cannot use the list of checkpoints {source}: {place or 'the file'}: {in_short(in_words(first))}. "
                "Write it as baselines/weights/checkpoints.yaml is written."
            ) from None
    return found


def fetch(
    name: str,
    out: str | Path | None = None,
    hosts_file: str | Path | None = None,
    report: Callable[[str], None] = lambda url: None,
) -> tuple[Path, dict[str, Any]]:
    """Download the official checkpoint of a registered model, verify and convert it -> (path, provenance).

    out: as in `convert`. report(url) is called before each download. The next call continues an interrupted download;
    nothing else is left behind. Raises InputError if no checkpoint is published, the download fails, or the file does
    not fit `name`.
    """
    entry(name)
    known = hosts(hosts_file)
    hosted = known.get(name)
    if not (hosted and hosted.files):
        where = f" on {hosted.page}" if hosted else ""
        others = ", ".join(key for key, value in known.items() if value.files)
        raise InputError(
            f"Cannot fetch {name}: no checkpoint of it is known to be published{where}, only of {others}. Convert one "
            "that you have with `liftbench weights convert FILE`."
        )
    out = new_file(out, name)
    folder = out.parent / f".{name}.download"
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    arrived = False
    try:
        paths = [_download(file, folder, hosted.page, report) for file in hosted.files]
        arrived = True
        return convert(paths, out, name, [file.url for file in hosted.files])
    except InputError as error:
        if not arrived:
            raise
        raise InputError(
            f"Cannot use what {hosted.page} offers as {name}: {str(error).rstrip('.')}. Tell its authors."
        ) from error
    finally:
        if arrived or not any(file.stat().st_size for file in folder.glob("*")):  # nothing to go on from
            shutil.rmtree(folder, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # it is in use
                parent.rmdir()


def _download(file: HuggingFaceFile | GoogleDriveFile, folder: Path, page: str, report: Callable[[str], None]) -> Path:
    path = folder / Path(file.file).name
    if path.exists():  # an earlier call was interrupted after it
        return path
    report(file.url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.download(path)
    except InputError:
        raise
    except Exception as error:  # each host has its own library, and each library its own HTTP client and errors
        root = error
        while root.__context__:
            root = root.__context__
        raise InputError(
            f"Cannot download {file.url}: {' '.join(str(root).split())[:160].rstrip('.')}. Check the network and run "
            f"the same command again, or get the file from {page} and run `liftbench weights convert FILE`."
        ) from error
    return path
