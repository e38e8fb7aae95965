"""Pictures and films: what is drawn is where it should be, and lasts as long as the recording."""

import dataclasses
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from liftbench.baselines.errors import InputError
from liftbench.lift.pictures.drawing import SCALE, draw_image, draw_space
from liftbench.lift.pictures.film import film, film_size
from liftbench.lift.pictures.stage import COLOURS, SIDES, stage
from liftbench.lift.pictures.view import View, around, person_in_image
from support.walking import lifted_walker

SIZE = (200, 240)


@pytest.fixture(scope="module")
def lifted():
    return lifted_walker()


def test_a_view_knows_right_up_and_near():
    view = View(azimuth=0, elevation=0, distance=3000, targets=np.array([[0, 0, 900.0]]))
    middle, right, up, away = view.see(np.array([[0, 0, 900], [100, 0, 900], [0, 0, 1000], [0, 500, 900]]), 0, SIZE)
    assert middle[0] == SIZE[0] / 2 and middle[2] == 3000
    assert right[0] > middle[0] and right[1] == middle[1] and up[1] < middle[1] and away[2] == 3500
    assert (right - middle)[0] == pytest.approx(100 * middle[3])
    turned = View(90, 0, 3000, np.array([[0, 0, 900.0]])).see(np.array([[-500, 100, 900]]), 0, SIZE)[0]
    assert turned[0] > SIZE[0] / 2 and turned[2] == pytest.approx(3500)  # looks along -x, so y is to the right
    above = View(0, 90, 3000, np.zeros((1, 3))).see(np.array([[0, 100, 0.0]]), 0, SIZE)[0]
    assert above[1] < 0.52 * SIZE[1] and above[2] == pytest.approx(3000)


def colour_at(picture, place):
    x, y = (round(float(value)) for value in place)
    return np.array(picture.getpixel((x, y)))


def test_joints_are_drawn_where_they_are_and_hollow_where_not_valid(lifted):
    here = stage(lifted)
    view, valid = around(here, lifted.fps), lifted.valid.copy()
    valid[10, 10] = False
    solid = draw_space(here, valid, view, 10, SIZE)
    crop = person_in_image(lifted.keypoints_2d, lifted.image_size, SIZE[0] / SIZE[1])
    flat = draw_image(lifted.keypoints_2d[10], valid[10], crop, lifted.image_size, SIZE)
    assert solid.size == flat.size == (SCALE * SIZE[0], SCALE * SIZE[1])
    seen = view.see(here.points[10], 10, solid.size)
    pixels = (lifted.keypoints_2d[10, :, :2] - crop[:2]) * flat.width / crop[2]
    nearest = seen[:, 2] - seen[:, 2].min() < 150  # nothing is in front of them
    for joint in (3, 6, 10, 13):
        for picture, place in ((solid, seen[joint]), (flat, pixels[joint])):
            colour = ImageColor.getrgb(COLOURS[SIDES[joint]]) if valid[10, joint] else (255, 255, 255)
            if picture is flat or nearest[joint] or joint == 10:
                np.testing.assert_array_equal(colour_at(picture, place[:2]), colour)


def test_what_is_unknown_is_not_drawn(lifted):
    view = around(stage(lifted), lifted.fps)
    colours = {colour for _, colour in draw_space(stage(lifted), lifted.valid, view, 40, SIZE).getcolors(1 << 16)}
    assert not {ImageColor.getrgb(colour) for colour in COLOURS.values()} & colours


def test_nobody_can_be_drawn(lifted):
    nowhere = np.full((60, 17, 3), np.nan)
    empty = dataclasses.replace(lifted, keypoints_2d=nowhere, poses_3d=nowhere, poses_world=nowhere)
    assert len(list(film(empty, range(3), SIZE))) == 3


def test_the_crop_holds_the_person_and_stays_in_the_image():
    keypoints = np.array([[[10.0, 100], [60, 400]], [[300, 120], [350, 420]]])
    left, top, width = person_in_image(keypoints, (1000, 1000), 0.8)
    assert left >= 0 and top >= 0 and left < 10 and left + width > 350 and top < 100 and top + width / 0.8 > 420
    left, top, width = person_in_image(keypoints, (400, 200), 0.8)
    assert left + width / 2 == 200 and top + width / 0.8 / 2 == 100  # larger than the image: about its middle


def test_a_view_follows_who_walks_away(lifted):
    here = stage(lifted)
    still = around(here, lifted.fps)
    far = dataclasses.replace(here, points=here.points + np.linspace(0, 9000, 60)[:, None, None] * [1, 0, 0])
    follows = around(far, lifted.fps)
    assert np.ptp(still.targets, axis=0).max() == 0 and 4000 < np.ptp(follows.targets, axis=0)[0] < 9500


def test_contact_sheet(lifted, tmp_path):
    lifted.save(tmp_path, ["contact"])
    sheet = Image.open(tmp_path / "contact.png")
    assert sheet.size == (2 * 16 + 8 * 250 - 10, 16 + 34 + 2 * 320 + 10 + 40)
    for column in range(8):
        for row in range(2):
            left, top = 16 + 250 * column, 50 + 330 * row
            cell = sheet.crop((left, top, left + 240, top + 320))
            colours = {colour for _, colour in cell.getcolors(1 << 17)}
            assert {ImageColor.getrgb(COLOURS[side]) for side in ("right", "left")} <= colours, (column, row)
    short = dataclasses.replace(lifted, **{
        name: getattr(lifted, name)[:3] for name in ("keypoints_2d", "poses_3d", "root", "poses_world", "valid")
    })  # fmt: skip
    short.save(tmp_path, ["contact"])
    assert Image.open(tmp_path / "contact.png").size[0] == 2 * 16 + 3 * 250 - 10


def test_gif_lasts_as_long_as_the_recording(lifted, tmp_path):
    done = []
    lifted.save(tmp_path, ["gif"], progress=lambda *args: done.append(args))
    with Image.open(tmp_path / "lift.gif") as gif:
        assert gif.size == film_size((360, 380)) and gif.info["loop"] == 0
        lasts = 0
        for frame in range(gif.n_frames):
            gif.seek(frame)
            lasts += gif.info["duration"]
    assert lasts == pytest.approx(1000 * 60 / lifted.fps, abs=50)
    assert done[0] == ("gif", 1, 24) and done[-1] == ("gif", 24, 24)


def test_gif_of_a_long_recording_says_that_it_is_the_beginning(lifted, tmp_path, monkeypatch):
    monkeypatch.setattr("liftbench.lift.pictures.gif._LONGEST", 0.5)
    lifted.save(tmp_path, ["gif"])
    with Image.open(tmp_path / "lift.gif") as gif:
        assert gif.n_frames == 10
        right_end = np.asarray(gif.convert("L").crop((500, 382, 722, 408)))
    assert right_end.min() < 150, "there is a note"


def test_mp4_comes_back_at_the_right_speed(lifted, tmp_path):
    av = pytest.importorskip("av")
    lifted.save(tmp_path, ["mp4"])
    with av.open(str(tmp_path / "lift.mp4")) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.width, stream.height, stream.codec_context.name) == (1040, 540, "h264")
        assert float(stream.duration * stream.time_base) == pytest.approx(60 / lifted.fps)
    assert len(pictures) == 30
    (drawn,) = film(lifted, [20], (519, 512))
    assert np.abs(pictures[10].astype(int) - np.asarray(drawn)).mean() < 3
    assert np.abs(pictures[10].astype(int) - pictures[0]).mean() > 1


def test_mp4_without_pyav_is_one_sentence(lifted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"PyAV is not installed. Run `pip install liftbench\[video\]`"):
        lifted.save(tmp_path, ["mp4"])
    assert not list(tmp_path.iterdir())


def test_plot_is_a_figure(lifted):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    figure = lifted.plot(-1)
    flat, space = figure.axes
    assert figure.get_suptitle() == "Frame 59, 1.18 s" and space.name == "3d"
    places = np.array([line.get_xydata() for line in flat.lines])
    np.testing.assert_allclose(places[0], lifted.keypoints_2d[59, [0, 1], :2])
    x, y, z = (np.asarray(values) for values in space.lines[1].get_data_3d())
    np.testing.assert_allclose(np.stack([x, y, z], axis=1), lifted.poses_world[59, [1, 2]] / 1000)
    assert len(space.lines) == 16 and len(lifted.plot(40).axes[1].lines) == 0
    with pytest.raises(InputError, match="Cannot draw frame 60: there is no such frame. Choose 0 to 59"):
        lifted.plot(60)
    plt.close("all")


def test_films_show_the_video(lifted, tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    pytest.importorskip("liftbench.lift.video.frames")
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "yuv420p"
        for frame in range(63):
            image = np.full((108, 192, 3), 4 * frame, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    metadata = lifted.metadata | {"first_frame": 3}
    filmed = dataclasses.replace(lifted, video=tmp_path / "in.mp4", metadata=metadata)
    for far in (100, 10):  # decoding all, or looking for a frame
        monkeypatch.setattr("liftbench.lift.pictures.frames._FAR", far)
        for frame, picture in zip((0, 7, 30, 59), film(filmed, (0, 7, 30, 59), SIZE)):
            np.testing.assert_allclose(picture.getpixel((5, 100)), 4 * (frame + 3), atol=6)


def test_a_frame_every_ten_seconds_makes_a_film_too(lifted, tmp_path):
    av = pytest.importorskip("av")
    dataclasses.replace(lifted, fps=0.1).save(tmp_path, ["mp4"])
    with av.open(str(tmp_path / "lift.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(lifted.valid)
