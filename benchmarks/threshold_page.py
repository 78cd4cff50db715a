"""The threshold report as text and as one self-contained page: distributions, the table, galleries of what went wrong."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import cv2

from edgeleather.benchmarks.labelled_scores import LabelledScore
from edgeleather.benchmarks.page import to_page
from edgeleather.benchmarks.threshold_report import IN_USE, position_percent
from edgeleather.errors import printable
from edgeleather.inspection.inspector import Inspector
from edgeleather.inspection.overlay import draw_overlay
from edgeleather.sources.frame import Frame

MOST_IN_A_GALLERY = 24
_MOST_WIDTH_PX = 720
_JPEG_QUALITY = 80
_DRAWING = "distribution.html"
_GALLERIES = {"missed": "Missed defects", "false_alarms": "False alarms"}
_NO_BREAK = "\u00a0"
_RED, _GREY, _BAR = "#d62728", "#9aa3ad", "#3b6ea5"


def text(report: dict[str, Any]) -> str:
    """The report as Markdown for a terminal: the page with lists in place of its pictures."""
    lines = (line for line in _markdown(report, has_pictures=False) if not line.startswith("!["))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines) + "\n").replace(_NO_BREAK, " ")


def page(report: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """The report as HTML that needs no other file; `pictures` are the JPEGs of `gallery_pictures`."""
    written = "\n".join(_markdown(report, has_pictures=True))
    return to_page(written, {**pictures, _DRAWING: _distribution(report).encode()})


def gallery_pictures(report: dict[str, Any], scored: Sequence[LabelledScore], inspector: Inspector) -> dict[str, bytes]:
    """JPEGs of missed defects and false alarms, each the picture beside its map, by the name that the page gives them."""
    samples = {one.sample.name: one.sample for one in scored}
    found = {}
    shown = ((key, index, one) for key in _GALLERIES for index, one in enumerate(report[key][:MOST_IN_A_GALLERY]))
    for key, index, told in shown:
        inspection = inspector.inspect(Frame(0, 0.0, told["name"], samples[told["name"]].read()))
        drawn = draw_overlay(inspection)
        shrink = min(1.0, _MOST_WIDTH_PX / drawn.shape[1])
        drawn = cv2.resize(drawn, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        found[_picture_name(key, index)] = bytes(
            cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        )
    return found


def _picture_name(key: str, index: int) -> str:
    """A name that no file name of a dataset can spoil the Markdown with."""
    return f"{key}-{index}.jpg"


def _markdown(report: dict[str, Any], has_pictures: bool) -> list[str]:
    good, labelled = report["good"], report["labelled"]
    lines = [
        f"# The threshold of {report['bundle']}",
        "",
        f"{report['method']} in {report['precision']}. The verdict is a defect for a {report['threshold']['description']}.",
        "",
        *(f"- {note}" for note in report["notes"]),
        "",
        "## Scores",
        "",
        f"{good['pictures']} good pictures of {good['photographs']} photographs, which the model that scored them had not seen, "
        f"can support a rate of {good['supported_percent']:.3g} % false alarms and no rarer one.",
    ]
    if labelled:
        lines[-1] += (
            f" {labelled['pictures']} labelled pictures of {labelled['photographs']} photographs are from {labelled['data']}."
        )
    lines += ["", f"![distribution of the scores]({_DRAWING})", "", "## Thresholds", "", *_table(report), ""]
    lines += [_explanation(report), ""]
    if report["classes"]:
        lines += ["## Classes at the threshold in use", "", *_classes(report), ""]
    for key in _GALLERIES if labelled else ():
        lines += _gallery(key, report[key], MOST_IN_A_GALLERY if has_pictures else 0)
    return lines


def _table(report: dict[str, Any]) -> list[str]:
    lines = [
        "| threshold | where it comes from | left-out good above | false alarms | hits |",
        "|---:|---|---:|---:|---:|",
    ]
    for row in report["thresholds"]:
        shares = [_share(row[key]) for key in ("good_above", "false_alarms", "hits")]
        origin = f"`{IN_USE}`" if row["origin"] == IN_USE else row["origin"]
        lines.append(f"| {row['threshold']:.4g} | {origin} | {' | '.join(shares)} |")
    return lines


def _share(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    parts = (
        f"{found['pictures']} of {found['of']},",
        f"{found['percent']:.1f} %",
        f"({found['low_percent']:.1f} to {found['high_percent']:.1f})",
    )
    return " ".join(part.replace(" ", _NO_BREAK) for part in parts)


def _explanation(report: dict[str, Any]) -> str:
    return (
        f"In brackets are {report['confidence_percent']} % intervals in percent. Pictures of one photograph resemble each "
        "other, so an interval is as wide as if each photograph were one picture. A good picture that is called unfamiliar is "
        "a false alarm, and an unfamiliar defect is no hit. Thresholds that are extrapolated lie beyond what the good pictures "
        "support. Thresholds that were found on the labelled pictures flatter themselves on these."
    )


def _classes(report: dict[str, Any]) -> list[str]:
    lines = ["| class | called defect | called good | unfamiliar | false alarms | hits |", "|---|" + "---:|" * 5]
    for row in report["classes"]:
        counts = " | ".join(str(row[verdict]) for verdict in ("defect", "good", "unfamiliar"))
        lines.append(
            f"| {printable(row['class']).replace('|', '¦')} | {counts} | {_share(row['false_alarms'])} | {_share(row['hits'])} |"
        )
    return lines


def _gallery(key: str, told: Sequence[dict[str, Any]], most: int) -> list[str]:
    """Pictures with captions, at most so many, and a list of the others."""
    lines = [f"## {_GALLERIES[key]}: {len(told)}", ""]
    if not told:
        return [*lines, "None.", ""]
    lines += [f"![{_caption(one)}]({_picture_name(key, index)})" for index, one in enumerate(told[:most])]
    return [*lines, "", *(f"- {_caption(one)}" for one in told[most:]), ""]


def _caption(one: dict[str, Any]) -> str:
    caption = f"{printable(one['name'])}: {one['verdict']}, score {one['score']:.4g}, threshold {one['threshold']:.4g}"
    return f"{caption}; {one['reason']}" if one["reason"] else caption


def _distribution(report: dict[str, Any]) -> str:
    """HTML that draws the scores of each kind of picture as bars over one axis, with the thresholds as lines through them."""
    found = report["distribution"]
    rows = []
    for row in found["rows"]:
        label = f"{html.escape(row['name'])} <small>({row['pictures']} pictures)</small>"
        rows.append(f"<div>{label}</div>{_bars(row['counts'], report)}")
    ticks = "".join(f"<span>{value:.3g}</span>" for value in found["ticks"])
    axis = "score, on a logarithmic axis" if found["is_logarithmic"] else "score"
    in_use = f"{report['threshold']['value']:.4g}"
    legend = (
        f'<small>{axis}; <b style="color:{_RED}">red: the threshold in use, {in_use}</b>; '
        "grey: the other thresholds of the table below</small>"
    )
    style = "display:flex;justify-content:space-between;font-size:12px;border-top:1px solid #777"
    return f'{"".join(rows)}<div style="{style}">{ticks}</div>{legend}'


def _bars(counts: Sequence[int], report: dict[str, Any]) -> str:
    """One row of bars, each as high as its share of the highest; it stretches to the width of the page."""
    wide, most = 100 / len(counts), max(counts)
    bars = "".join(
        f'<rect x="{index * wide:.3f}" y="{40 - 38 * count / most:.2f}" width="{wide:.3f}" height="{38 * count / most:.2f}"/>'
        for index, count in enumerate(counts)
        if count
    )
    lines = ""
    for row in sorted(report["thresholds"], key=lambda one: one["origin"] == IN_USE):
        x = position_percent(row["threshold"], report["distribution"])
        colour, width = (_RED, 2.5) if row["origin"] == IN_USE else (_GREY, 1)
        title = html.escape(f"{row['threshold']:.4g}: {row['origin']}")
        lines += (
            f'<line x1="{x:.3f}" x2="{x:.3f}" y1="0" y2="40" stroke="{colour}" stroke-width="{width}" '
            f'vector-effect="non-scaling-stroke"><title>{title}</title></line>'
        )
    return (
        '<svg viewBox="0 0 100 40" preserveAspectRatio="none" style="display:block;width:100%;height:44px;background:#f7f8f9">'
        f'<g fill="{_BAR}">{bars}</g>{lines}</svg>'
    )
