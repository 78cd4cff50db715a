from __future__ import annotations

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import read_image
from tests.imaging.pictures import by_opencv, by_pillow, leather_bgr, sound_files

IMAGE = leather_bgr(192)
FILES = sound_files(IMAGE)
# What carries no checksum and is decoded whatever it holds: damage there cannot be told from a picture.
UNTOLD = ("tiff, plain", "bmp")


def refused(path, content):
    path.write_bytes(content)
    try:
        read_image(path)
    except EdgeLeatherError as error:
        assert "damaged" in str(error) or "does not decode" in str(error) or "truncated" in str(error), error
        return True
    return False


def with_lost_block(content, at, size):
    return content[:at] + bytes(size) + content[at + size :]


@pytest.mark.parametrize("encoding", [name for name in FILES if name not in UNTOLD])
def test_a_lost_sector_is_found_in_every_compressed_format(tmp_path, encoding):
    content = FILES[encoding]
    places = [at for at in range(1024, len(content) - 1536, 512) if content[at - 1] and content[at + 1024]]
    assert len(places) > 3
    assert [
        at for at in places[:: 1 + len(places) // 10] if not refused(tmp_path / "x", with_lost_block(content, at, 1024))
    ] == []


@pytest.mark.parametrize(
    "encoding", ["png", "jpeg", "jpeg, progressive", "jpeg, restarts", "tiff, LZW", "tiff, Deflate", "tiff of 16 bits"]
)
def test_a_block_lost_anywhere_is_found_by_what_the_decoders_check(tmp_path, encoding):
    """2 KB of zeros that begin at no sector, as when a copy went wrong; zeros are valid codes, so that a few may pass in JPEG."""
    content = FILES[encoding]
    places = range(701, len(content) - 2100, max(1, len(content) // 23))
    passed = [at for at in places if not refused(tmp_path / "x", with_lost_block(content, at, 2048))]
    assert len(passed) <= (len(places) // 8 if encoding.startswith("jpeg") else 0)


def test_a_jpeg_that_was_cut_off_and_closed_is_found(tmp_path):
    for encoding in ("jpeg", "jpeg, progressive"):
        content = FILES[encoding]
        for share in (0.3, 0.6, 0.95):
            assert refused(tmp_path / "x", content[: int(share * len(content))] + b"\xff\xd9")


def test_the_error_says_what_the_decoder_said(tmp_path):
    (tmp_path / "a.jpg").write_bytes(FILES["jpeg"][:5000] + b"\xff\xd9")
    with pytest.raises(
        EdgeLeatherError, match=r"a\.jpg: the picture is damaged inside \(Corrupt JPEG data: premature end"
    ):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "b.tif").write_bytes(with_lost_block(FILES["tiff, Deflate"], 20_001, 100))
    with pytest.raises(EdgeLeatherError, match=r"b\.tif: the picture is damaged inside \(Error -3 while decompressing"):
        read_image(tmp_path / "b.tif")


def test_flat_pictures_are_sound(tmp_path):
    """Their files have long rows of zeros."""
    flat = IMAGE.copy()
    flat[48:] = 255
    files = sound_files(flat) | {
        "jpeg, best codes": by_pillow([flat], "JPEG", optimize=True),
        "webp, fastest": by_pillow([flat], "WEBP", lossless=True, method=0),
        "all black": by_opencv(flat * 0, ".webp"),
    }
    assert [name for name, content in files.items() if refused(tmp_path / "x", content)] == []


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path):
    content = FILES["jpeg, progressive"]
    scan = content.rfind(b"\xff\xda")
    repeated = content[scan : content.find(b"\xff\xd9", scan)][:14]
    (tmp_path / "x.jpg").write_bytes(content[:scan] + 200 * repeated + content[scan:])
    with pytest.raises(EdgeLeatherError, match="more than 100 scans"):
        read_image(tmp_path / "x.jpg")


def test_warnings_that_cost_no_pixel_are_passed_over(tmp_path):
    content = bytearray(FILES["jpeg"])
    content[content.find(b"JFIF") + 5] = 9  # a revision that libjpeg does not know
    assert not refused(tmp_path / "x", bytes(content))
