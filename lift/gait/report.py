"""What a report of one recording says, apart from how it looks: facts, rows, warnings, and what cannot be told."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftbench.baselines.files import replacing
from liftbench.lift.gait.analysis import CUTOFF, SIDES, Gait
from liftbench.lift.gait.angles import body_axes
from liftbench.lift.gait.parameters import NOT_OBSERVABLE, symmetry
from liftbench.lift.lifted import Lifted

FILES = ("gait.csv", "gait_curves.csv", "gait.png", "gait.html")
DISCLAIMER = "Not a medical device. For research."
ANKLE_BASED = ("step length", "stride length", "step width", "speed", "walk ratio", "stance", "swing", "double support")
SHOWN = (
    "hip flexion", "knee flexion", "ankle flexion", "pelvic obliquity", "pelvic rotation", "trunk lean forward",
    "trunk lean to the side", "elbow flexion",
)  # fmt: skip
_FEW, _FEW_FOR_VARIABILITY = 3, 5  # strides a side
_LEGS = slice(1, 7)
_MURRAY = "Murray et al. 1964 and 1970, healthy adults"
# quantity -> (from, to, what is usual): outside of them a warning says so, and nothing more
_PLAUSIBLE = {
    "cadence, steps/min": (60, 132, f"60 to 132, mean 117, by {_MURRAY}"),
    "step length, mm": (330, 1030, f"about 660 (women) to 790 (men) by {_MURRAY}"),
    "speed, m/s": (0.65, 2.0, f"about 1.31 (women) to 1.54 (men) by {_MURRAY}"),
    "stance, %": (55, 70, "about 60 to 62 in healthy adults; less than 50 is running"),
}


@dataclass(frozen=True)
class Validation:
    """How far such values were off where the truth is known: same weights, people whom they never saw, same view.

    source: what was measured and how. errors: mean absolute error by name, in the unit of the name: of parameters, of
    curves ("knee flexion curve, degrees") and of symmetry indices ("symmetry index of step length, %").
    """

    source: str
    errors: dict[str, float]


@dataclass(frozen=True)
class Row:
    """A quantity with its unit: mean and standard deviation (right, left), nan where unknown; symmetry or None.

    error: the mean absolute error to expect, in the same unit; None where it was not validated.
    """

    name: str
    mean: tuple[float, float]
    deviation: tuple[float, float]
    symmetry: dict[str, float] | None
    ankle_based: bool
    error: float | None


@dataclass(frozen=True)
class Report:
    """title; facts: (term, value) pairs; rows; warnings and notes: sentences; curves: those of `Gait`; source: where
    the errors are from, None where there are none."""

    title: str
    facts: list[tuple[str, str]]
    rows: list[Row]
    warnings: list[str]
    notes: list[str]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    source: str | None


def report(lifted: Lifted, gait: Gait, validation: Validation | None = None) -> Report:
    """The report of a recording and its gait, with the errors to expect where they were measured."""
    facts, about = lifted.metadata, view(lifted, gait)
    span = slice(round(gait.begin * lifted.fps), round(gait.end * lifted.fps))
    filled = ~lifted.valid[span, _LEGS].all(axis=1)
    height = facts.get("height_m")
    assumed = "assumed" if any("body height" in sentence for sentence in facts.get("assumed", ())) else "as given"
    pairs = [
        ("View", about),
        ("Strides", f"{gait.strides[0]} right, {gait.strides[1]} left"),
        ("Left out", f"{gait.left_out} (turning, standing or slow)"),
        ("Analysed", f"{gait.begin:.1f} to {gait.end:.1f} s, {lifted.fps:g} frames a second"),
        ("Leg joints filled in", f"{filled.sum():,} of {len(filled):,} frames ({filled.mean():.0%})"),
        ("Body height", "not known" if height is None else f"{height:.2f} m, {assumed}"),
        ("Run", ", ".join(str(facts[key]) for key in ("model", "weights") if facts.get(key)) or "not known"),
    ]
    notes = [
        "Ankle-based: there is no foot among the 17 joints. Ankles stand for heel and toe, so steps come out about 13% "
        "shorter than half of the stride, measured on true motion capture. Compare only with ankle-based values.",
        "Heel strike and toe off are the extremes of the ankle against the pelvis along the walking direction (Zeni et "
        f"al. 2008), of positions low-passed at {CUTOFF:g} Hz. Hip flexion is against the trunk, knee flexion is "
        "unsigned.",
        f"Not available from these joints: {', '.join(NOT_OBSERVABLE)}.",
        *_said_of_errors(validation),
        "One camera, lifted to 3D: lengths and ranges of motion tend to come out too small, and lengths scale with the "
        "body height.",
        "Symmetry index: 100 (right - left) / mean of both (Robinson et al. 1987). Gait asymmetry: 100 |ln(right / "
        "left)| (Plotnik et al. 2005, of swing times). Both are 0 and the ratio, right / left, is 1 for equal sides.",
    ]
    errors = validation.errors if validation else {}
    rows = [
        Row(name, mean, gait.deviations[name], _symmetry(mean), name.startswith(ANKLE_BASED), errors.get(name))
        for name, mean in gait.parameters.items()
    ]
    title = str(facts.get("recording", "A recording"))
    warnings = _warnings(gait, filled, height, assumed)
    return Report(title, pairs, rows, warnings, notes, gait.curves, validation and validation.source)


def view(lifted: Lifted, gait: Gait) -> str:
    """From where the camera sees the person walk, in words."""
    angle = view_angle(lifted, gait)
    if angle is None:
        return "not known"
    names = ("front", "oblique, from the front", "side", "oblique, from behind", "back")
    return f"{names[round(angle / 45)]} ({angle:.0f}° from the front)"


def view_angle(lifted: Lifted, gait: Gait) -> float | None:
    """Degrees between the walking direction and the direction to the camera: 0 from the front, 90 from the side.

    None where the camera's rotation is not known.
    """
    rotation = np.asarray(lifted.metadata.get("camera_to_world", ()), float)
    if rotation.shape != (3, 3):
        return None
    span = slice(round(gait.begin * lifted.fps), round(gait.end * lifted.fps))
    forward = np.nanmean(body_axes(lifted.poses_world[span])[0], axis=0)  # between the stretches there are gaps
    to_camera = -rotation[:2, 2]
    cosine = forward[:2] @ to_camera / max(np.linalg.norm(forward[:2]) * np.linalg.norm(to_camera), 1e-9)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def save(made: Report, folder: str | Path) -> list[Path]:
    """Write FILES into a folder, all or none -> their paths. Raises InputError where a file cannot be written."""
    from liftbench.lift.gait import page, picture, tables

    paths = [Path(folder) / name for name in FILES]
    with contextlib.ExitStack() as files:
        temporary = [files.enter_context(replacing(path)) for path in paths]
        for write, path in zip((tables.parameters, tables.curves, picture.write, page.write), temporary):
            write(made, path)
    return paths


def _symmetry(mean: tuple[float, float]) -> dict[str, float] | None:
    return symmetry(*mean) if all(value > 0 for value in mean) else None


def _said_of_errors(validation: Validation | None) -> list[str]:
    if validation is None:
        return [
            "Expected errors: not validated. There is no record of `liftbench measure lift` for these weights from "
            "this view."
        ]
    others = [
        f"{name.rpartition(',')[0]} {rounded(error)} {name.rpartition(', ')[2]}".replace(" %", "%")
        for name, error in validation.errors.items()
        if name.startswith("symmetry index") or "curve," in name
    ]
    more = f" Of what is not in the table: {'; '.join(others)}. Other curves are not validated." if others else ""
    return [f"Expected error: mean absolute error by {validation.source}.{more}"]


def rounded(error: float | None) -> str:
    """An error to expect, with two digits or all before the point; "not validated" where there is none."""
    if error is None:
        return "not validated"
    return f"{error:.{max(0, 1 - math.floor(math.log10(error))) if error > 0 else 0}f}"


def _warnings(gait: Gait, filled: np.ndarray, height: float | None, assumed: str) -> list[str]:
    said = []
    if min(gait.strides) < _FEW:
        said.append(f"Fewer than {_FEW} strides a side: too few for a mean that can be relied on.")
    elif min(gait.strides) < _FEW_FOR_VARIABILITY:
        said.append(
            f"Fewer than {_FEW_FOR_VARIABILITY} strides a side: the standard deviations are no measure of variability."
        )
    if height is not None and assumed == "assumed":
        said.append(f"The body height is assumed ({height:.2f} m): all lengths and the speed scale with it.")
    if filled.mean() > 0.1:
        said.append(f"In {filled.mean():.0%} of the frames a joint of the legs was filled in or doubted.")
    for name, (low, high, usual) in _PLAUSIBLE.items():
        for side, value in zip(SIDES, gait.parameters[name]):
            if not (low <= value <= high or np.isnan(value)):
                quantity, _, unit = name.partition(", ")
                said.append(f"Check the {side} {quantity}, {value:.3g} {unit}: {usual}.")
    return said
