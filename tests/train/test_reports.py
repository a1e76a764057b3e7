"""Reports as text and as a page, and the curves in them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from graphrec.cli import main
from graphrec.train.curves import compared_curves, run_curves
from graphrec.train.report_text import Code, Items, Section, Table, as_markdown, as_page
from graphrec.views.pictures import Bars, Lines, chart_page

SECTIONS = [
    Section("a <b> & c", ["See [the model](model.py), `train.lr` and **this**.", ""]),
    Section("Remarks", [Items(["one | two", "<script>alert(1)</script>"])]),
    Section("Numbers", [Table(["x", "y"], [["1|2", "<3"]]), Code("a < b")]),
    Section("Curves", [Lines("loss", {"training": [(1, 2.0), (2, 1.0)]})]),
]


def test_the_report_as_markdown() -> None:
    assert as_markdown(SECTIONS[:3]) == (
        "# a <b> & c\n\n"
        "See [the model](model.py), `train.lr` and **this**.\n\n"
        "## Remarks\n\n"
        "- one | two\n- <script>alert(1)</script>\n\n"
        "## Numbers\n\n"
        "| x | y |\n| --- | --- |\n| 1\\|2 | <3 |\n\n"
        "```\na < b\n```\n"
    )


def test_the_report_as_a_page() -> None:
    page = as_page(SECTIONS)
    for part in (
        "<h1>a &lt;b&gt; &amp; c</h1>",
        'See <a href="model.py">the model</a>, <code>train.lr</code> and <b>this</b>.',
        "<li>&lt;script&gt;alert(1)&lt;/script&gt;</li>",
        "<td>1|2</td><td>&lt;3</td>",
        "<pre>a &lt; b</pre>",
        "<polyline",
    ):
        assert part in page
    assert "<script" not in page
    assert _unclosed(page) == []


def _unclosed(page: str) -> list[str]:
    class Reader(HTMLParser):
        opened: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                self.opened = [*self.opened, tag]

        def handle_endtag(self, tag: str) -> None:
            assert self.opened[-1] == tag
            self.opened = self.opened[:-1]

    reader = Reader()
    reader.feed(page)
    return reader.opened


def test_charts_are_svg_with_their_numbers() -> None:
    text = chart_page(
        [
            Lines("x < y", {"a&b": [(10.0, 1.0), (1000.0, 3.0)], "dots": [(100.0, 2.0)]}, log=True),
            Bars("what", {"one": 0.75, "two": 0.25}),
            Lines("none", {"empty": [(1.0, float("nan"))]}),
        ]
    )
    root = ElementTree.fromstring(text)
    told = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"x < y", "a&b", "10", "1000", "one 0.75", "two 0.25", "no numbers"} <= set(told)
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in line.attrib["points"].split())
    middle = [c for c in root.iter("{http://www.w3.org/2000/svg}circle") if c.attrib["r"] == "3"]
    assert float(middle[0].attrib["cx"]) == pytest.approx((x0 + x1) / 2, abs=0.1)
    assert float(middle[0].attrib["cy"]) == pytest.approx((y0 + y1) / 2, abs=0.1)
    bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.attrib.get("rx") == "3"]
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[0] == pytest.approx(3 * widths[1], abs=0.2)


RECORDS = [
    {"kind": "train", "step": 10, "rows": 100, "loss": 2.0, "a.auc": 0.5, "lr": 0.1},
    {"kind": "eval", "step": 10, "loss": 1.5, "a.auc": None},
    {"kind": "train", "step": 20, "rows": 200, "loss": 1.0, "a.auc": 0.6, "lr": 0.1},
    {"kind": "eval", "step": 20, "loss": 1.25, "a.auc": 0.55},
]


def test_curves_of_a_run() -> None:
    drawn = {chart.title: chart.series for chart in run_curves(RECORDS)}
    assert drawn == {
        "loss": {
            "training": [(10.0, 2.0), (20.0, 1.0)],
            "evaluation": [(10.0, 1.5), (20.0, 1.25)],
        },
        "a.auc": {"training": [(10.0, 0.5), (20.0, 0.6)], "evaluation": [(20.0, 0.55)]},
    }  # a rate that stays is no curve


def test_curves_of_runs_go_by_rows() -> None:
    double = [{**r, **({"rows": 2 * r["rows"]} if "rows" in r else {})} for r in RECORDS]
    (loss,) = compared_curves({"one": RECORDS, "two": double})
    assert loss.under == "rows"
    assert loss.series == {
        "one": [(100.0, 1.5), (200.0, 1.25)],
        "two": [(200.0, 1.5), (400.0, 1.25)],
    }


def test_the_curves_of_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "shop", "-o", "data.synthetic=1500", "-o", "train.eval_every=2", "--quiet"]
    runs = [str(tmp_path / name) for name in ("one", "two")]
    for run, batch in zip(runs, (256, 512), strict=True):
        assert main([*words, "-o", f"train.batch={batch}", "--run", run]) == 0
    report = (tmp_path / "one" / "report.html").read_text()
    assert ">training</text>" in report
    assert ">evaluation</text>" in report
    assert main(["diff", *runs, "--format", "curves", "-O", str(tmp_path / "c.svg")]) == 0
    told = ElementTree.fromstring((tmp_path / "c.svg").read_text()).itertext()
    assert {"loss", "click.auc", *runs} <= set(told)
    assert main(["diff", "shop", "deepfm_criteo", "--format", "curves"]) == 2
    assert "--format curves compares two run folders" in capsys.readouterr().err
