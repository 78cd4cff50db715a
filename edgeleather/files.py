"""Writing so that a power cut leaves the old file or the new one, and digests of what was written."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from edgeleather.errors import EdgeLeatherError


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
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
