"""Files that are read while the frame before is inspected."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator

from edgeleather.sources.frame import DropPolicy, Frame, FrameSource

_AHEAD_FRAMES = 2
_CLOSE_SECONDS = 2.0


class ReadAhead:
    """The frames of files, read on a thread while the one before is inspected; none is dropped here.

    It gains what reading waits for (a network drive); of decoding nothing where inference has every core (0.99 times as fast
    on 2 cores, pictures on a local disk).
    """

    def __init__(self, source: FrameSource, stop: threading.Event) -> None:
        """`stop` ends the wait for a drive that does not answer."""
        self._source, self._stop = source, stop
        self.drop_policy: DropPolicy = source.drop_policy
        self.total = source.total
        self._is_begun = False

    @property
    def dropped(self) -> int:
        """What the source dropped."""
        return self._source.dropped

    def close(self) -> None:
        """Free the source, unless its thread has begun, which does so itself and may hang in it."""
        if not self._is_begun:
            self._source.close()

    def __iter__(self) -> Generator[Frame, None, None]:
        self._is_begun = True
        ahead: queue.Queue[Frame | BaseException | None] = queue.Queue(_AHEAD_FRAMES)
        left = threading.Event()

        def read() -> None:
            end: BaseException | None = None
            try:
                with contextlib.closing(iter(self._source)) as frames:
                    for frame in frames:
                        if not _put(ahead, frame, left):
                            return
            except BaseException as error:  # belongs to who iterates
                end = error
            _put(ahead, end, left)

        thread = threading.Thread(target=read, name="read ahead", daemon=True)
        thread.start()
        try:
            while (item := self._next(ahead)) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            left.set()
            thread.join(_CLOSE_SECONDS)

    def _next(self, ahead: queue.Queue[Frame | BaseException | None]) -> Frame | BaseException | None:
        while True:
            with contextlib.suppress(queue.Empty):
                return ahead.get(timeout=0.2)
            if self._stop.is_set():
                return None


def _put(
    ahead: queue.Queue[Frame | BaseException | None], item: Frame | BaseException | None, left: threading.Event
) -> bool:
    """Queue an item; False where nobody iterates any more."""
    while not left.is_set():
        with contextlib.suppress(queue.Full):
            ahead.put(item, timeout=0.1)
            return True
    return False
