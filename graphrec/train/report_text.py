"""The form of a report: sections of sentences, tables and charts, as Markdown and as one page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from graphrec.views.pictures import Bars, Lines, chart_sheet, charts

__all__ = ["Code", "Items", "Part", "Section", "Table", "as_markdown", "as_page"]

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head."""

    head: Row
    rows: Sequence[Row]


@dataclass(frozen=True)
class Items:
    """Sentences, each for itself."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text to be typed as it stands."""

    text: str


Part = str | Table | Items | Code | Lines | Bars
"""A `str` is a paragraph of Markdown: links, `code` and **bold**."""


@dataclass(frozen=True)
class Section:
    """What stands under one heading; the first of a report has the report's title."""

    title: str
    parts: Sequence[Part]


def as_markdown(sections: Sequence[Section]) -> str:
    """The report without its charts, whose numbers its tables have."""
    lines = []
    for number, section in enumerate(sections):
        lines.append(f"{'#' if number == 0 else '##'} {section.title}")
        lines += [text for part in section.parts if (text := _markdown(part))]
    return "\n\n".join(lines) + "\n"


def _markdown(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Items):
        return "\n".join(f"- {text}" for text in part.texts)
    if isinstance(part, Code):
        return f"```\n{part.text}\n```"
    if isinstance(part, Table):
        lines = [part.head, ["---"] * len(part.head), *part.rows]
        return "\n".join(
            "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
        )
    return ""


def as_page(sections: Sequence[Section]) -> str:
    """The report as one self-contained page, for light and dark readers; it has no script."""
    body = []
    for number, section in enumerate(sections):
        level = 1 if number == 0 else 2
        body.append(f"<h{level}>{escape(section.title)}</h{level}>")
        body += _page_parts(section.parts)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'; img-src 'self'\">",
            f"<title>{escape(sections[0].title)}</title>",
            f"<style>{_SHEET}{chart_sheet()}</style></head><body>",
            *body,
            "</body></html>\n",
        ]
    )


def _page_parts(parts: Sequence[Part]) -> Iterator[str]:
    drawn: list[Lines | Bars] = []
    for part in parts:
        if isinstance(part, Lines | Bars):
            drawn.append(part)
            continue
        yield from _row_of(drawn)
        drawn = []
        yield _html(part)
    yield from _row_of(drawn)


def _row_of(drawn: Sequence[Lines | Bars]) -> Iterator[str]:
    """Charts that follow one another stand beside one another, as many as the window takes."""
    if drawn:
        yield f'<div class="charts">{"".join(charts(drawn))}</div>'


def _html(part: str | Table | Items | Code) -> str:
    if isinstance(part, str):
        return f"<p>{_inline(part)}</p>" if part else ""
    if isinstance(part, Items):
        return "<ul>" + "".join(f"<li>{_inline(text)}</li>" for text in part.texts) + "</ul>"
    if isinstance(part, Code):
        return f"<pre>{escape(part.text)}</pre>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in part.head)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in part.rows)
    body = "".join(f"<tr>{cells}</tr>" for cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_MARKS = re.compile(r"\[([^\]]+)\]\(([\w./-]+)\)|`([^`]+)`|\*\*([^*]+)\*\*")


def _inline(text: str) -> str:
    """Links to files beside the report, code and bold; everything else is text."""
    parts, at = [], 0
    for mark in _MARKS.finditer(text):
        parts.append(escape(text[at : mark.start()]))
        name, link, code, bold = mark.groups()
        if link:
            parts.append(f'<a href="{escape(link)}">{escape(name)}</a>')
        else:
            parts.append(f"<code>{escape(code)}</code>" if code else f"<b>{escape(bold)}</b>")
        at = mark.end()
    return "".join([*parts, escape(text[at:])])


_SHEET = """
:root{color-scheme:light dark;
--ink:#1f2328;--muted:#59636e;--line:#d1d9e0;--page:#fff;--head:#f6f8fa}
@media (prefers-color-scheme:dark){:root{
--ink:#f0f6fc;--muted:#9198a1;--line:#3d444d;--page:#0d1117;--head:#151b23}}
body{font:15px/1.5 -apple-system,'Segoe UI',Helvetica,Arial,sans-serif;color:var(--ink);
background:var(--page);max-width:960px;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid var(--line);
padding-bottom:.3rem}
table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums;display:block;
overflow-x:auto}
th,td{border:1px solid var(--line);padding:.25rem .7rem;text-align:left}th{background:var(--head)}
pre,code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--head);padding:.8rem;overflow-x:auto;white-space:pre-wrap}
a{color:inherit}.charts{display:flex;flex-wrap:wrap;gap:1.2rem;margin:1rem 0}
"""
