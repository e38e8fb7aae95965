"""The ledger of published figures, its notes, and those of their facts that no other test shows."""

import ast
import csv
import io
import json
import shutil
from decimal import Decimal

import numpy as np
import pytest
import torch
from safetensors import safe_open

from liftbench import Human36M, create_model
from liftbench.baselines.evaluation.inference import predict
from liftbench.baselines.evaluation.protocols import score
from liftbench.baselines.registry import MODELS
from liftbench.baselines.training.loop import train
from liftbench.baselines.training.recipe import Recipe
from liftbench.bench.measure import cost as costs
from liftbench.bench.report.ledger import ledger
from liftbench.bench.report.ledger.notes import NOTES
from liftbench.bench.report.results import Missing, Results, load_reference
from liftbench.mdtf import Refinement
from liftbench.mdtf.model import GraphMixer
from support import GOLDEN, PUBLISHED, ROOT
from support.data import perfect
from support.records import accuracy, cost, data

UNREAD = Missing("not printed in any source that could be read")
UNEXPLAINED = "not reproduced by any counter"
MEASURED = "MPJPE measured here on Human3.6M, mm"


def rows(*written):
    return {(row["model"], row["data"]): row for row in ledger.ledger(Results(written, PUBLISHED)).rows}


@pytest.mark.parametrize(
    "figure, number, agree",
    [
        ("0.9", "0.859651", True), ("0.90", "0.859651", False), ("0.9", "0.85", True), ("0.9", "0.9500001", False),
        ("15", "14.763", True), ("15", "14.49", False), ("7.43", "7.429955", True), ("139.0", "138.94", False),
    ],
)  # fmt: skip
def test_a_figure_agrees_within_half_a_unit_of_its_last_digit(figure, number, agree):
    assert ledger.agrees(figure, Decimal(number)) is agree


def test_every_published_row_is_there_and_every_number_is_measured_published_or_missing():
    table = ledger.ledger(Results([], PUBLISHED))
    with PUBLISHED.open() as file:
        published = list(csv.DictReader(file))
    assert [(row["model"], row["MPJPE published, mm"]) for row in table.rows] == [
        (f"{row['model']} {row['variant']}".strip(), row["mpjpe_mm"] or UNREAD) for row in published
    ]
    for row in table.rows:
        assert list(row) == list(table.columns)
        assert isinstance(row["parameters by thop, M"], Missing) and isinstance(row[MEASURED], Missing)
    written = list(csv.DictReader(io.StringIO(table.csv())))
    assert written[0]["parameters published, M"] == "0.9"
    assert "parameters by thop, M: the cost of posemamba_s, 243 frames was not measured" in written[0]["missing"]


def test_verdicts():
    layout = MODELS["pose3dm_s"].official
    found = rows(
        cost("posemamba_s", 1_470_211, 5_172_672_960, 6_133_708_800, (859_651, 3_587_426_496)),
        cost("pose3dm_s", 856_179, 2_844_573_552, 2_760_168_960, (504_819, 2_097_424_368)),
        cost("pose3dm_s", 3_878_181, 2_844_573_552, 0, (504_819, 2_097_424_368), numbers=layout),
        cost("mdtf_large", 4_424_307, 17_628_794_640, 4_274_428_320, (2_579_000, 10_766_972_304)),
        cost("posemamba_b", 4_742_659, 13_943_083_392, 12_267_417_600, (3_300_000, 13_000_000_000)),
        cost("lstm", frames=81, output_frames=1),
    )
    verdicts = {
        model: (row["published parameters are"], row["published MACs are"])
        for (model, where), row in found.items()
        if where == "Human3.6M"
    }
    unpublished, uncounted = UNREAD, Missing("the cost of mixste, 243 frames was not measured")
    assert verdicts["PoseMamba S"] == ("thop's count", "thop's count")
    assert verdicts["Pose3DM S"] == ("thop's count", "thop's count")
    assert verdicts["MDTF Large"] == ("the true count", "not reproduced by any counter")
    assert verdicts["PoseMamba B"] == ("not reproduced by any counter", "the contractions")
    assert verdicts["LSTM_PoseNet"] == (unpublished, unpublished)
    assert verdicts["MixSTE"] == (uncounted, uncounted)
    assert found["Pose3DM S", "Human3.6M"]["parameters built officially, M"] == pytest.approx(3.878181)
    assert found["MDTF Large", "MPI-INF-3DHP"]["parameters in use, M"] == Missing(
        "the cost of mdtf_large, 81 frames was not measured"
    )


@pytest.mark.parametrize(
    "figure, number, cut", [("33.6", "33.69", True), ("198", "198.77", True), ("37", "38.1", False)]
)
def test_a_figure_may_be_cut_short(figure, number, cut):
    assert ledger.cut_short(figure, Decimal(number)) is cut
    whose = ledger._whose([figure], {"a counter": [Decimal(number)]})
    assert whose == ("a counter, cut short" if cut else "not reproduced by any counter")


def test_every_published_cost_of_a_comparator_is_explained_or_listed_as_not_reproduced():
    """Among the models whose costs are counted, no counter gives the MACs of MDTF and of PoseFormerV2's README."""
    rows = ledger.ledger(load_reference()).rows
    verdicts = {
        row["model"]: (row["published parameters are"], row["published MACs are"])
        for row in reversed(rows)  # a model's first row has its published length
        if row["data"] == "Human3.6M"
    }
    assert verdicts["MixSTE"] == ("thop's count, cut short", "thop's count")
    assert verdicts["MotionBERT scratch"] == verdicts["PoseMamba X"] == ("thop's count", "thop's count")
    for variant, macs in (("XS", ", cut short"), ("S", ""), ("B", ", cut short"), ("L", "")):
        assert verdicts[f"MotionAGFormer {variant}"][1] == f"thop's count{macs}"
    assert verdicts["STCFormer L"] == ("thop's count and the true count", "thop's count")
    unexplained = {row["model"].split()[0] for row in rows if row["published MACs are"] == UNEXPLAINED}
    assert unexplained == {"MDTF", "PoseFormerV2"}


def test_one_figure_that_does_not_agree_is_enough():
    """13.9 G of a clip, but 60 M of a frame instead of 57 M."""
    counts = {"a counter": [Decimal("13.943"), Decimal("60")]}
    assert ledger._whose(["13.9", "57"], counts) == "not reproduced by any counter"
    assert ledger._whose(["13.9", Missing("")], counts) == "a counter"


def test_only_errors_on_human36m_with_the_published_input_are_shown():
    real = data(origin={}, sha="r")
    found = rows(
        accuracy("posemamba_s", 43.0, on=real),
        accuracy("posemamba_b", 61.0),
        accuracy("posemamba_l", 16.0, on=real | {"input": "gt"}),
        accuracy("lstm", 56.0, on=real, frames=81),
        accuracy("mdtf_large", 15.0, on=real | {"input": "gt"}, frames=81),
    )
    assert found["PoseMamba S", "Human3.6M"][MEASURED] == 43.0
    for model in ("PoseMamba B", "PoseMamba L", "LSTM_PoseNet"):
        assert found[model, "Human3.6M"][MEASURED].reason.startswith("not evaluated here on Human3.6M with")
    assert found["MDTF Large", "MPI-INF-3DHP"][MEASURED] == Missing("a row of MPI-INF-3DHP, not of Human3.6M")


def test_reports_of_users_come_with_their_source():
    for row in ledger.ledger(Results([], PUBLISHED)).rows:
        reported, source = row["users report, mm"], row["source of the users' reports"]
        assert isinstance(reported, Missing) == isinstance(source, Missing)
        assert not isinstance(row["source"], Missing)


def functions(path):
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_note_links_to_tests_that_exist():
    for note in NOTES:
        assert note.tests
        for file, test in note.tests:
            assert test.startswith("test_") and test in functions(ROOT / file), f"{file}::{test}"


def test_the_shipped_ledger_is_what_the_records_give():
    """After a change: liftbench render --reference."""
    text = ledger.ledger(load_reference()).markdown()
    assert text == (ROOT / "results/reference/ledger.md").read_text(encoding="utf-8")
    assert "was not measured" not in text.partition("## Ledger: errors")[0]
    assert text.count("| PoseMamba S |") == 1 + 1 + 3  # parameters; MACs; errors on two sets of data, of two lengths


# Facts that the notes state and no other test shows.


def test_thop_misses_the_attention_of_the_transformer():
    """The projections of 3 layers: queries, keys, values and output, 256 -> 256 each with its bias."""
    model = create_model("transformer")
    by_thop = costs.count_by_thop(model, torch.zeros(1, 81, 17, 2)).parameters
    assert sum(parameter.numel() for parameter in model.parameters()) - by_thop == 3 * 4 * (256 * 256 + 256)


@pytest.mark.parametrize("name, published", [("mdtf_tiny", "12.8"), ("mdtf_large", "58.7")])
def test_the_macs_of_mdtf_are_reproduced_by_no_counter(name, published):
    """thop counts too little; the contractions are too many even without the scans."""
    model, clip = create_model(name), torch.zeros(1, 243, 17, 3)
    by_thop, contractions = costs.count_by_thop(model, clip).macs, costs.count(model, clip).contraction_macs.total()
    by_thop, contractions = (Decimal(macs) / 243 / 10**6 for macs in (by_thop, contractions))
    assert by_thop < Decimal(published) < contractions
    assert not ledger.agrees(published, by_thop) and not ledger.agrees(published, contractions)


def test_mdtf_needs_the_modules_that_are_commented_out():
    large = Refinement(243, embed_dim=128, depth=12)
    stage_1 = 110_526
    built = sum(parameter.numel() for parameter in large.parameters())
    for mixer in large.modules():
        if isinstance(mixer, GraphMixer):
            del mixer.gcn_b, mixer.norm_gcn_b
    as_published = sum(parameter.numel() for parameter in large.parameters())
    assert ledger.agrees("4.4", Decimal(stage_1 + built) / 10**6)
    assert ledger.agrees("4.0", Decimal(stage_1 + as_published) / 10**6)
    with pytest.raises(AttributeError, match="gcn_b"):
        large(torch.zeros(1, 3, 17, 6))


def test_the_best_epoch_is_chosen_on_the_test_subjects(synthetic_dataset, tmp_path):
    recipe = Recipe(
        model="mlp", frames=9, stride=20, loss={"mpjpe": 1}, learning_rate=0.03, learning_rate_decay=1, epochs=6,
        batch_size=64,
    )  # fmt: skip
    history, _ = train(recipe, synthetic_dataset, tmp_path, "cpu")
    errors = [row["test_mpjpe_mm"] for row in history]
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items()}
    assert metadata["chosen_by"] == "lowest MPJPE on the test subjects"
    assert metadata["epoch"] == np.argmin(errors) != len(errors) - 1
    assert min(errors) < errors[-1]


def test_frames_behind_the_last_full_clip_are_not_evaluated(synthetic_dataset):
    frames = 9
    covered = np.unique(synthetic_dataset.clips("test", frames))
    lengths = np.bincount(synthetic_dataset.sources("test")[0])
    assert (lengths >= frames).all(), "no take is so short that it is stretched"
    assert synthetic_dataset.frames("test") - len(covered) == (lengths % frames).sum() > 0


def test_a_published_error_takes_two_passes(synthetic_dataset):
    calls = []

    class Model(torch.nn.Module):
        def forward(self, keypoints):
            calls.append(len(keypoints))
            return torch.zeros(*keypoints.shape[:3], 3)

    predict(Model(), synthetic_dataset, synthetic_dataset.clips("test", 27)[:5], channels=2)
    assert calls == [5, 5]


def test_the_ground_truth_gives_the_scale(monkeypatch, tmp_path):
    """With twice the factor the perfect prediction becomes a pose of twice the size, as wrong as a single point."""
    dataset = Human36M(shutil.copy(GOLDEN / "h36m_sh_conf_cam_source_final.pkl", tmp_path))
    frames = dataset.clips("test", 27)
    truth, point = perfect(dataset, frames), np.zeros((*frames.shape, 17, 3))
    factors = dataset.factors
    monkeypatch.setattr(dataset, "factors", lambda *which: 2 * factors(*which))
    of_truth, of_point = (score(dataset, poses, frames)["mpjpe_mm"] for poses in (truth, point))
    assert of_truth == pytest.approx(of_point, rel=1e-4)
    assert of_point > 100
