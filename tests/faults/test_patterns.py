"""Patterns over folders in which links lead back."""

from __future__ import annotations

import threading
import time

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.sources import patterns
from edgeleather.sources.opening import open_source
from edgeleather.sources.patterns import matching_pictures


@pytest.fixture
def tree(tmp_path):
    for name in ("day1/a.png", "day1/more/b.png", "day2/c.png", ".hidden/d.png", "day2/.e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "day1/notes.txt").write_text("x")
    return tmp_path


def names(tree, pattern):
    return [str(path.relative_to(tree)) for path in matching_pictures(str(tree / pattern), threading.Event())]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.png", ["day1/a.png", "day1/more/b.png", "day2/c.png"]),
        ("**", ["day1/a.png", "day1/more/b.png", "day2/c.png"]),
        ("*/*.png", ["day1/a.png", "day2/c.png"]),
        ("day[12]/?.png", ["day1/a.png", "day2/c.png"]),
        ("day1/**/b.png", ["day1/more/b.png"]),
        (".hidden/*.png", [".hidden/d.png"]),
        ("day1/*.txt", []),
        ("absent/*.png", []),
    ],
)
def test_patterns_are_those_of_the_shell(tree, pattern, expected):
    assert names(tree, pattern) == expected


def test_links_that_point_back_give_each_file_once(tree):
    for name, target in (
        ("latest", "."),
        ("newest", "."),
        ("day1/up", ".."),
        ("day1/more/top", "../.."),
        ("0", "day1"),
    ):
        (tree / name).symlink_to(target)
    (tree / "day2/again.png").symlink_to("c.png")
    (tree / "day2/linked.png").hardlink_to(tree / "day2/c.png")
    started = time.monotonic()
    assert names(tree, "**/*.png") == ["day1/a.png", "day1/more/b.png", "day2/c.png"]
    assert time.monotonic() - started < 5


def test_relative_patterns_give_relative_paths(tree, monkeypatch):
    monkeypatch.chdir(tree / "day1")
    found = matching_pictures("../**/*.png", threading.Event())
    assert [str(path) for path in found] == ["../day1/a.png", "../day1/more/b.png", "../day2/c.png"]
    assert [str(path) for path in matching_pictures("*.png", threading.Event())] == ["a.png"]


def test_a_signal_ends_the_listing(tree):
    stop = threading.Event()
    stop.set()
    assert matching_pictures(str(tree / "**/*.png"), stop) == []
    assert list(open_source(str(tree / "**/*.png"), stop)) == []
    assert list(open_source(str(tree / "day1"), stop)) == []


def test_the_listing_is_bounded(tree, monkeypatch):
    monkeypatch.setattr(patterns, "_MOST_PICTURES", 2)
    with pytest.raises(EdgeLeatherError, match="expected at most 2 pictures, got more"):
        names(tree, "**/*.png")
