"""Which pictures of a folder need no look any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from edgeleather.sources.picture_file import PictureFile, Stamp

Judgement = Literal["seen", "doubtful", "new"]
_MOST_REMEMBERED = 200_000


class SeenPictures:
    """The pictures that were inspected or passed over, by name and, for those that are renamed, by inode.

    Times of files are compared with each other alone: the clock of the drive may be another one than that of this machine.
    """

    def __init__(self, files: Iterable[PictureFile]) -> None:
        self._by_name: dict[str, PictureFile] = {}
        self._by_inode: dict[int, PictureFile] = {}
        for file in files:
            self.note(file)

    def __len__(self) -> int:
        return len(self._by_name)

    def judge(self, name: str, stamp: Stamp) -> Judgement:
        """Whether a picture was seen; of a doubtful one only its content can tell."""
        file = self._by_name.get(name)
        if file is not None and file.stamp is not None and file.stamp.written == stamp.written:
            if file.stamp.changed_ns == stamp.changed_ns:
                return "seen"  # its inode may be another one since the drive was mounted again
            if file.digest is None:
                return "seen" if file.stamp.inode == stamp.inode else "new"
            return "doubtful"
        return "new" if (file := self._renamed(stamp)) is None else "seen" if file.digest is None else "doubtful"

    def is_known(self, name: str, stamp: Stamp, digest: bytes | None) -> bool:
        """Whether a doubtful picture of this content was seen."""
        return digest is not None and digest in [
            file.digest for file in (self._by_name.get(name), self._renamed(stamp)) if file
        ]

    def _renamed(self, stamp: Stamp) -> PictureFile | None:
        file = self._by_inode.get(stamp.inode)
        return file if file is not None and file.stamp is not None and file.stamp.written == stamp.written else None

    def has_name(self, name: str) -> bool:
        """Whether a picture of this name was seen."""
        return name in self._by_name

    def note(self, file: PictureFile) -> None:
        """Remember a picture in place of an earlier one of its name."""
        assert file.stamp is not None
        before = self._by_name.get(file.name)
        if before and before.stamp and self._by_inode.get(before.stamp.inode) is before:
            del self._by_inode[before.stamp.inode]
        self._by_name[file.name] = file
        self._by_inode[file.stamp.inode] = file

    def forget_gone(self, there: Mapping[str, Stamp]) -> list[PictureFile]:
        """Forget pictures that are gone, if there are too many; they were remembered in case their drive had gone."""
        if len(self._by_name) <= _MOST_REMEMBERED:
            return []
        gone = [file for name, file in self._by_name.items() if name not in there]
        self._by_name = {name: file for name, file in self._by_name.items() if name in there}
        self._by_inode = {file.stamp.inode: file for file in self._by_name.values() if file.stamp}
        return [PictureFile(file.folder, file.name, None) for file in gone]
