"""Pictures that end the process: an attempt is noted before it is made, and the next run leaves such a picture alone.

The notes are two places of a file beside the store: one for the picture that is decoded, one for the picture that is inspected.
They are written without waiting for the disk, since what ends a process leaves the system's memory as it is, and a note takes a
few microseconds. What a run left noted at its end is marked in the store by the next one.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType

from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.events.store import Store
from edgeleather.files import cannot_write, open_plain_file
from edgeleather.imaging.headers import read_header
from edgeleather.sources.frame import Frame

ATTEMPTS_FILE = "attempts"
_DECODING, _INSPECTING = 0, 1
_NOTE_BYTES = 16_384  # a path has at most 4096, and each of them takes four where it is no UTF-8
_NO_NOTE = (0).to_bytes(4, "little")
_MARK = "ended in attempt "
# A kill or a crash of the machine is likelier to fall into an attempt than a small picture is to cause one.
_MOST_ATTEMPTS, _MOST_ATTEMPTS_IF_HEAVY = 2, 1
_HEAVY_PIXELS, _HEAVY_BYTES = 16e6, 64e6
_MOST_READ = 64  # that were decoded and not inspected


class Attempts:
    """Notes which picture a run with a store has in hand.

    A picture of more than 16 megapixels (or 64 MB) is not tried again once a process ended while it was decoded or inspected, any
    other one once that happened twice. Saving or touching the file makes it a new one.
    """

    def __init__(self, store: Store, max_megapixels: float) -> None:
        """Take up what an earlier run left.

        Raises:
            EdgeLeatherError: the file cannot be written.
        """
        self.max_megapixels = max_megapixels
        self._decoded = _NO_NOTE
        self._read: dict[str, bytes] = {}
        path = store.path.with_name(ATTEMPTS_FILE)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            for note in filter(None, map(self._left_note, (_DECODING, _INSPECTING))):
                store.mark(_MARK + note, time.time())
            self._clear()
        except OSError as error:
            raise EdgeLeatherError(cannot_write(path, error)) from error
        self._ended: dict[str, int] = {}
        for name in store.mark_names(_MARK):
            number, _, identity = name.removeprefix(_MARK).partition(" ")
            self._ended[identity] = max(int(number), self._ended.get(identity, 0))

    def refusal(self, path: Path) -> str | None:
        """Why a picture is left alone; None for one that is tried."""
        ended = self._ended.get(_identity(path), 0)
        if not ended or ended < (_MOST_ATTEMPTS_IF_HEAVY if _is_heavy(path) else _MOST_ATTEMPTS):
            return None
        times = "" if ended == 1 else f" in {ended} attempts"
        return (
            f"{path}: an earlier run ended while it decoded or inspected this picture{times}, so it is not tried again. Look at "
            "it with another program; once it is saved or touched again, it counts as a new one."
        )

    def begin(self, path: Path) -> None:
        """Note that a picture is decoded now. For the one thread that reads."""
        identity = _identity(path)
        self._decoded = _note(self._ended.get(identity, 0) + 1, identity)
        self._write(_DECODING, self._decoded)

    def end(self, path: Path) -> None:
        """Note that it is decoded."""
        self._write(_DECODING, _NO_NOTE)
        if len(self._read) >= _MOST_READ:
            self._read.clear()
        self._read[printable(str(path))] = self._decoded

    def begin_inspection(self, frame: Frame) -> None:
        """Note that a frame is inspected now. For the loop's thread."""
        self._write(_INSPECTING, self._read.pop(frame.source, _NO_NOTE))

    def end_inspection(self) -> None:
        """Note that it is inspected."""
        self._write(_INSPECTING, _NO_NOTE)

    def give_up_inspection(self) -> None:
        """Note that the frame in hand is never to be tried again: the engine does not come back from it."""
        if note := self._left_note(_INSPECTING):
            self._write(_INSPECTING, _note(_MOST_ATTEMPTS, note.partition(" ")[2]))

    def __enter__(self) -> Attempts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget the notes, unless a bug ends the process: that may be the picture's doing."""
        if error is None or isinstance(error, EdgeLeatherError | KeyboardInterrupt | SystemExit):
            self._clear()
        os.close(self._descriptor)

    def _clear(self) -> None:
        for place in (_DECODING, _INSPECTING):
            self._write(place, _NO_NOTE)

    def _write(self, place: int, note: bytes) -> None:
        try:
            os.pwrite(self._descriptor, note, place * _NOTE_BYTES)
        except OSError:  # a full disk delays no verdict; the pictures are then tried as if there were no notes
            return

    def _left_note(self, place: int) -> str:
        """The note of a place; empty where there is none."""
        content = os.pread(self._descriptor, _NOTE_BYTES, place * _NOTE_BYTES)
        length = int.from_bytes(content[:4], "little")
        note = content[4 : 4 + length].decode("utf-8", "replace")
        return note if note.partition(" ")[0].isdecimal() and len(content) >= 4 + length else ""


def _note(number: int, identity: str) -> bytes:
    text = f"{number} {identity}".encode()[: _NOTE_BYTES - 4]
    return len(text).to_bytes(4, "little") + text


def _identity(path: Path) -> str:
    """What tells a picture file from others: its path, size and date."""
    try:
        status = path.stat()
    except OSError:
        return json.dumps([printable(str(path)), None, None])
    return json.dumps([printable(str(path)), status.st_size, status.st_mtime_ns])


def _is_heavy(path: Path) -> bool:
    try:
        with open_plain_file(path) as stream:
            header = read_header(stream)
            size_bytes = stream.seek(0, os.SEEK_END)
    except (OSError, EOFError, ValueError):
        return True
    return header is None or header.width * header.height > _HEAVY_PIXELS or size_bytes > _HEAVY_BYTES
