"""The tables of costs: three conventions side by side, MACs by operator, MACs by module."""

from liftbench.bench.records import CostRecord
from liftbench.bench.report.results import Key, Missing, Results
from liftbench.bench.report.tables import cost_rules as rules
from liftbench.bench.report.tables.table import Row, Table


def _measured(results: Results) -> list[tuple[Key, CostRecord]]:
    return [(key, results.cost[key]) for key in results.keys if key in results.cost]


def _naming(results: Results) -> dict[str, str]:
    """The columns that tell rows apart; whose a count is, where reference records stand beside the user's own."""
    return {"model": "s", "frames": "d"} | ({"whose": "s"} if results.has_reference else {})


def _names(results: Results, key: Key, record: CostRecord) -> Row:
    row = {"model": key.name, "frames": key.frames, "whose": "reference" if results.is_reference(record) else "own"}
    return {name: row[name] for name in _naming(results)}


def cost(results: Results) -> Table:
    """Parameters, activations, and the MACs of one clip by each convention, per clip and per frame."""
    columns = {
        **_naming(results), "output frames": "d",
        "parameters": ",d", "parameters in use": ",d", "buffers": ",d", "kept for backward, MiB": ",.2f",
        "peak of inference, MiB": ",.2f",
        "MACs, M": ",.1f", "MACs by thop, M": ",.1f", "MACs by fvcore, M": ",.1f",
        "MACs per output frame, M": ",.1f", "MACs per output frame by thop, M": ",.1f",
        "MACs per output frame by fvcore, M": ",.1f", "MACs per sliding-window frame, M": ",.1f",
        "elementwise operations, M": ",.1f",
    }  # fmt: skip
    rows = []
    for key, record in _measured(results):
        kept, used = record.activation_bytes_kept_for_backward, record.parameters_with_gradient
        untrained = Missing(record.gradient_missing)
        row = {
            **_names(results, key, record),
            "output frames": record.output_frames,
            "parameters": record.parameters,
            "parameters in use": untrained if used is None else used,
            "buffers": record.buffer_elements,
            "kept for backward, MiB": untrained if kept is None else kept / 2**20,
            "peak of inference, MiB": record.activation_bytes_peak_inference / 2**20,
            "MACs per sliding-window frame, M": (
                record.macs_per_clip / 1e6
                if record.output_frames == 1
                else Missing("it answers for every frame of a clip at once, and needs no sliding window")
            ),
            "elementwise operations, M": record.elementwise_operations / 1e6,
        }
        macs = {"": record.macs_per_clip, " by thop": record.thop.macs, " by fvcore": _fvcore(record)}
        for counter, clip in macs.items():
            absent = isinstance(clip, Missing)
            row[f"MACs{counter}, M"] = clip if absent else clip / 1e6
            row[f"MACs per output frame{counter}, M"] = clip if absent else clip / record.output_frames / 1e6
        rows.append(row)
    notes = [rules.OURS, rules.ELEMENTWISE, rules.THOP, rules.FVCORE, rules.MEMORY, rules.FRAMES]
    notes.append(results.provenance("cost"))
    return Table("cost", "Cost of one clip", columns, rows, notes)


def _fvcore(record: CostRecord) -> float | Missing:
    return Missing(record.fvcore.missing) if record.fvcore.macs is None else record.fvcore.macs


def cost_by_operator(results: Results) -> Table:
    """MACs of one clip by operator, elementwise operations by operator, and what each convention leaves out."""
    measured = _measured(results)
    operators = sorted({operator for _, record in measured for operator in record.contraction_macs_by_operator})
    thop, fvcore = "modules with parameters that thop left out", "operators that fvcore did not count, and their calls"
    columns = _naming(results) | {f"{operator}, M MACs": ",.1f" for operator in operators} | {
        "contractions, M MACs": ",.1f", "scan, M MACs": ",.1f", "total, M MACs": ",.1f",
        "elementwise operations by operator, M": "s", "operators not counted, and their calls": "s",
        thop: "s", fvcore: "s",
    }  # fmt: skip
    rows = []
    for key, record in measured:
        by_operator = record.contraction_macs_by_operator
        row = {
            **_names(results, key, record),
            "contractions, M MACs": record.contraction_macs / 1e6,
            "scan, M MACs": record.scan_macs / 1e6,
            "total, M MACs": record.macs_per_clip / 1e6,
            "elementwise operations by operator, M": _list(
                {name: f"{n / 1e6:,.2f}" for name, n in record.elementwise_operations_by_operator.items()}
            ),
            "operators not counted, and their calls": _list(record.uncounted_operator_calls),
            thop: _list(record.thop.uncounted_modules),
            fvcore: (
                missing
                if isinstance(missing := _fvcore(record), Missing)
                else _list(record.fvcore.uncounted_operator_calls)
            ),
        }
        rows.append(row | {f"{operator}, M MACs": by_operator.get(operator, 0) / 1e6 for operator in operators})
    notes = [rules.OURS, rules.ELEMENTWISE, results.provenance("cost")]
    return Table("cost/by_operator", "Cost of one clip by operator", columns, rows, notes)


def _list(numbers: dict[str, object]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items()) or "none"


def cost_by_module(results: Results) -> Table:
    """MACs of one clip by module, to a depth of two names; a record holds every module."""
    columns = {"model": "s", "frames": "d", "module": "s", "MACs, M": ",.1f", "of the model, %": ",.1f"}
    rows = []
    for key, record in _measured(results):
        rows += [
            {
                "model": key.name, "frames": key.frames, "module": group,
                "MACs, M": macs / 1e6, "of the model, %": 100 * macs / record.macs_per_clip,
            }
            for group, macs in by_group(record).items()
        ]  # fmt: skip
    note = "* stands for all modules of a list. MACs: contractions and scans, as in the table of costs."
    return Table("cost/by_module", "Cost of one clip by module", columns, rows, [note, results.provenance("cost")])


def by_group(record: CostRecord) -> dict[str, int]:
    """MACs by the first two names of the modules' paths, with the lists between and behind them: STEblocks.*.op holds
    STEblocks.*.op.in_proj."""
    groups = {}
    for path, macs in record.macs_by_module.items():
        group = _group(path)
        groups[group] = groups.get(group, 0) + macs
    return groups


def _group(path: str) -> str:
    parts, names = [], 0
    for part in path.split("."):
        names += part != "*"
        if names > 2:
            break
        parts.append(part)
    return ".".join(parts) or "the model itself"
