"""From a frame to its anomaly map and score: prepare, infer, stitch. Runtime, thresholds and benchmark all go this way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeleather.arrays import AnyArray, Float32Array
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode, Prepared, nearest_parts, prepare, stitch_into

_SCORE_TOLERANCE = 1e-3  # of the score: FP16 rounds the two apart
_BATCH_TILES = 8  # more would only need more memory: on a CPU a tile costs the same in any batch


@dataclass(frozen=True)
class FrameMap:
    """A frame's stitched anomaly map float32 [h, w], its score (the map's maximum), and how the frame was prepared."""

    anomaly_map: Float32Array
    score: float
    prepared: Prepared


def infer_frame(engine: Engine, image: AnyArray, mode: InputMode) -> FrameMap:
    """Run one frame ([h, w] grey, [h, w, 3] BGR or [h, w, 4] BGRA).

    Raises:
        EdgeLeatherError: the frame does not fit the input mode, or the model answers with something not finite.
    """
    return infer_prepared(engine, prepare(image, mode))


def infer_prepared(engine: Engine, prepared: Prepared) -> FrameMap:
    """Run a prepared frame; see `infer_frame`."""
    if prepared.count == 1:  # the graph has taken the maximum already
        answer = engine.infer(prepared.images)
        anomaly_map, score = answer.maps[0], float(answer.scores[0])
    else:
        anomaly_map = _infer_tiles(engine, prepared)
        score = float(anomaly_map.max())
    _check(anomaly_map, score)
    return FrameMap(anomaly_map, score, prepared)


def _check(anomaly_map: Float32Array, score: float) -> None:
    """Refuse an answer that is not finite everywhere, or whose score is not its map's maximum: a summary alone may hide it."""
    lowest, highest = float(anomaly_map.min()), float(anomaly_map.max())  # NaN anywhere makes both NaN
    if not (math.isfinite(lowest) and math.isfinite(highest) and math.isfinite(score)):
        raise EdgeLeatherError("the model's anomaly map holds NaN or infinity; this frame has no verdict.")
    if abs(score - highest) > _SCORE_TOLERANCE * max(abs(score), abs(highest)):
        raise EdgeLeatherError(
            f"the model's score ({score:.6g}) is not its anomaly map's maximum ({highest:.6g}); this frame has no verdict. The "
            "graph or engine is damaged, or none of EdgeLeather's: run 'edgeleather doctor BUNDLE'."
        )


def _infer_tiles(engine: Engine, prepared: Prepared) -> Float32Array:
    """The stitched map of a frame of several tiles, of which only a batch at a time needs memory."""
    most = min(_BATCH_TILES, engine.signature.batch_range[1] or _BATCH_TILES)
    parts = nearest_parts(prepared)
    stitched = np.empty(prepared.map_size_hw, np.float32)
    for start in range(0, prepared.count, most):
        images = prepared.images_from(start, start + most)
        stitch_into(stitched, engine.infer(images).maps, parts[start : start + most])
    return stitched
