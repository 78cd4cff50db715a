"""The sheet of suspects: every picture beside its map, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, UInt8Array
from edgeleather.errors import printable
from edgeleather.files import write_atomically
from edgeleather.imaging.preprocess import to_rgb8
from edgeleather.training.run import SHEET_FILE, SUSPECTS_FILE
from edgeleather.training.suspects import JudgedSuspect, suspects_csv

_SIDE_PX, _CAPTION_PX, _GAP_PX, _COLUMNS = 224, 40, 12, 3
_MOST_PICTURES = 60  # the list has all of them
_TEXT_BGR, _PAPER_BGR = (40, 40, 40), (250, 250, 250)


def write_suspects(suspects: Sequence[JudgedSuspect], folder: Path) -> None:
    """Leave the list and the sheet of suspects in a folder that is there; nothing where there is no suspect.

    Raises:
        EdgeLeatherError: they cannot be written.
    """
    if suspects:
        write_atomically(folder / SUSPECTS_FILE, suspects_csv([one.suspect for one in suspects]).encode())
        write_atomically(folder / SHEET_FILE, suspect_sheet(suspects))


def suspect_sheet(suspects: Sequence[JudgedSuspect]) -> bytes:
    """A JPEG of up to sixty suspects, the clearest first; the colours of all maps have one scale."""
    shown = suspects[:_MOST_PICTURES]
    low, high = _colour_range(shown)
    cells = [_cell(one, low, high) for one in shown]
    blank = np.full_like(cells[0], _PAPER_BGR)
    cells += [blank] * (-len(cells) % _COLUMNS)
    rows = [np.hstack(cells[start : start + _COLUMNS]) for start in range(0, len(cells), _COLUMNS)]
    _, encoded = cv2.imencode(".jpg", np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return encoded.tobytes()


def _colour_range(suspects: Sequence[JudgedSuspect]) -> tuple[float, float]:
    lowest = min(float(one.anomaly_map.min()) for one in suspects)
    highest = max(float(one.anomaly_map.max()) for one in suspects)
    return lowest, max(highest, lowest + 1e-6)


def _cell(one: JudgedSuspect, low: float, high: float) -> UInt8Array:
    image = one.sample.read()
    white_level = int(image.max()) or 1 if image.dtype == np.uint16 else None
    picture = np.asarray(cv2.cvtColor(to_rgb8(image, white_level), cv2.COLOR_RGB2BGR), np.uint8)
    pair = np.hstack([_fitted(picture), _fitted(_coloured(one.anomaly_map, low, high))])
    height, width = pair.shape[0] + _CAPTION_PX + _GAP_PX, pair.shape[1] + _GAP_PX
    cell = np.full((height, width, 3), _PAPER_BGR, np.uint8)
    cell[: pair.shape[0], : pair.shape[1]] = pair
    suspect = one.suspect
    reason = f"{suspect.reason}: part {suspect.part_mads:.1f}, whole {suspect.whole_mads:.1f} deviations"
    for line, text in enumerate((printable(suspect.name)[-60:], reason)):
        place = (2, pair.shape[0] + 15 + 17 * line)
        cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT_BGR, 1, cv2.LINE_AA)
    return cell


def _coloured(anomaly_map: Float32Array, low: float, high: float) -> UInt8Array:
    level = np.clip((anomaly_map - low) / (high - low), 0, 1)
    return np.asarray(cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO), np.uint8)


def _fitted(picture: UInt8Array) -> UInt8Array:
    """A picture in the middle of a square."""
    height, width = picture.shape[:2]
    scale = _SIDE_PX / max(height, width)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.full((_SIDE_PX, _SIDE_PX, 3), _PAPER_BGR, np.uint8)
    top, left = (_SIDE_PX - size_wh[1]) // 2, (_SIDE_PX - size_wh[0]) // 2
    square[top : top + size_wh[1], left : left + size_wh[0]] = resized
    return square
