"""Procedural leather: a height field of grain cells, creases and pores, lit from the side and dyed.

Made for the demo, for tests and for golden frames; it replaces no photograph in an evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, UInt8Array


@dataclass(frozen=True)
class Hide:
    """What one hide looks like: dye, mean width of a grain cell in pixels, depth of the creases, gloss (both 0 to 1)."""

    colour_rgb: tuple[int, int, int]
    cell_px: float
    crease_depth: float
    gloss: float


HIDES = {
    "brown": Hide((112, 70, 54), 30.0, 0.65, 0.30),
    "grey": Hide((104, 107, 109), 20.0, 0.35, 0.20),
    "navy": Hide((62, 68, 80), 24.0, 0.45, 0.25),
    "cream": Hide((205, 190, 168), 16.0, 0.30, 0.15),
    "black": Hide((54, 50, 50), 22.0, 0.60, 0.40),
}
PRESETS = {"single-colour": ("brown",), "multi-colour": ("brown", "grey", "navy", "cream", "black")}


def leather(size_hw: tuple[int, int], hide: Hide, rng: np.random.Generator) -> UInt8Array:
    """One photograph of flawless leather, uint8 [h, w, 3] RGB; the same generator state gives the same bytes."""
    height_field = _grain(size_hw, hide, rng)
    slope_y, slope_x = np.gradient(height_field)
    angle = rng.uniform(-0.5, 0.5) - 2.0  # the lamp stands above, a little to one side
    lambert = -(np.cos(angle) * slope_x + np.sin(angle) * slope_y)
    shade = 1.0 + 0.42 * np.tanh(1.6 * lambert) + 0.09 * (height_field - float(height_field.mean()))
    shine = hide.gloss * np.clip(lambert - 0.25, 0, None) ** 2
    lamp = 1.0 + 0.05 * smooth_noise(size_hw, min(1.5 * max(size_hw), 2.0 * min(size_hw)), rng)
    dye = 1.0 + 0.025 * smooth_noise(size_hw, 4 * hide.cell_px, rng)
    speckle = rng.normal(0.0, 0.012, size_hw).astype(np.float32)
    light = (shade * lamp * dye + speckle)[..., None]
    tint = 1.0 + 0.006 * np.stack([smooth_noise(size_hw, 5 * hide.cell_px, rng) for _ in range(3)], axis=-1)
    image = np.asarray(hide.colour_rgb, np.float32) * light * tint + 160.0 * shine[..., None]
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


def _grain(size_hw: tuple[int, int], hide: Hide, rng: np.random.Generator) -> Float32Array:
    """Height in pixels [h, w]: domed cells between creases, a finer second generation of cells, pores."""
    coarse, coarse_edge = cells(size_hw, hide.cell_px, 0.13, rng)
    fine, fine_edge = cells(size_hw, hide.cell_px * 0.45, 0.13, rng)
    # Creases open and close along the hide, as skin folds do.
    opening = np.clip(0.85 + 0.22 * smooth_noise(size_hw, 2.2 * hide.cell_px, rng), 0.35, 1.3)
    field = hide.crease_depth * opening * (2.6 * _valley(coarse_edge, 0.20) + 0.9 * np.sqrt(coarse_edge))
    field += 0.55 * (0.5 + 0.5 * hide.crease_depth) * _valley(fine_edge, 0.30)
    field += 0.25 * (1.0 - coarse) + 0.15 * (1.0 - fine)
    pores = cv2.GaussianBlur(rng.normal(0.0, 1.0, size_hw).astype(np.float32), (0, 0), 0.9)
    return np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), 0.8) + 0.30 * pores, np.float32)


def cells(
    size_hw: tuple[int, int], cell_px: float, warp: float, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Cellular noise (Worley 1996): distance to the nearest centre, and to the border of its cell, in cell widths."""
    height, width = size_hw
    rows, columns = (int(np.ceil(n / cell_px)) + 5 for n in size_hw)
    centres = rng.uniform(0.08, 0.92, (rows, columns, 2)).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(cell_px) + np.float32(2.0)
    y = y + warp * smooth_noise(size_hw, 0.8 * cell_px, rng) + 0.5
    x = x * 0.86 + warp * smooth_noise(size_hw, 0.8 * cell_px, rng)  # skin cells are a little longer than wide
    row, column = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    nearest = np.full(size_hw, 9.0, np.float32)
    second = nearest.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = np.clip(row + dy, 0, rows - 1), np.clip(column + dx, 0, columns - 1)
            centre = centres[r, c]
            distance = np.hypot(r + centre[..., 0] - y, c + centre[..., 1] - x)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
    return nearest, np.clip(second - nearest, 0.0, 1.0)


def _valley(edge: Float32Array, width: float) -> Float32Array:
    """-1 on a cell's border, rising smoothly to 0 at `width` cell widths from it."""
    return np.asarray(-((1.0 - np.clip(edge / width, 0.0, 1.0)) ** 2), np.float32)


def smooth_noise(size_hw: tuple[int, int], period_px: float, rng: np.random.Generator) -> Float32Array:
    """Noise of about unit variance whose waves are about `period_px` long."""
    height, width = size_hw
    scale = max(2, round(period_px))
    grid_hw = (-(-height // scale) + 3, -(-width // scale) + 3)
    grid = rng.normal(0.0, 1.25, grid_hw).astype(np.float32)
    large = cv2.resize(grid, (grid_hw[1] * scale, grid_hw[0] * scale), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large[scale : scale + height, scale : scale + width], np.float32)
