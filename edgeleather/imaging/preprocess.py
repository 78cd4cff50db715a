"""The one way from a picture or camera frame to the model's input, and from the model's maps back to the frame.

Training, calibration, benchmark and runtime all call `prepare`, so that no difference between them can hide here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import cv2
import numpy as np

from edgeleather.arrays import AnyArray, Float32Array, UInt8Array
from edgeleather.errors import EdgeLeatherError

Fit = Literal["exact", "crop", "stretch"]


@dataclass(frozen=True)
class InputMode:
    """How a frame becomes model images.

    `resize`: the whole frame becomes one image. `tiles`: the frame, scaled by `pixel_scale`, is cut into overlapping
    images, so that a defect keeps the size in pixels that it had in training.
    """

    DEFAULTS_APPLY: ClassVar[bool] = True  # bundles and runs of before there was a white level are read
    kind: Literal["resize", "tiles"]
    image_size_hw: tuple[int, int]
    pixel_scale: float | None  # model pixels per frame pixel in training; None where the training pictures differ in it
    fit: Fit = "exact"  # what happens in `resize` mode to a frame of another aspect ratio
    white_level: int | None = None  # of frames of 16 bits a channel, the value that becomes 255; None refuses them

    def __post_init__(self) -> None:
        """Refuse a white level that no 16 bits hold.

        Raises:
            ValueError: `white_level` is not from 1 to 65535.
        """
        if self.white_level is not None and not 1 <= self.white_level <= 65_535:
            raise ValueError(f"white_level: expected 1 to 65535, got {self.white_level}")

    def with_white_level(self, white_level: int | None) -> InputMode:
        """The same mode with another white level; None keeps the one that it has.

        Raises:
            EdgeLeatherError: no 16 bits hold it.
        """
        try:
            return self if white_level is None else replace(self, white_level=white_level)
        except ValueError as error:
            raise EdgeLeatherError(f"{error}.") from error


@dataclass(frozen=True)
class Prepared:
    """The scaled frame, from which its model images are cut when they are asked for.

    Tiles overlap, so that all of them at once would take nearly twice the frame's memory. `scaled_rgb` is uint8 [h, w, 3] RGB.
    `offsets_yx` are the corners in it of the images of `image_size_hw`. `frame_box_xywh` is the part of the frame, in frame
    pixels, that it shows. `other_images` uint8 [n, h, w, 3] take the place of what would be cut.
    """

    scaled_rgb: UInt8Array
    offsets_yx: tuple[tuple[int, int], ...]
    image_size_hw: tuple[int, int]
    frame_box_xywh: tuple[int, int, int, int]
    other_images: UInt8Array | None = None

    @property
    def map_size_hw(self) -> tuple[int, int]:
        """The size of the frame's whole map."""
        return self.scaled_rgb.shape[0], self.scaled_rgb.shape[1]

    @property
    def count(self) -> int:
        """The number of model images."""
        return len(self.offsets_yx)

    @property
    def images(self) -> UInt8Array:
        """All model images, uint8 [n, h, w, 3] RGB."""
        return self.images_from(0, self.count)

    def images_from(self, start: int, stop: int) -> UInt8Array:
        """The model images from `start` to before `stop`, uint8 [n, h, w, 3] RGB."""
        if self.other_images is not None:
            return self.other_images[start:stop]
        if self.count == 1:
            return self.scaled_rgb[None]
        height, width = self.image_size_hw
        return np.stack([self.scaled_rgb[y : y + height, x : x + width] for y, x in self.offsets_yx[start:stop]])

    def rows(self, indices: Sequence[int]) -> UInt8Array:
        """Rows of the model images, counted through all of them, as uint8 [n, width, 3] RGB."""
        height, width = self.image_size_hw
        if self.other_images is not None:
            return self.other_images.reshape(-1, width, 3)[indices]
        corners = [(self.offsets_yx[index // height], index % height) for index in indices]
        return np.stack([self.scaled_rgb[y + row, x : x + width] for (y, x), row in corners])


class NearestPart(NamedTuple):
    """Where a part of the whole map lies in it, and in the map of the one model image that it is taken from."""

    in_map: tuple[slice, slice]
    in_image: tuple[slice, slice]


def prepare(image: AnyArray, mode: InputMode) -> Prepared:
    """Turn a frame ([h, w] grey, [h, w, 3] BGR or [h, w, 4] BGRA) into RGB uint8 images at the model's size.

    Raises:
        EdgeLeatherError: the frame is empty, of another type, shape, depth or aspect ratio, or smaller than one tile.
    """
    image_rgb = to_rgb8(image, mode.white_level)
    if mode.kind == "tiles":
        return _tiles(image_rgb, mode)
    x, y, width, height = box = _fitting_box(image_rgb.shape[:2], mode.image_size_hw, mode.fit)
    resized = _resize(image_rgb[y : y + height, x : x + width], mode.image_size_hw)
    return Prepared(resized, ((0, 0),), mode.image_size_hw, box)


def check_frame(size_hw: tuple[int, int], pixel_type: str, mode: InputMode) -> None:
    """Whether `prepare` takes frames of this size [height, width] and type of pixels, asked without their pixels.

    Raises:
        EdgeLeatherError: another type or aspect ratio, or smaller than one tile.
    """
    check_depth(pixel_type, mode.white_level)
    if mode.kind == "tiles":
        _scaled_size(size_hw, mode)
    else:
        _fitting_box(size_hw, mode.image_size_hw, mode.fit)


def tile_count(size_hw: tuple[int, int], mode: InputMode) -> int:
    """How many model images `prepare` makes of a frame of this size [height, width].

    Raises:
        EdgeLeatherError: the frame is smaller than one tile.
    """
    if mode.kind != "tiles":
        return 1
    scaled_hw = _scaled_size(size_hw, mode)
    rows, columns = (len(tile_offsets(*pair)) for pair in zip(scaled_hw, mode.image_size_hw, strict=True))
    return rows * columns


def unseen_share(size_hw: tuple[int, int], mode: InputMode) -> float:
    """The share of a frame of this size [height, width] that its model images do not show: what `fit` "crop" cuts off.

    Raises:
        EdgeLeatherError: the frame has another aspect ratio than the model's images, and nothing was said about that.
    """
    if mode.kind == "tiles":
        return 0.0
    _, _, width, height = _fitting_box(size_hw, mode.image_size_hw, mode.fit)
    return 1.0 - width * height / (size_hw[0] * size_hw[1])


def check_depth(pixel_type: str, white_level: int | None) -> None:
    """Whether frames of this type of pixels ("uint8") are taken.

    Raises:
        EdgeLeatherError: "uint16" without a white level, or another type than the two.
    """
    if pixel_type == "uint16":
        _white_value(white_level)
    elif pixel_type != "uint8":
        raise EdgeLeatherError(
            f"expected 8 or 16 bits a channel without a sign, got pixels of {pixel_type}. Convert the picture to 8 bits."
        )


def to_rgb8(image: AnyArray, white_level: int | None = None) -> UInt8Array:
    """A frame as contiguous uint8 [h, w, 3] RGB.

    Raises:
        EdgeLeatherError: no pixels, another number of channels, or another type than uint8 (uint16 with `white_level`).
    """
    if not isinstance(image, np.ndarray) or image.size == 0:
        raise EdgeLeatherError("expected a frame with pixels, got an empty one.")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255.0 / _white_value(white_level))
    if image.dtype != np.uint8:
        if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
            raise EdgeLeatherError("expected a frame of uint8 pixels, got floats with NaN or infinity in them.")
        raise EdgeLeatherError(f"expected a frame of uint8 pixels, got {image.dtype}.")
    channels = 1 if image.ndim == 2 else image.shape[-1] if image.ndim == 3 else 0
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if channels not in codes:
        raise EdgeLeatherError(f"expected a frame of 1, 3 or 4 channels ([h, w, c]), got shape {image.shape}.")
    return np.asarray(cv2.cvtColor(image, codes[channels]), np.uint8)


def _white_value(white_level: int | None) -> int:
    if white_level is None:
        raise EdgeLeatherError(
            "expected 8 bits a channel, got 16. Say which value is white with --white-level (4095 for a 12-bit "
            "camera, 65535 for full range; in a station file: white_level under [input]), or convert the picture to 8 bits."
        )
    return white_level


def stitch(maps: Float32Array, prepared: Prepared) -> Float32Array:
    """Join the images' maps [n, h, w] into one [height, width]; each pixel comes from the tile whose centre is nearest.

    Ties between equally near centres go to the earlier tile (row by row from the top left).
    """
    stitched = np.empty(prepared.map_size_hw, np.float32)
    stitch_into(stitched, maps, nearest_parts(prepared))
    return stitched


def nearest_parts(prepared: Prepared) -> list[NearestPart]:
    """The part of each model image, in their order, that is nearest to its own centre."""
    (tile_h, tile_w), (height, width) = prepared.image_size_hw, prepared.map_size_hw
    rows = _nearest_spans(sorted({y for y, _ in prepared.offsets_yx}), tile_h, height)
    columns = _nearest_spans(sorted({x for _, x in prepared.offsets_yx}), tile_w, width)
    return [
        NearestPart(np.s_[top:bottom, left:right], np.s_[top - y : bottom - y, left - x : right - x])
        for y, top, bottom in rows
        for x, left, right in columns
    ]


def stitch_into(stitched: Float32Array, maps: Float32Array, parts: Sequence[NearestPart]) -> None:
    """Put the maps [n, h, w] of some images where their parts lie in the whole map."""
    for anomaly_map, part in zip(maps, parts, strict=True):
        stitched[part.in_map] = anomaly_map[part.in_image]


def resize_mask(mask: UInt8Array, prepared: Prepared) -> UInt8Array:
    """Bring a ground-truth mask (0 or 255, frame size) to the map's size as 0 or 1; a region never vanishes whole."""
    x, y, width, height = prepared.frame_box_xywh
    box = (mask[y : y + height, x : x + width] > 127).astype(np.float32)
    covered = cv2.resize(box, prepared.map_size_hw[::-1], interpolation=cv2.INTER_AREA)
    half = covered >= 0.5
    return np.asarray(half if half.any() else covered > 0, np.uint8)


def tile_offsets(length: int, tile: int) -> list[int]:
    """Where tiles of this length start along one axis: overlap of at least a quarter tile, the last shifted inside."""
    step = tile - -(-tile // 4)
    count = 1 + max(0, -(-(length - tile) // max(step, 1)))
    return [min(index * step, length - tile) for index in range(count)]


def _tiles(image_rgb: UInt8Array, mode: InputMode) -> Prepared:
    frame_h, frame_w = image_rgb.shape[:2]
    tile_h, tile_w = mode.image_size_hw
    height, width = scaled_hw = _scaled_size((frame_h, frame_w), mode)
    if mode.pixel_scale != 1.0:
        image_rgb = _resize(image_rgb, scaled_hw)
    offsets = tuple((y, x) for y in tile_offsets(height, tile_h) for x in tile_offsets(width, tile_w))
    return Prepared(image_rgb, offsets, mode.image_size_hw, (0, 0, frame_w, frame_h))


def _scaled_size(frame_hw: tuple[int, int], mode: InputMode) -> tuple[int, int]:
    """The size [height, width] that a frame has before it is cut into tiles."""
    if mode.pixel_scale is None:
        raise EdgeLeatherError(
            "tiles need one pixel scale, but the training pictures of this bundle had different ones. "
            "Use --input resize, or train again with pictures of one size."
        )
    height, width = (max(1, round(side * mode.pixel_scale)) for side in frame_hw)
    if height < mode.image_size_hw[0] or width < mode.image_size_hw[1]:
        raise EdgeLeatherError(
            f"expected a frame that holds at least one tile of {mode.image_size_hw[1]} x {mode.image_size_hw[0]} pixels, got "
            f"{width} x {height} (width x height, at pixel scale {mode.pixel_scale:g}). Use larger frames or --input resize."
        )
    return height, width


@functools.lru_cache(64)  # a camera's frames are of one size
def _fitting_box(frame_hw: tuple[int, ...], size_hw: tuple[int, int], fit: Fit) -> tuple[int, int, int, int]:
    frame_h, frame_w = frame_hw
    height, width = size_hw
    # The model's size is a rounded one, and a larger camera's may be a pixel off: neither is another aspect ratio.
    slack_h, slack_w = (0.5 + min(1.0, model / frame) for model, frame in ((height, frame_h), (width, frame_w)))
    fits = abs(frame_h * width / frame_w - height) <= slack_h or abs(frame_w * height / frame_h - width) <= slack_w
    if fit == "stretch" or fits:
        return 0, 0, frame_w, frame_h
    if fit == "exact":
        raise EdgeLeatherError(
            f"expected frames of the model's aspect ratio ({width} x {height} pixels), got {frame_w} x {frame_h}. "
            "Say --crop (the centre), --stretch, or --input tiles."
        )
    crop_w = min(frame_w, max(1, round(frame_h * width / height)))
    crop_h = min(frame_h, max(1, round(frame_w * height / width)))
    return (frame_w - crop_w) // 2, (frame_h - crop_h) // 2, crop_w, crop_h


def _resize(image_rgb: UInt8Array, size_hw: tuple[int, int]) -> UInt8Array:
    if image_rgb.shape[:2] == size_hw:
        return np.ascontiguousarray(image_rgb)
    shrinks = image_rgb.shape[0] >= size_hw[0] and image_rgb.shape[1] >= size_hw[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_rgb, size_hw[::-1], interpolation=interpolation), np.uint8)


def _nearest_spans(offsets: list[int], tile: int, length: int) -> list[tuple[int, int, int]]:
    """(offset, start, stop) along one axis: pixels start to stop have their nearest tile centre at this offset."""
    # The border between two tiles lies half-way between their centres; an exact half goes to the earlier one.
    borders = [(a + b + tile - 1) // 2 + 1 for a, b in itertools.pairwise(offsets)]
    return list(zip(offsets, [0, *borders], [*borders, length], strict=True))
