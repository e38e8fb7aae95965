"""Events and strides of somebody who walks, and what is measured of each stride. Sides: (right, left)."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from liftbench.baselines.errors import InputError
from liftbench.lift.gait.angles import ANKLES, PELVIS, SHOULDERS, THORAX, body_axes, joint_angles
from liftbench.lift.gait.parameters import PARAMETERS, of_curves, of_stride
from liftbench.lift.geometry.filters import runs, smooth

SIDES = ("right", "left")
CUTOFF = 6.0  # Hz, of positions
_NEEDED = [*range(7), THORAX, *SHOULDERS]
_SLOWEST = 25  # frames a second
_APART, _PROMINENCE = 0.5, 0.35  # s between two peaks; share of the signal's range by which a peak stands out
_LONGEST = 1.5  # s, of a stride; standing and turning look like longer ones
_LARGEST_TURN = 30.0  # degrees within a stride
_UNLIKE = 0.35  # of the median stride's time, by which another may differ
_SHORTEST_REACH = 100.0  # mm that an ankle travels against the pelvis in a stride; who stands does less


@dataclass(frozen=True)
class Gait:
    """What one recording says. Times in s from its first frame, lengths in mm.

    heel_strikes, toe_offs: an array for each side. values: name with unit -> for each side (strides,), nan where the
    events of a stride do not tell. curves: angle -> for each side (strides, 101), from heel strike (0 %) to the next
    (100 %), fewer where an elbow or wrist is unknown. begin, end: s, what was analysed. left_out: strides that were
    none of straight walking.
    """

    heel_strikes: tuple[np.ndarray, np.ndarray]
    toe_offs: tuple[np.ndarray, np.ndarray]
    values: dict[str, tuple[np.ndarray, np.ndarray]]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    begin: float
    end: float
    left_out: int

    @property
    def strides(self) -> tuple[int, int]:
        """How many the parameters are of, right and left."""
        right, left = self.curves["knee flexion"]
        return len(right), len(left)

    @property
    def parameters(self) -> dict[str, tuple[float, float]]:
        """Name with unit -> (right, left), the mean over the strides or nan."""
        return {name: tuple(_mean(side) for side in both) for name, both in self.values.items()}

    @property
    def deviations(self) -> dict[str, tuple[float, float]]:
        """Name with unit -> (right, left), the standard deviation over the strides; nan for fewer than two."""
        return {name: tuple(_deviation(side) for side in both) for name, both in self.values.items()}


def analyse(world: np.ndarray, fps: float) -> Gait:
    """Find the strides of somebody who walks, and measure them.

    world: (T, 17, 3) mm, z up, such as `Lifted.poses_world`. Where joints of legs, shoulders or trunk are unknown (nan)
    there is no stride; each stretch between is analysed on its own, if it lasts a second. Events by Zeni, Richards and
    Higginson (2008), with ankles for heel and toe and the pelvis for the sacrum, placed between frames by a parabola.
    Strides are left out if they take more than 1.5 s or differ from the median by more than 35%, if the body turns by
    more than 30 degrees, or if the ankle travels less than 100 mm against the pelvis. Raises InputError for less than
    25 frames a second, and where nobody walks.
    """
    if not _SLOWEST <= fps < float("inf"):
        raise InputError(f"Cannot analyse gait: {fps:g} frames a second are too few. Record {_SLOWEST} or more.")
    known = runs(np.isfinite(world[:, _NEEDED]).all(axis=(1, 2)))
    stretches = [run for run in known if run.stop - run.start >= fps]
    if not stretches:
        raise InputError("Cannot analyse gait: no second of the recording is without gaps. Record the whole body.")
    parts = [_stretch(world[run], run.start / fps, fps) for run in stretches]
    if not any(rows for part in parts for rows in part.rows):
        raise InputError("Cannot analyse gait: there is no stride in it. Record three or more, straight ahead.")

    def joined(arrays: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.concatenate([array[side] for array in arrays]) for side in range(2))

    rows = [[row for part in parts for row in part.rows[side]] for side in range(2)]
    return Gait(
        joined([part.strikes for part in parts]),
        joined([part.offs for part in parts]),
        {name: tuple(np.array([row.get(name, np.nan) for row in side]) for side in rows) for name in PARAMETERS},
        {name: joined([part.curves[name] for part in parts]) for name in parts[0].curves},
        stretches[0].start / fps,
        stretches[-1].stop / fps,
        sum(max(0, len(events) - 1) for part in parts for events in part.strikes) - sum(map(len, rows)),
    )


@dataclass(frozen=True)
class _Stretch:
    """Events, s, of each side; a row for each stride of each side; and the curves, as in `Gait`."""

    strikes: list
    offs: list
    rows: list
    curves: dict


def _stretch(world: np.ndarray, start: float, fps: float) -> _Stretch:
    """What stands in one stretch without gaps in what is needed, which begins `start` s into the recording."""
    pose = smooth(world, fps, CUTOFF)
    forward, left = body_axes(pose, fps)
    ahead = ((pose[:, ANKLES] - pose[:, [PELVIS]]) * forward[:, None]).sum(axis=-1)  # (T, 2)
    strikes, offs = ([_peaks(sign * ahead[:, side], fps) for side in range(2)] for sign in (1, -1))
    strides = _alike([_strides(strikes[side], ahead[:, side], forward, fps) for side in range(2)])
    curves = {
        name: [_curves(angle[:, side], strides[side]) for side in range(2)]
        for name, angle in joint_angles(pose, forward, left).items()
    }
    rows = [
        [
            of_stride(pose, forward, left, side, stride, strikes, offs, fps)
            | of_curves(curves["knee flexion"][side][number], curves["hip flexion"][side][number])
            for number, stride in enumerate(strides[side])
        ]
        for side in range(2)
    ]
    whole = {name: [side[np.isfinite(side).all(axis=1)] for side in both] for name, both in curves.items()}
    return _Stretch(
        [start + events / fps for events in strikes], [start + events / fps for events in offs], rows, whole
    )


def _peaks(signal: np.ndarray, fps: float) -> np.ndarray:
    """Frames of the maxima, between frames by the parabola through the highest and its neighbours."""
    prominence = _PROMINENCE * np.ptp(signal)
    top = find_peaks(signal, prominence=max(prominence, 1e-9), distance=max(1, round(_APART * fps)))[0]
    before, at, after = signal[top - 1], signal[top], signal[top + 1]
    return top + (before - after) / 2 / np.minimum(before - 2 * at + after, -1e-12)


def _strides(strikes: np.ndarray, ahead: np.ndarray, forward: np.ndarray, fps: float) -> list[tuple[float, float]]:
    """(first, last) frame of each stride of one foot that is one."""
    found = []
    for first, last in zip(strikes[:-1], strikes[1:]):
        begin, end = round(first), round(last)
        turn = np.degrees(np.arccos(np.clip(forward[begin] @ forward[end], -1, 1)))
        reach = np.ptp(ahead[begin : end + 1])
        if (last - first) / fps <= _LONGEST and turn <= _LARGEST_TURN and reach >= _SHORTEST_REACH:
            found.append((float(first), float(last)))
    return found


def _alike(strides: list[list[tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    """Those that last about as long as the median one does: a false heel strike, as of legs that swap, makes two."""
    times = [last - first for side in strides for first, last in side]
    usual = float(np.median(times)) if times else 0.0
    return [[(first, last) for first, last in side if abs(last - first - usual) <= _UNLIKE * usual] for side in strides]


def _curves(angle: np.ndarray, strides: list[tuple[float, float]]) -> np.ndarray:
    """(strides, 101): an angle from heel strike to heel strike."""
    curves = [np.interp(np.linspace(a, b, 101), np.arange(len(angle)), angle) for a, b in strides]
    return np.array(curves).reshape(-1, 101)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _deviation(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")
