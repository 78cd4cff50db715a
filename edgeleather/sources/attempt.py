"""What surrounds the decoding of each picture file of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgeleather.imaging.images import MAX_MEGAPIXELS

NO_MEMORY = "{path}: this picture needs more memory than there is. Use smaller ones, or lower max_megapixels."


class PictureAttempt(Protocol):
    """How large a picture file may be, and who is told before and after each attempt to decode one."""

    @property
    def max_megapixels(self) -> float: ...

    def refusal(self, path: Path) -> str | None:
        """Why this file is not to be decoded; None where it is."""

    def begin(self, path: Path) -> None: ...

    def end(self, path: Path) -> None: ...


class PlainAttempt:
    """An attempt of which nobody is told."""

    def __init__(self, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self.max_megapixels = max_megapixels

    def refusal(self, path: Path) -> str | None:
        return None

    def begin(self, path: Path) -> None:
        pass

    def end(self, path: Path) -> None:
        pass


PLAIN_ATTEMPT = PlainAttempt()
