"""How a picture looks, in seven numbers: brightness, colour, contrast and sharpness, measured on a thinned picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, UInt8Array
from edgeleather.imaging.preprocess import Prepared

# The natural logarithm of each: an exposure that is ten percent too long moves bright and dark leather by the same amount.
APPEARANCE = (
    "brightness, the mean of green",
    "colour, the mean of red / green",
    "colour, the mean of blue / green",
    "contrast, the standard deviation of green",
    "fine detail, the mean difference of green 1 px apart",
    "sharpness, the mean difference 1 px / 4 px apart",
    "sharpness, the mean difference 4 px / 16 px apart",
)
FEWEST_PICTURES = 8  # of fewer nobody can say how they look, nor which is unlike the others
LEAST_CONTRAST = 1.0  # see `contrast_of`; leather in a sharp picture has 5 and more
ANSWER = ("score", "the map's 5 % quantile", "the map's median", "the map's 95 % quantile")
_ROWS = 32  # of the picture, at its full width: sharpness is lost where columns are left out
_MAP_PIXELS = 32  # a side of the thinned map
_LEAST_LEVELS = 0.25  # what is added before a logarithm, so that a picture of one colour has one


def contrast_of(images_rgb: UInt8Array) -> float:
    """The median over pictures uint8 [n, h, w, 3] of the standard deviation of a picture's values, of 255."""
    return float(np.median(images_rgb.std(axis=(1, 2)).mean(axis=1)))


def appearance_of(images_rgb: UInt8Array) -> list[float]:
    """The values that `APPEARANCE` names, of a frame's model images uint8 [n, h, w, 3] RGB."""
    # After an inference nothing of this is in the processor's caches: few different functions matter more than few operations.
    count, height, width = images_rgb.shape[:3]
    step = _step(count * height)
    lines = images_rgb.reshape(count * height, width, 3)[step // 2 :: step]
    red, green, blue, _ = cv2.mean(lines)
    values = lines[..., 1].copy()
    deviation = math.sqrt(max(0.0, round(cv2.norm(values, cv2.NORM_L2SQR)) / values.size - green**2))
    red, green, blue = red + 1.0, green + 1.0, blue + 1.0
    detail_1 = _mean_difference(values, 1) + _LEAST_LEVELS
    detail_4 = _mean_difference(values, 4) + _LEAST_LEVELS
    detail_16 = _mean_difference(values, 16) + _LEAST_LEVELS
    return [
        math.log(green),
        math.log(red / green),
        math.log(blue / green),
        math.log(deviation + _LEAST_LEVELS),
        math.log(detail_1),
        math.log(detail_1 / detail_4),
        math.log(detail_4 / detail_16),
    ]


def thinned(prepared: Prepared, chosen: Sequence[int] | None = None) -> UInt8Array:
    """What `appearance_of` looks at of a frame's model images (or of those chosen), which it sees as it would see all of them.

    Of several images it is the rows alone, uint8 [rows, 1, w, 3]: all tiles of a large frame need more memory than the frame.
    """
    chosen = range(prepared.count) if chosen is None else chosen
    if len(chosen) == 1:
        return prepared.images_from(chosen[0], chosen[0] + 1)
    height = prepared.image_size_hw[0]
    step = _step(len(chosen) * height)
    rows = range(step // 2, len(chosen) * height, step)
    return prepared.rows([chosen[row // height] * height + row % height for row in rows])[:, None]


def _step(rows: int) -> int:
    return max(1, rows // _ROWS)


def answer_to(anomaly_map: Float32Array, score: float) -> list[float]:
    """The logarithms of the values that `ANSWER` names, of a map float32 [h, w] and its score."""
    step_y, step_x = (max(1, side // _MAP_PIXELS) for side in anomaly_map.shape)
    ordered = anomaly_map[step_y // 2 :: step_y, step_x // 2 :: step_x].flatten()
    ordered.sort()
    last = len(ordered) - 1
    low, middle, high = (
        ordered.item(round(0.05 * last)),
        ordered.item(round(0.5 * last)),
        ordered.item(round(0.95 * last)),
    )
    return [math.log(max(value, 1e-6)) for value in (score, low, middle, high)]


def _mean_difference(values: UInt8Array, distance_px: int) -> float:
    """The mean absolute difference between pixels [rows, width] of a row that lie so far apart."""
    width = values.shape[1]
    if width <= distance_px:
        return 0.0
    left, right = values[:, : width - distance_px], values[:, distance_px:]
    return cv2.norm(left, right, cv2.NORM_L1) / left.size
