"""What a source gives, and what every source is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeleather.arrays import AnyArray

DropPolicy = Literal["every_frame", "keep_latest", "as_they_come"]


@dataclass(frozen=True)
class Frame:
    """One captured frame [h, w] or [h, w, c] (BGR); `image` is None where capturing it failed, `error` says why.

    `captured_at` is Unix time in seconds; `capture_ms` what reading and decoding took.
    """

    index: int
    captured_at: float
    source: str
    image: AnyArray | None
    capture_ms: float = 0.0
    error: str | None = None


class FrameSource(Protocol):
    """An iterable of frames. `dropped` counts frames that were captured and passed over; `total` is None where unknown.

    The loop waits for a slow local sink only with `every_frame`, of files; of what comes by itself a record is lost instead.
    """

    drop_policy: DropPolicy
    dropped: int
    total: int | None

    def __iter__(self) -> Generator[Frame, None, None]:
        """Yield frames; the device or file is freed when the iteration ends, however it ends.

        Raises:
            EdgeLeatherError: the source ended abnormally.
        """
