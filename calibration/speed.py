"""How fast graphs are on this machine, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from edgeleather.arrays import UInt8Array
from edgeleather.calibration.comparison import CandidateGraph, opened
from edgeleather.engines import timing

_ROUNDS, _REPEATS, _WARM_UP = 3, 12, 4


def median_ms(graphs: Mapping[str, CandidateGraph], image: UInt8Array) -> dict[str, float]:
    """Median milliseconds of one model image [1, h, w, 3] through each graph in ONNX Runtime, in alternating rounds.

    One graph is loaded at a time: the idle threads of another would slow it. `benchmark` measures better; this tells whether a
    precision pays at all.
    """
    samples: dict[str, list[int]] = {name: [] for name in graphs}
    for _ in range(_ROUNDS):
        for name, graph in graphs.items():
            samples[name] += _samples_ns(graph, image)
    return {name: timing.median_ms(taken) for name, taken in samples.items()}


def _samples_ns(graph: CandidateGraph, image: UInt8Array) -> list[int]:
    with opened(graph, exact_products=False) as engine:  # as it is deployed
        return timing.sample_ns(lambda _: engine.infer(image), _REPEATS, warm_up_runs=_WARM_UP)
