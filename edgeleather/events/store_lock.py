"""A store's folder belongs to one station at a time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a store's folder for one station; a second is refused instead of mixing its frames in.

    Raises:
        EdgeLeatherError: another process holds it, or the folder cannot be written.
    """
    import fcntl  # POSIX; what runs stations is Linux

    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
    try:
        for attempt in range(20):  # one that was just killed needs a moment to be gone
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if attempt == 19:
                    raise EdgeLeatherError(
                        f"{folder}: another station writes to this store. Stop it, or use another folder."
                    ) from error
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
