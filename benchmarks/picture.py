"""The picture of accuracy against speed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from edgeleather.engines.table import BACKENDS

_PANELS = (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC"), ("aupro", "AUPRO (to 30 % false positives)"))
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_DEVICE_MARKERS = {"cpu": "o", "gpu": "^"}
_ORIGINAL_MARKER = "s"


def accuracy_against_speed(rows: Sequence[dict[str, Any]]) -> bytes:
    """A PNG of the report's rows: milliseconds an image (logarithmic) to the right, each accuracy that there is upwards.

    Each bundle has a colour, and a line joins its points. A square is the torch original, a circle an engine on the processor, a
    triangle one on a GPU; INT8 is filled.
    """
    panels = [panel for panel in _PANELS if any(row[panel[0]] is not None for row in rows)] or _PANELS[:1]
    figure = Figure(figsize=(12.5 if len(panels) > 1 else 9.0, 4.6), dpi=110, layout="constrained")
    bundles = list(dict.fromkeys(row["bundle"] for row in rows))
    for axes, (key, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for bundle, colour in zip(bundles, _repeated(_COLOURS, len(bundles)), strict=True):
            shown = sorted(
                (row for row in rows if row["bundle"] == bundle and row[key] is not None),
                key=lambda r: r["latency_p50_ms"],
            )
            axes.plot(
                [r["latency_p50_ms"] for r in shown], [r[key] for r in shown], color=colour, linewidth=1, alpha=0.4
            )
            for row in shown:
                axes.plot(
                    row["latency_p50_ms"],
                    row[key],
                    _marker(row["backend"]),
                    color=colour,
                    markersize=9,
                    markerfacecolor=colour if row["precision"] == "int8" else "white",
                    label=f"{bundle}: {row['backend']} {row['precision']}, {row['latency_p50_ms']:.1f} ms",
                )
        axes.set_xscale("log")
        ticks = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
        times = [row["latency_p50_ms"] for row in rows]
        low, high = min(times) / 1.4, max(times) * 1.4
        axes.set_xlim(low, high)
        axes.set_xticks([tick for tick in ticks if low <= tick <= high], minor=False)
        axes.set_xticks([], minor=True)
        axes.get_xaxis().set_major_formatter("{x:g}")
        bottom, top = axes.get_ylim()
        middle = (bottom + top) / 2
        half = max((top - bottom) / 2, 0.01)  # so that a thousandth does not look like a fall
        axes.set_ylim(middle - half, middle + half)
        axes.set_xlabel("ms an image, median (faster to the left)")
        axes.set_title(title if any(row[key] is not None for row in rows) else f"{title}: no figures")
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _marker(backend: str) -> str:
    """A marker for each kind of device; what is no backend of the table is the original."""
    return _DEVICE_MARKERS[BACKENDS[backend].device] if backend in BACKENDS else _ORIGINAL_MARKER


def _repeated(items: Sequence[str], count: int) -> list[str]:
    return [items[index % len(items)] for index in range(count)]
