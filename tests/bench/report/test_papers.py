"""The papers' tables and "at a glance": published beside measured, nothing invented, plain numbers in CSV."""

import io

import pandas as pd
import pytest

from liftbench.bench.report.results import Missing, Results, load_reference
from liftbench.bench.report.tables.at_a_glance import SHOWN, at_a_glance, lengths, overview
from liftbench.bench.report.tables.papers import PAPERS, papers
from liftbench.bench.report.tables.table import Table
from support import PUBLISHED, ROOT
from support.records import accuracy, cost, data, speed

SMALL = cost("posemamba_s", 1_470_211, 5_172_672_960, 6_133_708_800, (859_651, 3_587_426_496))


def table(name, *written):
    (found,) = [one for one in papers(Results(written, PUBLISHED)) if one.name == f"papers/{name}"]
    return found


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_a_paper_s_table_has_its_rows_in_order_and_each_has_a_published_figure(paper):
    found = table(paper.name)
    assert [(row["model"], row["frames"]) for row in found.rows] == [
        (f"{model} {variant}".strip(), frames) for model, variant, frames in paper.rows
    ]
    published = [name for name in found.columns if " published, " in name]
    for row in found.rows:
        assert list(row) == list(found.columns)
        assert any(not isinstance(row[name], Missing) for name in published)


def test_a_column_without_any_number_is_named_below_the_table():
    found = table("mdtf", cost("mdtf_tiny"))
    assert "MACs published, G" not in found.columns and "MACs counted, G" in found.columns
    assert "No column, since not printed in any source that could be read: MACs published, G." in found.notes


def test_published_and_counted_stand_side_by_side():
    row = next(row for row in table("posemamba_1", SMALL).rows if row["name here"] == "posemamba_s")
    assert (row["parameters published, M"], row["MPJPE published, mm"], row["MACs per frame published, M"]) == (
        "0.9", "41.8", "15"
    )  # fmt: skip
    assert row["parameters counted, M"] == pytest.approx(1.470211)
    assert row["MACs per frame counted, M"] == pytest.approx((5172.672960 + 6133.708800) / 243)
    assert "MPJPE measured, mm" not in row
    assert table("posemamba_1", SMALL).notes[-1].endswith("there is no run on Human3.6M.")


def test_an_error_measured_on_the_public_data_has_its_column():
    real = accuracy("posemamba_s", 61.0, on=data(origin={}, sha="r"))
    found = table("posemamba_1", real)
    row = next(row for row in found.rows if row["name here"] == "posemamba_s")
    assert row["MPJPE measured, mm"] == 61.0


def test_synthetic_errors_never_stand_beside_published_ones():
    assert not [name for name in table("posemamba_1", accuracy("posemamba_s", 61.0)).columns if "measured" in name]


def test_the_csv_of_a_paper_s_table_has_plain_numbers():
    frame = pd.read_csv(io.StringIO(table("posemamba_1", SMALL).csv()))
    numbers = [name for name in frame.columns if " published, " in name or " counted, " in name]
    assert len(numbers) == 8 and all(frame[name].dtype == float for name in numbers)
    assert frame["MPJPE published, mm"].min() == 38.1


def test_latex_sets_the_best_of_a_column_in_bold_once():
    text = table("posemamba_1", SMALL).latex()
    assert r"\textbf{38.1}" in text and text.count(r"\textbf{") == len(table("posemamba_1", SMALL).winners())
    one = Table("t", "T", {"model": "s", "fps": ".1f"}, [{"model": "a", "fps": 1}, {"model": "b", "fps": 2}],
                best={"fps": "most"})  # fmt: skip
    assert one.winners() == {"fps": 2} and r"b & \textbf{2.0} \\" in one.latex()
    assert Table("t", "T", one.columns, one.rows[:1], best=one.best).winners() == {}, "one number is no best"
    assert Table("t", "T", one.columns, 2 * one.rows[:1], best=one.best).winners() == {}, "nor are equal ones"


def test_the_overview_has_twelve_models_at_their_published_length_and_eight_columns():
    shipped = overview(load_reference())
    assert [row["model, frames"].split(",")[0] for row in shipped.rows] == list(SHOWN)
    assert len(shipped.rows) == 12 and len(shipped.columns) == 8
    whole = at_a_glance(load_reference())
    assert len(whole.rows) >= 27 and len({row["model, frames"].split(",")[0] for row in whole.rows}) == len(whole.rows)


def test_the_readme_shows_the_overview_as_the_records_give_it():
    """After a change of records: copy results/reference/tables/overview.md, with dashes alone for what is missing."""
    cells, _ = overview(load_reference()).texts(lambda number: "—", str)
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("`", "")
    assert "\n".join(f"| {' | '.join(row)} |" for row in cells) in text


def test_errors_published_by_another_mean_are_not_in_the_column():
    row = next(row for row in overview(load_reference()).rows if row["model, frames"] == "lstm, 81")
    assert row["MPJPE published, mm"].reason.startswith("55 mm is a mean over frames")


def test_one_s_own_models_are_in_the_overview_with_one_machine_and_one_data_set():
    own = [speed("mlp", 2.0), accuracy("mlp", 90.0, on=data(sha="c"))]
    reference = [
        cost("lstm", frames=81),
        speed("lstm", 1.0, 1, frames=81),
        accuracy("lstm", 70.0),
        accuracy("mlp", 80.0),
    ]
    found = overview(Results(own, PUBLISHED, reference))
    row = next(row for row in found.rows if row["model, frames"] == "mlp, 243")
    assert row["latency of a clip, ms"] == 2.0 and row[list(found.columns)[-1]] == 90.0
    lstm = next(row for row in found.rows if row["model, frames"] == "lstm, 81")
    assert isinstance(lstm["latency of a clip, ms"], Missing), "timed on another machine"


def test_a_new_frame_of_a_centre_frame_model_takes_a_whole_clip():
    written = [speed("posemamba_s", 243.0), speed("posemamba_s", 54.0, 27, frames=27)]
    written += [speed("lstm", 8.0, 1, frames=81), speed("lstm", 3.0, 1, frames=27)]
    rows = {(row["model"], row["frames"]): row["ms per new frame"] for row in lengths(Results(written)).rows}
    assert rows == {("posemamba_s", 27): 2.0, ("posemamba_s", 243): 1.0, ("lstm", 27): 3.0, ("lstm", 81): 8.0}
