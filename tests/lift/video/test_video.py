"""Frames of a video: upright, evenly spaced in time, or one sentence that says what is wrong."""

import numpy as np
import pytest

from liftbench.baselines.errors import InputError
from liftbench.lift.video.frames import open_video
from support.videos import SIDE, number_of, numbered, write_video

pytest.importorskip("av")
EVEN = [40 * frame for frame in range(25)]  # 25 frames a second


@pytest.fixture(scope="module")
def even(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "even.mp4", numbered(25), EVEN)


def seen(video):
    return [(slot, number_of(image)) for slot, image in video]


def test_every_frame_in_its_order(even):
    video = open_video(even)
    assert (video.fps, video.size, video.frames, video.first_frame) == (pytest.approx(25), (SIDE, 2 * SIDE), 25, 0)
    assert seen(video) == [(frame, frame) for frame in range(25)]
    assert seen(video) == seen(video), "it may be read twice"


@pytest.mark.parametrize("turns", range(4))
def test_a_phone_held_in_any_way_comes_out_upright(tmp_path, turns):
    path = write_video(tmp_path / "phone.mp4", numbered(3), EVEN[:3], turns)
    video = open_video(path)
    assert video.size == (SIDE, 2 * SIDE)
    for _, image in video:
        assert image.shape == (2 * SIDE, SIDE, 3) and image.dtype == np.uint8
        assert image[4:12, 4:12].min() > 230 and image[24:].max() < 60 and image[:, 24:].max() < 60


def test_pixels_become_square(tmp_path):
    path = write_video(tmp_path / "wide.mp4", numbered(3), EVEN[:3], aspect=2)
    assert open_video(path).size == (2 * SIDE, 2 * SIDE)
    assert next(iter(open_video(path)))[1].shape == (2 * SIDE, 2 * SIDE, 3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("start, end", [(0.4, 0.6), (0.38, None), (None, 0.41), (0.96, 5)])
def test_start_and_end(tmp_path, suffix, start, end):
    path = write_video(tmp_path / f"even.{suffix}", numbered(25), EVEN)
    video = open_video(path, start, end)
    first, stop = round((start or 0) * 25 + 0.49), min(25, round((end or 9) * 25 + 0.49))
    assert (video.first_frame, video.frames) == (first, stop - first)
    assert seen(video) == [(slot, first + slot) for slot in range(stop - first)]


def test_a_variable_frame_rate_becomes_constant(tmp_path):
    times = np.array(EVEN)
    times[3:6] += (5, -7, 9)  # jitter
    keep = [frame for frame in range(25) if frame not in (10, 11, 12, 18)]  # what the recorder dropped
    path = write_video(tmp_path / "phone.mp4", numbered(25)[keep], times[keep])
    video = open_video(path)
    assert video.fps == pytest.approx(25) and video.frames == 25
    assert seen(video) == [(frame, frame) for frame in keep]


def test_of_two_frames_in_one_slot_the_first_is_taken(tmp_path):
    path = write_video(tmp_path / "burst.mp4", numbered(12), [40 * frame for frame in range(10)] + [365, 400])
    assert seen(open_video(path)) == [*((frame, frame) for frame in range(10)), (10, 11)]


def test_a_rate_that_ticks_do_not_fit(tmp_path):
    path = write_video(tmp_path / "ntsc.mkv", numbered(31), [round(1001 * frame / 30) for frame in range(31)])
    video = open_video(path)
    assert video.fps == pytest.approx(30000 / 1001, rel=1e-3) and len(seen(video)) == video.frames == 31


def refused(path, **options):
    with pytest.raises(InputError) as error:
        for _ in open_video(path, **options):
            pass
    assert str(path) in str(error.value) or "--" in str(error.value)
    return str(error.value)


def test_what_is_no_video(tmp_path, even):
    path = tmp_path / "clip.mp4"
    assert "No such file or directory. Check the path." in refused(path)
    path.write_bytes(b"")
    assert "it is empty. Copy it again." in refused(path)
    path.write_bytes(b"not a video at all " * 100)
    assert "it is not a video, or cut off" in refused(path)
    path.write_bytes(np.random.default_rng(0).bytes(10_000))
    assert "it is not a video, or cut off" in refused(path)
    for share in (0.5, 0.8):  # the index is at the end
        path.write_bytes(even.read_bytes()[: int(share * even.stat().st_size)])
        assert "cut off" in refused(path)
    text = tmp_path / "notes.txt"
    text.write_text("walking, 25 frames a second\n" * 50)
    assert "it is not a video" in refused(text) or "there is no video in it" in refused(text)
    assert "Is a directory" in refused(tmp_path)


def test_sound_without_video(tmp_path):
    import wave

    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    assert "there is no video in it. Give a video file." in refused(tmp_path / "sound.wav")


def test_a_truncated_video(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (25, 2 * SIDE, SIDE, 3), np.uint8)  # so that frames have bytes to lose
    path = write_video(tmp_path / "whole.mp4", noise, EVEN, options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 5])
    message = refused(path)
    assert "it is truncated, with" in message and "of 25 frames. Copy it again, or give --end" in message
    assert len(list(open_video(path, end=0.4))) == 10, "what is there may be used"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"start": 3}, "it lasts 1.00 s and has no frame from 3 s on. Change --start"),
        ({"start": 0.5, "end": 0.5}, "Cannot use --end 0.5: it is not after --start 0.5"),
        ({"start": -1}, "Cannot use --start -1: no video has it. Give seconds"),
        ({"end": float("nan")}, "Cannot use --end nan: no video has it. Give seconds"),
    ],
)
def test_times_outside_of_the_video(even, options, message):
    assert message in refused(even, **options)


def test_a_name_in_another_encoding_does_no_harm(tmp_path):
    import av

    even = write_video(tmp_path / "even.mp4", numbered(3), EVEN[:3])
    path = tmp_path / "named.mp4"
    with av.open(str(even)) as source, av.open(str(path), "w") as copy:
        copy.metadata["title"] = "Mueller"
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    assert path.read_bytes().count(b"Mueller") == 1
    path.write_bytes(path.read_bytes().replace(b"Mueller", b"M\xfc\xfcller"))
    assert len(seen(open_video(path))) == 3


def test_a_clock_that_jumps(tmp_path):
    path = write_video(tmp_path / "jump.mkv", numbered(4), [0, 40, 80, 60_000])
    assert "its clock jumps over 60 s" in refused(path)


def test_a_playlist_does_not_reach_the_network(tmp_path):
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/part.ts\n#EXT-X-ENDLIST\n")
    refused(path)
