"""What a source gives, and what every source is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeleather.arrays import AnyArray
from edgeleather.sources.picture_file import PictureFile

DropPolicy = Literal["every_frame", "keep_latest", "as_they_come"]


@dataclass(frozen=True)
class Frame:
    """One captured frame [h, w] or [h, w, c] (BGR); `image` is None where capturing it failed, `error` says why.

    `captured_at` is Unix time in seconds; `capture_ms` what reading and decoding took. `frozen_seconds` is for how long a live
    source has given this same frame, None where it has not. `seen` are picture files that need no further look once this
    frame's record is kept.
    """

    index: int
    captured_at: float
    source: str
    image: AnyArray | None
    capture_ms: float = 0.0
    error: str | None = None
    frozen_seconds: float | None = None
    seen: tuple[PictureFile, ...] = ()

    @property
    def is_frozen(self) -> bool:
        """Whether its source gives the same frame again and again, so that nobody looks at the leather."""
        return self.frozen_seconds is not None


class FrameSource(Protocol):
    """An iterable of frames. `dropped` counts frames that were captured and passed over; `total` is None where unknown.

    The loop waits for a slow writer only with `every_frame`, of files; of what comes by itself a record is lost instead.
    """

    drop_policy: DropPolicy
    total: int | None

    @property
    def dropped(self) -> int: ...

    def __iter__(self) -> Generator[Frame, None, None]:
        """Yield frames; the device or file is freed when the iteration ends, however it ends.

        Raises:
            EdgeLeatherError: the source ended abnormally.
        """

    def close(self) -> None:
        """Free the device or file of a source that nobody iterated; the end of an iteration does so itself."""
