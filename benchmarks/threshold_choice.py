"""Showing what a bundle's threshold does, and choosing another one."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeleather.benchmarks.labelled_scores import (
    LabelledScore,
    hit_rate_threshold,
    labelled_samples,
    score_labelled,
    why_another_leather,
)
from edgeleather.benchmarks.threshold_page import gallery_pictures, page
from edgeleather.benchmarks.threshold_report import threshold_report
from edgeleather.bundle.bundle import Bundle, read_bundle, update_bundle
from edgeleather.bundle.thresholds import ThresholdChoice, Thresholds
from edgeleather.dataset.index import index_dataset
from edgeleather.engines.graphs import default_precision, graphs_of
from edgeleather.engines.table import REFERENCE_BACKEND
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, require_folder, write_atomically
from edgeleather.inspection.inspector import Inspector, InspectorSettings


@dataclass(frozen=True)
class ThresholdWish:
    """Which verdict threshold a bundle is to have: exactly one of a score, a false-alarm rate and a hit rate.

    Raises:
        EdgeLeatherError: none or several of them, a score that is not finite, or a rate outside (0, 1).

    >>> import edgeleather as el
    >>> el.ThresholdWish(false_alarm_rate=0.005).kind
    'false_alarm_rate'
    """

    value: float | None = None
    false_alarm_rate: float | None = None
    hit_rate: float | None = None

    def __post_init__(self) -> None:
        given = [name for name, number in vars(self).items() if number is not None]
        if len(given) != 1:
            raise EdgeLeatherError(
                "expected exactly one of a score, a false-alarm rate and a hit rate to choose a threshold by, got "
                f"{' and '.join(given) or 'none'}. Leave all but one out."
            )
        if not math.isfinite(self.number):
            raise EdgeLeatherError(f"expected a finite number as {self.kind}, got {self.number}.")
        if self.value is None and not 0.0 < self.number < 1.0:
            raise EdgeLeatherError(
                f"expected a {self.kind.replace('_', ' ')} between 0 and 1 (0.95 is 95 %), got {self.number:g}."
            )

    @property
    def kind(self) -> Any:
        """Which of the three is given."""
        return next(name for name, number in vars(self).items() if number is not None)

    @property
    def number(self) -> float:
        """The one that is given."""
        return float(next(number for number in vars(self).values() if number is not None))


def choose_threshold(
    bundle: Path | str,
    data: Path | str | None = None,
    wish: ThresholdWish | None = None,
    out: Path | str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    white_level: int | None = None,
) -> dict[str, Any]:
    """Show what a bundle's verdict threshold does on the good pictures behind it and on the labelled ones of a dataset `data`.

    A `wish` is first written into the bundle, for each of its graphs. `out` is an HTML page to write. The scores are those of
    one precision, by default the bundle's. Returns what the page shows, as a record for JSON.

    Raises:
        EdgeLeatherError: the bundle or the data cannot be used, the wish cannot be had, the data is of another leather than
            the bundle, or the bundle or `out` cannot be written.

    >>> import edgeleather as el
    >>> report = el.choose_threshold("bundle", "photos", el.ThresholdWish(hit_rate=0.9))
    >>> report["threshold"]["choice"]["kind"]
    'hit_rate'
    """
    opened = read_bundle(Path(bundle)).with_white_level(white_level)
    place = None if out is None else Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow a link
    _check_before_work(opened, data, wish, place)
    precision = precision or default_precision(opened)
    if data is None:
        graph = graphs_of(opened, precision, REFERENCE_BACKEND)[0]
        chosen = _chosen(opened, graph, wish, (), None)
        return _shown(threshold_report(chosen, graph, None, ()), {}, place)
    index = index_dataset(Path(data), needs="test").of_article(opened.article)
    index.require_fit(opened.manifest.input_mode)
    samples = labelled_samples(opened, index)
    settings = InspectorSettings(precision=precision, backend=REFERENCE_BACKEND, threads=threads)
    with closing(Inspector(opened, settings)) as inspector:
        graph, scored = inspector.graph, score_labelled(inspector, opened, samples)
    odd = why_another_leather(scored)
    if odd and wish:
        raise EdgeLeatherError(
            f"{data}: expected pictures of the leather that this bundle was taught, got others: {odd}. Give --data of the "
            "bundle's own leather, or teach a bundle of this one."
        )
    chosen = _chosen(opened, graph, wish, scored, index.root.name)
    report = threshold_report(chosen, graph, index.root.name, scored, odd)
    with closing(Inspector(chosen, settings)) as inspector:
        pictures = gallery_pictures(report, scored, inspector) if place else {}
    return _shown(report, pictures, place)


def _check_before_work(bundle: Bundle, data: Path | str | None, wish: ThresholdWish | None, out: Path | None) -> None:
    """Refuse what cannot end well, before minutes of scoring."""
    if wish and wish.hit_rate and data is None:
        raise EdgeLeatherError(
            "expected labelled pictures to choose a threshold by its hit rate, got none. Name a dataset with test/<class> by "
            "--data, or choose by a false-alarm rate, which good pictures are enough for."
        )
    if wish:
        try:
            with tempfile.TemporaryDirectory(prefix=".", suffix=".partial", dir=bundle.folder):
                pass
        except OSError as error:
            raise EdgeLeatherError(cannot_write(bundle.folder, error)) from error
    if out is None:
        return
    if out.resolve().is_relative_to(bundle.folder.resolve()) or out.is_dir():
        raise EdgeLeatherError(f"expected the name of a page outside of the bundle, as page.html, got {out}.")
    require_folder(out.parent)


def _chosen(
    bundle: Bundle, graph: str, wish: ThresholdWish | None, scored: Sequence[LabelledScore], data: str | None
) -> Bundle:
    """The bundle with the wish written into it; as it is without one."""
    if wish is None:
        return bundle
    before = bundle.thresholds_of(graph)
    value = wish.value if wish.hit_rate is None else _value_of_hit_rate(wish.hit_rate, before, scored)
    # A rate of false alarms comes from the good scores alone: labelled pictures stay a measurement of it.
    pictures = () if wish.false_alarm_rate else tuple(one.sample.digest for one in scored)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    choice = ThresholdChoice(wish.kind, wish.number, graph, now, data if pictures else None, pictures)
    found = before.chosen(choice, value)
    others = (found if one.graph == graph else one.chosen_like(found) for one in bundle.manifest.thresholds)
    stored = read_bundle(bundle.folder)  # with the white level that it has there
    written = update_bundle(stored, replace(stored.manifest, thresholds=tuple(others)), {})
    return written.with_white_level(bundle.manifest.input_mode.white_level)


def _value_of_hit_rate(rate: float, before: Thresholds, scored: Sequence[LabelledScore]) -> float:
    defects = [one for one in scored if not one.sample.is_good]
    if not defects:
        raise EdgeLeatherError(
            f"expected labelled defects to choose a threshold by its hit rate, got {len(scored)} good pictures. Put defects "
            "into test/<class>, or choose by a false-alarm rate."
        )
    value = hit_rate_threshold(scored, before.good_scores, rate)
    if value is None:
        odd = sum(one.odd_above is not None for one in defects)
        raise EdgeLeatherError(
            f"expected to find {100 * rate:g} % of {len(defects)} defects, but {odd} of them look unlike what was taught and "
            "are unfamiliar at every threshold. Ask for a lower hit rate, or teach with pictures from this camera."
        )
    return value


def _shown(report: dict[str, Any], pictures: dict[str, bytes], out: Path | None) -> dict[str, Any]:
    json.dumps(report, allow_nan=False)
    if out:
        write_atomically(out, page(report, pictures).encode("utf-8", "backslashreplace"))
    return report
