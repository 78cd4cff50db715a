"""Writing so that a power cut leaves the old file or the new one, reading that waits for nothing, and digests."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from edgeleather.errors import EdgeLeatherError


def open_plain_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or device, which can make the reader wait for ever, is never opened.

    Raises:
        OSError: the file cannot be read, or is a folder, pipe or device.
    """
    _require_plain(path.stat())
    # The file may have been replaced by a pipe since then; without O_NONBLOCK its opening would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_plain(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_plain_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file; its size is looked at first, so that a huge file costs no memory.

    Raises:
        OSError: the file cannot be read, is a folder, pipe or device, or has more than `max_bytes` bytes.
    """
    with open_plain_file(path) as stream:
        content = b"" if os.fstat(stream.fileno()).st_size > max_bytes else stream.read(max_bytes + 1)
        if len(content) > max_bytes or os.fstat(stream.fileno()).st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it is larger than allowed (at most {max_bytes / 1e6:g} MB)")
        return content


def _require_plain(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a folder, pipe or device, not a plain file")


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hex digits.

    Raises:
        OSError: the file cannot be read, or is a folder, pipe or device.
    """
    digest = hashlib.sha256()
    with open_plain_file(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at every moment it holds the old content or all of the new.

    Raises:
        EdgeLeatherError: the disk is full, read-only or the folder is not there; nothing half-written stays behind.
    """
    write_stream_atomically(path, [content])


def write_stream_atomically(path: Path, parts: Iterable[bytes]) -> None:
    """The same for content that comes in parts.

    Raises:
        EdgeLeatherError: the disk is full, read-only or the folder is not there; nothing half-written stays behind.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            with partial.open("wb") as stream:
                stream.writelines(parts)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(path, error)) from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can (POSIX)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> str:
    """The message for a failed write: what, why, what next."""
    reason = error.strerror or str(error)
    mend = "Make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose another place"
    return f"cannot write {path}: {reason}. {mend}, then run the command again."


def require_folder(folder: Path) -> None:
    """Make a folder to write into, before hours of work and not after.

    Raises:
        EdgeLeatherError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
