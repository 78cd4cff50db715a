"""Picture files for the tests of decoding: sound ones in every encoding, and headers that lie."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
from PIL import Image

from edgeleather.arrays import UInt8Array


def leather_bgr(side_px: int = 128, seed: int = 0) -> UInt8Array:
    """A picture with the noise of leather, so that its files have some tens of kilobytes."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.normal(120, 60, (side_px, side_px, 3)), (0, 0), 1.2)
    return np.clip(grain + rng.normal(0, 4, grain.shape), 0, 255).astype(np.uint8)


def by_opencv(image: UInt8Array, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def by_pillow(images: list[UInt8Array], kind: str, **options: object) -> bytes:
    """The pictures as one file; the first is the one that decoders show."""
    first, *others = (Image.fromarray(np.ascontiguousarray(image[..., ::-1])) for image in images)
    stream = io.BytesIO()
    several = {"save_all": True, "append_images": others} if others else {}
    first.save(stream, kind, **several, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def sound_files(image: UInt8Array) -> dict[str, bytes]:
    """The same picture in every encoding that is read."""
    grey = np.ascontiguousarray(image[..., 0])
    return {
        "png": by_opencv(image, ".png"),
        "png of 16 bits": cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes(),
        "jpeg": by_opencv(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95),
        "jpeg, progressive": by_opencv(image, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "jpeg, restarts": by_opencv(image, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 8),
        "jpeg, grey": by_opencv(grey, ".jpg"),
        "jpeg, another picture behind it": by_opencv(image, ".jpg") + by_opencv(grey, ".jpg"),
        "tiff, LZW": by_opencv(image, ".tif"),
        "tiff, plain": by_opencv(image, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, 1),
        "tiff, Deflate": by_pillow([image], "TIFF", compression="tiff_adobe_deflate"),
        "tiff, PackBits": by_pillow([image], "TIFF", compression="packbits"),
        "tiff, JPEG": by_pillow([image], "TIFF", compression="jpeg"),
        "tiff, big": by_pillow([image], "TIFF", compression="tiff_lzw", big_tiff=True),
        "tiff of 16 bits": cv2.imencode(".tif", image.astype(np.uint16) * 257)[1].tobytes(),
        "webp, lossy": by_opencv(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, 90),
        "webp, lossless": by_pillow([image], "WEBP", lossless=True),
        "webp, with metadata": by_pillow([image], "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        "bmp": by_opencv(image, ".bmp"),
    }


def tiff_header(width: int, height: int, compression: int = 1, at: int = 200, size: int = 10, link: int = 0) -> bytes:
    """A TIFF whose one page says this; `link` is where it says that the next page is."""
    tags = [(256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, at), (277, 1), (278, height)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, size)])
    return struct.pack("<2sHIH", b"II", 42, 8, 9) + entries + struct.pack("<I", link)


def png_header(width: int, height: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIB", 13, b"IHDR", width, height, 8) + b"\2\0\0\0" + bytes(8) + b"IDAT"
    )


def lying_headers() -> dict[str, bytes]:
    """Files of a few bytes whose headers say that they hold more than a thousand megapixels."""
    jpeg = bytearray(by_opencv(leather_bgr(32), ".jpg"))
    frame = jpeg.find(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    most = 2**31 - 1
    return {
        "png": png_header(32_000, 32_000),
        "jpeg": bytes(jpeg),
        "tiff": tiff_header(2**31, 2**31),
        "bmp": struct.pack("<2sIIIIiiHHIIiiII", b"BM", 100, 0, 54, 40, most, -most, 1, 24, 0, 0, 0, 0, 0, 0),
        "webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\xff" * 2,
    }
