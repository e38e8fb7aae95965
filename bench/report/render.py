"""Tables, plots and the report from records: the same records give the same files, byte by byte."""

import contextlib
import functools
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from liftbench.baselines.files import replacing
from liftbench.bench.records import ScanRecord
from liftbench.bench.report.html import report
from liftbench.bench.report.ledger.ledger import ledger
from liftbench.bench.report.plots import bars, canvas, errors, heat, online, operators, scaling, scan, training
from liftbench.bench.report.results import Results, is_marked
from liftbench.bench.report.tables.at_a_glance import at_a_glance, lengths, overview
from liftbench.bench.report.tables.cost import cost, cost_by_module, cost_by_operator
from liftbench.bench.report.tables.errors.accuracy import accuracy
from liftbench.bench.report.tables.errors.lift import lift, lift_gait
from liftbench.bench.report.tables.errors.online import online as online_table
from liftbench.bench.report.tables.export import export
from liftbench.bench.report.tables.papers import papers
from liftbench.bench.report.tables.scaling import scaling as scaling_table
from liftbench.bench.report.tables.scan import scan as scan_table
from liftbench.bench.report.tables.speed import compare, speed
from liftbench.bench.report.tables.table import Table

TABLES = (
    overview, at_a_glance, ledger, accuracy, cost, cost_by_operator, cost_by_module, export, lengths, speed, compare,
    scaling_table, scan_table, lift, lift_gait, online_table,
)  # fmt: skip
_Draw = Callable[[], Figure | None]
_MOST_PROCESSES = 4  # that draw
_SHOWN = (
    "error_against_macs", "error_against_speed_amd_epyc_family_25", "speed_amd_epyc_family_25", "scaling",
    "scan_time_amd_epyc_2_threads", "online",
)  # fmt: skip


class Rendered(NamedTuple):
    """The files written, and a sentence for each table or plot that could not be made."""

    written: list[Path]
    skipped: list[str]


def render(results: Results, out_folder: Path | str, svg: bool = False) -> Rendered:
    """Write all tables (markdown, CSV, LaTeX), all plots (PNG, and SVG if asked for) and report.html below out_folder.

    Writes either all files or none. Raises InputError for a folder that cannot be written to.
    """
    out, skipped, files = Path(out_folder), [], {}
    made, drawn = [], []
    for table in tables(results):
        if not table.rows:
            skipped.append(f"Table {table.name} was not made: there is nothing to put into it.")
            continue
        for suffix, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
            files[out / "tables" / f"{table.name}.{suffix}"] = text.encode()
        made.append(table)
    for name, picture, reason in _pictures(list(figures(results)), ["png", "svg"] if svg else ["png"]):
        if picture is None:
            skipped.append(f"Plot {name} was not made: {reason}.")
            continue
        files |= {out / "plots" / f"{name}.{suffix}": content for suffix, content in picture.files.items()}
        drawn.append((name, picture.title, picture.files["png"]))
    files[out / "report.html"] = report(results, made, drawn, skipped).encode()
    return Rendered(_write(files), skipped)


def render_reference(results: Results, out_folder: Path | str) -> Rendered:
    """Write what this repository shows of its reference records: markdown tables, ledger.md and the READMEs' plots."""
    out, files = Path(out_folder), {}
    for table in tables(results):
        folder = out if table.name == "ledger" else out / "tables"
        files[folder / f"{table.name}.md"] = table.markdown().encode()
    shown = [figure for figure in figures(results) if figure[0].startswith(_SHOWN)]
    for name, picture, _ in _pictures(shown, ["png"]):
        if picture:
            files[out / "plots" / f"{name}.png"] = picture.files["png"]
    return Rendered(_write(files), [])


def tables(results: Results) -> list[Table]:
    """Every table, in the order of the report: those of TABLES, and one for each table of a paper."""
    return [*(make(results) for make in TABLES), *papers(results)]


class _Picture(NamedTuple):
    """A figure's title, and its bytes by the suffix of the file."""

    title: str
    files: dict[str, bytes]


def _pictures(jobs: list[tuple[str, _Draw, str]], suffixes: list[str]) -> Iterator[tuple[str, _Picture | None, str]]:
    """(name, _Picture or None, why there is none) of each of `figures`, in order.

    Several processes draw on Linux, where they are forks that have the records already.
    """
    names, draws, reasons = zip(*jobs) if jobs else ((), (), ())
    if sys.platform != "linux" or len(jobs) < 2:
        return zip(names, (_picture(draw, suffixes) for draw in draws), reasons)
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES, len(jobs))
    forks = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, forks, _inherit, (draws, suffixes)) as pool:
        return zip(names, list(pool.map(_inherited_picture, range(len(jobs)))), reasons)


def _picture(draw: _Draw, suffixes: list[str]) -> _Picture | None:
    with canvas.styled():
        figure = draw()
        if figure is None:
            return None
        return _Picture(canvas.title(figure), {suffix: canvas.encode(figure, suffix) for suffix in suffixes})


def _inherit(draws: Sequence[_Draw], suffixes: list[str]) -> None:
    """Keep in a forked process what it shall draw, since functions and records do not travel between processes."""
    global _inherited
    _inherited = draws, suffixes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's


def _inherited_picture(place: int) -> _Picture | None:
    draws, suffixes = _inherited
    return _picture(draws[place], suffixes)


def _write(files: dict[Path, bytes]) -> list[Path]:
    """Write {path: content}, all of them or none, and return the paths."""
    with contextlib.ExitStack() as replaced:
        for path, content in files.items():
            replaced.enter_context(replacing(path)).write_bytes(content)
    return list(files)


def figures(results: Results) -> Iterator[tuple[str, _Draw, str]]:
    """(file name, function that draws it or gives None, why it would not) of every plot.

    One for each of the user's machines and data; of reference records, only where there are no others, the largest.
    """
    unknown = "no error is known together with its cost"
    yield "error_against_macs", lambda: errors.error_against_macs(results), unknown
    yield "cost_by_operator", lambda: operators.cost_by_operator(results), "there are no cost records"
    yield "memory", lambda: bars.memory(results), "no record counted activations"
    for name, draw, groups, kind in (
        ("error_against_speed", errors.error_against_speed, _largest(results.speed), "speed"),
        ("speed", bars.speed, _largest(results.speed), "speed"),
        ("per_action", heat.per_action, _largest(results.accuracy), "accuracy"),
        ("training", training.training, _largest(results.training), "training"),
        ("online", online.online, _largest(results.online), "online"),
        ("scaling", scaling.scaling, _own(results.scaling) or list(results.scaling), "scaling"),
        ("scan_time", scan.scan_time, _largest(results.scan), "scan"),
        ("scan_memory", scan.scan_memory, _largest(results.scan), "scan"),
        ("scan_ceiling", scan.scan_ceiling, _largest(results.scan), "scan"),
    ):
        if not groups:
            yield name, lambda: None, f"there are no {kind} records"
        for label in groups:
            draw_one = functools.partial(draw, results, label)
            yield f"{name}_{_slug(label)}", draw_one, "there is nothing to draw"


def _own(groups: dict[str, object]) -> list[str]:
    return [label for label in groups if not is_marked(label)]


def _largest(groups: dict[str, dict | ScanRecord]) -> list[str]:
    """The labels of the user's own groups; where there are none, that of the largest reference one."""

    def size(label: str) -> int:
        group = groups[label]
        return len(group.comparisons if isinstance(group, ScanRecord) else {key.model for key in group})

    return _own(groups) or sorted(groups, key=size)[-1:]


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
