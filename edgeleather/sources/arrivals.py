"""Pictures that have come into a folder and still wait for their turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgeleather.sources.picture_file import Stamp

QUIET_SECONDS = 0.2  # a file that has not changed for so long is tried
HURRY_SECONDS = 1.0  # one that is written again and again is tried after so long, and then as often
GIVEN_UP_SECONDS = 5.0  # one that does not decode and has not changed for so long has failed
NEVER_WHOLE_SECONDS = 60.0  # one of which no whole copy could be read for so long, though it does not grow, has failed


@dataclass(frozen=True)
class Arrival:
    """A picture that waits: times are monotonic, in seconds.

    `changed_at` is when it last changed; `since` when it came, or last grew if it does nothing but grow, as a slow copy does. A
    doubtful one is read to find out whether it was seen already.
    """

    stamp: Stamp
    changed_at: float
    since: float
    is_doubtful: bool
    is_growing: bool = True
    not_before: float = 0.0

    @property
    def is_quiet(self) -> bool:
        return time.monotonic() - self.changed_at >= QUIET_SECONDS

    @property
    def is_due(self) -> bool:
        """Whether it is to be tried now."""
        now = time.monotonic()
        is_waiting_long = now - self.since >= HURRY_SECONDS
        return now >= self.not_before and (now - self.changed_at >= QUIET_SECONDS or is_waiting_long)

    @property
    def is_overdue(self) -> bool:
        """Whether it has had time enough."""
        now = time.monotonic()
        return now - self.changed_at >= GIVEN_UP_SECONDS or now - self.since >= NEVER_WHOLE_SECONDS

    def changed(self, stamp: Stamp, is_doubtful: bool) -> Arrival:
        """The same one with its new stamp."""
        now = time.monotonic()
        # Inodes are used again at once, so that a name that is written again and again may look as if it grew, now and then.
        is_growing = self.is_growing and stamp.inode == self.stamp.inode and stamp.size_bytes > self.stamp.size_bytes
        since = now if is_growing else self.since
        return replace(self, stamp=stamp, changed_at=now, since=since, is_doubtful=is_doubtful, is_growing=is_growing)

    def tried(self, took_seconds: float) -> Arrival:
        """The same one after a try that was too early; the next is not made at once, since each costs a read."""
        pause = 5 * took_seconds + (0.0 if self.is_quiet else HURRY_SECONDS)
        return replace(self, not_before=time.monotonic() + pause)


class Arrivals:
    """The pictures of a folder that wait, by name; those that go away before their turn are counted in `lost`."""

    def __init__(self) -> None:
        self.lost = 0
        self._waiting: dict[str, Arrival] = {}
        self._place: tuple[int, int] | None = None
        self._elsewhere: dict[tuple[int, int] | None, dict[str, Arrival]] = {}

    def update(self, new: Mapping[str, bool], there: Mapping[str, Stamp], place: tuple[int, int]) -> bool:
        """Take a look at the folder; whether any picture came that was not waiting.

        `new` are its new pictures (True where doubtful), `there` are all, `place` is device and inode of the folder.
        """
        if place != self._place:  # another drive lies there, or none: what waits on the first one is not lost
            self._elsewhere[self._place] = self._waiting
            self._waiting = self._elsewhere.pop(place, {})
            self._place = place
        inodes = {stamp.inode for stamp in there.values()}
        for name, arrival in list(self._waiting.items()):
            stamp = there.get(name)
            is_replaced = stamp is None or stamp.inode != arrival.stamp.inode
            if is_replaced and arrival.stamp.inode not in inodes:
                self.lost += not arrival.is_doubtful
            if stamp is None or name not in new:
                del self._waiting[name]
            elif stamp != arrival.stamp:
                self._waiting[name] = arrival.changed(stamp, new[name])
        now = time.monotonic()
        came = [name for name in new if name not in self._waiting]
        for name in came:
            self._waiting[name] = Arrival(there[name], now, now, new[name])
        return any(not new[name] for name in came)

    def due(self) -> list[tuple[str, Arrival]]:
        """Those to be tried now, in the order of their last change."""
        due = [(name, arrival) for name, arrival in self._waiting.items() if arrival.is_due]
        return sorted(due, key=lambda pair: (pair[1].stamp.modified_ns, pair[0]))

    def done(self, name: str, stamp: Stamp) -> None:
        """Take out a picture that had its turn; one of another stamp than it waited with was written over it."""
        arrival = self._waiting.pop(name)
        self.lost += arrival.stamp.inode != stamp.inode and not arrival.is_doubtful

    def tried(self, name: str, took_seconds: float) -> None:
        """Leave one waiting that was tried too early."""
        self._waiting[name] = self._waiting[name].tried(took_seconds)
