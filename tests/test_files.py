from __future__ import annotations

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file, write_atomically


def test_a_write_replaces_the_old_content_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(EdgeLeatherError, match="cannot write"):
        write_atomically(path, b"a file cannot take a folder's place")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(EdgeLeatherError, match="No such file or directory"):
        write_atomically(tmp_path / "absent" / "file", b"x")


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")
