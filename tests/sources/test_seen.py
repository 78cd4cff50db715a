"""Which pictures need no look any more."""

from __future__ import annotations

import pytest

from edgeleather.sources import seen
from edgeleather.sources.picture_file import PictureFile, Stamp
from edgeleather.sources.seen import SeenPictures

DIGEST = b"a"


def file(name="a.png", size=10, modified=20, inode=30, changed=40, digest=DIGEST):
    return PictureFile("in", name, Stamp(size, modified, inode, changed), digest)


@pytest.mark.parametrize(
    ("picture", "digest", "judgement"),
    [
        (file(), DIGEST, "seen"),
        (file(inode=31), DIGEST, "seen"),  # the drive was mounted again
        (file(changed=41), DIGEST, "doubtful"),  # other rights, or other pixels
        (file(changed=41), None, "seen"),
        (file(inode=31, changed=41), DIGEST, "doubtful"),
        (file(inode=31, changed=41), None, "new"),  # renamed into place
        (file(size=11), DIGEST, "new"),
        (file(modified=21), DIGEST, "new"),
        (file("b.png", changed=41), DIGEST, "doubtful"),  # renamed
        (file("b.png", changed=41), None, "seen"),
        (file("b.png", inode=31), DIGEST, "new"),
        (file("b.png", modified=21), DIGEST, "new"),  # its inode is used again
    ],
)
def test_a_picture_is_told_by_what_it_is(picture, digest, judgement):
    pictures = SeenPictures([file(digest=digest)])
    assert pictures.judge(picture.name, picture.stamp) == judgement
    if judgement == "doubtful":
        assert pictures.is_known(picture.name, picture.stamp, DIGEST)
        assert not pictures.is_known(picture.name, picture.stamp, b"b")


def test_pictures_that_are_gone_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(seen, "_MOST_REMEMBERED", 3)
    pictures = SeenPictures(file(f"{n}.png", inode=n) for n in range(3))
    assert pictures.forget_gone({}) == []
    pictures.note(file("3.png", inode=3))
    gone = pictures.forget_gone({"1.png": file(inode=1).stamp})
    assert [(one.name, one.stamp) for one in gone] == [("0.png", None), ("2.png", None), ("3.png", None)]
    assert len(pictures) == 1 and pictures.judge("0.png", file(inode=0).stamp) == "new"
