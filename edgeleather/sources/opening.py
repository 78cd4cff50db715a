"""The choice of a source by what the user wrote."""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import SUFFIXES, is_image
from edgeleather.sources.address import Address, parse_address
from edgeleather.sources.attempt import PLAIN_ATTEMPT, PictureAttempt
from edgeleather.sources.files import VIDEO_SUFFIXES, PictureSource, VideoSource
from edgeleather.sources.frame import FrameSource
from edgeleather.sources.listing import PassedOver
from edgeleather.sources.live import LiveSource
from edgeleather.sources.patience import Patience
from edgeleather.sources.patterns import matching_pictures
from edgeleather.sources.picture_file import PictureFile
from edgeleather.sources.read_ahead import ReadAhead
from edgeleather.sources.states import StateListener
from edgeleather.sources.watched import WatchedFolder, WatchFrom

_KINDS = "a picture, a folder, a quoted pattern, a video file, a camera's number, an RTSP or HTTP address or gstreamer:PIPELINE"


def open_source(
    source: str | Address,
    stop: threading.Event | None = None,
    patience: Patience = Patience(),
    listener: StateListener = lambda state, detail: None,
    watch: WatchFrom | None = None,
    known: Sequence[PictureFile] | None = None,
    attempt: PictureAttempt = PLAIN_ATTEMPT,
) -> FrameSource:
    """A source by what the user wrote: a picture, folder, glob pattern or video file, a camera or a stream's address.

    `stop` ends the wait for a frame and the listing of files, `patience` is for live sources, `listener` gets their states, and
    `watch` goes on with the pictures that come into a folder, but for those that are `known`. `attempt` surrounds the decoding
    of picture files.

    Raises:
        EdgeLeatherError: nothing is there, or it is none of these.
    """
    stop = stop or threading.Event()
    try:
        address = parse_address(source) if isinstance(source, str) else source
    except ValueError as error:
        raise EdgeLeatherError(f"{error}.") from error
    if not address.text:
        raise EdgeLeatherError(f"expected {_KINDS}, got an empty --source.")
    if address.is_live and watch:
        raise EdgeLeatherError(f"expected a folder to watch, got {address.name}.")
    if address.is_live:
        return LiveSource(address, stop, patience, listener)
    if watch:
        folder = WatchedFolder(Path(address.text), watch, stop, listener, known, patience.stall_seconds, attempt)
        return ReadAhead(folder, stop)
    return _source_of_files(address.text, stop, attempt)


def _source_of_files(place: str, stop: threading.Event, attempt: PictureAttempt) -> FrameSource:
    path = Path(place)
    if path.is_dir():
        pictures = _pictures_of_folder(path, stop)
        if not pictures and not stop.is_set():
            raise EdgeLeatherError(
                f"{place}: expected pictures in this folder ({', '.join(s[1:] for s in SUFFIXES)}), found none. "
                f"For those in its folders, quote a pattern: --source '{place.rstrip('/')}/*/*.png'"
            )
        return ReadAhead(PictureSource(pictures, attempt), stop)
    if path.is_file():
        if is_image(path):
            return PictureSource([path], attempt)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return ReadAhead(VideoSource(path), stop)
        known = ", ".join(suffix[1:] for suffix in (*SUFFIXES, *VIDEO_SUFFIXES))
        raise EdgeLeatherError(
            f"{place}: expected a picture or a video ({known}), got a {path.suffix or 'nameless'} file."
        )
    if glob.has_magic(place):
        pictures = matching_pictures(place, stop)
        if not pictures and not stop.is_set():
            raise EdgeLeatherError(f"{place}: expected pictures that match this pattern, found none.")
        return ReadAhead(PictureSource(pictures, attempt), stop)
    found = "a pipe or device" if path.exists() else "nothing"
    raise EdgeLeatherError(f"{place}: expected {_KINDS}, found {found} there.")


def _pictures_of_folder(folder: Path, stop: threading.Event) -> list[Path]:
    """Its pictures, sorted; what else lies there is logged, by kind."""
    pictures, passed_over = list[Path](), PassedOver(folder)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = folder / entry.name
                if is_image(path) and not entry.is_dir():
                    pictures.append(path)
                else:
                    passed_over.take(entry)
                if stop.is_set():
                    return []
    except OSError as error:
        raise EdgeLeatherError(f"{folder}: expected a folder with pictures, got: {error.strerror}.") from error
    passed_over.say_counts()
    return sorted(pictures)
