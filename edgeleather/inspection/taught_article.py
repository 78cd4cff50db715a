"""One article of a bundle, ready to inspect with, and the recognition of the article of a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edgeleather.arrays import Float32Array
from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.familiarity import Familiarity
from edgeleather.bundle.thresholds import Thresholds, VerdictThreshold
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import FEWEST_PICTURES
from edgeleather.imaging.preprocess import InputMode, Prepared
from edgeleather.inspection.decisions import Region, find_regions
from edgeleather.inspection.familiarity import FamiliarityCheck

# How much likelier (in natural logarithms) another article must be before a frame counts as none of the article that was told:
# e^20 is beyond what exposure and defects do to articles that look alike.
_CLEARLY = 20.0


class TaughtArticle:
    """One article's engine, thresholds and looks. Its name is "" in a bundle that knows only one, without a name."""

    def __init__(
        self, bundle: Bundle, engine: Engine, graph: str, mode: InputMode, false_alarm_rate: float | None
    ) -> None:
        """Take over an engine; `close` closes it.

        Raises:
            EdgeLeatherError: the bundle has no thresholds for this graph or rate, or the graph another image size.
        """
        if engine.signature.image_size_hw != mode.image_size_hw:
            raise EdgeLeatherError(f"{bundle.folder}: {graph} has another image size than the manifest.")
        self.name = bundle.article
        self.engine, self.graph = engine, graph
        self.thresholds: Thresholds = bundle.thresholds_of(graph)
        self.looks = bundle.looks
        self.familiarity = FamiliarityCheck(bundle.looks, self.thresholds) if bundle.looks else None
        used = bundle.manifest.images
        self.pictures = frozenset(
            (*used.training, *used.validation, *used.threshold)
        )  # the digests of those taught with
        self.verdicts: dict[int, VerdictThreshold] = {}  # in use, by the number of tiles of a frame
        self._rate = false_alarm_rate
        # A rate that cannot be had is an error now, not at the first frame; its number of tiles is not known yet.
        if mode.kind == self.thresholds.input_kind:
            self.verdict_for(self.thresholds.tiles_per_frame)
        else:
            self.thresholds.verdict_for(2 * self.thresholds.tiles_per_frame, self._rate)

    def regions(self, anomaly_map: Float32Array, prepared: Prepared, score_threshold: float) -> tuple[Region, ...]:
        """The regions of a map [h, w], as far as the bundle's thresholds let them reach; see `find_regions`."""
        thresholds = self.thresholds
        return find_regions(anomaly_map, prepared, score_threshold, thresholds.pixel_threshold, thresholds.peak_share)

    def verdict_for(self, tiles: int) -> VerdictThreshold:
        """The verdict's threshold for frames of this many tiles."""
        if tiles not in self.verdicts:
            self.verdicts[tiles] = self.thresholds.verdict_for(tiles, self._rate)
        return self.verdicts[tiles]


class Recognition(NamedTuple):
    """The name of the article that a frame is inspected as, and why it may be none of it; None where there is no doubt."""

    article: str
    doubt: str | None


class ArticleRecognizer:
    """Tells of which article a frame is, by how it looks; where one was told, whether the frame is clearly of another one.

    A picture's look (`imaging.appearance`) is taken for normally distributed in each article, and the likeliest article counts.
    """

    def __init__(self, looks: Mapping[str, Familiarity | None], told: str | None) -> None:
        """`looks` has how each article's good pictures look, by name; `told` is one of them, or None.

        Raises:
            EdgeLeatherError: an article had too few good pictures to tell how it looks, and none was told.
        """
        unknown = [name for name, one in looks.items() if one is None]
        if unknown and told is None:
            raise EdgeLeatherError(
                f"the article {unknown[0]} was taught with too few good pictures to recognise it. Say which article is "
                f"inspected with --article, or teach it anew with at least {FEWEST_PICTURES} good pictures."
            )
        self._told = told
        self._names = [name for name, one in looks.items() if one]
        self._spreads = [one.appearance for one in looks.values() if one]
        self._measures = [spread.measure() for spread in self._spreads]
        self._log_densities = [float(np.linalg.slogdet(np.array(one.whitening))[1]) for one in self._spreads]

    def of(self, appearance: Sequence[float] | None) -> Recognition:
        """The article of a frame of this appearance; None for one that cannot be had."""
        if appearance is None:
            doubt = "the inspected part is too small to tell its article: say which it is with --article"
            return Recognition(self._told or self._names[0], None if self._told else doubt)
        distances = [measure.distance(appearance) for measure in self._measures]
        likelihoods = [log - distance**2 / 2 for log, distance in zip(self._log_densities, distances, strict=True)]
        best = int(np.argmax(likelihoods))
        if self._told is None or self._told not in self._names or self._names[best] == self._told:
            return Recognition(self._told or self._names[best], None)
        lead = likelihoods[best] - likelihoods[self._names.index(self._told)]
        if lead <= _CLEARLY or distances[best] > self._spreads[best].limit:
            return Recognition(self._told, None)
        return Recognition(self._told, f"it looks like the article {self._names[best]}, not like {self._told}")
