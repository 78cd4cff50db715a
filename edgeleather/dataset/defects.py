"""Synthetic defects with exact masks: no pixel outside the mask is changed. They go on any leather, real or made."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, UInt8Array

Painter = Callable[[Float32Array, np.random.Generator], tuple[Float32Array, Float32Array]]

_VISIBLE = 0.06  # opacity below which a defect ends: soft edges would otherwise reach across the whole picture


def paste_defect(image_rgb: UInt8Array, kind: str, rng: np.random.Generator) -> tuple[UInt8Array, UInt8Array]:
    """Paint one defect on a picture [h, w, 3]; returns the picture and its mask [h, w] of 0 and 255.

    Raises:
        KeyError: no such kind (see `DEFECTS`).
    """
    before = image_rgb.astype(np.float32)
    painted, opacity = DEFECTS[kind](before, rng)
    inside = opacity >= _VISIBLE
    mixed = before + opacity[..., None] * (painted - before)
    after = np.where(inside[..., None], np.clip(np.rint(mixed), 0, 255), before).astype(np.uint8)
    return after, np.where(inside, 255, 0).astype(np.uint8)


def _cut(image: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """A blade's slit: a dark gap that tapers to both ends, with one lip that catches the light."""
    unit = _unit(image)
    path = _path(image, rng, length=rng.uniform(22, 48) * unit, bend=0.25)
    gap = _stroke(image, path, width=rng.uniform(2.2, 4.0) * unit, taper=True)
    lip = np.roll(gap, (round(1.8 * unit), round(0.9 * unit)), (0, 1))
    painted = image * (1.0 - 0.8 * gap[..., None]) + 105.0 * (np.clip(lip - gap, 0, 1) * (lip > 0))[..., None]
    return painted, np.maximum(gap, 0.8 * lip)


def _hole(image: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """A hole punched through: nearly black, frayed, with a paler torn rim."""
    unit = _unit(image)
    inner = _blob(image, rng, radius=rng.uniform(5, 10) * unit, ragged=0.25, soft=0.8 * unit)
    outer = cv2.GaussianBlur(cv2.dilate(inner, _disc(2.0 * unit)), (0, 0), 0.6 * unit)
    rim = np.clip(outer - inner, 0, 1)[..., None]
    return image * (1 - 0.88 * inner[..., None]) * (1 - 0.35 * rim) + 60.0 * rim, np.maximum(inner, outer)


def _line(image: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """A long thin scratch, paler or darker than the dye."""
    unit = _unit(image)
    path = _path(image, rng, length=rng.uniform(90, 150) * unit, bend=0.12)
    stroke = _stroke(image, path, width=rng.uniform(1.3, 2.2) * unit, taper=False)
    change = 75.0 if rng.random() < 0.6 else -60.0
    return image + change, 0.9 * stroke


def _wrinkle(image: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """A bundle of folds side by side: each is bright on one flank and dark on the other."""
    unit = _unit(image)
    path = _path(image, rng, length=rng.uniform(80, 130) * unit, bend=0.2)
    bundle = _stroke(image, path, width=rng.uniform(16, 26) * unit, taper=True, soft=5 * unit)
    across = path[-1] - path[0]
    across = np.array([-across[1], across[0]]) / max(float(np.hypot(*across)), 1e-6)
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    wobble = cv2.resize(
        rng.normal(0, 3.0 * unit, (5, 5)).astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_CUBIC
    )
    phase = (x * across[0] + y * across[1] + wobble) * (2 * np.pi / (rng.uniform(7, 10) * unit))
    folds = np.sin(phase) + 0.4 * np.sin(2 * phase + 0.7)
    return image * (1.0 + 0.30 * folds[..., None]), bundle


def _stain(image: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """Dye or grease that soaked in: another colour, the grain still shows."""
    unit = _unit(image)
    blob = _blob(image, rng, radius=rng.uniform(10, 20) * unit, ragged=0.35, soft=3.0 * unit)
    tints = ((1.25, 0.45, 0.40), (0.55, 0.55, 0.50), (0.75, 0.95, 1.30))
    tint = np.asarray(tints[int(rng.integers(len(tints)))], np.float32)
    return image * tint, 0.85 * blob


def _glue(image: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """A smear of dried glue: it levels the grain and shines."""
    unit = _unit(image)
    blob = _blob(image, rng, radius=rng.uniform(9, 17) * unit, ragged=0.45, soft=1.5 * unit)
    level = cv2.GaussianBlur(image, (0, 0), 3.0 * unit)
    shine = cv2.GaussianBlur(blob, (0, 0), 2.5 * unit)
    edge = np.clip(np.gradient(shine)[0] * 8 * unit, -1, 1)[..., None]
    return 0.75 * level + 62.0 + 70.0 * edge, 0.9 * blob


def _poke(image: Float32Array, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """A needle's mark: a small dark pit in a raised ring."""
    unit = _unit(image)
    pit = _blob(image, rng, radius=rng.uniform(2.2, 3.8) * unit, ragged=0.12, soft=0.8 * unit)
    ring = cv2.GaussianBlur(cv2.dilate(pit, _disc(2.2 * unit)), (0, 0), 0.8 * unit)
    raised = np.clip(ring - pit, 0, 1)[..., None]
    return image * (1 - 0.8 * pit[..., None]) + 45.0 * raised, np.maximum(pit, 0.8 * ring)


DEFECTS: dict[str, Painter] = {
    "cut": _cut,
    "hole": _hole,
    "line": _line,
    "wrinkle": _wrinkle,
    "stain": _stain,
    "glue": _glue,
    "poke": _poke,
}


def _unit(image: Float32Array) -> float:
    """Sizes above are for pictures of 256 pixels; others scale with the shorter side, thin strokes never below it."""
    return max(float(min(image.shape[:2])) / 256.0, 0.5)


def _disc(radius_px: float) -> UInt8Array:
    size = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _path(image: Float32Array, rng: np.random.Generator, length: float, bend: float) -> Float32Array:
    """A gently bent curve [24, 2] of (x, y) points whose middle lies in the picture's inner part."""
    height, width = image.shape[:2]
    length = min(length, 0.8 * min(height, width))
    middle = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.35, 0.65) * height])
    headings = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, 24))
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * (length / 24)
    points = np.cumsum(steps, axis=0)
    return np.asarray(points - points.mean(axis=0) + middle, np.float32)


def _stroke(image: Float32Array, path: Float32Array, width: float, taper: bool, soft: float = 0.0) -> Float32Array:
    """Opacity [h, w] of a brush drawn along a path, `width` pixels wide in the middle."""
    opacity = np.zeros(image.shape[:2], np.uint8)
    fixed = np.rint(path * 16).astype(np.int32)
    for index in range(len(path) - 1):
        along = 4 * (index + 0.5) / len(path) * (1 - (index + 0.5) / len(path)) if taper else 1.0
        thickness = max(1, round(width * along))
        start, stop = (tuple(int(v) for v in fixed[i]) for i in (index, index + 1))
        cv2.line(opacity, start, stop, 255, thickness, cv2.LINE_AA, 4)
    result = opacity.astype(np.float32) / 255.0
    return np.asarray(cv2.GaussianBlur(result, (0, 0), soft) if soft else result, np.float32)


def _blob(image: Float32Array, rng: np.random.Generator, radius: float, ragged: float, soft: float) -> Float32Array:
    """Opacity [h, w] of a closed shape with an uneven outline and a soft edge, in the picture's inner part."""
    height, width = image.shape[:2]
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    outline = np.ones(48)
    for wave in (2, 3, 5):
        outline += ragged / wave * rng.normal() * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    outline = radius * np.clip(outline, 0.35, 1.8)
    centre = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height])
    points = centre + np.stack([outline * np.cos(angles), outline * np.sin(angles)], axis=1)
    opacity = np.zeros((height, width), np.uint8)
    cv2.fillPoly(opacity, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(opacity.astype(np.float32) / 255.0, (0, 0), max(soft, 0.3)), np.float32)
