"""The tables, as data first and then as markdown, CSV and LaTeX. A missing number is a dash with a footnote."""

from dataclasses import dataclass, field

import pandas as pd

from .results import PUBLISHED_DATA, Missing

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "—": "---",
}  # fmt: skip


@dataclass
class Table:
    """columns: header -> format of its numbers; rows: one dict a row, header -> number, text or Missing."""

    name: str
    title: str
    columns: dict
    rows: list
    notes: list = field(default_factory=list)

    def markdown(self):
        cells, reasons = self._texts(lambda number: f"—<sup>{number}</sup>", lambda text: text.replace("|", r"\|"))
        lines = [list(self.columns), ["---"] + ["---:"] * (len(self.columns) - 1), *cells]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        footnotes = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))
        return "\n\n".join(filter(None, [f"## {self.title}", table, footnotes, *self.notes])) + "\n"

    def latex(self):
        """A table of the booktabs package."""
        cells, reasons = self._texts(lambda number: f"---\\textsuperscript{{{number}}}", _escape)
        frame = pd.DataFrame(cells, columns=[_escape(header) for header in self.columns])
        body = frame.to_latex(index=False, escape=False, column_format="l" + "r" * (len(self.columns) - 1))
        footnotes = [f"\\textsuperscript{{{n}}}~{_escape(reason)}." for n, reason in enumerate(reasons, start=1)]
        below = " ".join(footnotes + [_escape(note) for note in self.notes])
        return (
            f"\\begin{{table}}\n\\caption{{{_escape(self.title)}}}\n\\centering\n{body}"
            f"\\par\\footnotesize {below}\n\\end{{table}}\n"
        )

    def csv(self):
        """Unrounded numbers; a missing one is empty, and the last column says why."""
        rows = []
        for row in self.rows:
            reasons = [f"{header}: {row[header].reason}" for header in self.columns if _missing(row[header])]
            values = {header: None if _missing(row[header]) else row[header] for header in self.columns}
            rows.append(values | {"missing": "; ".join(reasons)})
        frame = pd.DataFrame(rows, columns=[*self.columns, "missing"], dtype=object)
        return frame.to_csv(index=False, lineterminator="\n")

    def _texts(self, dash, escape):
        """The cells as texts, and the reasons of the missing ones in the order of their footnotes."""
        reasons = []

        def text(header, value):
            if _missing(value):
                if value.reason not in reasons:
                    reasons.append(value.reason)
                return dash(reasons.index(value.reason) + 1)
            return escape(value if isinstance(value, str) else format(value, self.columns[header]))

        return [[text(header, row[header]) for header in self.columns] for row in self.rows], reasons


def _missing(value):
    return isinstance(value, Missing)


def _escape(text):
    return "".join(_LATEX.get(character, character) for character in text)


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
        if record.data.input == published.detector.lower():
            return _minus(record.mpjpe_mm, _published(published, "mpjpe_mm"))
        if record.data.input == "gt":
            return _minus(record.mpjpe_mm, _published(published, "mpjpe_gt2d_mm"))
    return Missing(f"published with {published.detector} detections, evaluated with {records[0].data.input.upper()}")


_VARIANT_COLUMNS = {
    "MPJPE, mm": "mpjpe_mm", "P-MPJPE, mm": "p_mpjpe_mm", "N-MPJPE, mm": "n_mpjpe_mm",
    "MPJVE, mm/frame": "mpjve_mm_per_frame", "acceleration error, mm/frame^2": "acceleration_error_mm_per_frame2",
}  # fmt: skip


def accuracy(results):
    """Every variant of the protocol of every evaluation, with the constant mean pose under each data set."""
    columns = {"model": "s", "frames": "d", "data": "s", "protocol": "s"}
    columns |= {header: ".1f" for header in list(_VARIANT_COLUMNS)[:3]}
    columns |= {header: ".2f" for header in list(_VARIANT_COLUMNS)[3:]}
    rows = []
    for label, group in results.accuracy.items():
        for key in filter(group.get, results.keys):
            for variant, values in group[key].variants.items():
                cells = {header: values.get(name) for header, name in _VARIANT_COLUMNS.items()}
                undefined = Missing("not defined: no evaluated frame has the neighbours that it needs")
                cells = {header: undefined if value is None else value for header, value in cells.items()}
                rows.append({"model": key.name, "frames": key.frames, "data": label, "protocol": variant} | cells)
        means = {record.frames: record.mean_pose_mpjpe_mm for record in group.values() if record.mean_pose_mpjpe_mm}
        for frames, value in sorted(means.items()):
            row = dict.fromkeys(columns, Missing("only MPJPE is measured of it"))
            row |= {"model": "constant mean pose", "frames": frames, "data": label, "protocol": "official"}
            rows.append(row | {"MPJPE, mm": value})
    note = (
        "official: mirrored average, mean per action and then over actions, three takes with shifted labels left out, "
        "full clips only; the other rows differ from it as they say."
    )
    return Table("accuracy", "Accuracy by variant of the protocol", columns, rows, [note])


def cost(results):
    """Parameters and MACs of one clip by operator, and what was not counted."""
    measured = [(key, results.cost[key]) for key in results.keys if key in results.cost]
    operators = sorted({operator for _, record in measured for operator in record.contraction_macs_by_operator})
    columns = {
        "model": "s", "frames": "d", "output frames": "d",
        "parameters": ",d", "without gradient": ",d", "buffers": ",d",
    } | {f"{operator}, M MACs": ",.1f" for operator in operators} | {
        "contractions, M MACs": ",.1f", "scans, M MACs": ",.1f", "total, M MACs": ",.1f", "thop, M MACs": ",.1f",
        "operators not counted, and their calls": "s",
    }  # fmt: skip
    rows = []
    for key, record in measured:
        by_operator = record.contraction_macs_by_operator
        uncounted = [f"{name} {calls}" for name, calls in record.uncounted_operator_calls.items()]
        row = {
            "model": key.name,
            "frames": key.frames,
            "output frames": record.output_frames,
            "parameters": record.parameters,
            "without gradient": record.parameters - record.parameters_with_gradient,
            "buffers": record.buffer_elements,
            "contractions, M MACs": record.contraction_macs / 1e6,
            "scans, M MACs": record.scan_macs / 1e6,
            "total, M MACs": record.macs_per_clip / 1e6,
            "thop, M MACs": record.thop.macs / 1e6,
            "operators not counted, and their calls": ", ".join(uncounted) or "none",
        }
        rows.append(row | {f"{operator}, M MACs": by_operator.get(operator, 0) / 1e6 for operator in operators})
    note = (
        "Contractions: MACs of matrix products and convolutions without biases; scans: 9 B L D N + B D L, the mamba "
        "authors' rule; total: contractions and scans. thop also counts normalisations, but neither einsum nor scans."
    )
    return Table("cost", "Cost of one clip", columns, rows, [note])


def speed(results):
    """Latency and throughput with their spread, memory, and what they were measured on."""
    columns = {
        "model": "s", "frames": "d", "machine": "s", "scan": "s", "PyTorch": "s",
        "latency, ms": ",.2f", "p20, ms": ",.2f", "p80, ms": ",.2f", "samples": "d", "peak memory, MiB": ",.1f",
        "best batch": "d", "clips/s": ",.1f", "output frames/s": ",.1f",
    }  # fmt: skip
    rows = []
    for machine, group in results.speed.items():
        for key in filter(group.get, results.keys):
            record = group[key]
            peak = record.latency.peak_memory_mib
            row = {
                "model": key.name,
                "frames": key.frames,
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
            }
            rows.append(row)
    methods = sorted({record.peak_memory_method for group in results.speed.values() for record in group.values()})
    notes = [
        "Float32, lifting only, random inputs on the device. Latency: one clip, median; clips/s: best batch, median."
    ]
    return Table("speed", "Speed", columns, rows, notes + [f"Peak memory of one clip: {method}." for method in methods])
