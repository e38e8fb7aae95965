"""The frames of a video: upright, and evenly spaced in time."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liftbench.baselines.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_SPARSEST = 10  # slots of time for each frame; a recording whose clock jumps farther is refused
_FILES_ONLY = {"protocol_whitelist": "file"}  # a playlist in a file may name addresses of a network


@dataclass(frozen=True)
class Video:
    """The frames from `start` to `end` of a video, each in its slot of a constant frame rate.

    Iterating decodes them: (slot, image), slot from 0 to `frames` - 1, image (H, W, 3) uint8 RGB, upright, with square
    pixels. A slot that the recording has no frame for is left out, and of two frames in one slot the second is: so a
    variable frame rate becomes a constant one, with times off by at most half a frame.
    """

    path: Path
    fps: float
    size: tuple[int, int]  # width, height of the upright image, pixels
    frames: int  # slots
    first_frame: int  # the slot, counted from the beginning of the video, that is slot 0 here
    _clock: "_Clock"
    _key: int | None  # when the key frame to begin at is decoded, in ticks; None for the beginning of the video

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        free = 0
        with _opened(self.path) as (container, stream):
            if self._key is not None:
                container.seek(self._key, stream=stream)
            for number, frame in enumerate(_decoded(self.path, container, stream)):
                time = number if self._clock.counts else frame.pts
                if time is None:  # nobody knows where it belongs
                    continue
                slot = int(self._clock.slots(time)) - self.first_frame
                if slot >= self.frames:
                    return
                if slot >= free:
                    free = slot + 1
                    yield slot, _upright(frame, stream, self.path, self.size)


@dataclass(frozen=True)
class _Clock:
    """When frames are shown. first: of the first frame, in ticks. tick: s. counts: a tick is a frame, where the file
    has no times."""

    first: int
    tick: float
    fps: float
    counts: bool

    def slots(self, times: int | np.ndarray) -> np.ndarray:
        return np.rint((times - self.first) * self.tick * self.fps).astype(np.int64)


def open_video(path: str | Path, start: float | None = None, end: float | None = None) -> Video:
    """Look through a video without decoding it.

    start, end: seconds from the first frame; frames at `end` and later are left out. The frame rate is that of the
    usual distance between frames. Raises InputError for an empty, truncated or damaged file, one without video, and
    times outside of it.
    """
    path = Path(path)
    for option, seconds in (("--start", start), ("--end", end)):
        if seconds is not None and not 0 <= seconds < 1e7:
            raise InputError(f"Cannot use {option} {seconds:g}: no video has it. Give seconds from its beginning.")
    if end is not None and end <= (start or 0):
        raise InputError(f"Cannot use --end {end:g}: it is not after --start {start or 0:g}. Give a later time.")
    with _opened(path) as (container, stream):
        times, keys, clock, promised = _times(path, container, stream)
    with _opened(path) as (container, stream):
        first = next(_decoded(path, container, stream), None)
        if first is None:
            raise InputError(f"Cannot read {path}: no frame in it can be decoded. Convert it to an MP4 file.")
        size = _size(first, stream, path)
    fps, slots = clock.fps, clock.slots(times)
    if slots[-1] > 1000 + _SPARSEST * len(slots):
        raise InputError(f"Cannot read {path}: its clock jumps over {slots[-1] / fps:,.0f} s. Convert it anew.")
    if len(times) < promised and (end is None or end * fps > slots[-1] + 1):
        raise InputError(
            f"Cannot read {path}: it is truncated, with {len(times):,} of {promised:,} frames. Copy it again, or give "
            f"--end {slots[-1] / fps:.1f}."
        )
    begin = 0 if start is None else math.ceil(start * fps - 1e-6)
    stop = slots[-1] + 1 if end is None else min(slots[-1] + 1, math.ceil(end * fps - 1e-6))
    if not ((slots >= begin) & (slots < stop)).any():
        until = "on" if end is None else f"to {end:g} s"
        raise InputError(
            f"Cannot read {path}: it lasts {(slots[-1] + 1) / fps:.2f} s and has no frame from {start or 0:g} s "
            f"{until}. Change --start or --end."
        )
    before = [decoded for shown, decoded in keys if clock.slots(shown) <= begin] if begin else []
    key = max(before, default=None)
    return Video(path, fps, size, int(stop - begin), begin, clock, key)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """(container, video stream) of a file."""
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise InputError(f"Cannot read {path}: it is empty. Copy it again.")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Check the path.") from None
    try:
        import av
    except ImportError:
        raise InputError(
            "Cannot read videos: PyAV is not installed. Install it with `pip install liftbench[video]`."
        ) from None
    try:
        container = av.open(f"file:{path}", options=_FILES_ONLY, metadata_errors="replace")
    except av.FFmpegError:
        raise InputError(
            f"Cannot read {path}: it is not a video, or cut off at its beginning or end. Give a whole video, or "
            "keypoints as .json, .csv, .npz or .npy."
        ) from None
    with container:
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if cover not in stream.disposition]
        if not streams or container.format.name == "tty":  # text, which FFmpeg would draw
            raise InputError(f"Cannot read {path}: there is no video in it. Give a video file.")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def _times(
    path: Path, container: "InputContainer", stream: "VideoStream"
) -> tuple[np.ndarray, list[tuple[int, int]], _Clock, int]:
    """Times of all frames, sorted; (shown, decoded) of key frames; the clock; how many frames the file promises.

    Only MP4 files promise the right number.
    """
    import av

    times, keys = [], []
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                times.append(packet.pts)
                if packet.is_keyframe and None not in (packet.pts, packet.dts):
                    keys.append((packet.pts, packet.dts))
    except av.FFmpegError:  # what is missing at the end shows in the count
        pass
    if not times:
        raise InputError(f"Cannot read {path}: it holds no frame, or is cut off. Record or copy it again.")
    average = float(stream.average_rate or 25)
    if None in times:
        return np.arange(len(times)), [], _Clock(0, 1 / average, average, True), 0
    promised = stream.frames - (len(times) - len(set(times))) if "mp4" in container.format.name else 0
    times, tick = np.unique(times), float(stream.time_base)
    return times, keys, _Clock(int(times[0]), tick, _rate(times, tick) or average, False), promised


def _rate(times: np.ndarray, tick: float) -> float | None:
    """Frames a second: the mean over all distances, each divided by the number of usual ones that it holds."""
    steps = np.diff(times)
    if not len(steps):
        return None
    return float(np.rint(steps / np.median(steps)).sum() / ((times[-1] - times[0]) * tick))


def _decoded(path: Path, container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    """The frames; raises InputError at one that is damaged."""
    import av

    frame = None
    try:
        for frame in container.decode(stream):
            yield frame
    except av.FFmpegError:
        where = f"after {frame.time:.1f} s" if frame is not None and frame.time is not None else "at its beginning"
        raise InputError(f"Cannot read {path}: it is damaged {where}. Copy it again, or end there by --end.") from None


def _size(frame: "VideoFrame", stream: "VideoStream", path: Path) -> tuple[int, int]:
    """Width and height of the upright image with square pixels."""
    if frame.rotation % 90:
        raise InputError(f"Cannot read {path}: it is turned by {frame.rotation} degrees. Turn it upright first.")
    width = round(frame.width * float(stream.sample_aspect_ratio or 1))
    return (frame.height, width) if frame.rotation % 180 else (width, frame.height)


def _upright(frame: "VideoFrame", stream: "VideoStream", path: Path, size: tuple[int, int]) -> np.ndarray:
    """The frame as (H, W, 3) uint8 RGB."""
    if _size(frame, stream, path) != size:
        raise InputError(f"Cannot read {path}: the size of its image changes. Cut it there into two.")
    width, height = size[::-1] if frame.rotation % 180 else size
    try:
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
    except (OSError, ValueError):  # colours that FFmpeg has no rule for
        raise InputError(f"Cannot read {path}: its colours cannot be read. Convert it to an MP4 file.") from None
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
