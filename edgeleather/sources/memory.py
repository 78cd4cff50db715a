"""Frames that are in memory already."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from edgeleather.arrays import AnyArray
from edgeleather.sources.frame import DropPolicy, Frame


class MemorySource:
    """Frames that are in memory already: for tests and for measuring the loop itself."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, images: Sequence[AnyArray], name: str = "memory") -> None:
        self._images = images
        self._name = name
        self.total: int | None = len(images)

    def close(self) -> None:
        """Nothing is held before the first frame."""

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, image in enumerate(self._images):
            yield Frame(index, time.time(), f"{self._name}[{index}]", image)
