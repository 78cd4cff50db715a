"""What tells a picture file in a folder from any other, without a look at the clock."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

_DIGEST_BYTES = 16


class Stamp(NamedTuple):
    """What the file system says of a file: its times are the drive's own, and are compared with each other alone."""

    size_bytes: int
    modified_ns: int
    inode: int
    changed_ns: int

    @property
    def written(self) -> tuple[int, int]:
        """What changes when a file is written, but for one of the same size and date."""
        return self.size_bytes, self.modified_ns


class PictureFile(NamedTuple):
    """A picture file that needs no further look; without a stamp, one that has gone and may be forgotten.

    `digest` is of its bytes, None where they were never read.
    """

    folder: str
    name: str
    stamp: Stamp | None
    digest: bytes | None = None


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def digest_of(content: bytes) -> bytes:
    """A digest that tells pictures of the same size and date apart."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
