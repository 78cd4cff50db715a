"""What a user writes as a source, told apart without opening it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.sources.address import has_literal_credentials, parse_address, without_credentials


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("photos/1.png", "", "photos/1.png"),
        ("", "", ""),
        ("camera:left.png", "", "camera:left.png"),
        ("0", "camera:", "camera 0"),
        ("camera:3", "camera:", "camera 3"),
        ("12345", "", "12345"),
        ("/dev/video2", "/dev/video", "camera /dev/video2"),
        ("gstreamer:rtspsrc location=rtsp://a:b@c ! appsink", "gstreamer:", "GStreamer pipeline"),
        ("RTSP://me:secret@camera/1?key=2", "rtsp://", "RTSP://camera/1"),
        ("https://camera/snapshot.jpg", "https://", "https://camera/snapshot.jpg"),
    ],
)
def test_addresses_are_told_from_files(text, kind, name):
    address = parse_address(text)
    assert (address.kind, address.name, address.is_live) == (kind, name, bool(kind))


def test_a_scheme_that_no_device_has_is_named_without_its_credentials():
    with pytest.raises(ValueError, match="expected rtsp, rtsps, http or https, got 'rtmp'") as refused:
        parse_address("rtmp://me:secret@host/1")
    assert "secret" not in str(refused.value)


def test_what_is_shown_of_an_address_with_secrets_is_its_template():
    address = parse_address("rtsp://operator:hunter2@camera/1", "rtsp://${USER}:${WORD}@camera/1")
    assert address.text == "rtsp://operator:hunter2@camera/1" and address.name == "rtsp://camera/1"


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text):
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert address.name.isprintable()


def test_written_out_credentials_are_seen():
    assert has_literal_credentials("rtsp://me:secret@host/1") and has_literal_credentials("mqtt://me@host")
    assert has_literal_credentials("rtsp://${USER}:secret@host/1")
    assert not has_literal_credentials("rtsp://${USER}:${PASSWORD}@host/1")
    assert not has_literal_credentials("rtsp://host/1")
    assert without_credentials("rtsp://a:b@c:554/d?user=a&pass=b") == "rtsp://c:554/d"
