"""How fast graphs are on this machine, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.calibration.comparison import opened

_ROUNDS, _REPEATS, _WARM_UP = 3, 12, 4


def median_ms(graphs: Mapping[str, bytes], image: UInt8Array) -> dict[str, float]:
    """Median milliseconds of one model image [1, h, w, 3] through each graph in ONNX Runtime, in alternating rounds.

    One graph is loaded at a time: the idle threads of another would slow it. `benchmark` measures better; this tells whether a
    precision pays at all.
    """
    samples: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(_ROUNDS):
        for name, graph in graphs.items():
            with opened(graph) as engine:
                for index in range(_WARM_UP + _REPEATS):
                    started = time.perf_counter()
                    engine.infer(image)
                    if index >= _WARM_UP:
                        samples[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(taken)) for name, taken in samples.items()}
