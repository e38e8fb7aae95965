"""The tables, as data first and then as markdown, CSV and LaTeX. A missing number is a dash with a footnote."""

from dataclasses import dataclass, field

import pandas as pd

from liftbench.bench.measure import scaling as scalings
from liftbench.bench.measure.scan.readings import ceiling, ratio_to_best_public
from liftbench.bench.report.latex import latex
from liftbench.bench.report.results import PUBLISHED_DATA, Missing, protocol_of


@dataclass
class Table:
    """columns: header -> format of its numbers, of which the first `naming` tell rows apart; rows: one dict a row,
    header -> number, text or Missing."""

    name: str
    title: str
    columns: dict
    rows: list
    notes: list = field(default_factory=list)
    naming: int = 2

    def parts(self):
        """The tables that are shown below each other."""
        return [self]

    def markdown(self):
        cells, reasons = self.texts(lambda number: f"—<sup>{number}</sup>", lambda text: text.replace("|", r"\|"))
        lines = [list(self.columns), ["---"] + ["---:"] * (len(self.columns) - 1), *cells]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        footnotes = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))
        return "\n\n".join(filter(None, [f"## {self.title}", table, footnotes, *self.notes])) + "\n"

    def latex(self):
        """Floats with tables of the booktabs package, scaled to the text's width with graphicx."""
        return latex(self)

    def csv(self):
        """Unrounded numbers; a missing one is empty, and the last column says why."""
        rows = []
        for row in self.rows:
            reasons = [f"{header}: {row[header].reason}" for header in self.columns if _missing(row[header])]
            values = {header: None if _missing(row[header]) else row[header] for header in self.columns}
            rows.append(values | {"missing": "; ".join(reasons)})
        frame = pd.DataFrame(rows, columns=[*self.columns, "missing"], dtype=object)
        return frame.to_csv(index=False, lineterminator="\n")

    def texts(self, dash, escape):
        """The cells as texts, and the reasons of the missing ones in the order of their footnotes."""
        reasons = []

        def text(header, value):
            if _missing(value):
                if value.reason not in reasons:
                    reasons.append(value.reason)
                return dash(reasons.index(value.reason) + 1)
            return escape(value if isinstance(value, str) else _format(value, self.columns[header]))

        return [[text(header, row[header]) for header in self.columns] for row in self.rows], reasons


def _format(number, rule):
    text = format(number, rule)
    return f"{number:,.0f}" if "e+" in text else text


def _missing(value):
    return isinstance(value, Missing)


def _minus(measured, published):
    """measured - published, or the reason why there is no difference."""
    return next((value for value in (measured, published) if _missing(value)), None) or measured - published


def _published(row, column, scale=1):
    """A published number, by its column in published.csv."""
    if _missing(row):
        return row
    return Missing("not published") if pd.isna(row[column]) else row[column] * scale


def comparison(results):
    """One row a model: parameters, MACs per frame, errors and speed; measured, published and their difference."""
    columns = {
        "model": "s", "frames": "d",
        "parameters, M": ",.3f", "parameters by thop, M": ",.3f", "parameters published, M": ",.2f",
        "parameters by thop - published, M": "+,.3f",
        "MACs per frame, M": ",.1f", "MACs per frame by thop, M": ",.1f", "MACs per frame published, M": ",.1f",
        "MACs per frame by thop - published, M": "+,.1f",
    }  # fmt: skip
    for label in results.accuracy:
        columns |= {f"MPJPE, mm ({label})": ".1f", f"P-MPJPE, mm ({label})": ".1f"}
    columns |= {
        f"MPJPE published, mm ({PUBLISHED_DATA})": ".1f",
        f"P-MPJPE published, mm ({PUBLISHED_DATA})": ".1f",
        "2D detections published with": "s",
        "MPJPE measured - published, mm": "+.1f",
    }
    for machine in results.speed:
        columns |= {f"latency, ms ({machine})": ",.2f", f"clips/s ({machine})": ",.1f"}
    rows = [_measured_row(results, key) for key in results.keys]
    measured = {(row.model, row.variant) for key in results.keys if not _missing(row := results.published_row(key))}
    for _, published in results.published.iterrows():
        if (published.model, published.variant) not in measured:
            row = dict.fromkeys(columns, Missing("published numbers only, not measured here"))
            row |= {"model": f"{published.model} {published.variant}".strip() + " (published)"}
            rows.append(row | {"frames": int(published.frames)} | _published_cells(published))
    return Table(
        "comparison",
        "Comparison",
        columns,
        rows,
        [
            "MACs per frame: contractions plus scans by the mamba authors' rule, per output frame; papers print "
            "thop's, which sees neither einsum nor scans. Latency: one clip, median; clips/s: of the best batch.",
            "Published errors are those of the epoch that was best on the test subjects.",
            results.provenance("cost", "accuracy", "speed"),
        ],
    )


def _published_cells(published):
    return {
        "parameters published, M": _published(published, "params_m"),
        "MACs per frame published, M": _published(published, "macs_per_frame_m"),
        f"MPJPE published, mm ({PUBLISHED_DATA})": _published(published, "mpjpe_mm"),
        f"P-MPJPE published, mm ({PUBLISHED_DATA})": _published(published, "p_mpjpe_mm"),
        "2D detections published with": published if _missing(published) else published.detector,
    }


def _measured_row(results, key):
    published = results.published_row(key)
    row = {"model": key.name, "frames": key.frames} | _published_cells(published)

    cost = results.cost.get(key)
    uncounted = Missing("its cost was not measured")
    thop = {"parameters": uncounted, "MACs per frame": uncounted}
    row |= {"parameters, M": uncounted, "MACs per frame, M": uncounted}
    if cost:
        row |= {"parameters, M": cost.parameters / 1e6, "MACs per frame, M": cost.macs_per_output_frame / 1e6}
        per_frame = cost.thop.macs / cost.output_frames
        thop = {"parameters": cost.thop.parameters / 1e6, "MACs per frame": per_frame / 1e6}
    for what, value in thop.items():
        row[f"{what} by thop, M"] = value
        row[f"{what} by thop - published, M"] = _minus(value, row[f"{what} published, M"])

    for label, group in results.accuracy.items():
        record = group.get(key)
        unevaluated = Missing(f"not evaluated on {label}")
        row[f"MPJPE, mm ({label})"] = record.mpjpe_mm if record else unevaluated
        row[f"P-MPJPE, mm ({label})"] = record.p_mpjpe_mm if record else unevaluated
    row["MPJPE measured - published, mm"] = _error_difference(results, key, published)

    for machine, group in results.speed.items():
        record = group.get(key)
        untimed = Missing("not timed on this machine")
        row[f"latency, ms ({machine})"] = record.latency.median_ms if record else untimed
        row[f"clips/s ({machine})"] = record.throughput_clips_per_s if record else untimed
    return row


def _error_difference(results, key, published):
    """MPJPE measured - published, only where both are of Human3.6M and of the same 2D detections."""
    if _missing(published):
        return published
    records = [group[key] for label, group in results.accuracy.items() if label in results.real and key in group]
    if not records:
        return Missing(f"not evaluated on {PUBLISHED_DATA}, so not comparable")
    for record in records:
        if record.data.protocol != protocol_of(published):
            continue
        if record.data.input == published.detector.lower():
            return _minus(record.mpjpe_mm, _published(published, "mpjpe_mm"))
        if record.data.input == "gt":
            return _minus(record.mpjpe_mm, _published(published, "mpjpe_gt2d_mm"))
    return Missing(f"published with {published.detector} detections, evaluated with {records[0].data.input.upper()}")


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
    "h36m_videopose3d": "mirrored average, mean over all frames; the other rows differ from it as they say.",
    "mpi_inf_3dhp": (
        "mirrored average, mean over the valid frames of all test sequences; the other rows differ from it as they "
        "say, actions being the sequences. PCK and AUC by plain Python, published ones come from MATLAB scripts."
    ),
}  # protocol: its official row
_ELSEWHERE = Missing("measured by the protocol of other data")
_UNDEFINED = Missing("not defined: no evaluated frame has the neighbours that it needs")
_ONLY_MPJPE = Missing("only MPJPE is measured of it")
_UNTOLD = Missing("the weights do not say")


def accuracy(results):
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

    def markdown(self):
        return "\n".join(part.markdown() for part in self.parts())

    def latex(self):
        return "\n".join(part.latex() for part in self.parts())

    def parts(self):
        return [self._part(label) for label in self.official]

    def _part(self, label):
        rows = [row for row in self.rows if row["data"] == label]
        measured = {name for name in self.columns if any(row[name] != _ELSEWHERE for row in rows)} - {"data"}
        columns = {name: rule for name, rule in self.columns.items() if name in measured}
        epoch = "epoch: that was evaluated, counted from 0; published errors are those of the best on the test data."
        notes = [f"official: {self.official[label]}", epoch, *self.notes]
        return Table(self.name, f"Accuracy on {label}", columns, rows, notes, naming=3)


def _defined(values, name):
    if name not in values:
        return _ELSEWHERE
    return _UNDEFINED if values[name] is None else values[name]


def speed(results):
    """Latency and throughput with their spread, memory, and what they were measured on."""
    columns = {
        "model": "s", "frames": "d", "setting": "s", "machine": "s", "scan": "s", "PyTorch": "s",
        "latency, ms": ",.2f", "p20, ms": ",.2f", "p80, ms": ",.2f", "samples": "d", "peak memory, MiB": ",.1f",
        "best batch": "d", "clips/s": ",.1f", "output frames/s": ",.1f", "of the product's rate, %": ",.1f",
    }  # fmt: skip
    rows, groups = [], [(machine, group) for machine, group in results.speed.items()]
    for machine, by_setting in results.speed_in_other_settings.items():
        groups += [(machine, group) for group in by_setting.values()]
    for machine, group in groups:
        for key in filter(group.get, results.keys):
            record = group[key]
            peak = record.latency.peak_memory_mib
            row = {
                "model": key.name,
                "frames": key.frames,
                "setting": record.setting or "forward",
                "machine": machine,
                "scan": record.environment.scan_implementation or Missing("the model has no scan"),
                "PyTorch": record.environment.torch,
                "latency, ms": record.latency.median_ms,
                "p20, ms": record.latency.p20_ms,
                "p80, ms": record.latency.p80_ms,
                "samples": len(record.latency.samples_ms),
                "peak memory, MiB": Missing(record.peak_memory_method) if peak is None else peak,
                "best batch": record.throughput.batch,
                "clips/s": record.throughput_clips_per_s,
                "output frames/s": record.throughput_output_frames_per_s,
                "of the product's rate, %": _product_share(record),
            }
            rows.append(row)
    methods = sorted({record.peak_memory_method for _, group in groups for record in group.values()})
    notes = [
        "Float32, eager, lifting only and random inputs on the device unless the setting says otherwise. Latency: one "
        "clip, median; clips/s: best batch, median. Of the product's rate: two operations a MAC (contractions and "
        "scans) at the best batch, against a matrix product measured in the same process.",
    ]
    for machine, group in groups:
        product, bandwidth = (
            max(getattr(record.ceilings, key) for record in group.values())
            for key in ("product_gflop_per_s", "bandwidth_gb_per_s")
        )
        setting = next(iter(group.values())).setting or "forward"
        notes.append(f"{machine}, {setting}: up to {product:,.0f} GFLOP/s and {bandwidth:,.1f} GB/s.")
    notes += [f"Peak memory of one clip: {method}." for method in methods] + [results.provenance("speed")]
    return Table("speed", "Speed", columns, rows, notes, naming=3)


def _product_share(record):
    if record.ceilings.product_share is None:
        return Missing("counted for lifting forward only")
    return 100 * record.ceilings.product_share


def compare(results):
    """Pairs that took turns, with the ratio of their times and its interval."""
    columns = {
        "first": "s", "second": "s", "call": "s", "batch": "d", "machine": "s", "first, ms": ",.3g",
        "second, ms": ",.3g", "rounds": "d", "ratio": ".3f", "low": ".3f", "high": ".3f",
    }  # fmt: skip
    rows = [
        {
            "first": _contender(record.first),
            "second": _contender(record.second),
            "call": record.first.call,
            "batch": record.batch,
            "machine": machine,
            "first, ms": record.first.median_ms,
            "second, ms": record.second.median_ms,
            "rounds": len(record.first.samples_ms),
            "ratio": record.ratio,
            "low": record.ratio_low,
            "high": record.ratio_high,
        }
        for machine, record in results.compare
    ]
    note = (
        "Ratio: median over the rounds of the first one's time over the second one's, above 1 where the second is "
        "faster; low and high: its 95 % bootstrap interval. Both took turns in one process."
    )
    return Table("compare", "Compared in turn", columns, rows, [note, results.provenance("compare")])


def _contender(one):
    words = [one.scan_implementation, one.dtype, one.mode]
    return f"{one.model}, {one.frames} frames ({', '.join(filter(None, words))})"


def scaling(results):
    """Growth of MACs and time with frames, batch and depth, and where attention becomes dearer."""
    columns = {
        "model": "s", "machine": "s", "parameters, M": ",.2f", "MACs ~ frames^": ".2f", "time ~ frames^": ".2f",
        "time ~ batch^": ".2f", "time ~ depth^": ".2f", "frames timed up to": ",d",
        "attention needs more MACs from frame": ",.0f", "attention takes longer from frame": ",.0f",
    }  # fmt: skip
    rows = [
        _scaling_row(machine, record, model) for machine, record in results.scaling.items() for model in scalings.SIZES
    ]
    notes = [
        f"Exponents: slopes through the last {scalings.LAST} points in logarithms. Attention: {scalings.ATTENTION}, "
        "the only registered model whose attention spans frames; it has as many parameters as posemamba_s, but a token "
        "a frame, not a joint, and answers a clip with one pose. Crossovers are interpolated between measured lengths.",
        results.provenance("scaling"),
    ]
    return Table("scaling", "Scaling with frames, batch and depth", columns, rows, notes)


def _scaling_row(machine, record, model):
    series = {
        (axis, value): scalings.series(record, axis, value)
        for axis, value in (
            ("frames", "macs"), ("frames", "median_ms"), ("batch", "median_ms"), ("depth", "median_ms"),
        )
    }  # fmt: skip
    exponents = [scalings.exponent(by_model.get(model, [])) for by_model in series.values()]
    few = Missing(f"fewer than {scalings.LAST} points")
    row = {"model": model, "machine": machine, "parameters, M": record.parameters[model] / 1e6}
    names = ("MACs ~ frames^", "time ~ frames^", "time ~ batch^", "time ~ depth^")
    row |= {name: few if one is None else one for name, one in zip(names, exponents)}
    timed = series["frames", "median_ms"].get(model)
    row["frames timed up to"] = timed[-1][0] if timed else Missing("not timed")
    for name, value in (
        ("attention needs more MACs from frame", "macs"), ("attention takes longer from frame", "median_ms"),
    ):  # fmt: skip
        by_model = series["frames", value]
        x = scalings.crossover(by_model.get(model, []), by_model.get(scalings.ATTENTION, []))
        row[name] = Missing("not within the lengths measured of both") if x is None else x
        if model == scalings.ATTENTION:
            row[name] = Missing("it is the one with attention")
    return row


def scan(results):
    """Every contender of every comparison of the scans: times, ratios, fraction of the ceiling, memory."""
    columns = {
        "case": "s", "clips x groups x channels x length": "s", "call": "s", "contender": "s", "machine": "s",
        "ms": ",.3g", "p20, ms": ",.3g", "p80, ms": ",.3g", "rounds": "d", "ratio": ",.3g", "to": "s",
        "ratio to the fastest public one": ",.3g", "state steps/s, 1e9": ",.3g", "of the ceiling, %": ".1f",
        "peak memory, MiB": ",.1f", "kept for backward, MiB": ",.2f",
    }  # fmt: skip
    rows = [
        _scan_row(machine, record, comparison, timing)
        for machine, record in results.scan.items()
        for comparison in record.comparisons
        for timing in comparison.timings
    ]
    notes = [
        "Contenders took turns; medians and percentiles of the rounds. Ratio: median over the rounds of the time of "
        "the contender named beside it over this one's. Ceiling: the smaller of what the measured rate of a matrix "
        "product and the measured bandwidth allow; the rules stand in bench/scan.py. Grid: projections included.",
    ]
    for machine, record in results.scan.items():
        notes.append(
            f"{machine}: {record.product_gflop_per_s:,.0f} GFLOP/s, {record.bandwidth_gb_per_s:,.1f} GB/s, "
            f"{record.operations_per_state_step} operations a state step; PyTorch {record.environment.torch}."
        )
        notes += [f"Not measured on {machine}: {name} ({reason})." for name, reason in record.absent.items()]
    methods = sorted({record.peak_memory_method for record in results.scan.values()})
    notes += [f"Peak memory: {method}." for method in methods] + [results.provenance("scan")]
    return Table("scan", "Selective scans", columns, rows, notes, naming=4)


def _scan_row(machine, record, comparison, timing):
    untimed = Missing(timing.missing or "")

    def known(value, reason):
        return untimed if timing.missing else Missing(reason) if value is None else value

    median, best_public = timing.median_ms, ratio_to_best_public(comparison, timing)
    rate = comparison.state_steps / median / 1e6 if median else None
    forward = comparison.call == "forward"
    share = 100 * rate / ceiling(record, comparison) if rate and forward else None
    not_public = "it is public itself" if timing.public else "no public one was timed"
    memory = timing.peak_memory_mib, timing.kept_for_backward_mib
    return {
        "case": comparison.case,
        "clips x groups x channels x length": (
            f"{comparison.batch} x {comparison.groups} x {comparison.channels} x {comparison.length}"
        ),
        "call": comparison.call,
        "contender": timing.name,
        "machine": machine,
        "ms": known(median, ""),
        "p20, ms": known(timing.p20_ms, ""),
        "p80, ms": known(timing.p80_ms, ""),
        "rounds": known(len(timing.samples_ms), ""),
        "ratio": known(timing.ratio, f"{comparison.baseline} was not timed"),
        "to": comparison.baseline,
        "ratio to the fastest public one": known(best_public, not_public),
        "state steps/s, 1e9": known(rate, ""),
        "of the ceiling, %": known(share, "the ceiling is that of the forward pass"),
        "peak memory, MiB": Missing(timing.missing or record.peak_memory_method) if memory[0] is None else memory[0],
        "kept for backward, MiB": (
            Missing("no backward pass") if forward else untimed if memory[1] is None else memory[1]
        ),
    }
