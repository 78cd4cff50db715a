"""Which layers' quantisation the maps feel most: each alone in INT8, all others float."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgeleather.calibration.comparison import Comparison
from edgeleather.calibration.quantised_layers import layer_names, quantised_layers
from edgeleather.calibration.quantiser import Quantiser
from edgeleather.progress import track

_FRAMES = 12


@dataclass(frozen=True)
class LayerError:
    """A layer, by its output in the graph and its name in the method, and the map error of a graph in which it alone is INT8."""

    layer: str
    name: str
    map_error: float


class LayerRanking:
    """The layers of a quantiser, the most sensitive first. They are measured when they are first asked for."""

    def __init__(self, quantiser: Quantiser, comparison: Comparison) -> None:
        self._quantiser = quantiser
        self._comparison = comparison
        self.measured: tuple[LayerError, ...] = ()

    def errors(self) -> tuple[LayerError, ...]:
        """The map error of each layer alone in INT8."""
        if not self.measured:
            self.measured = rank_layers(self._quantiser, self._comparison)
        return self.measured


def rank_layers(quantiser: Quantiser, comparison: Comparison) -> tuple[LayerError, ...]:
    """All layers that the quantiser's dialect may quantise, the most sensitive first."""
    names, always_float = layer_names(quantiser.model), quantiser.always_float
    layers = [layer for layer in quantised_layers(quantiser.model).layers if layer not in always_float]
    errors = []
    for layer in track(layers, "layer by layer", len(layers)):
        graph = quantiser.graph([other for other in layers if other != layer])
        errors.append(LayerError(layer, names[layer], comparison.map_error(graph, _FRAMES)))
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
