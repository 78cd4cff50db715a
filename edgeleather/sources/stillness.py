"""Whether a live source gives the same frame again and again: a camera that hangs still delivers."""

from __future__ import annotations

import numpy as np

from edgeleather.arrays import AnyArray

_LEAST_FRAMES = 10
# Of the rows that are compared: whole ones, since a part of each takes longer to read than all of it.
_LEAST_ROWS, _MOST_ROWS, _BYTES = 4, 16, 65_536


class Stillness:
    """How long a source has given the same frame, judged by a thinned copy of some rows.

    Any difference counts: the noise of a sensor that looks at something that does not move is enough.
    """

    def __init__(self, still_seconds: float) -> None:
        """A source is frozen after so many seconds, and not before ten frames; 0 never calls it so."""
        self._still_seconds = still_seconds
        self._thinned: AnyArray | None = None
        self._since = 0.0
        self._frames = 0

    def take(self, image: AnyArray, at: float) -> float | None:
        """For how many seconds it has been frozen by the time `at` (monotonic, in seconds); None where it is not."""
        if not self._still_seconds:
            return None
        rows = max(_LEAST_ROWS, min(_MOST_ROWS, _BYTES // max(1, image[:1].nbytes)))
        thinned = image[:: max(1, len(image) // rows)]
        if self._thinned is None or not np.array_equal(thinned, self._thinned):
            self._thinned, self._since, self._frames = thinned.copy(), at, 1
            return None
        self._frames += 1
        seconds = at - self._since
        return seconds if self._frames >= _LEAST_FRAMES and seconds >= self._still_seconds else None
