"""Records on disk: append-only JSON lines, one validated record per line. A record is written once and never edited."""

import json
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from liftbench.baselines.errors import InputError, in_words
from liftbench.bench.records.accuracy import AccuracyRecord, OnlineRecord, TrainingRecord
from liftbench.bench.records.base import SCHEMA, BaseRecord
from liftbench.bench.records.cost import CostRecord
from liftbench.bench.records.export import ExportRecord
from liftbench.bench.records.lift import LiftRecord
from liftbench.bench.records.loader import LoaderRecord
from liftbench.bench.records.scan import ScanRecord
from liftbench.bench.records.speed import CompareRecord, ScalingRecord, SpeedRecord

Record = Annotated[
    CostRecord
    | SpeedRecord
    | CompareRecord
    | ScalingRecord
    | AccuracyRecord
    | TrainingRecord
    | OnlineRecord
    | ScanRecord
    | LoaderRecord
    | LiftRecord
    | ExportRecord,
    Field(discriminator="kind"),
]
_RECORD = TypeAdapter(Record)


def append(path: str | Path, record: BaseRecord) -> None:
    """Append one record to a .jsonl file, in a single write of a whole line; make the file if it is missing.

    If a crash left an unfinished line, end it first, so that it does not spoil this one. Raises InputError if the file
    cannot be written.
    """
    path = Path(path)
    line = record.model_dump_json(by_alias=True).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            written = file.write(line)
    except OSError as error:
        raise InputError(
            f"Cannot append to {path}: {error.strerror}. Choose another folder or free the disk."
        ) from error
    if written != len(line):
        raise InputError(f"Cannot append to {path}: the disk is full. Free it, and remove the last line of the file.")


def read(folder: str | Path) -> list[Record]:
    """Read all records of a folder's *.jsonl files, in order of file name and line.

    Raises InputError, naming file and line, for a line that is cut short, does not validate or has another schema.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise InputError(
            f"Cannot read records: there is no folder {folder}. Measure something first, or check the path."
        )
    try:
        contents = {path: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}
    except OSError as error:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}. Check its permissions.") from error
    return [
        _parse(line, f"{path}, line {number}")
        for path, content in contents.items()
        for number, line in enumerate(content.split(b"\n"), start=1)
        if line.strip()
    ]


def _parse(line: bytes, where: str) -> Record:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"Cannot read {where}: it is not a whole JSON record. Remove that line; an interrupted run left it."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"Cannot read {where}: it is not a JSON object. Remove that line.")
    if content.get("schema") != SCHEMA:
        raise InputError(
            f"Cannot read {where}: it has schema {str(content.get('schema'))[:20]}, and this version reads schema "
            f"{SCHEMA}. Use the version that wrote it, or measure again."
        )
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])[:80]
        raise InputError(
            f"Cannot read {where}{key and f', key {key}'}: {in_words(first)}. Remove that line."
        ) from error
