from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.credentials import Credentials

ENVIRONMENT = {"CAMERA_USER": "operator", "CAMERA_PASSWORD": "p@ss/w?rd", "EMPTY": "", "LINES": "a\nb"}


def test_secrets_are_filled_in_as_an_address_needs_them_and_hidden_again(tmp_path):
    credentials = Credentials(tmp_path, ENVIRONMENT)
    address = credentials.fill("rtsp://${CAMERA_USER}:${CAMERA_PASSWORD}@10.0.0.5/1", encoded=True)
    assert address == "rtsp://operator:p%40ss%2Fw%3Frd@10.0.0.5/1"
    assert (
        credentials.hide(f"cannot open {address}") == "cannot open rtsp://${CAMERA_USER}:${CAMERA_PASSWORD}@10.0.0.5/1"
    )
    assert "p@ss" not in credentials.hide("it said p@ss/w?rd") and credentials.names == {
        "CAMERA_USER",
        "CAMERA_PASSWORD",
    }


def test_a_secret_from_a_file(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    credentials = Credentials(tmp_path, {})
    assert credentials.fill("Bearer ${file:token}") == "Bearer s3cret"
    assert credentials.hide("Bearer s3cret") == "Bearer ${file:token}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${ABSENT}", "ABSENT is not set"),
        ("${EMPTY}", "got an empty one"),
        ("${LINES}", "expected a secret of one line"),
        ("${}", "expected \\${NAME}"),
        ("${a b}", "expected \\${NAME}"),
        ("${$(reboot)}", "expected \\${NAME}"),
        ("${CAMERA_USER", "without an end"),
        ("${file:absent}", "found none"),
        ("${file:.}", "found none"),
        ("${file:binary}", "it is no text"),
        ("${file:/dev/zero}", "found none"),
    ],
)
def test_what_is_no_secret_is_one_message(tmp_path, template, message):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EdgeLeatherError, match=message):
        Credentials(tmp_path, ENVIRONMENT).fill(template)


@given(st.text(max_size=60))
def test_any_template_is_filled_or_refused(template):
    from pathlib import Path

    credentials = Credentials(Path("/nonexistent"), ENVIRONMENT)
    try:
        filled = credentials.fill(template)
    except EdgeLeatherError:
        return
    assert "${" not in template or filled != template
