import itertools
import re
import shutil
import subprocess
import sys
from datetime import timedelta

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest

from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import MODELS
from liftbench.bench.records import read
from liftbench.bench.report.plots import bars, canvas, errors, labels, operators, scaling, training
from liftbench.bench.report.plots import scan as scan_plots
from liftbench.bench.report.render import figures, render
from liftbench.bench.report.results import Missing, Results, load_reference
from liftbench.bench.report.tables.at_a_glance import lengths
from liftbench.bench.report.tables.errors.accuracy import accuracy as accuracy_table
from liftbench.bench.report.tables.export import export as export_table
from liftbench.bench.report.tables.latex import PACKAGES
from liftbench.bench.report.tables.papers import PAPERS
from liftbench.bench.report.tables.scaling import scaling as scaling_table
from liftbench.bench.report.tables.scan import scan as scan_table
from liftbench.bench.report.tables.speed import compare as compare_table
from liftbench.bench.report.tables.speed import speed as speed_table
from liftbench.bench.report.tables.table import Table
from support import PUBLISHED
from support.records import (
    TIME,
    accuracy,
    compared,
    cost,
    exported,
    online,
    scaled,
    scans,
    speed,
    write,
)
from support.records import training as training_record


@pytest.fixture
def run(whole_run):
    return whole_run


def test_times_of_other_lengths_only_are_drawn_beside_the_reference():
    """A newcomer times small models at nine frames: none of those that the pictures show otherwise."""
    own = [speed("lstm", frames=9, output_frames=1), speed("mlp", frames=9, output_frames=1)]
    there = scans().environment.model_copy(update={"cpu": "Other CPU"})
    theirs = [speed(name, frames=MODELS[name].frames, output_frames=1) for name in ("lstm", "mlp")]
    results = Results(own, reference=[one.model_copy(update={"environment": there}) for one in theirs])
    figure = bars.speed(results, "Test CPU, 2 threads")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["lstm, 9", "mlp, 9"]


def test_a_whole_run_gives_every_table_and_plot(run):
    folder, result = run
    plots = ["error_against_macs", "cost_by_operator", "memory"]
    plots += [f"{name}_test_cpu_2_threads" for name in ("error_against_speed", "speed")]
    plots += [f"{name}_synthetic_data" for name in ("per_action", "training", "online")]
    plots += ["scaling_test_cpu_2_threads"]
    plots += [f"scan_{name}_test_cpu_2_threads" for name in ("time", "memory", "ceiling")]
    expected = [
        f"tables/{name}.{end}"
        for name in (
            "overview",
            "at_a_glance",
            "ledger",
            "accuracy",
            "cost",
            "cost/by_operator",
            "cost/by_module",
            "cost/export",
            "lengths",
            "speed",
            "compare",
            "scaling",
            "scan",
            "lift/errors",
            "lift/gait",
            "lift/online",
        )  # fmt: skip
        for end in ("md", "csv", "tex")
    ]
    expected += [f"tables/papers/{paper.name}.{end}" for paper in PAPERS for end in ("md", "csv", "tex")]
    expected += [f"plots/{name}.png" for name in plots] + ["report.html"]
    assert [str(path.relative_to(folder / "out")) for path in result.written] == expected
    assert sorted(path for path in (folder / "out").rglob("*") if path.is_file()) == sorted(result.written)
    assert result.skipped == []


def test_rendering_twice_gives_the_same_bytes_and_leaves_no_state(run, tmp_path):
    folder, first = run
    settings = dict(matplotlib.rcParams)
    second = render(Results(read(folder / "records")), tmp_path)
    for one, other in zip(first.written, second.written, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    assert dict(matplotlib.rcParams) == settings
    assert not matplotlib.pyplot.get_fignums()


def test_svg_is_written_beside_every_png_on_request_only(tmp_path):
    results = Results([cost("posemamba_s")])
    assert not [path for path in render(results, tmp_path / "png").written if path.suffix == ".svg"]
    written = render(results, tmp_path / "both", svg=True).written
    pictures = {suffix: {path.stem for path in written if path.suffix == suffix} for suffix in (".png", ".svg")}
    assert pictures[".png"] == pictures[".svg"] != set()
    for path in written:
        if path.suffix == ".svg":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_rendering_needs_no_pytorch(tmp_path, small_reference):
    """It takes seconds to import."""
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    code += f"; from liftbench.bench.report import results; results.REFERENCE = results.Path({str(small_reference)!r})"
    code += "; from liftbench.bench.cli import main; main()"
    records, out = write(tmp_path / "records", cost("mlp")), tmp_path / "out"
    command = [sys.executable, "-c", code, "render", "--records", str(records), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False" and (out / "report.html").exists()


def test_what_is_missing_is_skipped_with_a_reason(tmp_path):
    result = render(Results([cost("posemamba_s")]), tmp_path)
    assert [sentence for sentence in result.skipped if "there are no" in sentence] == [
        "Plot error_against_speed was not made: there are no speed records.",
        "Plot speed was not made: there are no speed records.",
        "Plot per_action was not made: there are no accuracy records.",
        "Plot training was not made: there are no training records.",
        "Plot online was not made: there are no online records.",
        "Plot scaling was not made: there are no scaling records.",
        *(f"Plot scan_{name} was not made: there are no scan records." for name in ("time", "memory", "ceiling")),
    ]
    assert {path.stem for path in result.written} == {
        "overview", "at_a_glance", "ledger", "cost", "by_module", "by_operator", "error_against_macs",
        "cost_by_operator", "memory", "report", *(paper.name.split("/")[-1] for paper in PAPERS),
    }  # fmt: skip


def test_records_of_real_time_alone_are_drawn_and_named_as_not_real(tmp_path):
    result = render(Results([online("lstm"), online("file.py:build", repeated=(0, 0, 0))]), tmp_path)
    assert {tmp_path / "plots/online_synthetic_data.png", tmp_path / "tables/lift/online.md"} <= set(result.written)
    text = (tmp_path / "report.html").read_text()
    assert "What real time costs" in text and "synthetic data" in text[text.index('id="protocol"') :]


def test_an_interrupted_write_leaves_the_file_before(tmp_path, monkeypatch):
    def crash(*arguments):
        raise KeyboardInterrupt

    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/overview.md").write_text("before")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", crash)
        render(Results([cost("posemamba_s")]), tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["overview.md"]
    assert (tmp_path / "tables/overview.md").read_text() == "before"


def test_a_full_disk_leaves_the_files_before(tmp_path, full_disk):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/overview.md").write_text("before")
    full_disk(100_000)  # enough for the tables, not for the report
    with pytest.raises(InputError, match="Cannot write .*report.html: File too large"):
        render(Results([cost("posemamba_s")]), tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["overview.md"]
    assert (tmp_path / "tables/overview.md").read_text() == "before"


def test_published_rows_need_the_published_frames_and_settings():
    written = [
        cost("posemamba_s", frames=27), cost("posemamba_b", numbers={"depth": 2}), cost("posemamba_toy", frames=27),
    ]  # fmt: skip
    results = Results(written, PUBLISHED)
    assert [results.published_row(key) for key in results.keys] == [
        Missing("published for clips of 243 frames only"),
        Missing("published without these settings"),
        Missing("no numbers are published for this model"),
    ]
    assert [key.label for key in results.keys] == [
        "posemamba_s, 27 frames", "posemamba_b, depth=2, 243 frames", "posemamba_toy, 27 frames"
    ]  # fmt: skip


TABLE = Table(
    "t",
    "A & B",
    {"model": "s", "x_y, mm": ".1f", "z": "d"},
    [
        {"model": "a_b|c", "x_y, mm": 1.25, "z": Missing("too slow")},
        {"model": "d", "x_y, mm": Missing("50 % done"), "z": 7},
    ],
    ["A note."],
)


def test_markdown_marks_missing_numbers_with_a_footnote():
    assert TABLE.markdown() == (
        "## A & B\n\n"
        "| model | x_y, mm | z |\n| --- | ---: | ---: |\n"
        "| a_b\\|c | 1.2 | —<sup>1</sup> |\n| d | —<sup>2</sup> | 7 |\n\n"
        "1. too slow\n2. 50 % done\n\nA note.\n"
    )


def test_csv_keeps_all_digits_and_says_what_is_missing():
    assert TABLE.csv() == 'model,"x_y, mm",z,missing\na_b|c,1.25,,z: too slow\nd,,7,"x_y, mm: 50 % done"\n'


def test_latex_is_escaped_and_uses_booktabs():
    text = TABLE.latex()
    assert r"\caption{A \& B}" in text
    assert r"model & x\_y, mm & z \\" in text
    assert r"a\_b\textbar{}c & 1.2 & ---\textsuperscript{1} \\" in text
    assert r"\textsuperscript{2}~50 \% done." in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_all_latex_is_balanced_and_without_bare_special_characters(run):
    """Every row of a tabular has as many cells as the tabular has columns, too."""
    for path in (run[0] / "out/tables").rglob("*.tex"):
        text = path.read_text()
        assert text.startswith(PACKAGES)
        text = text.replace(PACKAGES, "")
        assert text.count("{") == text.count("}") and text.isascii()
        assert not re.search(r"(?<!\\)[_%#$]", text), path.name
        for sides, body in re.findall(r"\{!\}\{\\begin\{tabular\}\{([lr]+)\}(.*?)\\bottomrule", text, re.DOTALL):
            body = re.sub(r"\\begin\{tabular\}\[.\]\{@\{\}.@\{\}\}.*?\\end\{tabular\}", "cell", body)
            lines = [line for line in body.splitlines() if line.endswith(r" \\")]
            assert len(lines) > 1 and {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(sides)}, path.name
        assert re.findall(r"\\(begin|end)\{table\}", text) == ["begin", "end"] * text.count(r"\begin{table}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on the PATH")
def test_all_latex_compiles_and_fits_the_page(run, tmp_path):
    files = sorted((run[0] / "out/tables").rglob("*.tex"))
    wide = Table(
        "wide", "Wide", {f"column {i}": "s" for i in range(40)}, [{f"column {i}": "<|>~^" for i in range(40)}] * 90
    )
    (tmp_path / "wide.tex").write_text(wide.latex())
    inputs = "\n".join(rf"\input{{{path}}}\clearpage" for path in [*files, "wide.tex"])
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{inputs}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert not re.search("Overfull|too large|Undefined", done.stdout)
    assert len(files) == 16 + len(PAPERS)


def test_wide_and_long_latex_is_split_and_every_part_names_its_rows():
    row = {"model": "a_b", "frames": 9} | {f"quantity {i}, M": "123,456.7" for i in range(14)}
    columns = {"model": "s", "frames": "d"} | {f"quantity {i}, M": "s" for i in range(14)}
    parts = Table("t", "Many", columns, [row] * 70, ["A note."]).latex().split(r"\begin{table}")[1:]
    assert [len(re.findall(r"a\\_b & 9 & 123,456.7", part)) for part in parts] == [58, 12, 57, 13]
    assert [re.search(r"\((.*)\)", part)[1] for part in parts] == [f"{n} of 4" for n in (1, 2, 3, 4)]
    assert ["A note." in part for part in parts] == [False, False, False, True]


def test_large_numbers_have_no_exponents():
    table = Table("t", "T", {"model": "s", "ms": ",.3g"}, [{"model": "a", "ms": 12345.6}, {"model": "b", "ms": 0.1234}])
    assert [cells[1] for cells in table.texts(str, str)[0]] == ["12,346", "0.123"]


def test_the_accuracy_table_has_a_row_a_variant_and_the_mean_pose():
    table = accuracy_table(Results([accuracy("mlp", 90.0, frames=27)], PUBLISHED))
    assert [(row["model"], row["protocol"]) for row in table.rows] == [
        ("mlp", "official"), ("mlp", "frame-wise"), ("mlp", "without flip"), ("constant mean pose", "official"),
    ]  # fmt: skip
    assert table.rows[0]["acceleration error, mm/frame^2"].reason.startswith("not defined")
    assert table.rows[-1]["MPJPE, mm"] == 260.0


def test_the_scan_table_has_ratios_and_says_what_is_missing():
    rows = scan_table(Results([scans()], PUBLISHED)).rows
    assert [(row["case"], row["call"], row["contender"]) for row in rows[:4]] == [
        ("length 17", "forward", "cpu"), ("length 17", "forward", "mambapy"), ("length 17", "forward", "reference"),
        ("PoseMamba-B", "forward", "cpu"),
    ]  # fmt: skip
    cpu, public, _, _, _, slow = rows[:6]
    assert cpu["ratio to the fastest public one"] == pytest.approx(4)
    assert public["ratio to the fastest public one"] == Missing("it is public itself")
    assert cpu["state steps/s, 1e9"] == pytest.approx(8192 * 17 / (1.1 * 17e-3) / 1e9)
    assert cpu["of the ceiling, %"] == pytest.approx(100 * cpu["state steps/s, 1e9"] / 10)  # 130 / 13, under 40 * 1
    assert slow["ms"] == slow["peak memory, MiB"] == Missing("too slow: a call would take about 9 s, 1 s are allowed")
    assert cpu["kept for backward, MiB"] == Missing("no backward pass")


def test_a_quick_scan_run_does_not_take_the_place_of_a_whole_one():
    later = TIME + timedelta(days=1)
    results = Results([scans(), scans(quick=True, created_utc=later)], PUBLISHED)
    assert not results.scan["Test CPU, 2 threads"].quick
    assert Results([scans(quick=True)], PUBLISHED).scan["Test CPU, 2 threads"].quick
    assert results.keys == []


def boxes_of(figure):
    """Return (axes, labels, boxes of the labels) of a figure with one panel."""
    (ax,) = figure.axes
    texts = [text for text in ax.texts if text.get_text()]
    return ax, texts, [text.get_window_extent(figure.canvas.get_renderer()) for text in texts]


def crosses(box, line):
    """Whether a line, in pixels, runs through a box."""
    steps = np.concatenate([np.linspace(one, other, 200) for one, other in itertools.pairwise(line)])
    return bool(((steps > (box.x0, box.y0)) & (steps < (box.x1, box.y1))).all(axis=1).any())


@pytest.mark.parametrize("name", ["error_against_macs", "error_against_speed"])
def test_every_published_model_has_its_point_and_its_label_which_covers_nothing(name):
    """Neither another label nor a point, nor the line of what nothing beats."""
    results = load_reference()
    machine = (
        []
        if name.endswith("macs")
        else [max(results.speed, key=lambda one: len({key.model for key in results.speed[one]}))]
    )
    with canvas.styled():
        figure = getattr(errors, name)(results, *machine)
        ax, texts, boxes = boxes_of(figure)
        frame = ax.get_window_extent(figure.canvas.get_renderer())
        named = {text.get_text() for text in ax.get_legend().get_texts()}
    assert named == {
        "PoseMamba", "Pose3DM", "MDTF", "MotionAGFormer", "MixSTE", "MotionBERT", "STCFormer", "PoseFormerV2",
        "VideoPose3D",
    }  # fmt: skip
    assert len(texts) >= 21 and {"243", "27", "X, 243", "Tiny, 243", "scratch, 243"} < {t.get_text() for t in texts}
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    points = [ax.transData.transform(line.get_xydata()) for line in ax.lines if len(line.get_xdata()) == 1]
    assert not [point for (point,) in points for box in boxes if box.contains(*point)]
    (front,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert not any(crosses(box, ax.transData.transform(front.get_xydata())) for box in boxes)


def test_every_picture_is_as_wide_as_a_column_and_nothing_is_cut_off():
    results = Results([], reference=load_reference().records)
    with canvas.styled():
        for name, draw, _ in figures(results):
            figure = draw()
            assert figure.get_figwidth() == pytest.approx(85 / 25.4, abs=0.01), name
            box = figure.get_tightbbox()
            assert box.x0 > -0.01 and box.x1 < figure.get_figwidth() + 0.01, name
            assert box.y0 > -0.01 and box.y1 < figure.get_figheight() + 0.01, name


def test_long_names_make_a_picture_wider():
    name = "a_model_of_ones_own_with_a_name_that_is_as_long_as_a_line"
    results = Results([speed(name), cost(name), training_record(name)], PUBLISHED)
    with canvas.styled():
        for figure in (bars.speed(results, *results.speed), bars.memory(results), operators.cost_by_operator(results),
                       training.training(results, *results.training)):  # fmt: skip
            assert figure.get_figwidth() > canvas.COLUMN and figure.get_tightbbox().x0 > -0.01
            assert all(ax.get_position().width * figure.get_figwidth() > 0.89 for ax in figure.axes)


def test_reference_pictures_are_few_and_give_way_to_ones_own():
    names = [name for name, *_ in figures(Results([], reference=load_reference().records))]
    assert len(names) <= 13 and len({name.partition("_amd")[0] for name in names}) >= 11
    own = [name for name, *_ in figures(Results([speed("mlp")], reference=load_reference().records))]
    assert "speed_test_cpu_2_threads" in own and not any(name.startswith("speed_amd") for name in own)


def test_an_arrow_leads_from_the_published_count_to_ours():
    written = cost("posemamba_s", contraction=243 * 40 * 10**6), cost("stcformer_243", contraction=243 * 80 * 10**6)
    with canvas.styled():
        (ax,) = errors.error_against_macs(Results(written, PUBLISHED)).axes
    arrows = [(text.xyann, text.xy) for text in ax.texts if text.arrowprops]
    assert arrows == [
        ((15.0, 41.8), (pytest.approx(40), 41.8)),
        ((pytest.approx(19.6e3 / 243), 41.0), (pytest.approx(80), 41.0)),
    ], "STCFormer's are published of a clip only"


def test_errors_measured_on_other_data_are_not_drawn():
    with canvas.styled():
        (ax,) = errors.error_against_macs(Results([cost("posemamba_s"), accuracy("posemamba_s", 61.0)], PUBLISHED)).axes
        assert errors.error_against_macs(Results([cost("mlp"), accuracy("mlp", 61.0)], PUBLISHED)) is None
    assert {y for line in ax.lines for y in line.get_ydata()} == {41.8}


def test_published_numbers_that_cannot_be_read_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="Cannot read the published numbers"):
        Results([], tmp_path / "nowhere.csv")
    (tmp_path / "other.csv").write_text("model,variant\n")
    with pytest.raises(InputError, match="there is no column auc_percent. Add it"):
        Results([], tmp_path / "other.csv")


def test_a_number_that_cannot_be_read_is_quoted_in_short(tmp_path):
    table = pd.read_csv(PUBLISHED, dtype=str)
    table.loc[0, "mpjpe_mm"] = 999 * "x"
    table.to_csv(tmp_path / "long.csv", index=False)
    with pytest.raises(InputError, match="Unable to parse string .*Write a number") as refused:
        Results([], tmp_path / "long.csv")
    assert len(str(refused.value)) < 400


def test_the_pareto_front_holds_what_nothing_is_better_than():
    points = [(3, 5, "on it"), (1, 9, "on it"), (2, 9, "dearer"), (3, 6, "worse"), (4, 5, "dearer"), (9, 1, "on it")]
    assert errors.pareto_front(points) == [(1, 9), (3, 5), (9, 1)]


def test_bars_of_the_cost_add_up_to_all_macs():
    written = [cost("mlp", contraction=486 * 10**6), cost("posemamba_s", contraction=7290 * 10**6, scan=21870 * 10**6)]
    with canvas.styled():
        (ax,) = operators.cost_by_operator(Results(written, PUBLISHED)).axes
    bars = {container.get_label(): [bar.get_width() for bar in container] for container in ax.containers}
    assert bars == {"linear": [25.0, 100.0], "scan": [75.0, 0.0]}
    assert [text.get_text() for text in ax.texts] == ["25", "100", "75", "120 M", "2 M"]


def test_dots_of_the_memory_leave_out_what_was_not_counted():
    known, unknown = cost("mlp", parameters=2**20), cost("lstm")
    unknown = unknown.model_copy(
        update={"activation_bytes_kept_for_backward": None, "gradient_missing": "it does not train on one clip alone"}
    )
    with canvas.styled():
        figure = bars.memory(Results([known, unknown], PUBLISHED))
        (ax,) = figure.axes
        assert [text.get_text() for text in ax.texts] == [
            "peak,\nMiB", "9.54e-05", "10", "kept,\nMiB", "—", "100"
        ]  # fmt: skip
        assert sorted(line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())) == [100 / 2**20, 10, 100]
        assert "—: it does not train on one clip alone." in " ".join(figure.texts[-1].get_text().split())
        nothing = unknown.model_copy(update={"activation_bytes_peak_inference": None})
        assert bars.memory(Results([nothing], PUBLISHED)) is None


def test_the_speed_of_a_pose_is_that_of_a_clip_and_of_the_best_batch():
    """243 poses in 243 ms, and in a batch of 8 a quarter less."""
    results = Results([speed("posemamba_s", 243.0)], PUBLISHED)
    with canvas.styled():
        (ax,) = bars.speed(results, *results.speed).axes
    assert [text.get_text() for text in ax.texts][1::2] == ["1", "1,333"]
    assert [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())] == [0.75, 1]


def test_beside_reference_records_a_picture_shows_the_overview_and_ones_own():
    reference = [cost("posemamba_s"), cost("posemamba_b"), cost("lstm", frames=81)]
    keys = canvas.shown(Results([cost("mlp")], PUBLISHED, reference))
    assert [key.model for key in keys] == ["posemamba_s", "lstm", "mlp"]
    assert [key.model for key in canvas.shown(Results(reference, PUBLISHED))] == ["posemamba_s", "posemamba_b", "lstm"]


def test_a_ring_marks_where_any_attention_model_costs_more_than_one_with_scans():
    """mixste takes half of posemamba_s's time at 27 frames and twice its time at 2187: both meet at 243."""
    results = load_reference()
    machine, record = next((name, one) for name, one in results.scaling.items() if not one.quick)
    known = [one for one in record.points if one.axis == "frames" and one.model == "posemamba_s" and one.median_ms]
    slower = [
        one.model_copy(update={"model": "mixste", "median_ms": one.median_ms * (one.frames / 243) ** 0.3})
        for one in known
    ]
    points = [one for one in record.points if one.model != "mixste"] + slower
    results.scaling[machine] = record.model_copy(update={"points": points})
    with canvas.styled():
        figure = scaling.scaling(results, machine)
        time = figure.axes[0]
        texts = [text.get_text() for text in time.texts]
        boxes = [text.get_window_extent(figure.canvas.get_renderer()) for text in time.texts]
        footnote = " ".join(figure.texts[-1].get_text().split())
    assert "posemamba_s and mixste at 243" in footnote and "mixste and" not in footnote
    assert any(text.startswith("posemamba_s $T^") for text in texts)
    rings = [line.get_xdata()[0] for line in time.lines if line.get_markersize() == 8]
    assert any(ring == pytest.approx(243) for ring in rings)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_labels_stay_beside_the_axes():
    assert labels.within([1.2, 1.1, 0.5], 0.2) == pytest.approx([0.9, 0.7, 0.5])
    assert labels.within([0.0, 0.5], 0.2) == pytest.approx([0.1, 0.5])


def test_labels_beside_curves_part_no_further_than_they_must():
    assert labels.spread([50, 50, 90, 50], 5) == pytest.approx([45, 50, 90, 55])
    assert labels.spread([3, 0, 1], 2) == pytest.approx([10 / 3, -2 / 3, 4 / 3])


def test_other_settings_stay_apart_from_the_plain_forward_pass():
    plain, step = speed("mlp", 10.0), speed("mlp", 30.0, minutes=5).model_copy(update={"call": "training step"})
    results = Results([plain, step], PUBLISHED)
    (machine,) = results.speed
    assert [group.latency.median_ms for group in results.speed[machine].values()] == [10.0]
    rows = speed_table(results).rows
    assert [(row["setting"], row["latency, ms"]) for row in rows] == [("forward", 10.0), ("training step", 30.0)]
    (row,) = [row for row in lengths(Results([plain, step, speed("mlp", frames=27)])).rows if row["frames"] == 243]
    assert row["latency of a clip, ms"] == 10.0


def test_only_the_newest_comparison_of_a_pair_counts():
    later = compared(ratio=4.0, created_utc=TIME + timedelta(minutes=1))
    (row,) = compare_table(Results([later, compared()], PUBLISHED)).rows
    assert (row["ratio"], row["first"]) == (4.0, "posemamba_s, 243 frames (chunked, float32, eager)")


def test_the_scaling_table_holds_exponents_and_crossovers():
    rows = {row["model"]: row for row in scaling_table(Results([scaled(), scaled(quick=True)], PUBLISHED)).rows}
    mamba, attention = rows["pose3dm_s"], rows["transformer"]
    assert mamba["time ~ frames^"] == pytest.approx(1) and attention["time ~ frames^"] == pytest.approx(2)
    assert mamba["attention takes longer from frame"] == pytest.approx(270)
    assert rows["posemamba_s"]["attention takes longer from frame"].reason.startswith("not within the lengths")
    assert rows["posemamba_s"]["attention needs more MACs from frame"] == pytest.approx(270)
    assert rows["posemamba_s"]["frames timed up to"] == 243


def test_curves_of_training_end_at_their_labels_and_skip_epochs_without_a_test():
    errors_mm = [200.0, float("nan"), 100.0, float("nan")]
    with canvas.styled():
        test, loss = training.curves("A run", [("mlp", "mlp", range(4), [1.0, 0.5, 0.2, 0.1], errors_mm)]).axes
    assert [list(line.get_xdata()) for line in (test.lines[0], loss.lines[0])] == [[1, 3], [1, 2, 3, 4]]
    for ax, end in ((test, (3, 100.0)), (loss, (4, 0.1))):
        (text,), joint = ax.texts, ax.lines[1]
        assert text.get_text() == f"mlp  {end[1]:.3g}"
        at = ax.transAxes.inverted().transform(ax.transData.transform(end))
        assert (joint.get_xdata()[0], joint.get_ydata()[0]) == pytest.approx(tuple(at))


def test_gaps_and_ends_of_curves_of_scans_say_why():
    one = scans().comparisons[0].timings[0]
    gap = one.model_copy(update={"median_ms": None, "missing": "too busy: p80 - p20 is 80 % of the median"})
    assert scan_plots._gaps([{"cpu": [(17, one), (64, gap), (243, one)]}]) == ["Gaps and ends: too busy (cpu)."]
    assert scan_plots._gaps([{"cpu": [(17, one)]}]) == []


def test_a_scan_s_share_of_the_ceiling_is_that_of_the_table():
    results = Results([scans()], PUBLISHED)
    with canvas.styled():
        (ax,) = scan_plots.scan_ceiling(results, *results.scan).axes
    table = {row["contender"]: row["of the ceiling, %"] for row in scan_table(results).rows
             if (row["case"], row["call"]) == ("PoseMamba-B", "forward")}  # fmt: skip
    shares = [line.get_xdata()[0] for line in ax.lines]
    assert shares == pytest.approx([table["cpu"], table["mambapy"]])


def test_the_table_of_exports_has_the_newest_of_each_model_and_format():
    busy = {"missing": "too busy: a test", "own_ms": None, "file_ms": None, "ratio": None}
    files = [
        exported("mlp", minutes=1), exported("mlp", file_bytes=1_000_000), exported("posemamba_s", "torch", **busy),
    ]  # fmt: skip
    mamba, mlp = export_table(Results(files)).rows
    assert mlp["file, MB"] == 12 and mlp["ratio"] == 2 and mlp["low"] < 2 < mlp["high"] and mlp["opset"] == 18
    assert mlp["weights"] == "random" and mlp["of a block"] == 30 and "onnxruntime 1.2" in mlp["versions"]
    assert mamba["format"] == "torch" and isinstance(mamba["opset"], Missing)
    assert mamba["ratio"] == Missing("too busy: a test")
