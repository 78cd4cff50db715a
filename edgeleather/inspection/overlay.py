"""The picture that shows a person what was found and where."""

from __future__ import annotations

import textwrap
from datetime import datetime

import cv2
import numpy as np

from edgeleather.arrays import AnyArray, UInt8Array
from edgeleather.errors import printable
from edgeleather.imaging.preprocess import to_rgb8
from edgeleather.inspection.inspector import Inspection

_FONT_SIZE, _LINE_PX, _MARGIN_PX, _MOST_LINES = 0.42, 16, 6, 8
_RED_BGR, _WHITE_BGR, _DARK_BGR = (40, 40, 230), (245, 245, 245), (38, 34, 32)


def draw_overlay(inspection: Inspection) -> UInt8Array:
    """The frame with the contours of its regions, beside it the same with the anomaly map over it, and a header: [h, w, 3] BGR.

    The header names the verdict, the article where there is one, source, time and scale. An unfamiliar frame may have no map;
    then it stands there twice.
    """
    assert inspection.image is not None
    frame = _as_bgr8(inspection.image)
    outlined, heated = frame.copy(), frame.copy()
    if inspection.anomaly_map is not None and inspection.map_box_xywh is not None and inspection.threshold is not None:
        x, y, width, height = inspection.map_box_xywh
        anomaly_map = cv2.resize(inspection.anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR)
        level = np.clip(anomaly_map / inspection.threshold - 0.5, 0, 1)  # the threshold is the middle of the colours
        colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)
        part = heated[y : y + height, x : x + width]
        heated[y : y + height, x : x + width] = cv2.addWeighted(part, 0.45, colours, 0.55, 0)
    thick = max(1, round(min(frame.shape[:2]) / 256))
    for region in inspection.regions:
        cv2.polylines(outlined, [np.array(region.contour_xy, np.int32)], True, _RED_BGR, thick)
    pair = np.hstack([outlined, heated])
    return np.vstack([_band("   ".join(_header(inspection)), pair.shape[1], thick), pair])


def _header(inspection: Inspection) -> list[str]:
    """What is to be read above the picture."""
    if inspection.verdict == "unfamiliar":
        found = ["unfamiliar", inspection.reason or ""]
    else:
        found = [inspection.verdict, f"{inspection.score:.3f} > {inspection.threshold:.3f}"]
        found.append(f"area {inspection.defect_area_percent:.2f} %")
    # A labelled picture of a dataset has no time: nobody has captured it.
    when = datetime.fromtimestamp(inspection.captured_at).isoformat(" ", "seconds") if inspection.captured_at else None
    captured = [f"frame {inspection.frame}", when] if when else []
    scale = [] if inspection.mm_per_px is None else [f"{inspection.mm_per_px:g} mm/px"]
    named = [inspection.article] if inspection.article else []
    return [*found, *named, inspection.source, *captured, *scale]


def _band(text: str, width: int, thick: int) -> UInt8Array:
    """A text on as many lines as it takes in this width (pixels): [h, width, 3] BGR.

    OpenCV 5 draws all letters, and ends the process at a name with bytes that are no text; OpenCV 4 draws ASCII alone.
    """
    font, size = cv2.FONT_HERSHEY_SIMPLEX, _FONT_SIZE * thick
    characters = (width - 2 * _MARGIN_PX * thick) // cv2.getTextSize("0", font, size, thick)[0][0]
    wrapped = textwrap.TextWrapper(
        max(8, characters), max_lines=_MOST_LINES, placeholder=" ...", break_on_hyphens=False
    )
    lines = wrapped.wrap(printable(text))
    band = np.full(((_LINE_PX * len(lines) + _MARGIN_PX) * thick, width, 3), _DARK_BGR, np.uint8)
    for number, line in enumerate(lines, start=1):
        place = (_MARGIN_PX * thick, (_LINE_PX * number - 1) * thick)
        cv2.putText(band, line, place, font, size, _WHITE_BGR, thick, cv2.LINE_AA)
    return band


def _as_bgr8(image: AnyArray) -> UInt8Array:
    white_level = int(image.max()) or 1 if image.dtype == np.uint16 else None
    return np.asarray(cv2.cvtColor(to_rgb8(image, white_level), cv2.COLOR_RGB2BGR), np.uint8)
