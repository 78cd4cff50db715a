"""The picture that shows a person what was found and where."""

from __future__ import annotations

import cv2
import numpy as np

from edgeleather.arrays import AnyArray, UInt8Array
from edgeleather.imaging.preprocess import to_rgb8
from edgeleather.inspection.inspector import Inspection

_BAND_PX = 22
_RED_BGR, _WHITE_BGR, _DARK_BGR = (40, 40, 230), (245, 245, 245), (38, 34, 32)


def draw_overlay(inspection: Inspection) -> UInt8Array:
    """The frame with its regions outlined, the same with the anomaly map over it, and a caption: [h, w, 3] BGR.

    An unfamiliar frame may have no map; then it stands there twice.
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
        left, top, box_w, box_h = region.box_xywh
        cv2.rectangle(outlined, (left, top), (left + box_w - 1, top + box_h - 1), _RED_BGR, thick)
    pair = np.hstack([outlined, heated])
    band = np.full((_BAND_PX * thick, pair.shape[1], 3), _DARK_BGR, np.uint8)
    cv2.putText(
        band,
        _caption(inspection),
        (6 * thick, 15 * thick),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.42 * thick,
        _WHITE_BGR,
        thick,
        cv2.LINE_AA,
    )
    return np.vstack([band, pair])


def _caption(inspection: Inspection) -> str:
    if inspection.verdict == "unfamiliar":  # OpenCV draws ASCII alone
        reason = (inspection.reason or "").encode("ascii", "replace").decode()
        return f"unfamiliar  frame {inspection.frame}  {reason}"
    caption = f"{inspection.verdict}  {inspection.score:.3f} > {inspection.threshold:.3f}"
    return caption + f"  area {inspection.defect_area_percent:.2f} %  frame {inspection.frame}"


def _as_bgr8(image: AnyArray) -> UInt8Array:
    white_level = int(image.max()) or 1 if image.dtype == np.uint16 else None
    return np.asarray(cv2.cvtColor(to_rgb8(image, white_level), cv2.COLOR_RGB2BGR), np.uint8)
