"""The plan of how a dataset's pictures become model images: told before a training, since it decides which defects are seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from edgeleather.dataset.index import IndexedSample
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import Fit, InputMode, check_frame, tile_count, unseen_share

Sizes = tuple[tuple[tuple[int, int], int], ...]  # [height, width] and how many pictures have it, the commonest first
_MIN_SIDE_PX = 32
_MOST_SIZES = 4  # that are listed
_SHRINKS = 2.0  # a picture that is made smaller by more loses defects of a few pixels
LARGEST_IMAGE_PX = 256  # of the longer side, where nothing else was chosen


@dataclass(frozen=True)
class InputPlan:
    """The sizes [height, width] of a dataset's good pictures with how many have each, and the input mode that they will get."""

    sizes_hw: Sizes
    mode: InputMode

    @property
    def times_smaller(self) -> float:
        """How many times smaller than the largest picture the model's image of it is; 1 for tiles at full scale."""
        if self.mode.kind == "tiles":
            return 1.0 / (self.mode.pixel_scale or 1.0)
        return max(max(size_hw) for size_hw, _ in self.sizes_hw) / max(self.mode.image_size_hw)

    def describe(self) -> list[str]:
        """The plan in sentences, with its warnings."""
        height, width = self.mode.image_size_hw
        listed = ", ".join(f"{w} x {h} ({count})" for (h, w), count in self.sizes_hw[:_MOST_SIZES])
        more = len(self.sizes_hw) - _MOST_SIZES
        told = [f"Sizes of the good pictures: {listed}{f' and {more} more' if more > 0 else ''}."]
        if self.mode.kind == "tiles":
            counts = sorted({tile_count(size_hw, self.mode) for size_hw, _ in self._fitting})
            tiles = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))) if counts else "no"
            told.append(f"Each picture is cut into {tiles} tiles of {width} x {height}.")
        else:
            told.append(f"Each picture becomes one image of {width} x {height}.")
        for size_hw, count in self.sizes_hw:
            if reason := _misfit(size_hw, self.mode):
                told.append(f"{count} pictures do not fit: {reason}")
        return [*told, *self.warnings()]

    def warnings(self) -> list[str]:
        """Sentences on the parts of the pictures, and the fine defects, that the model will not see."""
        told = []
        if self.mode.kind == "resize" and self.times_smaller > _SHRINKS:
            (size_hw, _), side = self.sizes_hw[0], min(LARGEST_IMAGE_PX, *self.sizes_hw[0][0])
            tiles = tile_count(size_hw, InputMode("tiles", (side, side), 1.0))
            told.append(
                f"The pictures are made {self.times_smaller:.3g} times smaller, so that a defect of "
                f"{round(4 * self.times_smaller)} pixels is 4 pixels wide. For finer ones take --input tiles: {tiles} tiles of "
                f"{side} x {side} per picture, which takes about {tiles} times as long per picture."
            )
        lost = [(unseen_share(size_hw, self.mode), count) for size_hw, count in self._fitting]
        cut = [(share, count) for share, count in lost if share > 0]
        if cut:
            told.append(
                f"--crop: nobody looks at up to {100 * max(cut)[0]:.0f} % of {sum(count for _, count in cut)} pictures, the "
                "parts beside their centre."
            )
        counts = Counter[int]()
        for size_hw, count in self._fitting:
            counts[tile_count(size_hw, self.mode)] += count
        if len(counts) > 1:
            most = common_tile_count(counts)
            told.append(
                f"The pictures have different numbers of tiles: the verdict's threshold will rest on the {counts[most]} pictures "
                f"of {most} tiles."
            )
        return told

    @property
    def _fitting(self) -> list[tuple[tuple[int, int], int]]:
        """The sizes that the mode takes."""
        return [(size_hw, count) for size_hw, count in self.sizes_hw if not _misfit(size_hw, self.mode)]


def planned_input(
    sizes_hw: Sizes, kind: Literal["resize", "tiles"], fit: Fit, longer_side_px: int | None = None
) -> InputPlan | None:
    """What becomes of pictures of these sizes where nothing else is said; None without pictures.

    Raises:
        EdgeLeatherError: the model's images would be too small.
    """
    return InputPlan(sizes_hw, choose_input_mode(sizes_hw, kind, longer_side_px, fit)) if sizes_hw else None


def choose_input_mode(
    sizes_hw: Sizes, kind: Literal["resize", "tiles"], longer_side_px: int | None, fit: Fit
) -> InputMode:
    """The input mode that training pictures suggest: their own size, at most 256 pixels on the longer side.

    Raises:
        EdgeLeatherError: the model's images would be too small.
    """
    height, width = sizes_hw[0][0]
    if kind == "tiles":
        side = longer_side_px or min(LARGEST_IMAGE_PX, height, width)
        _check_side((side, side))
        return InputMode("tiles", (side, side), 1.0, fit)
    longer = longer_side_px or min(LARGEST_IMAGE_PX, max(height, width))
    scale = longer / max(height, width)
    size_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    _check_side(size_hw)
    return InputMode("resize", size_hw, scale if len(sizes_hw) == 1 else None, fit)


def _check_side(size_hw: tuple[int, int]) -> None:
    if min(size_hw) < _MIN_SIDE_PX:
        raise EdgeLeatherError(
            f"expected model images of at least {_MIN_SIDE_PX} pixels a side, got {size_hw[1]} x {size_hw[0]}. "
            "Use larger pictures or a larger --image-size."
        )


def common_tile_count(counts: Counter[int]) -> int:
    """The number of tiles that most pictures have; the higher of two that are as common."""
    return max(counts, key=lambda tiles: (counts[tiles], tiles))


def of_common_tile_count(samples: list[IndexedSample], mode: InputMode) -> list[IndexedSample]:
    """Those of the pictures that have as many tiles as most of them."""
    counts = Counter(tile_count(sample.size_hw, mode) for sample in samples)
    if len(counts) < 2:
        return samples
    most = common_tile_count(counts)
    return [sample for sample in samples if tile_count(sample.size_hw, mode) == most]


def _misfit(size_hw: tuple[int, int], mode: InputMode) -> str | None:
    """Why a mode does not take pictures of this size; None where it does."""
    try:
        check_frame(size_hw, "uint8", mode)
    except EdgeLeatherError as error:
        return str(error)
    return None
