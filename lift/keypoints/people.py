"""Who is who: the same person from frame to frame, and the person to lift."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np

from liftbench.baselines.data.scratch import by_blocks
from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints.detections import Detections

_NEAR, _FASTER = 0.5, 1.0  # sizes of the person: how far a person may move between detections, and more each second
_FARTHEST = 3.0  # sizes, however long a person was gone
_REMEMBERED = 100  # people who may come back


def followed(detections: Detections, fps: float) -> Detections:
    """The detections with a track for everybody.

    Tracks of the file are kept where it has one for each row. Otherwise everybody joins the nearest person of the
    frames before.
    """
    if (detections.track >= 0).all():
        return detections
    return replace(detections, track=_link(detections, fps))


def find_people(detections: Detections) -> list[np.ndarray]:
    """The rows of `followed` detections that each person has, (n,) int rising in frames, the largest person first.

    Raises InputError where the points of everybody lie in one place.
    """
    size, persons = by_blocks(_sizes, detections.points), []
    if not size.any():
        raise InputError(
            f"Cannot lift {detections.where}: all points of a person lie in one place. Check the detector's output."
        )
    order = np.argsort(detections.track, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(detections.track[order])) + 1):
        _, first = np.unique(detections.frame[rows], return_index=True)  # one in a frame
        persons.append(rows[first])
    return sorted(persons, key=lambda rows: -size[rows].sum())


def choose(persons: list[np.ndarray], person: str | int) -> list[int]:
    """The places of "largest", "all" or a number from 1. Raises InputError where there is no such person."""
    if person == "all":
        return list(range(len(persons)))
    if person == "largest":
        return [0]
    if not str(person).isdecimal() or not 1 <= int(person) <= len(persons):
        raise InputError(
            f"Cannot lift person {str(person)[:20]!r}: there is no such person. Choose largest, all, or a number from "
            f"1 to {len(persons)}."
        )
    return [int(person) - 1]


def _sizes(points: np.ndarray) -> np.ndarray:
    """(N, J, 3) -> (N,): the diagonal, in pixels, of the box around the points that were seen."""
    seen = points[..., 2:] > 0
    low = np.where(seen, points[..., :2], np.inf).min(axis=1)
    high = np.where(seen, points[..., :2], -np.inf).max(axis=1)
    return np.linalg.norm(np.where(high >= low, high - low, 0), axis=-1)


def _link(detections: Detections, fps: float) -> np.ndarray:
    """(N,) int: the number of each detection's person."""
    frame, points = detections.frame, detections.points
    starts = np.flatnonzero(np.diff(frame, prepend=-1))
    if len(starts) == len(frame):  # never two at a time
        return np.zeros(len(frame), int)
    size, track, people = by_blocks(_sizes, points), np.full(len(frame), -1), 0
    last = OrderedDict()  # person -> row, who was seen last at the end
    for rows in np.split(np.arange(len(frame)), starts[1:]):
        known = list(last.items())
        before = np.array([row for _, row in known], int)
        gone = (frame[rows[0]] - frame[before]) / fps
        reach = np.minimum(_NEAR + _FASTER * gone, _FARTHEST)[:, None] * np.maximum(size[before][:, None], size[rows])
        apart = _distances(points[before], points[rows])
        for place in np.argsort(apart, axis=None, kind="stable"):
            old, new = np.unravel_index(place, apart.shape)
            person, row = known[old][0], rows[new]
            if apart[old, new] <= reach[old, new] and track[row] < 0 and last[person] == known[old][1]:
                track[row] = person
                last[person] = row
                last.move_to_end(person)
        for row in rows[track[rows] < 0]:
            track[row] = people
            last[people] = row
            people += 1
        while len(last) > _REMEMBERED:
            last.popitem(last=False)
    return track


def _distances(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(P, J, 3) and (Q, J, 3) -> (P, Q): mean distance, in pixels, of the points that both have; infinite for none."""
    both = (old[:, None, :, 2] > 0) & (new[None, :, :, 2] > 0)
    apart = np.linalg.norm(old[:, None, :, :2] - new[None, :, :, :2], axis=-1)
    count = both.sum(axis=-1)
    return np.where(count > 0, (apart * both).sum(axis=-1) / np.maximum(count, 1), np.inf)
