"""Appending what was measured, with a bar meanwhile and a word on what is kept."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from liftbench.bench.cli.common import progress

if TYPE_CHECKING:
    from liftbench.bench.records import Record


@contextlib.contextmanager
def saying_what_is_kept(path: Path, recorded: Collection[str]) -> Iterator[None]:
    """Let an interruption say what the file already holds. recorded: what was appended so far."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"{path} keeps {'; '.join(recorded)}" if recorded else f"nothing was added to {path}"
        others = "measure the others" if recorded else "start the same command"
        raise KeyboardInterrupt(f"{kept}; {others} again") from None


def append_measured(path: Path, measure: Callable[[Callable[[str, int, int], None]], "Record"]) -> "Record":
    """Append the record that measure(progress) makes to a file, and return it; progress(text, done, of) moves a bar."""
    from liftbench.bench import records

    with saying_what_is_kept(path, []), progress() as bar:
        task = bar.add_task("checking results", total=None)
        record = measure(lambda text, done, of: bar.update(task, description=text, completed=done, total=of))
    records.append(path, record)
    return record
