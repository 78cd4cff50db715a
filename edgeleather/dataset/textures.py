"""What DRAEM pastes on good pictures: Perlin masks, and textures from a user's folder or made by rule.

Source: Zavrtanik et al., "DRAEM - A discriminatively trained reconstruction embedding for surface anomaly detection", ICCV 2021,
section 3.3. The original takes its textures from DTD; ours are made, so that nothing has to be downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edgeleather.arrays import BoolArray, Float32Array, UInt8Array
from edgeleather.dataset.leather import cells, smooth_noise
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import is_image, read_image
from edgeleather.imaging.preprocess import to_rgb8

_CELL_PX = (4, 8, 16, 32, 64, 128)  # of Perlin's grid: as in the original, 2 to 64 cells over 256 pixels
_LEVEL = 0.5  # of Perlin noise, above which the mask is (section 3.3)
_MOST_OPACITY = 0.8  # of the good picture in what is pasted
_KEPT_PICTURES = 500
_KEPT_SIDE_PX = 512


class Textures(Protocol):
    """Where textures come from."""

    def draw(self, size_hw: tuple[int, int], rng: np.random.Generator) -> UInt8Array:
        """One texture uint8 [h, w, 3] RGB."""


class MadeTextures:
    """Textures by rule: colour noise, stripes, cells, flat dye, in random colours, contrasts and scales."""

    def draw(self, size_hw: tuple[int, int], rng: np.random.Generator) -> UInt8Array:
        """One texture uint8 [h, w, 3] RGB; the same generator state gives the same bytes."""
        patterns = (_noise, _stripes, _cell_pattern, _flat)
        pattern = patterns[int(rng.integers(len(patterns)))](size_hw, rng)
        # Half of them without colour: cuts, holes and scratches are darker or paler than the dye, and little else.
        colour = float(rng.random() < 0.5)
        middle = rng.uniform(0, 255) + colour * rng.uniform(-120, 120, 3)
        tint = rng.uniform(5, 110) * (rng.choice((-1.0, 1.0)) + colour * rng.uniform(-1, 1, 3))
        image = middle + pattern[..., None] * tint + 6.0 * rng.normal(size=(*size_hw, 1))
        return np.asarray(np.clip(image, 0, 255), np.uint8)


class FolderTextures:
    """Random crops, flipped and recoloured, of the pictures in a user's folder (DTD, say)."""

    def __init__(self, folder: Path) -> None:
        """Read at most 500 of its pictures.

        Raises:
            EdgeLeatherError: there is none, or one cannot be read.
        """
        paths = sorted(path for path in folder.rglob("*") if is_image(path)) if folder.is_dir() else []
        if not paths:
            raise EdgeLeatherError(f"expected a folder of texture pictures at {folder}, found no picture there.")
        step = -(-len(paths) // _KEPT_PICTURES)
        self._pictures = [_at_most(to_rgb8(read_image(path)), _KEPT_SIDE_PX) for path in paths[::step]]

    def draw(self, size_hw: tuple[int, int], rng: np.random.Generator) -> UInt8Array:
        """One texture uint8 [h, w, 3] RGB."""
        picture = self._pictures[int(rng.integers(len(self._pictures)))]
        scale = max(1.0, *(want / have for want, have in zip(size_hw, picture.shape[:2], strict=True)))
        if scale > 1.0:
            grown = [max(want, round(have * scale)) for want, have in zip(size_hw, picture.shape[:2], strict=True)]
            picture = np.asarray(cv2.resize(picture, grown[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        y, x = (int(rng.integers(n - want + 1)) for n, want in zip(picture.shape[:2], size_hw, strict=True))
        crop = picture[y : y + size_hw[0], x : x + size_hw[1]][:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        recoloured = crop[..., rng.permutation(3)] * rng.uniform(0.6, 1.5) + rng.uniform(-40, 40)
        return np.asarray(np.clip(recoloured, 0, 255), np.uint8)


def paste_texture(image_rgb: UInt8Array, textures: Textures, rng: np.random.Generator) -> tuple[UInt8Array, BoolArray]:
    """A good picture [h, w, 3] with a texture inside a Perlin mask, half transparent; and that mask [h, w] (equation 5)."""
    mask = perlin_mask(image_rgb.shape[:2], rng)
    texture = textures.draw((image_rgb.shape[0], image_rgb.shape[1]), rng).astype(np.float32)
    opacity = rng.uniform(0, _MOST_OPACITY)
    mixed = (1 - opacity) * texture + opacity * image_rgb
    return np.where(mask[..., None], np.rint(mixed), image_rgb).astype(np.uint8), mask


def perlin_mask(size_hw: tuple[int, ...], rng: np.random.Generator) -> BoolArray:
    """Where turned Perlin noise [h, w] exceeds 0.5; now and then that is nowhere."""
    height, width = size_hw[:2]
    side = 2 * max(height, width)  # a turned square of that side covers the picture
    cell_y, cell_x = (int(rng.choice([c for c in _CELL_PX if c <= side])) for _ in range(2))
    noise = _perlin((side, side), (cell_y, cell_x), rng)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-90, 90), 1.0)
    turned = cv2.warpAffine(noise, turn, (side, side))
    top, left = (side - height) // 2, (side - width) // 2
    return np.asarray(turned[top : top + height, left : left + width] > _LEVEL, np.bool_)


def _perlin(size_hw: tuple[int, int], cell_hw: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    """Gradient noise (Perlin 1985) between -1 and 1 [h, w] on a grid of cells of this many pixels."""
    rows, columns = (-(-n // cell) for n, cell in zip(size_hw, cell_hw, strict=True))
    angles = rng.uniform(0, 2 * np.pi, (rows + 1, columns + 1)).astype(np.float32)
    y, x = (np.arange(n * cell, dtype=np.float32) / cell for n, cell in ((rows, cell_hw[0]), (columns, cell_hw[1])))
    y, x = y % 1.0, x % 1.0

    def ramp(dy: int, dx: int) -> Float32Array:
        corner = angles[dy : dy + rows, dx : dx + columns].repeat(cell_hw[0], 0).repeat(cell_hw[1], 1)
        return np.asarray(np.sin(corner) * (y[:, None] - dy) + np.cos(corner) * (x[None] - dx), np.float32)

    fade_y, fade_x = ((6 * t**5 - 15 * t**4 + 10 * t**3) for t in (y[:, None], x[None]))
    above = ramp(0, 0) + fade_x * (ramp(0, 1) - ramp(0, 0))
    below = ramp(1, 0) + fade_x * (ramp(1, 1) - ramp(1, 0))
    noise = np.float32(np.sqrt(2)) * (above + fade_y * (below - above))
    return np.asarray(noise[: size_hw[0], : size_hw[1]], np.float32)


def _noise(size_hw: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    coarse, fine = (float(2.0 ** rng.uniform(1, 6)) for _ in range(2))
    return 0.6 * smooth_noise(size_hw, coarse, rng) + 0.4 * smooth_noise(size_hw, fine, rng)


def _stripes(size_hw: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), 2.0 ** rng.uniform(2, 6)
    bent = 3.0 * smooth_noise(size_hw, 40.0, rng)
    waves = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y + bent) / period)
    return np.asarray(np.sign(waves) if rng.random() < 0.5 else waves, np.float32)


def _cell_pattern(size_hw: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    nearest, edge = cells(size_hw, float(2.0 ** rng.uniform(2.5, 6)), 0.1, rng)
    return np.asarray(2.0 * (nearest if rng.random() < 0.5 else np.minimum(edge, 0.5)) - 0.5, np.float32)


def _flat(size_hw: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    return 0.2 * smooth_noise(size_hw, 60.0, rng)


def _at_most(picture: UInt8Array, side_px: int) -> UInt8Array:
    scale = side_px / max(picture.shape[:2])
    if scale >= 1.0:
        return picture
    size = [max(1, round(n * scale)) for n in picture.shape[1::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
