"""Run folders: what the command line writes into them, and what they say when they are listed and compared.

A run folder holds recipe.yaml (all settings), environment.json (of the last start, with the git commit), train.log
(text), log.csv (one row per epoch), curves.png, TensorBoard's events, checkpoint and weights. accuracy/ keeps a record
of `liftbench evaluate RUN` per data set, and one of the best weights with --best. The process that trains locks
train.log, and the system takes the lock back however the process ends: a run is running as long as it is locked.
"""

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import pandas as pd
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing
from liftbench.baselines.training.lookup import recipe_name
from liftbench.baselines.training.recipe import Recipe, read_recipe
from liftbench.bench.records import AccuracyRecord
from liftbench.bench.records.environment import Environment

STAGE_1 = "stage_1"  # folder, within a run, of the first stage of a model of two
_FAILED = "failed: "
_DRAW_EVERY = 60  # seconds


def default_folder(recipe_path: str | Path, top: str | Path = "runs", model: str | None = None) -> Path:
    """Return the default folder of a recipe's run: runs/cpn/lstm for the recipe cpn/lstm, runs/NAME for other files.

    model: the name of a model that replaces the recipe's; its run goes to runs/cpn/lstm_MODEL.
    """
    parts = Path(recipe_path).resolve().with_suffix("").parts
    if model:
        parts = *parts[:-1], f"{parts[-1]}_{model.replace('.py:', '_')}"
    inside = parts[len(parts) - parts[::-1].index("configs") :] if "configs" in parts[:-1] else parts[-1:]
    return Path(top, recipe_name(Path(*inside)))


class Watch:
    """Writes what the trainer does not know: the environment, train.log and the curves.

    A context that holds the run's lock and says in train.log how the training ended. It writes nothing before the first
    begin(), so a start that is refused leaves a run unchanged. Only the first of several processes may use it. Raises
    InputError if another process is training the run, or if the folder cannot be written.
    """

    def __init__(self, folder: str | Path, model: str, environment: Environment):
        self.folder, self.model, self.environment = Path(folder), model, environment
        self._began, self._drawn = False, time.monotonic()

    def __enter__(self) -> "Watch":
        self._log = _locked(self.folder / "train.log")
        return self

    def begin(self):
        """Note the start, once."""
        if self._began:
            return
        self._began = True
        with replacing(self.folder / "environment.json") as temporary:
            temporary.write_text(self.environment.model_dump_json(indent=1), encoding="utf-8")
        commit = self.environment.git_commit or "unknown"
        changes = " with changes" if self.environment.git_dirty else ""
        self._say(f"started on {self.environment.machine}, commit {commit}{changes}")

    def epoch(self, text: str):
        """Note an epoch in train.log, and draw the curves unless that was done within the last minute."""
        self.begin()
        self._say(text)
        if time.monotonic() - self._drawn > _DRAW_EVERY:
            self._draw()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        with self._log:
            if self._began:
                with contextlib.suppress(*[InputError] if kind else []):  # the first error counts
                    self._say(_ending(kind, error))
                    self._draw()
            elif not self._log.tell():  # refused before it began: as if nothing had been
                Path(self._log.name).unlink()
                with contextlib.suppress(OSError):  # there is something else in it
                    self.folder.rmdir()

    def _say(self, text: str):
        try:
            self._log.write(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} {text}\n")
            self._log.flush()
        except OSError as error:
            raise InputError(f"Cannot write to {self._log.name}: {error.strerror}. Free the disk.") from error

    def _draw(self):
        curves = curves_of(self.folder, self.model, self.model)
        if curves:
            draw_curves(f"Training in {self.folder}", curves, self.folder / "curves.png")
        self._drawn = time.monotonic()


def _ending(kind: type[BaseException] | None, error: BaseException | None) -> str:
    if kind is None:
        return "finished"
    if not issubclass(kind, Exception):
        return "interrupted"
    return _FAILED + " ".join(f"{'' if kind is InputError else kind.__name__ + ': '}{error}".split())


def _locked(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot write to {path}: {error.strerror}. Choose another folder or free the disk."
        ) from error
    for _ in range(5):  # `_is_locked` of another process holds the lock for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        time.sleep(0.1)
    file.close()
    raise InputError(
        f"Cannot train in {path.parent}: another process is training it. Wait for it, or choose another folder with "
        "--run."
    )


@dataclass(frozen=True)
class Run:
    """One run folder.

    reason: what failed or is damaged. recipe: None if it is damaged. log: empty before the first epoch. accuracies:
    records of the last weights, one per data set, the newest first.
    """

    folder: Path
    state: str
    reason: str | None = None
    recipe: Recipe | None = None
    log: pd.DataFrame | None = None
    epochs: int = 0  # that are done, of all stages
    environment: Environment | None = None
    accuracies: tuple[AccuracyRecord, ...] = ()

    @property
    def of_epochs(self) -> int:
        """Epochs of all stages that the recipe asks for."""
        stages = self.recipe, self.recipe.stage_1
        return sum(stage.epochs for stage in stages if stage)

    @property
    def last_mm(self) -> float | None:
        """Test MPJPE of the last epoch that has one."""
        errors = self._errors()
        return float(errors.iloc[-1]) if len(errors) else None

    @property
    def best_mm(self) -> float | None:
        errors = self._errors()
        return float(errors.min()) if len(errors) else None

    @property
    def clips_per_s(self) -> float | None:
        known = self.log is not None and "clips_per_s" in self.log and len(self.log)
        return float(self.log["clips_per_s"].median()) if known else None

    @property
    def when(self) -> datetime:
        """Local time of the last change."""
        times = [path.stat().st_mtime for path in self.folder.glob("*.*")]
        return datetime.fromtimestamp(max(times, default=self.folder.stat().st_mtime))

    def _errors(self) -> pd.Series:
        known = self.log is not None and "test_mpjpe_mm" in self.log
        return self.log["test_mpjpe_mm"].dropna() if known else pd.Series(dtype=float)


def find(top: str | Path) -> list[Run]:
    """Return all runs in a folder, or the folder itself if it is a run, sorted by path.

    Raises InputError if there is no such folder.
    """
    top = Path(top)
    if not os.path.isdir(top):
        raise InputError(f"Cannot list {top}: there is no such folder. Train something first or check the path.")
    folders = {path.parent for name in ("recipe.yaml", "last.ckpt", "train.log") for path in top.rglob(name)}
    return [open_run(folder) for folder in sorted(folders) if not (folder.name == STAGE_1 and folder.parent in folders)]


def open_run(folder: str | Path) -> Run:
    """Return the Run of a folder; one that cannot be read has the state "damaged", and a reason."""
    folder = Path(folder)
    running = _is_locked(folder / "train.log")
    try:
        recipe = read_recipe(folder / "recipe.yaml")
    except InputError as error:
        return Run(folder, "running" if running else "damaged", str(error))
    try:
        log = read_log(folder)
        _check_weights(folder / "last.safetensors", len(log))
        run = Run(
            folder, "running", None, recipe, log, len(log) + len(read_log(folder / STAGE_1)),
            _read(folder / "environment.json", Environment), _accuracies(folder),
        )  # fmt: skip
        failure = _failure(folder / "train.log")
    except InputError as error:
        return Run(folder, "running" if running else "damaged", str(error), recipe)
    if running:
        return run
    if len(log) >= recipe.epochs:
        return replace(run, state="finished")
    return replace(run, state="failed" if failure else "interrupted", reason=failure)


def read_log(folder: str | Path) -> pd.DataFrame:
    """Read log.csv as a DataFrame, one row per epoch; it is empty if there is no such file yet."""
    path = Path(folder) / "log.csv"
    if not path.exists():
        return pd.DataFrame()
    try:
        log = pd.read_csv(path)
        if log["loss"].astype(float).isna().any():
            raise ValueError("an epoch without a loss")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"Cannot read {path}: it is not a table of epochs. Resume the run to have it written again."
        ) from error
    return log


def write_accuracy(folder: Path, record: AccuracyRecord, best: bool) -> None:
    """Keep the record of an evaluation in the run folder; it replaces an earlier one on the same data."""
    data = record.data
    name = f"{Path(data.name).stem}-{data.input}-{data.sha256[:8]}{'.best' * best}.json"
    with replacing(folder / "accuracy" / name) as temporary:
        temporary.write_text(record.model_dump_json(by_alias=True, indent=1), encoding="utf-8")


def _accuracies(folder: Path) -> tuple[AccuracyRecord, ...]:
    paths = [path for path in (folder / "accuracy").glob("*.json") if not path.name.endswith(".best.json")]
    return tuple(sorted((_read(path, AccuracyRecord) for path in paths), key=lambda found: found.created_utc)[::-1])


def _read(path: Path, kind: type[BaseModel]) -> Any:
    if not path.exists():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"Cannot read {path}: it is damaged. Remove it.") from error


def _check_weights(path: Path, epochs: int):
    if not epochs:
        return
    try:
        with safe_open(path, "numpy"):
            pass
    except (OSError, SafetensorError) as error:
        raise InputError(f"Cannot read {path}: it is missing or damaged. Remove it and resume the run.") from error


def _failure(path: Path) -> str | None:
    """Return the reason that the last line of train.log gives for a failure, or None."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: it is damaged. Remove it.") from error
    return lines[-1].partition(_FAILED)[2] or None if lines else None


def _is_locked(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def differences(first: Run, second: Run) -> list[tuple[str, Any, Any]]:
    """Return (key, value of the first, value of the second) of all that differs in recipe and environment,
    dotted keys.
    """
    facts = [
        _flat(run.recipe.model_dump(), "") | _flat(run.environment.model_dump() if run.environment else {}, "on ")
        for run in (first, second)
    ]
    keys = dict.fromkeys(itertools.chain(*facts))
    return [
        (key, *values)
        for key in keys
        if (values := [fact.get(key) for fact in facts])[0] != values[1]
    ]  # fmt: skip


def _flat(content: dict[str, Any], prefix: str) -> dict[str, Any]:
    rows = {}
    for key, value in content.items():
        rows |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return rows


def data_of(record: AccuracyRecord) -> str:
    """Name the data of a record in a few words that distinguish two files of one name."""
    return f"{record.data.name} {record.data.input} ({record.data.sha256[:6]})"


def errors(first: Run, second: Run) -> list[tuple[str, float | None, float | None]]:
    """Return (quantity, value of the first, value of the second); a value is None if it is not known."""
    rows = [
        ("test MPJPE of the last epoch, mm", first.last_mm, second.last_mm),
        ("test MPJPE of the best epoch, mm", first.best_mm, second.best_mm),
    ]
    sides = [{(found.data.sha256, found.data.input): found for found in run.accuracies} for run in (first, second)]
    for key, found in (sides[1] | sides[0]).items():
        for name in ("mpjpe_mm", "p_mpjpe_mm"):
            values = [getattr(side[key], name) if key in side else None for side in sides]
            error = name.removesuffix("_mm").replace("_", "-").upper()
            rows.append((f"official {error} on {data_of(found)}, mm", *values))
    return [*rows, ("clips/s in training", first.clips_per_s, second.clips_per_s)]


def curves_of(folder: str | Path, model: str, label: str) -> list[tuple[str, str, pd.DataFrame]]:
    """Return the curves of a run folder for draw_curves: (label, model, log) of each stage that has begun."""
    logs = [(f"{label}, stage 1", read_log(Path(folder) / STAGE_1)), (label, read_log(folder))]
    return [(label, model, log) for label, log in logs if len(log)]


def draw_curves(title: str, curves: Sequence[tuple[str, str, pd.DataFrame]], path: Path) -> None:
    """Draw loss and test MPJPE as PNG. curves: (label, model, log)s, log as of read_log."""
    from liftbench.bench.report.plots import canvas, training

    rows = [
        (label, model, range(len(log)), log["loss"], log.get("test_mpjpe_mm", pd.Series(float("nan"), log.index)))
        for label, model, log in curves
    ]
    with canvas.styled(), replacing(path) as temporary:
        temporary.write_bytes(canvas.encode(training.curves(title, rows), "png"))
