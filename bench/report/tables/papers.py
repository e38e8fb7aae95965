"""The papers' own comparison tables, in their row and column order, published and measured side by side."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from liftbench.bench.report.built import UNTRAINED, built, called
from liftbench.bench.report.results import PUBLISHED_DATA, Missing, Results, protocol_of, registered
from liftbench.bench.report.tables.at_a_glance import error_measured
from liftbench.bench.report.tables.table import Cell, Table

MPI = "MPI-INF-3DHP"
_UNREAD = Missing("not printed in any source that could be read")
_UNMEASURED = "Measured errors have no column: there is no run on"
_UNCOUNTED = Missing("the cost of this size was not measured: `liftbench measure cost`")
_COSTS = {
    "parameters, M": ("params_m", lambda cost: cost.parameters / 1e6),
    "MACs, G": ("macs_g", lambda cost: cost.macs_per_clip / 1e9),
    "MACs per frame, M": ("macs_per_frame_m", lambda cost: cost.macs_per_output_frame / 1e6),
}
_DETECTED = {"MPJPE, mm": ("mpjpe_mm", "mpjpe_mm"), "P-MPJPE, mm": ("p_mpjpe_mm", "p_mpjpe_mm")}
_TRUE = {
    "MPJPE with true 2D, mm": ("mpjpe_gt2d_mm", "mpjpe_mm"),
    "P-MPJPE with true 2D, mm": ("p_mpjpe_gt2d_mm", "p_mpjpe_mm"),
}
_SHARES = {"PCK, %": ("pck_percent", "pck_150mm_percent"), "AUC, %": ("auc_percent", "auc_percent")}
_MOST = ("PCK", "AUC")


@dataclass(frozen=True)
class Paper:
    """One table of a paper. rows: (model, variant, frames) as in published.csv, in the paper's order; errors: header ->
    (column of published.csv, quantity of a record)."""

    name: str
    title: str
    rows: tuple
    errors: dict
    dataset: str = PUBLISHED_DATA
    note: str = ""


def _variants(model: str, *pairs: tuple[str, int]) -> tuple[tuple[str, str, int], ...]:
    return tuple((model, variant, frames) for variant, frames in pairs)


PAPERS = (
    Paper(
        "posemamba_1", "PoseMamba (AAAI 2025), table 1: Human3.6M, 2D detections",
        (
            ("MHFormer", "", 351), ("MixSTE", "", 243), ("P-STMO", "", 243), ("STCFormer", "", 243),
            ("STCFormer", "L", 243), ("PoseFormerV2", "27 frames and coefficients", 243), ("GLA-GCN", "", 243),
            ("MotionBERT", "scratch", 243), ("MotionAGFormer", "L", 243),
            *_variants("PoseMamba", ("S", 243), ("B", 243), ("L", 243)),
        ), _DETECTED, note="Rows in the order of the paper's figure 1; its cells were not readable, so each figure has "
        "the source that the ledger names.",
    ),
    Paper(
        "posemamba_1_true_2d", "PoseMamba (AAAI 2025), table 1: Human3.6M, true 2D",
        (
            ("MHFormer", "", 351), ("MixSTE", "", 243), ("P-STMO", "", 243), ("STCFormer", "", 243),
            ("GLA-GCN", "", 243), ("MotionBERT", "scratch", 243), ("MotionAGFormer", "L", 243),
            *_variants("PoseMamba", ("S", 243), ("B", 243), ("L", 243)),
        ), {"MPJPE with true 2D, mm": _TRUE["MPJPE with true 2D, mm"]},
    ),
    Paper(
        "posemamba_3", "PoseMamba (AAAI 2025), table 3: MPI-INF-3DHP, true 2D",
        (
            ("MHFormer", "", 9), ("MixSTE", "", 27), ("Einfalt et al.", "", 81), ("P-STMO", "", 81),
            ("HSTFormer", "", 81), ("HDFormer", "", 96), ("STCFormer", "", 81), ("PoseFormerV2", "", 81),
            ("GLA-GCN", "", 81), *_variants("MotionAGFormer", ("XS", 27), ("S", 81), ("B", 81), ("L", 81)),
            *_variants("PoseMamba", ("S", 27), ("S", 81), ("B", 81)),
        ), _SHARES | {"MPJPE, mm": _DETECTED["MPJPE, mm"]}, MPI,
    ),
    Paper(
        "posemamba_4", "PoseMamba (AAAI 2025), table 4: scans of PoseMamba-S, Human3.6M",
        _variants("PoseMamba", *((f"S, one-way scan {i}", 243) for i in (1, 2, 3, 4)),
                  ("S, both ways without limbs", 243), ("S", 243)),
        {"MPJPE, mm": _DETECTED["MPJPE, mm"]},
    ),
    Paper(
        "posemamba_5", "PoseMamba (AAAI 2025), table 5: losses of PoseMamba-S, Human3.6M",
        _variants("PoseMamba", ("S, loss: MPJPE", 243), ("S, loss: MPJPE and 2D", 243),
                  ("S, loss: MPJPE, 2D and temporal", 243), ("S", 243)), _DETECTED,
    ),
    Paper(
        "posemamba_6", "PoseMamba (AAAI 2025), table 6: depth and width, Human3.6M",
        (
            *_variants("PoseMamba", ("12 blocks x 64 channels", 243), ("16 blocks x 64 channels", 243), ("S", 243),
                       *((f"{depth} blocks x 64 channels", 243) for depth in (24, 32, 40, 48)),
                       ("40 blocks x 32 channels", 243), ("L", 243), ("X", 243), ("12 blocks x 256 channels", 243),
                       ("B", 243)),
        ), {"MPJPE, mm": _DETECTED["MPJPE, mm"]}, note="Blocks: spatial and temporal ones, twice the depth here.",
    ),
    Paper(
        "pose3dm", "Pose3DM (Fractal and Fractional 2025): Human3.6M", _variants("Pose3DM", ("S", 243), ("L", 243)),
        _DETECTED, note="Its tables could not be read; third parties quote these figures.",
    ),
    Paper("mdtf", "MDTF (README): Human3.6M", _variants("MDTF", ("Tiny", 243), ("Large", 243)), _DETECTED),
    Paper(
        "mdtf_3dhp", "MDTF (README): MPI-INF-3DHP", _variants("MDTF", ("Large", 81)),
        {"MPJPE, mm": _DETECTED["MPJPE, mm"]}, MPI,
    ),
    Paper(
        "lstm_transformer", "LSTM/Transformer repository (README): Human3.6M, CPN, means over frames",
        (("LSTM_PoseNet", "", 81), ("Transformer", "", 81)), {"MPJPE over frames, mm": _DETECTED["MPJPE, mm"]},
    ),
    Paper(
        "comparators/motionagformer", "MotionAGFormer (WACV 2024), README: Human3.6M",
        _variants("MotionAGFormer", ("XS", 27), ("S", 81), ("B", 243), ("L", 243)),
        _DETECTED | {"MPJPE with true 2D, mm": _TRUE["MPJPE with true 2D, mm"]},
        note="Counted: our gather of neighbours; the official dense products cost more, see baselines/README.md.",
    ),
    Paper(
        "comparators/poseformerv2", "PoseFormerV2 (CVPR 2023), README: Human3.6M, CPN",
        _variants("PoseFormerV2", ("1 frame, 3 coefficients", 27), ("3 frames and coefficients", 27),
                  ("1 frame, 3 coefficients", 81), ("3 frames and coefficients", 81), ("9 frames and coefficients", 81),
                  ("27 frames and coefficients", 243)), _DETECTED,
    ),
    Paper(
        "comparators/stcformer", "STCFormer (CVPR 2023), README and paper: Human3.6M, CPN",
        _variants("STCFormer", ("", 27), ("", 81), ("", 243), ("L", 243)), _DETECTED,
    ),
    Paper(
        "comparators/videopose3d", "VideoPose3D (CVPR 2019), README: Human3.6M, CPN",
        _variants("VideoPose3D", ("", 27), ("", 81), ("true boxes", 243), ("", 243)), _DETECTED | _TRUE,
    ),
)  # fmt: skip


def papers(results: Results) -> list[Table]:
    """One Table for each of PAPERS."""
    return [_paper(results, paper) for paper in PAPERS]


def _paper(results: Results, paper: Paper) -> Table:
    columns = {"model": "s", "name here": "s", "2D": "s", "frames": "d"}
    for header in [*_COSTS, *paper.errors]:
        what, _, unit = header.rpartition(", ")
        columns |= {
            f"{what} published, {unit}": "s",
            f"{what} {_verb(header)}, {unit}": ",.3f" if unit == "G" else ",.2f",
        }
    rows = [dict(zip(columns, _cells(results, paper, *row))) for row in paper.rows]
    empty = {name for name in list(columns)[4:] if all(isinstance(row[name], Missing) for row in rows)}
    unmeasured = {name for name in empty if " measured, " in name}
    unread = [name for name in columns if name in empty and " published, " in name]
    columns = {name: rule for name, rule in columns.items() if name not in empty}
    rows = [{name: row[name] for name in columns} for row in rows]
    notes = [
        "Published: as printed, most often by thop, with the sources in the ledger. Counted: all parameters, and all "
        "contractions and scans, by one rule. Measured: by the protocol of that data, where there is a run.",
        *filter(None, [paper.note]),
        *([f"No column, since not printed in any source that could be read: {'; '.join(unread)}."] if unread else []),
        *([f"{_UNMEASURED} {paper.dataset}."] if unmeasured else []),
    ]  # fmt: skip
    best = {name: "most" if name.startswith(_MOST) else "least" for name in list(columns)[4:]}
    return Table(f"papers/{paper.name}", paper.title, columns, rows, notes, naming=4, best=best)


def _verb(header: str) -> str:
    return "counted" if header in _COSTS else "measured"


def _cells(results: Results, paper: Paper, model: str, variant: str, frames: int) -> Iterator[Cell]:
    table = results.published_all
    wanted = (table.model == model) & (table.variant == variant) & (table.frames == frames)
    row = table[wanted & (table.dataset == paper.dataset) & (table.detector != "HRNet")].iloc[0]
    key = built(row)
    cost = None if isinstance(key, Missing) else results.cost.get(key)
    yield f"{model} {variant}".strip()
    yield called(row)
    yield row.detector
    yield frames
    texts = results.published_text.loc[row.name]
    for column, count in _COSTS.values():
        yield _text(texts[column])
        yield count(cost) if cost else key if isinstance(key, Missing) else _UNCOUNTED
    for header, (column, quantity) in paper.errors.items():
        yield _text(texts[column])
        given = "gt" if "true 2D" in header else row.detector.lower()
        if isinstance(key, Missing) or registered(row) is None:
            yield key if isinstance(key, Missing) else UNTRAINED
        else:
            yield error_measured(results, row, protocol_of(row), given, key, quantity)


def _text(value: str | float) -> str | Missing:
    return _UNREAD if pd.isna(value) else value
