"""Write one self-contained HTML page: no scripts, nothing from the net, readable on a phone."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

CSS = """
:root { --ink: #1f2933; --soft: #6b7785; --line: #e4e7eb; --blue: #2f6690; --warn: #d1783b }
* { box-sizing: border-box }
body { margin: 0; background: #f6f7f8; color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 820px; margin: 0 auto; padding: 16px }
header, section { background: #fff; border: 1px solid var(--line); border-radius: 8px }
header, section { padding: 20px; margin: 0 0 16px }
h1 { font-size: 1.05rem; margin: 0; color: var(--soft); font-weight: 600 }
h2 { font-size: 1.1rem; margin: 0 0 4px }
p { margin: 0 0 12px; color: var(--soft) }
.score { font-size: 2.4rem; line-height: 1.2; font-weight: 700; color: var(--blue); margin: 4px 0 }
.score small { display: block; font-size: 1rem; font-weight: 400; color: var(--soft) }
.note { color: var(--warn); font-weight: 600 }
img { display: block; max-width: 100%; height: auto; margin: 8px auto 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; vertical-align: top; padding: 5px 10px 5px 0 }
th, td { border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600; white-space: nowrap }
td.number, th.number { text-align: right }
tr.chosen td { font-weight: 700 }
summary { cursor: pointer; color: var(--soft); margin-top: 8px }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.4; margin: 8px 0 0 }
"""


def page(title: str, header: str, sections: Iterable[str]) -> str:
    """Return the whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body><main>\n<header>{header}</header>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


def section(title: str, lead: str, *parts: str) -> str:
    """Return one card: a heading, a sentence that says what to see, and its content."""
    return f"<section><h2>{escape(title)}</h2><p>{escape(lead)}</p>{''.join(parts)}</section>"


def picture(png: Path, alt: str) -> str:
    """Return the PNG as an image inside the page."""
    data = base64.b64encode(png.read_bytes()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], chosen: int | None = None) -> str:
    """Return a table; numbers are right-aligned with four decimals unless whole, None is a dash.

    `chosen` is the number of a row to stress.
    """
    body = list(rows)
    numeric = [bool(body) and all(not isinstance(row[column], str) for row in body) for column in range(len(head))]
    kind = [' class="number"' if number else "" for number in numeric]
    lines = ["".join(f"<th{k}>{escape(name)}</th>" for k, name in zip(kind, head, strict=True))] if any(head) else []
    for row in body:
        lines.append("".join(f"<td{k}>{escape(number(cell))}</td>" for k, cell in zip(kind, row, strict=True)))
    skip = len(lines) - len(body)
    marked = [
        f'<tr class="chosen">{line}</tr>' if chosen is not None and i == chosen + skip else f"<tr>{line}</tr>"
        for i, line in enumerate(lines)
    ]
    return f'<div class="scroll"><table>{"".join(marked)}</table></div>'


def details(title: str, content: str) -> str:
    """Return content folded away behind its title."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def number(cell: str | float | None) -> str:
    """Return a cell's text: whole numbers with separators, others with four decimals."""
    if cell is None or cell != cell:
        return "–"
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4f}"
