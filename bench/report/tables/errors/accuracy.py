"""Errors by every variant of the protocol."""

from dataclasses import dataclass, field

from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Table

_VARIANT_COLUMNS = {
    "MPJPE, mm": "mpjpe_mm", "P-MPJPE, mm": "p_mpjpe_mm", "N-MPJPE, mm": "n_mpjpe_mm",
    "MPJVE, mm/frame": "mpjve_mm_per_frame", "acceleration error, mm/frame^2": "acceleration_error_mm_per_frame2",
    "PCK at 150 mm, %": "pck_150mm_percent", "AUC, %": "auc_percent",
}  # fmt: skip
_OFFICIAL = {
    "h36m": (
        "mirrored average, mean per action and then over actions, three takes with shifted labels left out, full clips "
        "only; the other rows differ from it as they say."
    ),
    "h36m_videopose3d": (
        "mirrored average, every frame, mean per action and then over actions, as VideoPose3D and its heirs print "
        "it; the other rows differ from it as they say. The LSTM/Transformer repository prints the row frame-wise."
    ),
    "mpi_inf_3dhp": (
        "mirrored average, mean over the valid frames of all test sequences; the other rows differ from it as they "
        "say, actions being the sequences. PCK and AUC by plain Python, published ones come from MATLAB scripts."
    ),
}  # protocol: its official row
_ELSEWHERE = Missing("measured by the protocol of other data")
_UNDEFINED = Missing("not defined: no evaluated frame has the neighbours that it needs")
_ONLY_MPJPE = Missing("only MPJPE is measured of it")
_NOT_TRAINED = Missing("it is not trained")
_UNTOLD = Missing("the weights do not say")


def accuracy(results: Results) -> Table:
    """Every variant of the protocol of every evaluation, with the constant mean pose under each data set."""
    columns = {"model": "s", "frames": "d", "data": "s", "protocol": "s"}
    columns |= {header: ".2f" if "frame" in header else ".1f" for header in _VARIANT_COLUMNS}
    columns |= {"epoch": "d", "epoch chosen": "s"}
    rows, official = [], {}
    for label, group in results.accuracy.items():
        for key in filter(group.get, results.keys):
            data, checkpoint = group[key].data, group[key].checkpoint
            official[label] = _OFFICIAL[data.protocol]
            epoch = {"epoch": checkpoint.epoch, "epoch chosen": checkpoint.chosen_by}
            for variant, values in group[key].variants.items():
                cells = {header: _defined(values, name) for header, name in _VARIANT_COLUMNS.items()}
                cells |= {name: _UNTOLD if value is None else value for name, value in epoch.items()}
                rows.append({"model": key.name, "frames": key.frames, "data": label, "protocol": variant} | cells)
        means = {record.frames: record.mean_pose_mpjpe_mm for record in group.values() if record.mean_pose_mpjpe_mm}
        for frames, value in sorted(means.items()):
            row = {name: value if value == _ELSEWHERE else _ONLY_MPJPE for name, value in rows[-1].items()}
            row |= {"epoch": _NOT_TRAINED, "epoch chosen": _NOT_TRAINED}
            row |= {"model": "constant mean pose", "frames": frames, "data": label, "protocol": "official"}
            rows.append(row | {"MPJPE, mm": value})
    notes = [results.provenance("accuracy")]
    return _ByData("accuracy", "Accuracy by variant of the protocol", columns, rows, notes, official=official)


@dataclass
class _ByData(Table):
    """One table as data; to be read, one below the other for each data set, so that no two protocols meet.

    official: data label -> what the official row of its protocol is.
    """

    official: dict = field(default_factory=dict)

    def markdown(self) -> str:
        return "\n".join(part.markdown() for part in self.parts())

    def latex(self) -> str:
        return "\n".join(part.latex() for part in self.parts())

    def parts(self) -> list[Table]:
        return [self._part(label) for label in self.official]

    def _part(self, label: str) -> Table:
        rows = [row for row in self.rows if row["data"] == label]
        measured = {name for name in self.columns if any(row[name] != _ELSEWHERE for row in rows)} - {"data"}
        columns = {name: rule for name, rule in self.columns.items() if name in measured}
        epoch = "epoch: that was evaluated, counted from 0; published errors are those of the best on the test data."
        notes = [f"official: {self.official[label]}", epoch, *self.notes]
        return Table(self.name, f"Accuracy on {label}", columns, rows, notes, naming=3)


def _defined(values: dict[str, float | None], name: str) -> float | Missing:
    if name not in values:
        return _ELSEWHERE
    return _UNDEFINED if values[name] is None else values[name]
