"""A file of lines that is appended to, whole lines only."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, sync_folder


class LineFile:
    """A file that lines are appended to; one that does not fit on the disk is taken back whole."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending.

        Raises:
            EdgeLeatherError: it cannot be opened.
        """
        self._path = path
        try:
            is_new, ends_whole = not path.exists(), _ends_whole(path)
            # Not blocking, so that a pipe without a reader is an error instead of a wait.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
            self._descriptor = os.open(path, flags, 0o644)
            os.set_blocking(self._descriptor, True)
            if is_new:
                sync_folder(path.parent)
            if not ends_whole:  # a power cut in the middle of a line must not spoil the next one
                os.write(self._descriptor, b"\n")
        except OSError as error:
            raise EdgeLeatherError(cannot_write(path, error)) from error

    def append(self, text: str) -> None:
        """Write a line.

        Raises:
            EdgeLeatherError: it does not fit; nothing of it stays.
        """
        line = (text + "\n").encode()
        whole = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):  # a device has no length to take back
                os.ftruncate(self._descriptor, whole)
            raise EdgeLeatherError(cannot_write(self._path, error)) from error

    def close(self) -> None:
        """Bring it to the disk and close it.

        Raises:
            EdgeLeatherError: the disk refuses.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            # A pipe or a terminal cannot be synced, and needs not be.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise EdgeLeatherError(cannot_write(self._path, error)) from error
        finally:
            os.close(self._descriptor)


def _ends_whole(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
