from __future__ import annotations

import os
import resource
import struct
import sys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import image_digest, read_image, write_image
from tests.imaging.pictures import by_opencv, by_pillow, leather_bgr, lying_headers, sound_files

SOUND = sound_files(leather_bgr())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_formats_read_back_and_share_a_digest(tmp_path, noise_bgr, suffix):
    write_image(tmp_path / f"a{suffix}", noise_bgr)
    image = read_image(tmp_path / f"a{suffix}")
    assert np.array_equal(image, noise_bgr)
    assert image_digest(image) == image_digest(noise_bgr)


def test_another_pixel_is_another_digest(noise_bgr):
    other = noise_bgr.copy()
    other[3, 4, 1] ^= 1
    assert image_digest(other) != image_digest(noise_bgr)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_refused(tmp_path, noise_bgr, suffix, share):
    content = cv2.imencode(suffix, noise_bgr)[1].tobytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(EdgeLeatherError, match=r"truncated|does not decode"):
        read_image(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty file"), (b"no picture", "does not decode"), (b"\x89PNG\r\n\x1a\n", "truncated")],
)
def test_what_is_no_picture_is_named(tmp_path, content, message):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(EdgeLeatherError, match=message):
        read_image(tmp_path / "x.png")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(EdgeLeatherError, match=r"absent\.png: expected a readable picture"):
        read_image(tmp_path / "absent.png")


def test_sixteen_bits_stay_sixteen(tmp_path):
    image = np.full((8, 8), 4000, np.uint16)
    cv2.imwrite(str(tmp_path / "x.png"), image)
    assert read_image(tmp_path / "x.png").dtype == np.uint16


@pytest.mark.parametrize("encoding", SOUND)
def test_the_pixels_of_a_sound_file_are_those_that_opencv_decodes(tmp_path, encoding):
    (tmp_path / "x").write_bytes(SOUND[encoding])
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    assert np.array_equal(read_image(tmp_path / "x"), cv2.imdecode(np.frombuffer(SOUND[encoding], np.uint8), flags))


def test_exif_orientation_is_applied(tmp_path):
    orientation = Image.Exif()
    orientation[0x0112] = 6  # turned by a quarter
    (tmp_path / "x.jpg").write_bytes(by_pillow([leather_bgr()[:64]], "JPEG", exif=orientation))
    assert read_image(tmp_path / "x.jpg").shape == (128, 64, 3)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_a_file_of_several_pictures_is_refused(tmp_path, kind):
    (tmp_path / "x").write_bytes(by_pillow([leather_bgr(seed=0), leather_bgr(seed=1)], kind))
    with pytest.raises(
        EdgeLeatherError, match=f"x: expected one picture, got several pages or frames in one {kind} file"
    ):
        read_image(tmp_path / "x")


def test_a_thumbnail_of_a_tiff_is_not_another_picture(tmp_path):
    content = bytearray(by_pillow([leather_bgr(), leather_bgr(32)], "TIFF"))
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    (second,) = struct.unpack_from("<I", content, first + 2 + 12 * count)
    assert struct.unpack_from("<H", content, second + 2) == (256,)
    # NewSubfileType takes the place of the width's entry, and the height's takes the width's value: not decoded here.
    (tags,) = struct.unpack_from("<H", content, second)
    entries = content[second + 2 : second + 2 + 12 * tags]
    content += struct.pack("<HHHII", tags + 1, 254, 4, 1, 1) + entries + bytes(4)
    struct.pack_into("<I", content, first + 2 + 12 * count, len(content) - len(entries) - 18)
    (tmp_path / "x.tif").write_bytes(content)
    assert np.array_equal(read_image(tmp_path / "x.tif"), leather_bgr())


@pytest.mark.parametrize("encoding", lying_headers())
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, encoding):
    (tmp_path / "x").write_bytes(lying_headers()[encoding])
    with pytest.raises(EdgeLeatherError, match="expected a picture of at most 100 megapixels, got"):
        read_image(tmp_path / "x")


def test_the_limit_is_the_callers(tmp_path):
    (tmp_path / "x.png").write_bytes(by_opencv(leather_bgr(), ".png"))
    assert read_image(tmp_path / "x.png", max_megapixels=0.0164).shape == (128, 128, 3)
    with pytest.raises(
        EdgeLeatherError, match=r"at most 0.0163 megapixels, got 128 x 128 pixels \(0.01638 megapixels\)"
    ):
        read_image(tmp_path / "x.png", max_megapixels=0.0163)


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files and ru_maxrss are as on Linux")
def test_a_huge_file_costs_no_memory(tmp_path):
    for name, content in {"empty.png": b"", "picture.png": SOUND["png"], "page.tif": SOUND["tiff, LZW"]}.items():
        (tmp_path / name).write_bytes(content)
        os.truncate(tmp_path / name, 100 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EdgeLeatherError, match="does not decode"):
        read_image(tmp_path / "empty.png")
    for name in ("picture.png", "page.tif"):
        with pytest.raises(
            EdgeLeatherError, match=r"expected at most 64.13 MB for a picture of 128 x 128 pixels, got 107374 MB"
        ):
            read_image(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000  # kilobytes


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are as on POSIX")
def test_what_is_no_plain_file_never_blocks(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, target in {"device": "/dev/zero", "to-pipe": "pipe.png", "loop": "loop.png", "gone": "nowhere"}.items():
        (tmp_path / f"{name}.png").symlink_to(target)
    for path in tmp_path.iterdir():
        with pytest.raises(EdgeLeatherError, match="expected a readable picture, got: "):
            read_image(path)
    (tmp_path / "link.bmp").symlink_to("real.bmp")
    (tmp_path / "real.bmp").write_bytes(SOUND["bmp"])
    assert read_image(tmp_path / "link.bmp").shape == (128, 128, 3)


@pytest.mark.parametrize("encoding", SOUND)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.floats(0, 0.999), byte=st.integers(1, 255), share=st.floats(0.01, 1))
def test_any_damage_is_a_picture_or_one_clear_error(tmp_path, encoding, at, byte, share):
    content = bytearray(SOUND[encoding])
    content[int(at * min(len(content), 400))] ^= byte
    (tmp_path / "x").write_bytes(content[: max(1, int(share * len(content)))])
    try:
        assert read_image(tmp_path / "x").size
    except EdgeLeatherError as error:
        assert str(error).startswith(f"{tmp_path / 'x'}: ")
