"""Picture files: decoding that refuses what is damaged, and a digest of what a picture shows."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import open_plain_file, write_atomically
from edgeleather.imaging.damage import damage_in
from edgeleather.imaging.headers import PictureHeader, read_header

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_MEGAPIXELS = 100.0  # of a picture that is decoded whole: 300 MB of pixels at 8 bits
# Four channels of 16 bits, uncompressed, and room for previews, layers and metadata.
_MOST_BYTES_PER_PIXEL, _MOST_OTHER_BYTES = 8, 64_000_000
_TRUNCATED = "the picture is truncated (its end is missing). Copy or record it again."
_NO_PICTURE = f"expected a picture ({', '.join(s[1:] for s in SUFFIXES)}), got a file that does not decode as one."


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is a picture (hidden files are not)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> AnyArray:
    """Decode a picture as [height, width, 3] BGR, 8 or 16 bits a channel as stored; EXIF orientation is applied.

    The header is looked at first: what is too large is refused before it is read, and needs no memory.

    Raises:
        EdgeLeatherError: the file is absent, no plain file, empty, truncated, damaged, no picture, larger than
            `max_megapixels`, or holds several pictures.
    """
    try:
        with open_plain_file(path) as stream:
            header, content = read_content(path, stream, max_megapixels)
    except OSError as error:
        raise EdgeLeatherError(f"{path}: expected a readable picture, got: {error.strerror}.") from error
    return decode_content(path, header, content)


def decode_content(path: Path | str, header: PictureHeader, content: bytes) -> AnyArray:
    """Decode the bytes of a picture that `read_content` gave; `path` names it in errors.

    Raises:
        EdgeLeatherError: truncated, damaged or no picture.
    """
    if _is_truncated(content):
        raise EdgeLeatherError(f"{path}: {_TRUNCATED}")
    if reason := damage_in(content, header):
        raise EdgeLeatherError(f"{path}: the picture is damaged inside ({reason}). Copy or record it again.")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        raise EdgeLeatherError(f"{path}: {_NO_PICTURE}")
    return image


def read_content(
    path: Path | str, stream: BinaryIO, max_megapixels: float = MAX_MEGAPIXELS
) -> tuple[PictureHeader, bytes]:
    """The header and all bytes of a picture, after what the header says has been judged; `path` names it in errors.

    Raises:
        EdgeLeatherError: empty, no picture, larger than `max_megapixels`, or several pictures in one file.
        OSError: the file cannot be read.
    """
    size_bytes = stream.seek(0, os.SEEK_END)
    if not size_bytes:
        raise EdgeLeatherError(f"{path}: expected a picture, got an empty file.")
    stream.seek(0)
    try:
        header = read_header(stream)
    except EOFError:
        raise EdgeLeatherError(f"{path}: {_TRUNCATED}") from None
    except ValueError as error:
        raise EdgeLeatherError(f"{path}: {_NO_PICTURE[:-1]} ({error}).") from error
    if header is None:
        raise EdgeLeatherError(f"{path}: {_NO_PICTURE}")
    if header.pictures > 1:
        raise EdgeLeatherError(
            f"{path}: expected one picture, got several pages or frames in one {header.format.upper()} file, of which only the "
            "first would be looked at. Save each as a file of its own."
        )
    shape = f"{header.width} x {header.height} pixels"
    pixels = header.width * header.height
    if pixels > 1e6 * max_megapixels:
        raise EdgeLeatherError(
            f"{path}: expected a picture of at most {max_megapixels:g} megapixels, got {shape} ({pixels / 1e6:.4g} "
            "megapixels). Cut it into smaller pictures."
        )
    most_bytes = _MOST_BYTES_PER_PIXEL * pixels + _MOST_OTHER_BYTES
    if size_bytes > most_bytes:
        raise EdgeLeatherError(
            f"{path}: expected at most {most_bytes / 1e6:.4g} MB for a picture of {shape}, got {size_bytes / 1e6:.6g} MB. "
            "Save it again without what else is in the file."
        )
    stream.seek(0)
    return header, stream.read(most_bytes)


def write_image(path: Path, image: AnyArray) -> None:
    """Write a picture, [h, w] grey or [h, w, 3] BGR, in the format that the file name's suffix says.

    Raises:
        EdgeLeatherError: the file cannot be written; nothing half-written stays behind.
    """
    encoded, content = cv2.imencode(path.suffix, image)
    if not encoded:
        raise EdgeLeatherError(f"{path}: cannot encode a picture of shape {image.shape} as {path.suffix}.")
    write_atomically(path, content.tobytes())


def image_digest(image: AnyArray) -> str:
    """SHA-256 over a picture's shape, type and pixels: the same for the same picture in another file or format."""
    header = f"{image.shape}{image.dtype}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(image).tobytes()).hexdigest()


def _is_truncated(content: bytes) -> bool:
    """Some decoders fill the missing end of a PNG or JPEG with grey and call it a success."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in content
    if content.startswith(b"\xff\xd8"):
        scan = content.rfind(b"\xff\xda")
        return b"\xff\xd9" not in content[max(scan, 2) :]
    return False
