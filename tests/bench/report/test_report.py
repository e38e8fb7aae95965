import base64
import html.parser
import json
import re
import shutil
import subprocess
import time

import pytest

from liftbench.bench.report.html import report
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables.table import Table
from support import PUBLISHED
from support.records import accuracy, cost, data, speed

HOSTILE = '<script>alert("x")</script><b>&amp;'
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg==")
TABLE = Table(
    "toy",
    "Toys",
    {"model": "s", "mm": ",.1f", "published": "s"},
    [
        {"model": "b", "mm": 1000.0, "published": "9"},
        {"model": "a10", "mm": Missing("too slow"), "published": "10.0"},
        {"model": "a9", "mm": 20.0, "published": "reproduces"},
        {"model": "c d", "mm": 3.0, "published": Missing("nobody says")},
    ],
    ["Chosen with `--best`."],
)
VOID = {"meta", "input", "img", "br"}


class Page(html.parser.HTMLParser):
    """Return the elements of a page as (tag, attributes), and check their nesting."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def values(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def page_of(*records, tables=(TABLE,), plots=(("toy", "A toy; of one pixel", PIXEL),), skipped=()):
    return report(Results(records, PUBLISHED), tables, plots, skipped)


@pytest.fixture(scope="module")
def rendered(whole_run):
    """(Rendered, the report's text) of a whole run's records."""
    folder, result = whole_run
    return result, (folder / "out/report.html").read_text(encoding="utf-8")


def test_a_whole_run_is_one_well_formed_file_with_every_table_and_plot(rendered):
    result, text = rendered
    page = Page(text)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    anchors = [link[1:] for link in page.values("href") if link.startswith("#")]
    assert set(anchors) <= set(ids)
    for path in result.written:
        if path.suffix == ".png":
            assert f"plot-{path.stem}" in anchors and f"plot-{path.stem}" in ids
        elif path.suffix == ".csv" and path.stem != "ledger":
            name = "-".join(path.with_suffix("").parts[path.parts.index("tables") + 1 :])
            assert f"table-{name}" in anchors and f"table-{name}" in ids
    assert {"table-ledger-1", "table-ledger-2", "table-ledger-3", "table-data", "table-environments"} <= set(ids)
    assert {"notes", "protocol", "environments"} <= set(anchors) and "not-made" not in ids
    assert "Further results" not in text
    assert len(text) < 3_000_000


def test_nothing_is_loaded_from_elsewhere(rendered):
    page = Page(rendered[1])
    loads = [source for name in ("src", "href", "srcset", "data", "action") for source in page.values(name)]
    assert len(loads) > 20
    assert all(source.startswith(("data:", "#")) for source in loads)
    assert not re.search(r"@import|url\(|https?:|fetch\(", re.sub(r"data:[^\"]*", "", rendered[1]))
    assert "default-src 'none'" in page.values("content")[-1]


def test_it_depends_on_the_records_alone():
    records = cost("mlp"), accuracy("mlp", 90.0)
    assert page_of(*records) == page_of(*records)


def test_texts_of_records_are_escaped():
    records = accuracy(HOSTILE, on=data() | {"name": HOSTILE}), speed(HOSTILE)
    table = Table(HOSTILE, HOSTILE, {HOSTILE: "s"}, [{HOSTILE: HOSTILE}, {HOSTILE: Missing(HOSTILE)}], [HOSTILE])
    text = page_of(*records, tables=[table], plots=[("toy", HOSTILE, PIXEL)], skipped=[HOSTILE])
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "b" not in {tag for tag, _ in page.elements}
    assert text.count("&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&lt;b&gt;&amp;amp;") > 8


def test_synthetic_errors_are_announced_and_real_ones_are_not():
    warning = "are not Human3.6M errors.</strong>"
    assert f"Errors measured on synthetic data {warning}" in page_of(accuracy("mlp"))
    assert warning not in page_of(accuracy("mlp", on=data(origin={}, sha="r")))
    assert warning not in page_of(cost("mlp"))


def test_the_top_says_where_and_on_which_data_was_measured():
    text = page_of(accuracy("mlp"), speed("mlp"))
    head = text[text.index("<header>") : text.index("</header>")]
    assert "Times were measured on Test CPU, 2 threads." in head
    assert "Errors were measured on synthetic data." in head and "are not Human3.6M errors" in head
    assert "were measured on" not in page_of(cost("mlp")).partition("</header>")[0]


def test_missing_numbers_say_why_and_skipped_plots_too():
    text = page_of(cost("mlp"), skipped=["Plot speed was not made: there are no speed records."])
    assert 'title="too slow">—<sup><a href="#toy-note-1">1</a></sup>' in text
    assert '<li id="toy-note-2">nobody says</li>' in text
    assert "<li>Plot speed was not made: there are no speed records.</li>" in text
    assert "Chosen with <code>--best</code>." in text
    assert '<h2 id="further-results">Further results</h2>' in text


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
USE_IT = """
const item = document.querySelector("#table-toy");
const shown = () => [...item.querySelectorAll("tbody tr")].filter(row => !row.hidden);
const rows = () => shown().map(row => row.cells[0].textContent);
const buttons = [...item.querySelectorAll("thead button")], filter = item.querySelector("input"), seen = {};
const sorted = () => buttons.map(button => button.parentElement.getAttribute("aria-sort"));
const type = text => { filter.value = text; filter.dispatchEvent(new Event("input")); };
item.querySelector("details").open = true;
seen.plain = rows();
seen.focusable = buttons.every(button => { button.focus(); return document.activeElement === button; });
for (const name of ["up", "down", "back"]) { buttons[1].click(); seen[name] = [rows(), sorted()]; }
buttons[0].click(); seen.text = rows();
buttons[2].click(); seen.digits = [rows(), sorted()];
type("A "); seen.filtered = [rows(), item.querySelector("output").value];
type("3 c"); seen.words = rows();
type("zz"); seen.nothing = rows();
type(""); seen.all = [rows(), item.querySelector("output").value];
seen.pictures = [...document.images].map(image => image.complete && image.naturalWidth);
const loaded = performance.getEntriesByType("resource").map(entry => entry.name);
seen.requests = loaded.filter(name => !name.startsWith("data:"));
document.body.replaceChildren(JSON.stringify(seen));
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
def test_sorting_and_filtering_in_a_browser(tmp_path):
    script = f"<script>addEventListener('load', () => {{{USE_IT}}})</script></body>"
    text = page_of(accuracy("mlp"), tables=[TABLE]).replace("</body>", script)
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    seen = json.loads(html.unescape(re.search("<body>(.*)</body>", done.stdout, re.DOTALL)[1]))
    none = ["none"] * 3
    assert seen == {
        "plain": ["b", "a10", "a9", "c d"],
        "focusable": True,
        "up": [["c d", "a9", "b", "a10"], ["none", "ascending", "none"]],
        "down": [["b", "a9", "c d", "a10"], ["none", "descending", "none"]],
        "back": [["b", "a10", "a9", "c d"], none],
        "text": ["a9", "a10", "b", "c d"],
        "digits": [["b", "a10", "a9", "c d"], ["none", "none", "ascending"]],
        "filtered": [["a10", "a9"], "2 of 4 rows"],
        "words": ["c d"],
        "nothing": [],
        "all": [["b", "a10", "a9", "c d"], "4 rows"],
        "pictures": [1],
        "requests": [],
    }


MEASURE_IT = """
const boxes = () => [...document.querySelectorAll(".scroll")].map(box => box.scrollWidth - box.clientWidth);
const heads = [...document.querySelectorAll("thead th")];
const headers = () => heads.filter(one => one.offsetWidth).map(one => one.textContent);
const settled = () => new Promise(done => setTimeout(done, 400));
const seen = {height: document.documentElement.scrollHeight};
for (const folded of document.querySelectorAll("details")) folded.open = true;
settled().then(() => {
  seen.sideways = Math.max(...boxes(), document.documentElement.scrollWidth - innerWidth);
  seen.first = headers();
  const pages = [...document.querySelectorAll(".pages")].filter(one => one.offsetWidth);
  seen.pages = pages.length;
  seen.headers = heads.length;
  const all = new Set(seen.first);
  for (let turn = 0; turn < 12; turn++) {
    for (const one of pages) one.lastChild.click();
    seen.sideways = Math.max(seen.sideways, ...boxes());
    headers().forEach(one => all.add(one));
  }
  seen.missed = heads.map(one => one.textContent).filter(one => !all.has(one));
  document.body.replaceChildren(JSON.stringify(seen));
});
"""


def measured(text, folder, size):
    """What MEASURE_IT sees of a report in a window of a size."""
    script = f"<script>addEventListener('load', () => {{{MEASURE_IT}}})</script></body>"
    (folder / "report.html").write_text(text.replace("</body>", script), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={size}", "--dump-dom",
         "--virtual-time-budget=20000", f"--user-data-dir={folder / 'profile'}", (folder / "report.html").as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(html.unescape(re.search("<body>(.*)</body>", done.stdout, re.DOTALL)[1]))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
def test_a_phone_scrolls_ten_screens_and_never_sideways(rendered, tmp_path):
    """500 pixels: the narrowest window of a headless browser."""
    seen = measured(rendered[1], tmp_path, "500,844")
    assert seen["height"] <= 10 * 844 and seen["sideways"] <= 0 and seen["pages"] == 0


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
def test_a_long_name_of_a_plot_that_was_not_made_scrolls_nothing(tmp_path):
    sentence = f"Plot error_against_speed_{'amd_epyc_' * 8}threads was not made: there is nothing to draw."
    assert measured(page_of(accuracy("mlp"), skipped=[sentence]), tmp_path, "500,844")["sideways"] <= 0


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
def test_on_a_desktop_columns_that_do_not_fit_are_shown_in_turn(rendered, tmp_path):
    seen = measured(rendered[1], tmp_path, "1280,900")
    assert seen["sideways"] <= 0 and seen["height"] <= 10 * 900
    assert seen["pages"] > 5 and len(seen["first"]) < seen["headers"]
    assert seen["missed"] == [], "every column comes by"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
def test_a_click_downloads_a_table_as_csv(tmp_path):
    downloads = {"download": {"default_directory": str(tmp_path / "downloads"), "prompt_for_download": False}}
    (tmp_path / "profile/Default").mkdir(parents=True)
    (tmp_path / "profile/Default/Preferences").write_text(json.dumps(downloads))
    click = "document.querySelector('#table-toy a[download]').click()"
    script = f"<script>addEventListener('load', () => {click})</script></body>"
    (tmp_path / "report.html").write_text(page_of(accuracy("mlp")).replace("</body>", script), encoding="utf-8")
    with subprocess.Popen(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "report.html").as_uri()],
        stderr=subprocess.PIPE, text=True,
    ) as browser:  # fmt: skip
        file, waited = tmp_path / "downloads/toy.csv", time.monotonic()
        while not file.exists() and time.monotonic() - waited < 30:
            time.sleep(0.1)
        browser.terminate()
        assert "CONSOLE" not in browser.stderr.read()
    assert file.read_text() == TABLE.csv()
