"""Records and published numbers arranged for rendering: the newest record of each thing measured, with its labels."""

import importlib.resources
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import MODELS
from liftbench.bench.records import AccuracyRecord, CompareRecord, Data, Record, read
from liftbench.bench.records.base import ModelRecord

PUBLISHED_DATA = "Human3.6M"
REFERENCE = importlib.resources.files("liftbench.results") / "reference"
PUBLISHED_CSV = REFERENCE / "published.csv"
_WITH_DATA = ("accuracy", "training", "online")  # kinds of records of a model on a data set
_MARK = " (reference)"  # of machines and data whose records come with liftbench
_RELEASED = {
    "h36m": PUBLISHED_DATA,
    "h36m_videopose3d": f"{PUBLISHED_DATA} (VideoPose3D)",
    "mpi_inf_3dhp": "MPI-INF-3DHP",
}
_MADE = {"h36m": "data", "h36m_videopose3d": "data (VideoPose3D)", "mpi_inf_3dhp": "data (MPI-INF-3DHP)"}
_INPUTS = {"sh": "", "cpn": ", CPN", "gt": ", 2D ground truth"}
_PUBLISHED_NUMBERS = [
    "frames", "params_m", "macs_g", "macs_per_frame_m", "mpjpe_mm", "p_mpjpe_mm", "mpjpe_gt2d_mm", "p_mpjpe_gt2d_mm",
    "pck_percent", "auc_percent",
]  # fmt: skip
_PUBLISHED_TEXTS = [
    "model", "variant", "dataset", "detector", "averaged_over", "source", "doubt", "users_report_mm", "users_source",
]  # fmt: skip


@dataclass(frozen=True)
class Missing:
    """A number that is not there, and why."""

    reason: str


@dataclass(frozen=True)
class Key:
    """What was measured: a registered model, its clip length and its overridden numbers as JSON."""

    model: str
    frames: int
    numbers: str

    @property
    def name(self) -> str:
        """The registered name and the overridden numbers: `posemamba_s, depth=2`."""
        return ", ".join([self.model, *(f"{key}={value}" for key, value in json.loads(self.numbers).items())])

    @property
    def label(self) -> str:
        """The name with the frames of a clip: `posemamba_s, 243 frames`."""
        return f"{self.name}, {self.frames} frames"


class Results:
    """The newest record of every (kind, model, frames, numbers; data; machine), and the published rows.

    cost: Key -> CostRecord; speed: machine -> Key -> SpeedRecord; accuracy, training and online: data label -> Key ->
    record.
    speed holds forward passes in float32, eager, lifting only; speed_in_other_settings: machine -> setting -> Key ->
    SpeedRecord the others. compare: (machine, CompareRecord)s, the newest of each pair; scaling: machine ->
    ScalingRecord, a quick one only where there is no whole one.
    export: (machine, Key, ExportRecord)s, the newest of each model and format.
    scan: machine -> ScanRecord, a quick run only where there is no whole one.
    Labels of machines and data end with "(reference)" where the records are reference ones, so that these never take
    the place of the user's own; a cost, which is the same everywhere, is the user's own where there is one.
    records: all of them, reference ones first; keys: every Key of a cost, speed, accuracy or training record, in the
    registry's order.
    real: labels of data that are the public ones themselves.
    published_text: all rows of results/reference/published.csv as they are written there, with their digits;
    published_all: the same with numbers, published: those of them about Human3.6M.

    Raises InputError for a table of published numbers that cannot be read.
    """

    def __init__(
        self,
        records: Iterable[Record],
        published_csv: Path = PUBLISHED_CSV,
        reference: Iterable[Record] = (),
    ) -> None:
        self.records = [*reference, *records]
        self._reference = {id(record) for record in reference}
        self.has_reference = bool(self._reference)
        newest = sorted(self.records, key=lambda record: (not self.is_reference(record), record.created_utc))
        scans = [record for record in newest if record.kind == "scan"]
        scalings = sorted((one for one in newest if one.kind == "scaling"), key=lambda record: not record.quick)
        self.scaling = dict(sorted({self._machine(record): record for record in scalings}.items()))
        pairs = {(self._machine(one), _pair(one)): one for one in newest if one.kind == "compare"}
        self.compare = [(machine, pairs[machine, pair]) for machine, pair in sorted(pairs)]
        exports = {(self._machine(one), one.format, _key(one)): one for one in newest if one.kind == "export"}
        self.export = [
            (machine, key, exports[machine, form, key])
            for key in in_order({key for _, _, key in exports})
            for machine, form in sorted({(machine, form) for machine, form, other in exports if other == key})
        ]
        newest = [one for one in newest if one.kind in ("cost", "speed", *_WITH_DATA)]  # of models
        whole_last = sorted(scans, key=lambda record: not record.quick)
        self.scan = dict(sorted({self._machine(record): record for record in whole_last}.items()))
        self.published_text = _read_published(published_csv)
        self.published_all = _numbers(self.published_text, published_csv)
        self.published = self.published_all[self.published_all.dataset == PUBLISHED_DATA].reset_index(drop=True)
        self.cost = {_key(record): record for record in newest if record.kind == "cost"}
        speeds = [record for record in newest if record.kind == "speed"]
        self.speed = _grouped((self._machine(record), record) for record in speeds if not record.setting)
        others = [one for one in speeds if one.setting]
        self.speed_in_other_settings = {
            machine: _grouped((one.setting, one) for one in others if self._machine(one) == machine)
            for machine in sorted({self._machine(one) for one in others})
        }
        with_data = [record for record in newest if record.kind in _WITH_DATA]
        labels = _data_labels(record.data for record in with_data)
        marked = [(labels[_identity(record.data)] + self._mark(record), record) for record in with_data]
        self.accuracy, self.training, self.online = (
            _grouped((label, record) for label, record in marked if record.kind == kind) for kind in _WITH_DATA
        )
        self.real = {label for label, record in marked if not record.data.origin}
        groups = [*self.accuracy.values(), *self.training.values(), *self.online.values()]
        kept = {id(record) for group in groups for record in group.values()}
        self._superseded = {id(record) for record in with_data} - kept
        self.keys = in_order({_key(record) for record in newest if record.kind != "online"})

    def is_reference(self, record: Record) -> bool:
        """Whether a record comes with liftbench, and is not the user's own."""
        return id(record) in self._reference

    def _mark(self, record: Record) -> str:
        return _MARK if self.is_reference(record) else ""

    def _machine(self, record: Record) -> str:
        return record.environment.machine + self._mark(record)

    def provenance(self, *kinds: str) -> str:
        """A sentence on where the records of these kinds were made, the user's own and the reference ones apart."""
        made = [record for record in self.records if record.kind in kinds and id(record) not in self._superseded]
        own = {record.environment.machine for record in made if not self.is_reference(record)}
        reference = {record.environment.machine for record in made if self.is_reference(record)}
        if not reference:
            return f"Measured on: {'; '.join(sorted(own))}."
        yours = f"Your own results were measured on: {'; '.join(sorted(own))}. " if own else ""
        return f"{yours}Reference results come with liftbench and were measured on: {'; '.join(sorted(reference))}."

    def published_row(self, key: Key) -> pd.Series | Missing:
        """The published numbers of exactly this model and clip length, as a Series; or Missing."""
        entry = MODELS.get(key.model)
        if entry is None or entry.published is None:
            return Missing("no numbers are published for this model")
        if key.numbers not in ("{}", json.dumps(entry.official)):
            return Missing("published without these settings")
        model, variant, detector = entry.published
        table = self.published
        rows = table[(table.model == model) & (table.variant == variant) & (table.detector == detector)]
        if rows.empty:
            return Missing("no numbers are published for this model")
        lengths = {row.frames: row for _, row in rows.iterrows()}
        if key.frames not in lengths:
            return Missing(f"published for clips of {' and '.join(map(str, sorted(lengths)))} frames only")
        return lengths[key.frames]


def published_error(row: pd.Series | Missing) -> float | Missing:
    """The published MPJPE in mm of a row from `Results.published_row`, of detected 2D and as a mean over actions."""
    if isinstance(row, Missing):
        return row
    if pd.isna(row.mpjpe_mm):
        return Missing(
            "no source that could be read, neither its README nor a listing nor another paper's table, gives its error "
            "with detected 2D"
        )
    if row.averaged_over == "frames":
        return Missing(f"{row.mpjpe_mm:g} mm is a mean over frames, the others are means over actions")
    return row.mpjpe_mm


def is_marked(label: str) -> bool:
    """Whether a label of a machine or of data is that of reference records."""
    return label.endswith(_MARK)


def registered(published: pd.Series) -> str | None:
    """The registered name of a row of published numbers, or None.

    Its detector and its data do not change what it costs. Where one published name stands for several registered ones,
    which differ in the length of the clip, it is the one of that length.
    """
    lengths = {
        entry.frames: name
        for name, entry in MODELS.items()
        if entry.published and entry.published[:2] == (published.model, published.variant)
    }
    return lengths.get(int(published.frames)) or next(iter(lengths.values()), None)


def in_order(keys: Iterable[Key]) -> list[Key]:
    """Keys in the registry's order, the user's own models last."""
    order = list(MODELS)
    return sorted(
        keys,
        key=lambda key: (
            order.index(key.model) if key.model in order else len(order), key.model, key.frames, key.numbers
        ),
    )  # fmt: skip


def load(records_folder: Path | None = None, published_csv: Path = PUBLISHED_CSV) -> Results:
    """The Results of a folder of the user's own records (default: results/records, if it is there) beside the reference
    records that come with liftbench."""
    if records_folder is None and Path("results/records").is_dir():
        records_folder = Path("results/records")
    own = [] if records_folder is None else read(records_folder)
    return Results(own, published_csv, read(REFERENCE / "records"))


def load_reference() -> Results:
    """The Results of the reference records alone."""
    return Results(read(REFERENCE / "records"))


def _key(record: ModelRecord) -> Key:
    return Key(record.model, record.frames, json.dumps(record.numbers, sort_keys=True))


def _pair(record: CompareRecord) -> tuple[str, str, int]:
    """What was compared, as something that can be sorted."""
    measured = {"samples_ms", "p20_ms", "median_ms", "p80_ms", "difference"}
    return tuple(one.model_dump_json(exclude=measured) for one in (record.first, record.second)) + (record.batch,)


def _grouped(pairs: Iterable[tuple[str, ModelRecord]]) -> dict[str, dict[Key, ModelRecord]]:
    groups = {}
    for label, record in pairs:
        groups.setdefault(label, {})[_key(record)] = record
    return dict(sorted(groups.items()))


def _identity(data: Data) -> tuple[str, str]:
    return data.sha256, data.input


def _data_labels(data: Iterable[Data]) -> dict[tuple[str, str], str]:
    """(sha256, input) -> what to call these data: never Human3.6M unless the file's origin is the release itself, and
    never alike in two protocols."""
    distinct = {_identity(item): item for item in data}
    labels = {}
    for identity, item in distinct.items():
        made = f"{item.origin.get('kind', 'other')} {_MADE[item.protocol]}"
        name = made if item.origin else _RELEASED[item.protocol]
        if any(_kind(other) == _kind(item) and other.sha256 != item.sha256 for other in distinct.values()):
            name += f" {item.sha256[:7]}"
        labels[identity] = name + _INPUTS[item.input]
    return labels


def _kind(data: Data) -> tuple[str, str | None, str | None]:
    """What is made once: VideoPose3D's inputs are files of their own."""
    made = data.origin.get("kind") if data.origin else None
    return data.protocol, made, data.input if data.protocol == "h36m_videopose3d" else None


def measured_error(record: AccuracyRecord, published: pd.Series, quantity: str = "mpjpe_mm") -> float | None:
    """An error of a record by the mean that a row of published numbers uses: over actions, or over frames."""
    frames = published.averaged_over == "frames" and record.data.protocol != "mpi_inf_3dhp"
    return record.variants["frame-wise" if frames else "official"].get(quantity)


def protocol_of(published: pd.Series) -> str:
    """The protocol by which the errors of a row of published numbers were measured."""
    if published.dataset == _RELEASED["mpi_inf_3dhp"]:
        return "mpi_inf_3dhp"
    return "h36m_videopose3d" if published.detector == "CPN" else "h36m"


def _read_published(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read the published numbers {path}: {_first_line(error)}. Give a CSV file.") from error
    if absent := sorted({*_PUBLISHED_TEXTS, *_PUBLISHED_NUMBERS} - set(table.columns)):
        raise InputError(f"Cannot read the published numbers {path}: there is no column {absent[0]}. Add it.")
    return table.fillna({"variant": ""})


def _numbers(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    try:
        return table.assign(**{column: pd.to_numeric(table[column]) for column in _PUBLISHED_NUMBERS})
    except ValueError as error:
        raise InputError(f"Cannot read the published numbers {path}: {_first_line(error)}. Write a number.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
