"""Records of several protocols: never in one table, on one axis, or under one name; the epoch beside every error."""

from liftbench.bench.report.plots import canvas, heat
from liftbench.bench.report.render import figures
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.errors.accuracy import accuracy as accuracy_table
from liftbench.bench.report.tables.papers import papers
from support import PUBLISHED
from support.records import accuracy, data

CPN = data(sha="v") | {"protocol": "h36m_videopose3d", "input": "cpn"}
TRUE_2D = data(sha="w") | {"protocol": "h36m_videopose3d", "input": "gt"}
MPI = data(sha="m") | {"protocol": "mpi_inf_3dhp", "input": "gt"}
RELEASED = {"origin": {}}


def on_mpi(model, **fields):
    record = accuracy(model, on=MPI, **fields)
    shares = {"pck_150mm_percent": 90.0, "auc_percent": 60.0}
    variants = {name: row | shares for name, row in record.variants.items()}
    return record.model_copy(update=shares | {"variants": variants})


def test_each_protocol_has_its_table():
    written = [accuracy("mlp", 90.0), accuracy("mlp", 51.0, on=CPN), accuracy("lstm", 40.0, on=CPN), on_mpi("mlp")]
    text = accuracy_table(Results(written, PUBLISHED)).markdown()
    parts = dict(part.split("\n", 1) for part in text.split("## Accuracy on ")[1:])
    assert list(parts) == [
        "synthetic data", "synthetic data (MPI-INF-3DHP), 2D ground truth", "synthetic data (VideoPose3D), CPN"
    ]  # fmt: skip
    h36m, mpi, videopose3d = parts.values()
    assert "| 51.0 |" in videopose3d and "| 51.0 |" not in h36m + mpi
    assert "| 90.0 |" in h36m and "| 90.0 | 60.0 |" in mpi
    assert "PCK" in mpi and "PCK" not in h36m + videopose3d
    assert "mean per action" in h36m and "prints the row frame-wise" in videopose3d and "valid frames" in mpi


def test_each_protocol_has_its_plots():
    results = Results([accuracy("mlp", 90.0), accuracy("mlp", 51.0, on=CPN)], PUBLISHED)
    labels = "synthetic_data", "synthetic_data_videopose3d_cpn"
    names = {name for name, _, _ in figures(results)}
    assert {f"per_action_{label}" for label in labels} < names
    with canvas.styled():
        titles = [canvas.title(heat.per_action(results, label)) for label in results.accuracy]
    assert ["synthetic data (VideoPose3D), CPN" in title for title in titles] == [False, True]


def test_names_of_data():
    own = data(origin={"kind": "own"}, sha="o") | {"protocol": "h36m_videopose3d", "input": "cpn"}
    written = [CPN, TRUE_2D, CPN | {"sha256": "x" * 64} | RELEASED, TRUE_2D | {"sha256": "y" * 64} | RELEASED, own]
    written += [MPI | {"sha256": "z" * 64} | RELEASED]
    results = Results([accuracy("mlp", on=one) for one in written], PUBLISHED)
    assert set(results.accuracy) == {
        "synthetic data (VideoPose3D), CPN", "synthetic data (VideoPose3D), 2D ground truth",
        "Human3.6M (VideoPose3D), CPN", "Human3.6M (VideoPose3D), 2D ground truth", "own data (VideoPose3D), CPN",
        "MPI-INF-3DHP, 2D ground truth",
    }  # fmt: skip
    assert {label for label in results.accuracy if label.startswith(("Human3.6M", "MPI"))} == results.real


def measured(table, *written):
    """{name: MPJPE measured} of one paper's table."""
    (found,) = [one for one in papers(Results(written, PUBLISHED)) if one.name == f"papers/{table}"]
    (header,) = [name for name in found.columns if name.startswith("MPJPE") and "measured" in name]
    return {row["name here"]: row[header] for row in found.rows}


def test_published_errors_stand_beside_those_of_their_protocol_only():
    """The LSTM is published with CPN detections and a mean over frames, PoseMamba with those of MotionBERT's file."""
    real, videopose3d = data(origin={}, sha="r"), CPN | RELEASED
    lstm = accuracy("lstm", 57.0, on=videopose3d, frames=81)
    by_frames = lstm.variants | {"frame-wise": lstm.variants["official"] | {"mpjpe_mm": 56.0}}
    written = [
        lstm.model_copy(update={"variants": by_frames}),
        accuracy("posemamba_s", 45.0, on=videopose3d),
        accuracy("posemamba_l", 12.0, on=TRUE_2D | RELEASED),
        accuracy("posemamba_b", 41.8, on=real),
        accuracy("mixste", 41.0, on=videopose3d),
        accuracy("motionbert", 39.0),
    ]
    detected = measured("posemamba_1", *written)
    assert (detected["posemamba_b"], detected["mixste"]) == (41.8, 41.0)
    assert all(isinstance(detected[name], Missing) for name in ("posemamba_s", "posemamba_l", "motionbert"))
    assert measured("lstm_transformer", *written)["lstm"] == 56.0, "the mean over frames, as it is published"
    true_2d = measured("posemamba_1_true_2d", *written, accuracy("posemamba_s", 21.0, on=real | {"input": "gt"}))
    assert true_2d["posemamba_s"] == 21.0 and isinstance(true_2d["posemamba_l"], Missing)


def test_the_accuracy_table_says_which_epoch_was_evaluated():
    told, untold = accuracy("mlp", 90.0), accuracy("lstm", 80.0)
    foreign = untold.checkpoint.model_copy(update={"epoch": None, "chosen_by": None})
    untold = untold.model_copy(update={"checkpoint": foreign})
    rows = accuracy_table(Results([told, untold], PUBLISHED)).rows
    by_model = {row["model"]: row for row in rows if row["protocol"] == "official"}
    assert (by_model["mlp"]["epoch"], by_model["mlp"]["epoch chosen"]) == (9, "lowest test MPJPE")
    assert by_model["lstm"]["epoch"].reason == "the weights do not say"
