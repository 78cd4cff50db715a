"""Which layers' quantisation the maps feel most: each alone in INT8, all others float."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from edgeleather.calibration.comparison import Comparison
from edgeleather.progress import track

_FRAMES = 12

# The graph with these layers kept float.
Quantise = Callable[[Collection[str]], bytes]


@dataclass(frozen=True)
class LayerError:
    """A layer, by its output in the graph and its name in the method, and the map error of a graph in which it alone is INT8."""

    layer: str
    name: str
    map_error: float


def rank_layers(names: Mapping[str, str], quantise: Quantise, comparison: Comparison) -> tuple[LayerError, ...]:
    """All layers, given with their names in the method, the most sensitive first."""
    errors = []
    for layer, name in track(names.items(), "layer by layer", len(names)):
        graph = quantise([other for other in names if other != layer])
        errors.append(LayerError(layer, name, comparison.map_error(graph, _FRAMES)))
    return tuple(sorted(errors, key=lambda error: -error.map_error))


def picture_of(ranking: Sequence[LayerError], raised: Collection[str]) -> bytes:
    """A PNG of the ranking's thirty most sensitive layers; those kept in higher precision are shown in another colour."""
    from matplotlib.figure import Figure

    shown = ranking[:30][::-1]
    figure = Figure(figsize=(9, 0.6 + 0.24 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots()
    colours = ["#ff7f0e" if error.name in raised else "#1f77b4" for error in shown]
    axes.barh(range(len(shown)), [100 * error.map_error for error in shown], color=colours)
    axes.set_yticks(range(len(shown)), [error.name for error in shown])
    axes.set_xlabel("mean map error with this layer alone in INT8, % of the fp32 maps' range")
    axes.set_title("orange: kept in higher precision" if raised else "all of them are INT8", fontsize=10)
    axes.tick_params(labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
