"""render.py: every format holds the same numbers, is well formed, and marks the best where it can."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from made_scores import put, run, scores

import tables
from reports.tables import render
from scorefiles.folder import Folders


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with three of Table 1's score files, one of them partial."""
    folder = tmp_path_factory.mktemp("filled")
    put(folder, "tid2013_embed_dinov1_cos.csv", scores("tid2013", 1))
    put(folder, "tid2013_dinov1_cos.csv", scores("tid2013", 2, unknown=0.3))
    put(folder, "tid2013_dinov1_cos_rot-1.csv.partial", scores("tid2013", 2, rows=17))
    return folder


class Balanced(HTMLParser):
    """Counts the tags of a page, and refuses one that closes another."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.links = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_one_page_of_its_own(filled, capsys):
    out = run(capsys, "--table", "all", "--scores", filled, "--format", "html")[1]
    page = Balanced()
    page.feed(out)
    assert not page.open and not page.links and "@import" not in out and "url(" not in out and "<script" not in out
    assert page.count["table"] == 3 and page.count["td"] == 756 + 5 + 5 + 7  # a cell a number, an empty one a heading
    assert "width=device-width" in out and "<b><u>0.8" in out and "17/3000" in out and "<sup>a</sup>" in out


def test_latex_compiles(filled, tmp_path, capsys):
    out = run(capsys, "--table", "all", "--scores", filled, "--format", "latex", "-o", tmp_path / "t.tex")[1]
    text = (tmp_path / "t.tex").read_text()
    assert not out and r"\textbf{\underline{0.8" in text and text.count(r"\begin{tabular}") == 3
    for line in text.splitlines():
        if line.endswith(r"\\") and r"\multicolumn" not in line:
            assert line.count(" & ") in (8, 16, 12)
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed: the LaTeX was checked, but not compiled")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "3 pages" in done.stdout and "too large" not in done.stdout and "Overfull" not in done.stdout


def test_markdown_csv_json(filled, capsys):
    out = run(capsys, "--table", "1", "--scores", filled, "--format", "markdown")[1]
    assert {line.count("|") for line in out.splitlines() if line.startswith("|")} == {10} and "**<u>0.8" in out
    rows = list(csv.DictReader(run(capsys, "--scores", filled, "--format", "csv")[1].splitlines()))
    cells = json.loads(run(capsys, "--scores", filled, "--format", "json")[1])["cells"]
    assert [float(r["score"]) if r["score"] else None for r in rows] == [c["score"] for c in cells] and len(
        cells
    ) == 756


def test_text_fits_the_terminal_and_marks_only_there(filled, monkeypatch):
    cells = tables.published("13")
    folders = Folders([filled])
    tables.fill(cells, folders)
    arguments = tables.tables_of(cells), cells, tables.summarise(cells, folders)
    plain = render.text(*arguments, terminal=False)
    assert "\033" not in plain
    monkeypatch.setenv("COLUMNS", "100")
    narrow = render.text(*arguments, terminal=True)
    assert "\033[1m\033[4m0.8" in narrow
    body = re.sub(r"\033\[\d+m", "", narrow).split("[a] ")[0].splitlines()
    assert max(map(len, body)) <= 100
    numbers = re.compile(r"(?:-?\d\.\d{3}|-|17/3000)[=≠|]-?\d\.\d{3}")
    assert sorted(numbers.findall(plain)) == sorted(numbers.findall(re.sub(r"\033\[\d+m", "", narrow)))
