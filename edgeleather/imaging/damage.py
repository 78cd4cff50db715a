"""Damage inside a picture file that OpenCV's decoders pass over: they fill the hole with grey or colours and report success.

PNG carries checksums that OpenCV compares. Nothing tells damage in BMP and in uncompressed TIFF, and in WebP only a lost block.
"""

from __future__ import annotations

import re

import simplejpeg

from edgeleather.imaging import tiff
from edgeleather.imaging.headers import PictureHeader

# libjpeg warns of these too, and decodes every pixel: cameras write them.
_HARMLESS_WARNINGS = ("Unknown Adobe color transform", "Warning:", "Invalid SOS parameters")
_MOST_SCANS = 100  # a progressive JPEG has about ten; thousands of empty ones take minutes
_SECTOR = bytes(512)
_ZEROS = re.compile(rb"\0+")


def damage_in(content: bytes, header: PictureHeader) -> str:
    """What is wrong inside a picture file of a known header; empty where nothing is found."""
    if header.format == "jpeg":
        return _lost_block(content, header.coded_from) or _jpeg_damage(content, header)
    if header.format == "webp":
        return _lost_block(content, header.coded_from)
    if header.page is None or header.page.compression == tiff.UNCOMPRESSED:
        return ""
    return _lost_block(content, header.coded_from) or tiff.damage_in(content, header.page)


def _jpeg_damage(content: bytes, header: PictureHeader) -> str:
    """What libjpeg-turbo warns of. Grey at an eighth of the size has all the entropy decoding and little of the rest."""
    if content.count(b"\xff\xda", header.coded_from) > _MOST_SCANS:
        return f"it has more than {_MOST_SCANS} scans"
    try:
        simplejpeg.decode_jpeg(content, "GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        return "" if str(error).startswith(_HARMLESS_WARNINGS) else str(error)
    return ""


def _lost_block(content: bytes, start: int) -> str:
    """Sectors of zeros where a disk or card lost a part: between other bytes, and both ends at a multiple of 512.

    Compressed pixels give long rows of zeros only for flat areas, and those begin and end anywhere.
    """
    at = content.find(_SECTOR, start)
    while at >= 0:
        zeros = _ZEROS.match(content, at)
        assert zeros is not None
        if at % len(_SECTOR) == zeros.end() % len(_SECTOR) == 0 and start < at and zeros.end() < len(content):
            return f"{zeros.end() - at} bytes are lost at {at}"
        at = content.find(_SECTOR, zeros.end())
    return ""
