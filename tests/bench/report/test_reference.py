"""The reference results that come with liftbench, and the user's own beside them."""

import shutil
import subprocess

import pytest

from liftbench.bench.report.render import TABLES, render_reference, tables
from liftbench.bench.report.results import REFERENCE, Results, load, load_reference
from liftbench.bench.report.tables.at_a_glance import overview as overview_table
from liftbench.bench.report.tables.cost import cost as cost_table
from liftbench.bench.report.tables.scaling import scaling as scaling_table
from liftbench.bench.report.tables.speed import compare as compare_table
from support import ROOT
from support.records import MACHINE, MODELS, accuracy, cost, exported, lift, online, scans, speed, training, write

OTHER = MACHINE | {"cpu": "Other CPU"}


def test_reference_records_never_take_the_place_of_ones_own():
    own = [cost("mlp", 10), speed("mlp", 2.0), accuracy("mlp", 90.0)]
    later = [cost("mlp", 20, minutes=9), speed("mlp", 1.0, minutes=9), accuracy("mlp", 80.0, minutes=9)]
    results = Results(own, reference=[*later, cost("lstm", environment=OTHER)])
    assert list(results.speed) == ["Test CPU, 2 threads", "Test CPU, 2 threads (reference)"]
    assert list(results.accuracy) == ["synthetic data", "synthetic data (reference)"]
    (row,) = [row for row in overview_table(results).rows if row["model, frames"] == "mlp, 243"]
    assert row["MPJPE measured, mm (synthetic data, 243 frames)"] == 90.0
    assert row["latency of a clip, ms"] == 2.0
    counted = {row["model"]: (row["parameters"], row["whose"]) for row in cost_table(results).rows}
    assert counted == {"mlp": (10, "own"), "lstm": (10, "reference")}


def test_every_table_says_where_its_numbers_come_from():
    one = MODELS[0][0]
    own = [cost(one), speed(one), accuracy(one), training(one), scans(), lift(one), online(one), exported(one)]
    reference = [record.model_copy(update={"environment": scans().environment.model_copy(update={"cpu": "Other CPU"})})
                 for record in own]  # fmt: skip
    for make in TABLES:
        text = make(Results(own, reference=reference)).markdown()
        if make not in (compare_table, scaling_table):
            assert "Your own results were measured on: Test CPU, 2 threads. Reference results come" in text
            assert "were measured on: Other CPU, 2 threads." in text
        assert "Reference" not in make(Results(own)).markdown()


def test_without_ones_own_records_the_reference_is_read_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nothing = load()
    assert all(map(nothing.is_reference, nothing.records)) and len(nothing.records) == len(load_reference().records)
    write(tmp_path / "results/records", cost("mlp", frames=5))
    beside = load()
    assert [record.frames for record in beside.records if not beside.is_reference(record)] == [5]
    assert len(beside.records) == len(nothing.records) + 1


def test_the_shipped_tables_are_what_the_shipped_records_give():
    """After a change: liftbench render --reference."""
    results = load_reference()
    for table in tables(results):
        path = REFERENCE / ("ledger.md" if table.name == "ledger" else f"tables/{table.name}.md")
        assert table.markdown() == path.read_text(encoding="utf-8"), path.name


def test_rendering_the_reference_writes_the_files_that_are_shipped(tmp_path):
    results = Results([accuracy("mlp"), cost("posemamba_s")])
    written = {path.relative_to(tmp_path).as_posix() for path in render_reference(results, tmp_path).written}
    plots = {"plots/error_against_macs.png"}
    shipped = {path.relative_to(REFERENCE).as_posix() for path in REFERENCE.rglob("*.md")} - {"README.md"}
    assert written == shipped | plots


def test_the_shipped_results_are_small():
    assert sum(path.stat().st_size for path in REFERENCE.rglob("*") if path.is_file()) < 4_000_000


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="not a git checkout")
def test_git_ignores_what_users_make_and_keeps_the_reference():
    made = ["records/cost.jsonl", "tables/cost.md", "plots/speed.png", "report.html"]
    kept = ["__init__.py", "README.md", "reference/published.csv", "reference/records/cost.jsonl"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *(f"results/{name}" for name in made + kept)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == [f"results/{name}" for name in made]
