"""HTTP addresses: a stream or film, which OpenCV opens, or a snapshot, of which each picture is asked for."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from io import BytesIO
from urllib.parse import unquote, urlsplit, urlunsplit

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import decode_content, read_content
from edgeleather.sources.address import Address
from edgeleather.sources.devices.device import NotThereError
from edgeleather.sources.devices.opencv import OpenCvDevice

_OPEN_SECONDS = 3.0
_SNAPSHOT_SECONDS = 1.0
_MOST_BYTES = 100_000_000
_BLOCK_BYTES = 1 << 16
_RETRY_SECONDS = 0.5
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"RIFF")
# What servers say of files whose kind they do not know.
_KIND_UNKNOWN = ("", "application/octet-stream", "binary/octet-stream", "text/plain")


class WebDevice:
    """A snapshot address where the server answers with a picture, whatever OpenCV opens where with something else."""

    def __init__(self, address: Address, stall_seconds: float) -> None:
        """Take the address."""
        self._address, self._stall_seconds = address, stall_seconds
        self._stream: OpenCvDevice | None = None
        self._opener, self._bare_address = _opener(address.text)
        self._every_seconds = address.snapshot_seconds or min(_SNAPSHOT_SECONDS, stall_seconds / 2)
        self._next_at = 0.0

    def open(self) -> int | None:
        if self._gives_pictures():
            return None
        self._stream = OpenCvDevice(self._address, self._stall_seconds)
        return self._stream.open()

    def read(self) -> AnyArray | None:
        if self._stream is not None:
            return self._stream.read()
        # Given up before whoever watches calls it silent: the reason is known here.
        until = time.monotonic() + 0.8 * self._stall_seconds
        while True:
            time.sleep(max(0.0, self._next_at - time.monotonic()))
            self._next_at = time.monotonic() + self._every_seconds
            try:
                return self._picture()
            except (EdgeLeatherError, OSError, ValueError, http.client.HTTPException) as error:
                reason = _reason(error)
                if time.monotonic() >= until:
                    raise EdgeLeatherError(f"{self._address.name}: {reason}") from error
                self._next_at = min(self._next_at, time.monotonic() + _RETRY_SECONDS)

    def release(self) -> None:
        if self._stream is not None:
            self._stream.release()

    def _gives_pictures(self) -> bool:
        """Whether the server answers with a picture; one that it cannot be asked in this way is OpenCV's.

        Raises:
            NotThereError: it refuses.
        """
        try:
            with self._opener.open(self._request(), timeout=_OPEN_SECONDS) as answer:
                kind = answer.headers.get_content_type() if answer.headers.get("Content-Type") else ""
                if kind in _KIND_UNKNOWN:
                    return bool(answer.read(8).startswith(_PICTURE_STARTS))
                return bool(kind.startswith("image/"))
        except urllib.error.HTTPError as error:
            error.close()
            raise NotThereError(self._address.name, f"It answers {error.code} {error.reason}. {_ADVICE}") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                return False
            raise NotThereError(self._address.name, _ADVICE) from error
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def _picture(self) -> AnyArray:
        """One picture, asked for now.

        Raises:
            EdgeLeatherError: no picture, or a damaged one.
            OSError, ValueError, HTTPException: the server does not answer as it should.
        """
        until = time.monotonic() + self._stall_seconds
        content = bytearray()
        with self._opener.open(self._request(), timeout=self._stall_seconds) as answer:
            while block := answer.read1(_BLOCK_BYTES):
                content += block
                if len(content) > _MOST_BYTES:
                    raise ValueError(f"expected a picture of at most {_MOST_BYTES / 1e6:g} MB, got more")
                if time.monotonic() > until:
                    raise TimeoutError("its answer does not end")
        header, content_bytes = read_content(self._address.name, BytesIO(content))
        return decode_content(self._address.name, header, content_bytes)

    def _request(self) -> urllib.request.Request:
        headers = {"User-Agent": "edgeleather", "Cache-Control": "no-cache", "Accept": "*/*"}
        return urllib.request.Request(self._bare_address, headers=headers)


_ADVICE = (
    "Check the address, its user and password (with / ? # @ written as %2F %3F %23 %40), the camera's power and the "
    "network."
)


class _OwnPlaceOnly(urllib.request.HTTPRedirectHandler):
    """Follows a server to other addresses of HTTP alone: urllib would take FTP too."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(newurl, code, "a redirection to no HTTP address", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(address: str) -> tuple[urllib.request.OpenerDirector, str]:
    """What asks an address, and the address without user and password, which urllib takes apart from it.

    Raises:
        EdgeLeatherError: the address is none.
    """
    handlers: list[urllib.request.BaseHandler] = [_OwnPlaceOnly()]
    try:
        place = urlsplit(address)
        bare = urlunsplit((place.scheme, place.netloc.rpartition("@")[2], place.path or "/", place.query, ""))
        if place.username is not None:
            passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
            passwords.add_password(None, bare, unquote(place.username), unquote(place.password or ""))
            handlers += [
                urllib.request.HTTPDigestAuthHandler(passwords),
                urllib.request.HTTPBasicAuthHandler(passwords),
            ]
    except ValueError:
        return urllib.request.build_opener(*handlers), address
    return urllib.request.build_opener(*handlers), bare


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"it answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"it cannot be reached: {error.reason}"
    return str(error) or type(error).__name__
