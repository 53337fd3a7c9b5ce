"""The report: one file that loads nothing, escapes everything, and appears whole or not at all."""

from __future__ import annotations

import io
import math
import re
import resource
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from isthmus.errors import IsthmusError
from isthmus.evaluate.report import Curve, Point, plot, print_table, write_report
from isthmus.evaluate.scoring import Answer, Row

EVIL = "\"'><script>alert(1)</script></style><img src=http://evil.example/x onerror=alert(2)>{{ 7 * 7 }}"
PNG = b"\x89PNG\r\n\x1a\n pixels"
ROW = Row("b", "name", "accuracy", 50, 0.6, 0.46, 0.72, 0.2, "dog", 50, 0.1, 0.04, 0.21)
BARE = Row("b", "yes/no", "balanced accuracy", 50, 0.6, 0.46, 0.72, 0.5, "yes")
VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """Collects elements, text and the order of tags, and checks that every element is closed by its own tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str, of_class: str = "") -> list[dict[str, str | None]]:
        return [
            a for name, a in self.tags if name == tag and (not of_class or of_class in (a.get("class") or "").split())
        ]


def curve(n: int = 50, stage: str = "pretrain") -> Curve:
    return Curve(stage, [Point(i + 1, i * 0.5, 3 / (i + 1), 1000.0) for i in range(n)])


def written(path, **given) -> str:
    content = {"title": "t", "curves": [], "rows": [], "pictures": [], "facts": [], "command": ""}
    return write_report(path, **(content | given)).read_text("utf-8")


def full(path, text: str) -> str:
    wrong = Answer(text, text, text, text, text, text + "!", text)
    right = Answer("s2", "b", "name", "What is this?", "owl", "An owl.")
    row = Row(text, text, "accuracy", 50, 0.6, 0.46, 0.72, 0.2, text, 40, 0.1, 0.04, 0.21)
    return written(
        path,
        title=text,
        curves=[curve(stage=text)],
        rows=[row, BARE],
        pictures=[(wrong, PNG), (right, PNG + b"2")],
        facts=[(text, text)],
        command=text,
    )


def test_everything_is_escaped(tmp_path):
    page, plain = Page(full(tmp_path / "evil.html", EVIL)), Page(full(tmp_path / "plain.html", "plain"))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in page.tags] == [sorted(attributes) for _, attributes in plain.tags]
    assert page.text.count(EVIL) == plain.text.count("plain")
    assert not page.all("script")


def test_nothing_is_loaded(tmp_path):
    page = Page(full(tmp_path / "report.html", "plain"))
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"href", "xlink:href", "srcset", "style", "action", "data", "onload"}
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert not page.all("script") + page.all("link") + page.all("iframe")
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert (policy or "").startswith("default-src 'none'")
    source = (tmp_path / "report.html").read_text()
    assert "url(" not in source
    assert "@import" not in source
    assert "prefers-color-scheme: dark" in source


def test_right_and_wrong_are_told_in_words(tmp_path):
    page = Page(full(tmp_path / "report.html", "plain"))
    assert len(page.all("div", "right")) == len(page.all("div", "wrong")) == 1
    assert "✓ right" in page.text
    assert "✗ wrong" in page.text
    assert "1 answered right and 1 wrong" in page.text


def test_answers_about_one_picture_share_a_card(tmp_path):
    answers = [Answer("s1", "b", "name", "?", "owl", said) for said in ("owl", "", "dog")]
    pictures = [(answers[0], PNG), (answers[1], PNG), (answers[2], PNG + b"other")]
    page = Page(written(tmp_path / "report.html", pictures=pictures))
    assert len(page.all("img")) == 2
    assert len(page.all("div", "said")) == 3
    assert "(nothing)" in page.text


def test_the_table_shows_n_intervals_and_baselines(tmp_path):
    page = Page(written(tmp_path / "report.html", rows=[ROW, BARE]))
    for told in ("60.0", "46.0 to 72.0", "4.0 to 21.0", "n = 50", "“dog”", "not asked", "balanced accuracy"):
        assert told in page.text
    assert "not clearly above the majority answer" in page.text
    assert "1 of the 2 scores is clearly better than their baselines" in page.text
    assert len(page.all("svg", "bars")) == 2


def test_an_empty_report_is_a_page(tmp_path):
    page = Page(written(tmp_path / "report.html"))
    assert not page.all("table") + page.all("figure") + page.all("pre")


def test_the_curve_lies_in_its_box():
    drawn = plot(Curve("s", [Point(i, i, math.sin(i) * 5, 10.0) for i in range(2000)]))
    for path in (drawn.raw, drawn.line):
        xy = [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
        assert all(44 <= x <= 350 and 10 <= y <= 180 for x, y in xy)
    assert drawn.raw.count("M") == 500
    assert "one step in 4" in drawn.summary
    assert drawn.line.startswith("M44.0 ")
    assert "350.0 " in drawn.line  # the last step is always there


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([], "no steps were recorded"),
        ([math.nan, math.inf], "2 of 2 losses were not finite"),
        ([2.0], "1 steps"),
        ([2.0, 2.0], "loss 2 at step 0, 2 at the end"),
        ([3.0, math.nan, 1.0], "1 of 3 losses were not finite"),
        ([1e30, 1e-30], "2 steps"),
    ],
)
def test_odd_curves_are_drawn_and_told(losses, told, tmp_path):
    odd = Curve("s", [Point(i, i, loss, 1.0) for i, loss in enumerate(losses)])
    assert told in plot(odd).summary
    source = written(tmp_path / "report.html", curves=[odd])
    paths = " ".join(a["d"] or "" for a in Page(source).all("path"))
    assert "nan" not in paths
    assert "inf" not in paths


def test_text_that_is_no_unicode_is_written(tmp_path):
    assert "half ? pair" in written(tmp_path / "report.html", title="half \ud83e pair")


def test_a_failed_write_leaves_the_old_report(tmp_path):
    path = tmp_path / "report.html"
    before = written(path, title="old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))  # writes beyond 1 kB fail half way, as on a full disk
    try:
        with pytest.raises(IsthmusError, match="unchanged"):
            written(path, title="new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_made_and_a_file_in_the_way_is_named(tmp_path):
    written(tmp_path / "new" / "folder" / "report.html")
    with pytest.raises(IsthmusError, match="could not be written"):
        written(tmp_path / "new" / "folder" / "report.html" / "report.html")


def test_the_terminal_table_is_text_only():
    row = Row("[red]b[/]", "name\x1b[2J", "accuracy", 1234, 0.6, 0.46, 0.72, 0.5, "dog[/b]\n", 50, 0.1, 0.04, 0.21)
    out = io.StringIO()
    print_table([row, BARE], Console(file=out, width=100, force_terminal=True, color_system=None))
    told = out.getvalue()
    assert "[red]b[/]" in told
    assert "dog[/b]" in told
    assert "[2J" in told
    assert "\x1b[2J" not in told
    assert "1,234" in told
    assert "60.0 [46.0, 72.0] ?" in told
    assert "yes/no, balanced" in told


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_terminal_table_cuts_nothing_off(width):
    row = replace(ROW, benchmark="held-out concepts", kind="objects", n=2000, majority_answer="a list of things")
    out = io.StringIO()
    print_table([row, BARE], Console(file=out, width=width))
    assert max(map(len, out.getvalue().splitlines())) <= width
    words = out.getvalue().split()
    assert {"2,000", "60.0", "72.0]", "10.0", "21.0]", "things"} <= set(words)
    assert "…" not in out.getvalue()
