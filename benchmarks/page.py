"""A report as one self-contained HTML page: what the Markdown says, with its pictures and drawings inside it."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1280px;margin:2rem auto;padding:0 1rem;color:#1c1f23;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #d5d9de;padding-bottom:.3rem}
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto;margin:.6rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid #e4e7eb;text-align:left;white-space:nowrap}
th{background:#f4f5f7;white-space:normal;vertical-align:bottom}.number{text-align:right;font-variant-numeric:tabular-nums}
img{max-width:100%;border:1px solid #d5d9de;border-radius:4px}code{background:#f4f5f7;padding:.1rem .3rem}
@media(max-width:700px){body{padding:0 .4rem}table{font-size:11px}td{white-space:normal}th,td{padding:.2rem .15rem}}
p,li,figcaption{overflow-wrap:anywhere}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1rem}
figure{margin:0}.gallery img{width:100%}figcaption{font-size:13px}
"""
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}
_PICTURE = re.compile(r"!\[(.*)\]\((.*)\)")


def to_page(markdown: str, pictures: dict[str, bytes]) -> str:
    """HTML of our own report's Markdown: headings, paragraphs, lists, tables, code, and its pictures by name.

    Several pictures in a block are a gallery; one whose name ends in `.html` is HTML that stands there as it is.
    """
    blocks = []
    for block in re.split(r"\n\s*\n", markdown.strip()):
        lines = block.splitlines()
        if lines[0].startswith("#"):
            level = len(lines[0]) - len(lines[0].lstrip("#"))
            blocks.append(f"<h{level}>{_inline(lines[0].lstrip('# '))}</h{level}>")
        elif lines[0].startswith("|"):
            blocks.append(_table(lines))
        elif lines[0].startswith("- "):
            items = "".join(f"<li>{_inline(line[2:])}</li>" for line in lines)
            blocks.append(f"<ul>{items}</ul>")
        elif found := [match for line in lines if (match := _PICTURE.fullmatch(line))]:
            blocks.append(_pictures([(match[1], match[2]) for match in found], pictures))
        else:
            blocks.append(f"<p>{_inline(' '.join(lines))}</p>")
    title = html.escape(markdown.strip().splitlines()[0].lstrip("# "))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f'<title>{title}</title><link rel="icon" href="data:,"><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(blocks)}</body></html>\n'


def _pictures(named: list[tuple[str, str]], contents: dict[str, bytes]) -> str:
    """One picture or drawing, or a gallery of several pictures; each is a caption and a name."""
    if len(named) == 1 and named[0][1].endswith(".html"):
        return contents[named[0][1]].decode()
    figures = []
    for caption, name in named:
        data, words = base64.b64encode(contents[name]).decode(), html.escape(caption)
        image = f'<img alt="{words}" src="data:{_TYPES[Path(name).suffix]};base64,{data}">'
        figures.append(f"<figure>{image}<figcaption>{words}</figcaption></figure>")
    return figures[0] if len(figures) == 1 else f'<div class="gallery">{"".join(figures)}</div>'


def _table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    marks = [" class=number" if cell.endswith(":") else "" for cell in rows[1]]
    head = "".join(f"<th{mark}>{_inline(cell)}</th>" for cell, mark in zip(rows[0], marks, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{_inline(cell)}</td>" for cell, mark in zip(row, marks, strict=True)) + "</tr>"
        for row in rows[2:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))
