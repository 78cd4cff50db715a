"""Picture files: decoding that refuses what is damaged, and a digest of what a picture shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import write_atomically

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is a picture (hidden files are not)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path) -> AnyArray:
    """Decode a picture as [height, width, 3] BGR, 8 or 16 bits a channel as stored; EXIF orientation is applied.

    Raises:
        EdgeLeatherError: the file is absent, empty, truncated or no picture.
    """
    try:
        if path.exists() and not path.is_file():
            raise EdgeLeatherError(f"{path}: expected a picture file, got a folder, pipe or device.")
        content = path.read_bytes()
    except OSError as error:
        raise EdgeLeatherError(f"{path}: expected a readable picture, got: {error.strerror}.") from error
    if not content:
        raise EdgeLeatherError(f"{path}: expected a picture, got an empty file.")
    if _is_truncated(content):
        raise EdgeLeatherError(f"{path}: the picture is truncated (its end is missing). Copy or record it again.")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise EdgeLeatherError(f"{path}: expected a picture ({kinds}), got a file that does not decode as one.")
    return image


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
