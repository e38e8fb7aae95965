"""DeepLabCut and SLEAP: CSV tables whose columns are named after the user's own points."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import read_yaml
from liftbench.lift.keypoints import layouts
from liftbench.lift.keypoints.detections import Detections, gather

_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
_SAME = {"top_head": "head_top", "head": "head_top", "hip_center": "pelvis", "chest": "thorax", "neck": "upper_neck"}


def read(path: Path, names_file: Path | None) -> Detections:
    """A table of DeepLabCut, of one or several animals, or of SLEAP's analysis, one row an instance.

    names_file: YAML with lines such as `left_hip: MyHipL`, for points whose names do not say what they are. An empty
    cell or nan is a point that was not seen. Raises InputError for another table, or where points are missing.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header[:1] == ["scorer"]:
                return _deeplabcut(path, header, rows, names_file)
            if {"track", "frame_idx"} <= set(header):
                return _sleap(path, header, rows, names_file)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Check the path.") from None
    except (csv.Error, UnicodeDecodeError):
        raise InputError(f"Cannot read {path}: it is not a CSV table. Give a detector's own file.") from None
    raise InputError(
        f"Cannot read {path}: its first row is neither DeepLabCut's nor SLEAP's. Give their table, or an .npz file."
    )


def _deeplabcut(path: Path, header: list[str], rows: Iterator[list[str]], names_file: Path | None) -> Detections:
    """Header rows scorer, (individuals,) bodyparts and coords; x, y and likelihood of each point and animal."""
    heads = {"scorer": header}
    for row in rows:
        heads[row[0] if row else ""] = row
        if row[:1] == ["coords"] or len(heads) > 4:
            break
    parts, coords = heads.get("bodyparts", []), heads.get("coords", [])
    if len(coords) < 4 or len(parts) != len(coords):
        raise InputError(f"Cannot read {path}: the rows bodyparts and coords do not fit. Give DeepLabCut's own file.")
    animals = heads.get("individuals", ["one"] * len(coords))
    column = {key: place for place, key in enumerate(zip(animals, parts, coords))}
    points = list(dict.fromkeys(parts[1:]))
    places = [
        [[column.get((animal, part, coord), -1) for coord in ("x", "y", "likelihood")] for part in points]
        for animal in dict.fromkeys(animals[1:])
    ]
    numbers, values, track, place = [], [], [], -1
    for place, row in enumerate(rows):
        cells = _cells(path, row, len(coords))
        for animal, where in enumerate(places):
            person = np.where(np.array(where) < 0, np.nan, cells[where])
            if np.isfinite(person[:, :2]).all(axis=1).any():
                numbers.append(place)
                values.append(person)
                track.append(animal)
    scored = any(place >= 0 for animal in places for place in np.array(animal)[:, 2])
    return _named(path, "DeepLabCut", points, numbers, values, track, scored, names_file, range(place + 1))


def _sleap(path: Path, header: list[str], rows: Iterator[list[str]], names_file: Path | None) -> Detections:
    """Columns track, frame_idx, instance.score, then NAME.x, NAME.y and NAME.score of each point."""
    points = [name.removesuffix(".x") for name in header if name.endswith(".x")]
    column = {name: place for place, name in enumerate(header)}
    where = [[column.get(f"{point}.{axis}", -1) for axis in ("x", "y", "score")] for point in points]
    tracks, numbers, values, track = {}, [], [], []
    for row in rows:
        cells = _cells(path, row, len(header), text=column["track"])
        if not 0 <= cells[column["frame_idx"]] < 2**53:
            raise InputError(f"Cannot read {path}: a row has no frame_idx. Give SLEAP's own file.")
        numbers.append(int(cells[column["frame_idx"]]))
        values.append(np.where(np.array(where) < 0, np.nan, cells[where]))
        name = row[column["track"]]
        track.append(tracks.setdefault(name, len(tracks)) if name else -1)
    return _named(path, "SLEAP", points, numbers, values, track, any(place[2] >= 0 for place in where), names_file)


def _cells(path: Path, row: list[str], count: int, text: int = 0) -> np.ndarray:
    """A row as numbers, nan for what is empty; the cell `text` is not looked at."""
    if len(row) != count:
        raise InputError(f"Cannot read {path}: a row has {len(row)} cells instead of {count}. Copy the file again.")
    try:
        return np.array([float(cell) if cell and place != text else np.nan for place, cell in enumerate(row)])
    except ValueError:
        raise InputError(f"Cannot read {path}: a cell is not a number. Correct the file.") from None


def _named(
    path: Path,
    source: str,
    points: list[str],
    numbers: list[int],
    values: list[np.ndarray],
    track: list[int],
    scored: bool,
    names_file: Path | None,
    every: Sequence[int] = (),
) -> Detections:
    names = _our_names(path, points, names_file)
    values = np.array(values).reshape(-1, len(points), 3)
    unseen = np.isnan(values[..., :2]).any(axis=-1)
    values[..., 2] = np.where(np.isnan(values[..., 2]), 0.0 if scored else 1.0, values[..., 2])
    values[unseen] = 0
    return gather(path, source, "named points", names, numbers, values, track, scored, every)


def _our_names(path: Path, points: list[str], names_file: Path | None) -> tuple[str, ...]:
    """Our name of each point of the file, "" for one that we have no use for."""
    given = read_yaml(names_file, "the names") if names_file else {}
    if strange := sorted(set(given) - set(layouts.POINTS)):
        raise InputError(f"Cannot use {names_file}: {strange[0][:40]} is not a point. Use {', '.join(layouts.POINTS)}.")
    theirs = {str(name): ours for ours, name in given.items()}
    names, taken = [], set(given)
    for point in points:
        ours = theirs.get(point) or next((name for name in _guesses(point) if name not in taken), "")
        taken.add(ours)
        names.append(ours if ours in layouts.POINTS else "")
    if missing := [name for name in layouts.REQUIRED if name not in names]:
        raise InputError(
            f"Cannot read {path}: it has no point named {', '.join(missing)}. Name them in a file for --names, such as "
            f"`{missing[0]}: {points[0][:40] if points else 'name'}`."
        )
    return tuple(names)


def _guesses(point: str) -> Iterator[str]:
    """Our name for a point such as LHip, hip_left or Right-Ankle."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\b[LR])(?=[A-Z][a-z])", " ", point).lower())
    sides = [_SIDES[word] for word in words if word in _SIDES]
    name = "_".join([*sides[:1], *(word for word in words if word not in _SIDES)])
    yield _SAME.get(name, name)
