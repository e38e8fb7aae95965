"""lift.html: what it holds, that it stays small, and that it works in a browser without a network."""

import base64
import dataclasses
import html
import json
import re
import shutil
import subprocess
import zlib

import numpy as np
import pytest

from liftbench.baselines.errors import InputError
from liftbench.lift.gait import body_axes, joint_angles
from liftbench.lift.pictures.packing import pack
from support.walking import FPS, lifted_walker, walker

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")


def unpack(packed):
    """(rows, columns) as the page reads them."""
    low, high = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(2, -1)
    difference = (low.astype(np.uint16) | high.astype(np.uint16) << 8).view(np.int16)
    whole = np.cumsum(difference.reshape(packed["columns"], packed["rows"]), axis=1, dtype=np.int16)
    return np.where(whole == -32768, np.nan, whole * packed["step"]).T


def test_packed_numbers_come_back():
    values = np.random.default_rng(0).uniform(-30000, 30000, (50, 3, 2))  # from one to the next more than 16 bits hold
    values[3:7, 1] = np.nan
    np.testing.assert_allclose(unpack(pack(values, 1.0)), values.reshape(50, 6), atol=0.5001)
    far = unpack(pack(10 * values, 1.0))
    np.testing.assert_allclose(far, 10 * values.reshape(50, 6), atol=5)
    assert np.isnan(unpack(pack(np.full((4, 2), np.nan), 1.0))).all()


def page_of(lifted, folder, **options):
    lifted.save(folder, ["html"], **options)
    return (folder / "lift.html").read_text(encoding="utf-8")


def facts_of(text):
    return json.loads(re.search('<script type="application/json" id="facts">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_the_recording(tmp_path):
    lifted = lifted_walker()
    facts = facts_of(page_of(lifted, tmp_path))
    arrays = {name: unpack(array) for name, array in facts["arrays"].items()}
    for name, expected, tolerance in (
        ("world", lifted.poses_world, 1.01),
        ("image", lifted.keypoints_2d[..., :2], 0.33),
        ("valid", lifted.valid, 0),
    ):
        np.testing.assert_allclose(arrays[name], expected.reshape(60, -1), atol=tolerance)
    known = walker(60) - [0, 0, 5.0]
    steady = joint_angles(known, *body_axes(known, FPS))
    expected = np.stack([steady[name] for name in facts["angles"]], axis=1)[:20]
    np.testing.assert_allclose(arrays["angles"][:20].reshape(20, 3, 2), expected, atol=3)  # whose axes are low-passed
    assert (facts["fps"], facts["every"], facts["floor"], facts["azimuth"]) == (FPS, 1, True, 0)


def repeated(frames):
    """A walk back and forth of any length, as noisy as a lifter."""
    lifted, noise = lifted_walker(), np.random.default_rng(0)
    order = np.abs((np.arange(frames) + 59) % 118 - 59)
    return dataclasses.replace(
        lifted,
        keypoints_2d=lifted.keypoints_2d[order] + noise.normal(0, 1, (frames, 17, 3)),
        poses_world=lifted.poses_world[order] + noise.normal(0, 4, (frames, 17, 3)),
        valid=lifted.valid[order],
        fps=30.0,
    )


def test_minutes_stay_below_a_megabyte_and_more_are_thinned(tmp_path):
    minutes = page_of(repeated(4 * 60 * 30), tmp_path)
    assert len(minutes.encode()) < 1_000_000 and "one of every" not in minutes
    longer = page_of(repeated(16 * 60 * 30), tmp_path)
    (every,) = map(int, re.findall("the page shows one of every ([0-9]+) frames", longer))
    assert 500_000 < len(longer.encode()) < 1_000_000
    facts = facts_of(longer)
    assert facts["every"] == every and facts["fps"] == pytest.approx(30 / every)


def test_nothing_is_loaded_and_names_are_text(tmp_path):
    hostile = '</script><script>alert("x")</script><b>'
    metadata = {"recording": hostile, "assumed": [hostile], "model": hostile}
    video = tmp_path / hostile.replace("/", "").replace('"', "")
    text = page_of(dataclasses.replace(lifted_walker(), metadata=metadata, video=video), tmp_path)
    assert text.count("<script") == 2 and "<b>alert" not in text
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|fetch\(""", text)


def test_a_video_is_referred_to_or_embedded(tmp_path):
    (tmp_path / "in").mkdir()
    lifted = dataclasses.replace(lifted_walker(), video=tmp_path / "in/walk.mp4")
    assert facts_of(page_of(lifted, tmp_path / "out"))["video"] == {
        "source": "../in/walk.mp4", "start": 0.0, "fps": FPS,
    }  # fmt: skip
    slow = dataclasses.replace(lifted, metadata=lifted.metadata | {"video_fps": 25.0, "video_start_s": 1.5})
    video = facts_of(page_of(slow, tmp_path / "out"))["video"]
    assert (video["start"], video["fps"]) == (1.5, 25.0)
    with pytest.raises(InputError, match="Cannot read .*walk.mp4: No such file"):
        lifted.save(tmp_path / "new", ["html"], embed_video=True)
    assert not list((tmp_path / "new").iterdir())
    lifted.video.write_bytes(b"film")
    assert facts_of(page_of(lifted, tmp_path, embed_video=True))["video"]["source"] == "data:video/mp4;base64,ZmlsbQ=="


def test_half_a_body_without_a_pelvis_is_shown(tmp_path):
    lifted = lifted_walker()
    poses = lifted.poses_3d.copy()
    poses[:, [0, 2, 3, 5, 6]] = np.nan
    metadata = {"camera_to_world": [[1, 0, 0], [0, 0, 1], [0, -1, 0]]}
    half = dataclasses.replace(lifted, poses_3d=poses, poses_world=np.full((60, 17, 3), np.nan), metadata=metadata)
    facts = facts_of(page_of(half, tmp_path))
    world = unpack(facts["arrays"]["world"]).reshape(60, 17, 3)
    assert not facts["floor"] and np.isnan(world[:, 0]).all()
    upright = world[:, 10, 2] - world[:, 8, 2]
    np.testing.assert_allclose(upright, poses[:, 8, 1] - poses[:, 10, 1], atol=3)


# A browser without a window and in virtual time draws when it likes.
DRAW_AT_ONCE = "<script>requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 16)</script>"


def browse(text, folder, script, *arguments, hash=""):
    """What a script, given in the page after it has begun, puts into `seen`; fails where the console says anything."""
    after = f"""<script>addEventListener("load", () => {{
      const look = async () => {{
        if (document.documentElement.dataset.ready !== "yes") return setTimeout(look, 20);
        const seen = {{}};
        const wait = ms => new Promise(done => setTimeout(done, ms));
        {script}
        document.body.replaceChildren(JSON.stringify(seen));
      }};
      look();
    }})</script></body>"""
    text = text.replace("<head>", f"<head>{DRAW_AT_ONCE}").replace("</body>", after)
    (folder / "page.html").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--virtual-time-budget=20000", f"--user-data-dir={folder / 'profile'}", *arguments, "--dump-dom",
         (folder / "page.html").as_uri() + hash],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    return json.loads(html.unescape(re.search("<body>(.*)</body>", done.stdout, re.DOTALL)[1]))


USE_IT = """
const settle = () => wait(60), root = document.documentElement, frame = () => Number(root.dataset.frame);
const press = (on, key) => on.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const at = (canvas, type, [x, y], more = {}) => {
  const box = canvas.getBoundingClientRect();
  const place = {clientX: box.left + x, clientY: box.top + y};
  canvas.dispatchEvent(new PointerEvent(type, {...place, bubbles: true, pointerId: 1, ...more}));
};
const ink = canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
};
space.canvas.setPointerCapture = () => {};
seen.opened = [frame(), root.classList.contains("playing")];
seen.world = [...world(10, 13)]; seen.unknown = isNaN(world(22, 13)[0]); seen.hollow = !valid(22, 13);
seen.ink = [...document.querySelectorAll("canvas")].map(ink).map(colours => colours > 20);
const slider = document.getElementById("scrub");
slider.value = 7; slider.dispatchEvent(new Event("input")); await settle();
seen.scrubbed = [frame(), document.getElementById("time").value];
press(document.body, "ArrowRight"); await settle(); seen.stepped = frame();
at(space.canvas, "pointermove", space.places[2]); await settle();
seen.tip = document.querySelector("#space .tip").textContent.split("\\n")[0];
const before = [space.azimuth, space.distance];
at(space.canvas, "pointerdown", [50, 50]);
at(space.canvas, "pointermove", [90, 50], {buttons: 1});
at(space.canvas, "pointerup", [90, 50]);
space.canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: 100, cancelable: true}));
seen.turned = [space.azimuth !== before[0], space.distance > before[1]];
const chart = charts.all[0].canvas;
at(chart, "pointerdown", [chart.clientWidth - 6, 40]); await settle(); seen.charted = frame();
document.querySelector("[data-view=top]").click(); seen.top = space.elevation;
document.getElementById("play").click();
for (let i = 0; i < 200 && !seen.played; i++) { await wait(10); seen.played = frame() > 5 && frame() < 59; }
press(document.body, " "); await settle();
const stopped = frame(); await wait(200); seen.stopped = frame() === stopped;
const loaded = performance.getEntriesByType("resource").map(entry => entry.name);
seen.requests = loaded.filter(name => !name.startsWith("data:"));
"""


@in_a_browser
def test_using_the_page(tmp_path):
    lifted = lifted_walker()
    seen = browse(page_of(lifted, tmp_path), tmp_path, USE_IT, hash="#t=0.4")
    np.testing.assert_allclose(seen.pop("world"), lifted.poses_world[10, 13], atol=1.01)
    assert seen == {
        "opened": [20, False], "unknown": True, "hollow": True, "ink": [True] * 5, "scrubbed": [7, "0.14 s · frame 7"],
        "stepped": 8, "tip": "Right knee", "turned": [True, True], "charted": 59, "top": 1.5, "played": True,
        "stopped": True, "requests": [],
    }  # fmt: skip


@in_a_browser
def test_a_phone_needs_no_sideways_scrolling(tmp_path):
    inner = json.dumps(page_of(lifted_walker(), tmp_path)).replace("<", "\\u003c")
    outer = f"""<!DOCTYPE html><html data-ready="yes"><body><iframe style="width: 360px; height: 700px"></iframe>
    <script>document.querySelector("iframe").srcdoc = {inner}</script></body></html>"""
    script = """
    const root = () => document.querySelector("iframe").contentDocument.documentElement;
    while (root().dataset.ready !== "yes") await wait(50);
    seen.widths = [root().scrollWidth, root().clientWidth];
    """
    seen = browse(outer, tmp_path, script)
    assert seen["widths"][0] <= seen["widths"][1] <= 360


@in_a_browser
def test_a_video_that_is_not_there_is_said(tmp_path):
    lifted = dataclasses.replace(lifted_walker(), video=tmp_path / "gone.mp4")
    script = "for (let i = 0; i < 50 && !picture.lost; i++) await wait(50); seen.lost = picture.lost;"
    text = page_of(lifted, tmp_path)
    assert browse(text, tmp_path, script, "--log-level=3", hash="#t=0") == {"lost": True}
