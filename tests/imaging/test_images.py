from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import image_digest, read_image, write_image


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
