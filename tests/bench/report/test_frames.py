"""Uses of records beyond tables: data frames, the choice of a model, the notebook in examples/."""

import json

import pandas as pd
import pytest

import liftbench
from liftbench.baselines.errors import InputError
from liftbench.bench.report.choose import choose
from liftbench.bench.report.results import Missing, Results, load_reference
from support import PUBLISHED, ROOT
from support.records import accuracy, cost, speed, training, write

NOTEBOOK = ROOT / "examples/compare_models.ipynb"
MACHINE = "Test CPU, 2 threads"


def test_records_as_a_data_frame_have_units_in_their_columns(tmp_path):
    folder = write(tmp_path, cost("mlp", 10), speed("mlp", 243.0), accuracy("mlp", 90.0), training("mlp"))
    table = liftbench.load_records(folder)
    own = table[~table.reference].set_index("kind")
    assert (own.loc["cost", "parameters"], own.loc["accuracy", "mpjpe_mm"]) == (10, 90.0)
    assert own.loc["speed", "ms_per_new_frame"] == 1.0 and pd.isna(own.loc["cost", "mpjpe_mm"])
    speeds = liftbench.load_records(folder, kind="speed")
    assert set(speeds.kind) == {"speed"} and "mpjpe_mm" not in speeds and not speeds.isna().all().any()
    with pytest.raises(InputError, match="of kind 'scan': there is no such"):
        liftbench.load_records(folder, kind="scan")


def test_published_figures_as_a_data_frame():
    table = liftbench.load_published()
    row = table[(table.registered == "stcformer_81") & (table.dataset == "Human3.6M")].iloc[0]
    assert (row.model, row.frames, row.mpjpe_mm, row.averaged_over) == ("STCFormer", 81, 42.0, "actions")
    assert table.source.notna().all() and table.mpjpe_mm.dtype == float


def test_a_choice_keeps_up_and_fits():
    written = [cost("posemamba_s", 1_470_211), cost("posemamba_l", 9_450_499), cost("mixste", 33_783_811)]
    written += [speed("posemamba_s", 100.0), speed("posemamba_l", 600.0), speed("mlp", 1e6)]
    results = Results(written, PUBLISHED)
    chosen, untimed = choose(results, MACHINE, fps=30)
    assert [(one.key.model, one.published_mm) for one in chosen] == [("posemamba_l", 38.1), ("posemamba_s", 41.8)]
    assert chosen[0].ms_per_new_frame == pytest.approx(600 / 243)
    assert "mixste" in untimed and "posemamba_l" not in untimed
    small, untimed = choose(results, MACHINE, fps=30, max_parameters=5e6)
    assert [one.key.model for one in small] == ["posemamba_s"] and "mixste" not in untimed
    other, untimed = choose(results, MACHINE, fps=30, frames=81)
    assert other == [] and "posemamba_s --frames 81" in untimed


def test_models_are_chosen_at_their_own_length_and_named_lengths_are_not_asked_for_at_others():
    results = Results([speed("posemamba_s", 100.0), speed("posemamba_s", 9.0, 27, frames=27)], PUBLISHED)
    assert [one.key.frames for one in choose(results, MACHINE, fps=30)[0]] == [243]
    short, untimed = choose(results, MACHINE, fps=30, frames=27)
    assert [one.key.frames for one in short] == [27]
    assert "stcformer_27" in untimed and not any(name.startswith("stcformer_243") for name in untimed)


def test_a_mean_over_frames_is_no_published_error_of_a_choice():
    (lstm,), _ = choose(Results([speed("lstm", 5.0, 1, frames=81)], PUBLISHED), MACHINE, fps=30)
    assert isinstance(lstm.published_mm, Missing)


def test_nothing_is_chosen_from_another_machine_s_times():
    with pytest.raises(InputError, match="no speed was measured on Mine. Run `liftbench measure speed MODEL...`, or"):
        choose(load_reference(), "Mine", fps=30)


def test_the_notebook_runs_and_was_run(monkeypatch, tmp_path):
    import matplotlib

    monkeypatch.chdir(tmp_path)
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in one.get("data", {}) for cell in cells for one in cell["outputs"])
    names = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    printed = "".join(text for cell in cells for one in cell["outputs"] for text in one.get("text", ""))
    for factor in ("macs_per_frame_by_thop", "macs_per_output_frame"):
        assert f" {names['ratio'][factor]:.0f} times as much by" in printed, "the outputs are those of these records"
    assert names["seen"].contraction_macs.total() == 27 * (34 * 256 + 256 * 51)
    names["plt"].close("all")
    matplotlib.use(before)
