"""The page of results: every experiment, whole HTML, nothing from elsewhere, and no wider than the screen."""

import html
import json
import re
import shutil
import struct
import subprocess
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from momentumflow import _plot
from momentumflow.experiments import page, record, registry, words
from momentumflow.experiments.checks import Check
from momentumflow.experiments.store import SVG, Store
from momentumflow.experiments.svg import inline

VOID = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="36pt">'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def figure(markers=9):
    """Two panels with formulas, a line, many markers, clipped, as the experiments draw."""
    with _plot.style():
        drawn = _plot.figure(8.0, 3.6)
        left, right = drawn.subplots(1, 2)
        h = 2.0 ** -np.arange(4, 14)
        left.loglog(
            h, h**2, **_plot.of("slow flow (20)").line(label=r"$c=\bar\lambda(\bar\lambda-a-\frac{1}{2})$")
        )
        left.set(xlabel="$h$", ylabel=r"$\max_n|u_n-u(t_n)|$", title="λ = 0.5")
        left.legend()
        right.plot(*np.random.default_rng(1).normal(size=(2, markers)), "o", ms=2)
        right.set_xlim(-1, 1)
    return drawn


def small():
    drawn = Figure(figsize=(2, 1))
    drawn.subplots().plot([1, 2], "o")
    return drawn


def checks(number):
    source = "Kovachki & Stuart (2021), Theorem 6 <and> a long_word_" + 12 * "without_a_break_"
    return [
        *(Check(f"order of method {i}", 0.987654321, 1.0, 0.1, "within", source) for i in range(number)),
        Check("order with c as printed", 1e-9, 2.0, 0.1, "within", source, refutes=True),
        Check("largest ratio", 1.2345e-12, 1e-9, 0.0, "at most", source),
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A result of every registered experiment, made in milliseconds; the first figure is dense, most are small."""
    store = Store(tmp_path_factory.mktemp("page") / "results")
    store.prepare()
    for i, entry in enumerate(registry.entries()):
        config, code = registry.load(entry).PRESETS["quick"], record.code_digest(entry)
        made = record.describe(entry, "quick", config, code, checks(20 * (i % 2)), 1.5)
        store.save(
            made,
            xr.Dataset({"x": ("n", np.arange(3.0))}),
            figure(5000 if i == 0 else 9) if i < 2 else small(),
        )
    page.write(store, {})
    return store


@pytest.fixture(scope="module")
def text(results):
    return (results.folder / page.NAME).read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Ids, links, tags and problems of nesting."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.tags, self.problems, self.stack = [], [], [], Counter(), [], []
        self.feed(text)
        self.close()
        self.problems += self.stack

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags[tag] += 1
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name == "href" and tag in ("a", "use"):
                self.links.append(value)
            elif name in ("href", "xlink:href", "src", "srcset", "data", "action", "poster"):
                self.loads.append(value)

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")


def test_the_reader_sees_what_is_wrong():
    bad = Reader('<p id="a"><b>x</p><img src="http://x"><a href="#b">y</a><svg><use href="#c"/></svg>')
    assert bad.problems
    assert (bad.ids, bad.links, bad.loads) == (["a"], ["#b", "#c"], ["http://x"])
    assert not Reader("<p>x<br>y</p><svg><path/></svg>").problems


def test_every_experiment_is_on_the_page_with_its_figure(text):
    read = Reader(text)
    ids = [entry.id for entry in registry.entries()]
    assert [id for id in read.ids if id in ids] == ids
    assert read.tags["section"] == read.tags["svg"] == read.tags["figure"] == len(ids)
    assert all(f'href="#{id}"' in text for id in ids)
    shown = html.unescape(text)
    for entry in registry.entries():
        command = f"momentumflow reproduce <span>{entry.id}</span> <span>--preset quick</span>"
        assert all(part in shown for part in (entry.title, entry.source, entry.statement, command))


def test_the_page_is_whole_html_and_its_ids_do_not_clash(text):
    read = Reader(text)
    assert not read.problems
    assert len(set(read.ids)) == len(read.ids)
    assert text.startswith("<!doctype html>")
    for tag in ("html", "head", "body", "main", "nav", "h1", "title"):
        assert read.tags[tag] == 1


def test_every_reference_within_the_page_has_its_target(text):
    read = Reader(text)
    targets = [link[1:] for link in read.links if link.startswith("#")]
    assert targets
    assert set(targets) <= set(read.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(read.ids)


def test_the_page_loads_nothing(text):
    read = Reader(text)
    assert all(load.startswith("data:image/png;base64,") for load in read.loads)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(read.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"\son\w+=", text)


def test_the_page_tells_every_number_of_a_check(text):
    for cell in (
        ">0.987654<",
        ">10⁻⁹<",
        ">1.2345·10⁻¹²<",
        ">not 2<",
        ">≤ 10⁻⁹<",
        ">0.1<",
        "✓ held",
        "✓ refuted",
    ):
        assert cell in text
    assert "Every check is as expected:" in text
    assert "✗ failed<" not in text.split("</header>")[1]
    assert "&lt;and&gt;" in text


def test_long_tables_are_folded_unless_a_check_failed(results, tmp_path):
    first, second = registry.entries()[:2]
    assert page._section(results, second, "f").folded
    assert not page._section(results, first, "f").folded
    failed = Check("x", 0.0, 1.0, 0.1, "within", "a test")
    made = record.describe(
        second, "quick", registry.load(second).PRESETS["quick"], "", [*checks(20), failed], 1.0
    )
    section = page.Section(second, made)
    assert not section.folded
    text = page.render([section], {})
    assert "Not everything is as expected:" in text
    assert "x: computed 0, expected 1 ± 0.1" in text


def test_the_page_stays_small_where_a_figure_is_dense(results, text):
    dense = (results.folder / registry.entries()[0].id / SVG).read_text()
    assert dense.count("<image") == 1
    assert len(dense) < 200_000
    assert len(text) < 5_000_000


def test_sources_are_told_apart():
    def grouped(source):
        entry = registry.Entry("x", "X", source, "X.")
        return page._grouped([page.Section(entry)])[0].title

    assert grouped("Kovachki & Stuart (2021), Figure 1").startswith("The paper")
    assert grouped("Poster on Qian (1999), Figure 2").startswith("The poster")
    assert grouped("Ghosh et al. (ICLR 2023)").startswith("The slides")
    assert grouped("Kovachki & Stuart (2021); poster on Qian (1999)") == grouped("MATH") == page._BEYOND


def svg(content):
    return inline(f"{HEAD}{content}</svg>", "f1", "A <figure>")


def test_a_figure_brings_no_script_and_loads_nothing():
    content = (
        '<script>alert(1)</script><style>@import "x"</style><foreignObject/><metadata/><!-- words -->'
        '<g onload="alert(1)"><image xlink:href="http://x/y.png"/><use xlink:href="http://x#a"/></g>'
    )
    assert (
        svg(content)
        == '<svg role="img" aria-label="A &lt;figure&gt;" style="--w: 96px"><g><image /><use /></g></svg>'
    )
    with pytest.raises(ValueError, match="must refer to its own parts only"):
        svg('<g clip-path="url(http://x#a)"/>')
    for bad in ("", "<svg", "<html/>"):
        with pytest.raises(ValueError, match="a figure must be SVG, got"):
            inline(bad, "f1", "")


def test_a_figure_keeps_what_it_refers_to_under_new_ids():
    content = (
        '<g id="unused"><defs><path id="m" d="M 0.12345 1.5 L 2 3"/></defs><g clip-path="url(#p)">'
        '<use xlink:href="#m" x="1.239" style="fill: red"/><use xlink:href="#m" x="2" style="fill: red"/></g>'
        '<clipPath id="p"><rect width="1.239"/></clipPath>'
        '<image xlink:href="data:image/png;base64,AAAA"/></g>'
    )
    kept = svg(content)
    assert 'id="unused"' not in kept
    assert '<path d="M 0.12 1.5 L 2 3" id="f1-' in kept or 'd="M 0.12 1.5 L 2 3"' in kept
    assert kept.count('href="#f1-') == 2
    assert kept.count("fill: red") == 1
    assert 'href="data:image/png;base64,AAAA"' in kept
    read = Reader(kept)
    assert sorted(read.ids) == ["f1-0", "f1-1"]
    assert {link[1:] for link in read.links} | set(re.findall(r"url\(#([^)]*)\)", kept)) == set(read.ids)


def test_numbers_are_written_as_they_are_printed():
    assert [words.number(x) for x in (0.0, 1.0, -1e-9, 123456789.0, float("nan"), float("-inf"))] == [
        "0", "1", "−1·10⁻⁹", "1.23457·10⁸", "nan", "−inf",
    ]  # fmt: skip


def browser(tmp_path, *arguments):
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("width", [1400, 400])
def test_the_page_is_no_wider_than_the_screen(text, tmp_path, width):
    frame = tmp_path / "frame.html"
    look = (
        "const d=this.contentDocument,e=d.documentElement;"
        "document.title=JSON.stringify([e.clientWidth,e.scrollWidth,"
        "[...d.querySelectorAll('.figure svg')].map(s=>s.getBoundingClientRect()).map(r=>[r.width,r.height])])"
    )
    frame.write_text(
        f'<title></title><iframe style="width:{width}px;height:900px" srcdoc="{html.escape(text)}" '
        f'onload="{look}"></iframe>',
        encoding="utf-8",
    )
    shown = browser(tmp_path, "--virtual-time-budget=5000", "--dump-dom", frame.as_uri())
    room, wide, figures = json.loads(html.unescape(re.search("<title>(.*?)</title>", shown)[1]))
    assert width - 20 <= room <= width
    assert wide <= room
    assert len(figures) == len(registry.entries())
    assert all(590 < across < 1000 and high > 200 for across, high in figures[:2])  # 10 pt is 10 px or more
    assert all(across > 100 and high > 50 for across, high in figures[2:])


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("width", [1400, 400])
def test_the_page_can_be_photographed(results, tmp_path, width):
    picture = tmp_path / "page.png"
    index = (results.folder / page.NAME).as_uri()
    browser(tmp_path, "--hide-scrollbars", f"--screenshot={picture}", f"--window-size={width},1200", index)
    content = picture.read_bytes()
    assert struct.unpack(">II", content[16:24]) == (width, 1200)
    assert len(content) > 20_000  # a blank page takes some 5 kB


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max |u_n - u(t_n)|, h = 2^-4", "max |u<sub>n</sub> - u(t<sub>n</sub>)|, h = 2<sup>-4</sup>"),
        ("e^{Re λ} <b>", "e<sup>Re λ</sup> &lt;b&gt;"),
        ("u^(h/2) w_{ij}^2", "u<sup>(h/2)</sup> w<sub>ij</sub><sup>2</sup>"),
        ("`x_n` jax_enable_x64 x_train", "<code>x_n</code> jax_enable_x64 x_train"),
    ],
)
def test_indices_and_powers_are_shown_as_they_are_printed(text, shown):
    assert page.prose(text) == shown
