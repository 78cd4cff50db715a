"""One frame in, one inspection out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, get_args

import cv2
import numpy as np

from edgeleather.arrays import AnyArray, Float32Array
from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.thresholds import Thresholds
from edgeleather.engines.built import open_proven, open_trusted, proven, wanted_engine
from edgeleather.engines.engine import MOST_THREADS, Engine
from edgeleather.errors import EdgeLeatherError, printable, require_number, require_one_of
from edgeleather.imaging.appearance import appearance_of, thinned
from edgeleather.imaging.images import image_digest
from edgeleather.imaging.preprocess import Fit, InputMode, Prepared, prepare
from edgeleather.inspection.decisions import (
    DecisionRules,
    Region,
    VerdictName,
    area_percent,
    box_around,
    images_in,
    within_polygon,
)
from edgeleather.inspection.familiarity import Likeness
from edgeleather.inspection.inference import FrameMap, infer_prepared
from edgeleather.inspection.taught_article import ArticleRecognizer, TaughtArticle
from edgeleather.sources.files import frame_of_picture
from edgeleather.sources.frame import Frame

_LEAST_SIDE_PX = 32  # of the inspected part of a map, in model pixels, that can be compared with good pictures


@dataclass(frozen=True)
class Inspection:
    """The record of one frame. A frame that failed has one too, with `error` and no score.

    `anomaly_map` is float32 [h, w] of the part of the frame that `map_box_xywh` names, in frame pixels. `small_regions` were
    left out because the decision rules ask for larger ones. A frame that does not look like what was taught is `unfamiliar`, and
    `reason` says why; `distance` is how far it lies from the good pictures, in their standard deviations. `mm_per_px` is the
    camera's scale where the decision rules have it. `article` is the one that the frame was inspected as: the one that the
    bundle knows or, where its article has no name, the one that the settings name.

    >>> import edgeleather as el
    >>> with el.load("bundle") as inspector:
    ...     inspection = inspector.inspect("hide.png")
    >>> inspection.score > inspection.threshold, inspection.error
    (True, None)
    """

    frame: int
    captured_at: float
    source: str
    verdict: VerdictName
    score: float | None
    threshold: float | None
    defect_area_percent: float | None
    regions: tuple[Region, ...]
    timings_ms: dict[str, float]
    error: str | None
    image: AnyArray | None
    anomaly_map: Float32Array | None
    map_box_xywh: tuple[int, int, int, int] | None
    small_regions: int = 0
    reason: str | None = None
    distance: float | None = None
    mm_per_px: float | None = None
    article: str | None = None


@dataclass(frozen=True)
class InspectorSettings:
    """What a user may choose at inspection; None keeps what the bundle says, and for `threads` means all usable cores.

    With neither `precision`, `backend` nor `trusted_engine` it is what `build --precision auto` chose on this machine, or else
    the bundle's own precision in ONNX Runtime. `trusted_engine` is an engine file that was built elsewhere; `input_kind` is
    resize or tiles. `article` is what is inspected with a bundle of several articles; None: every frame's is recognised.

    Raises:
        EdgeLeatherError: an input kind or a fit that is not known, or no number of threads.

    >>> import edgeleather as el
    >>> with el.load("bundle", el.InspectorSettings(precision="fp32", threads=1)) as inspector:
    ...     inspector.precision
    'fp32'
    """

    precision: str | None = None
    backend: str | None = None
    trusted_engine: Path | str | None = None
    input_kind: str | None = None
    fit: Fit | None = None
    white_level: int | None = None
    false_alarm_rate: float | None = None
    threads: int | None = None
    article: str | None = None
    rules: DecisionRules = DecisionRules()

    def __post_init__(self) -> None:
        require_one_of("input kind", self.input_kind, ("resize", "tiles"))
        require_one_of("fit", self.fit, get_args(Fit))
        require_number("number of threads", self.threads, 1, MOST_THREADS)


class Inspector:
    """A bundle's engine with its input mode and thresholds. Make, use and close it on one thread.

    Leaving its `with` block closes it.

    >>> import cv2, edgeleather as el
    >>> with el.load("bundle") as inspector:
    ...     from_path = inspector.inspect("hide.png")
    ...     from_array = inspector.inspect(cv2.imread("hide.png"))  # BGR, as OpenCV gives it
    >>> from_path.score == from_array.score
    True
    """

    def __init__(self, bundles: Bundle | Sequence[Bundle], settings: InspectorSettings) -> None:
        """Load the engine of a bundle, or of several articles' bundles, and replay one golden frame of each.

        Of several, an article that the settings name is the only one to be inspected; the others tell what is none of it.

        Raises:
            EdgeLeatherError: a bundle lacks the graph, the input mode has no threshold, an engine fails the replay, or the
                articles differ in what images they take.
        """
        bundles = (bundles,) if isinstance(bundles, Bundle) else tuple(bundles)
        self.mode = choose_mode(bundles[0], settings)
        if settings.fit and self.mode.kind == "tiles":
            raise EdgeLeatherError(f"--{settings.fit} is for --input resize; this bundle cuts frames into tiles.")
        self._rules = settings.rules
        self._told = settings.article and printable(settings.article)
        self._size_matters = settings.rules.depend_on_frame_size
        self._frame_size_wh = settings.rules.frame_size_px
        self.articles: dict[str, TaughtArticle] = {}
        self._recognizer = None
        if len(bundles) > 1:
            self._recognizer = ArticleRecognizer({one.article: one.looks for one in bundles}, settings.article)
        try:
            for bundle in bundles:
                if choose_mode(bundle, settings) != self.mode:
                    raise EdgeLeatherError(f"{bundle.folder}: expected the images of the other articles, got others.")
                if len(bundles) == 1 or settings.article in (None, bundle.article):
                    self.articles[bundle.article] = _taught_article(bundle, settings, self.mode)
        except BaseException:
            self.close()
            raise
        self._first = next(iter(self.articles.values()))

    @property
    def engine(self) -> Engine:
        """The engine, of the first article where there are several."""
        return self._first.engine

    @property
    def graph(self) -> str:
        """The graph that the engine is of."""
        return self._first.graph

    @property
    def precision(self) -> str:
        """The precision that the engine computes in."""
        return self.engine.signature.precision

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds, of the first article where there are several."""
        return self._first.thresholds

    def inspect(self, picture: Frame | str | Path | AnyArray) -> Inspection:
        """The verdict on a frame, a picture file, or an image [h, w] or [h, w, 3] (BGR, 8 or 16 bits) as OpenCV gives it.

        What is wrong with the picture itself makes the verdict `failed`.

        Raises:
            EdgeLeatherError: no file is at the path.
        """
        frame = picture if isinstance(picture, Frame) else _frame_of(picture)
        started = time.perf_counter()
        try:
            if frame.image is None:
                raise EdgeLeatherError(frame.error or "the frame could not be captured.")
            self._check_size(frame.image)
            prepared = prepare(frame.image, self.mode)
            appearance = self._appearance(prepared)
            article, doubt = self._article_of(appearance)
            ready = time.perf_counter()
            result = infer_prepared(article.engine, prepared)
            inferred = time.perf_counter()
            decision = self._decide(result, appearance, article)
            if decision.reason and image_digest(frame.image) in article.pictures:
                decision = _taught(decision)
            if doubt:
                decision = decision._replace(verdict="unfamiliar", reason=doubt)
            if frame.frozen_seconds is not None:
                decision = _frozen(decision, frame.frozen_seconds)
        except (EdgeLeatherError, cv2.error, MemoryError) as error:
            timings = _timings(frame, total=time.perf_counter() - started)
            return Inspection(
                frame.index, frame.captured_at, frame.source, "failed", None, None, None, (), timings, _reason(error),
                frame.image, None, None, article=self._told,
            )  # fmt: skip
        done = time.perf_counter()
        timings = _timings(frame, ready - started, inferred - ready, done - inferred, done - started)
        return Inspection(
            frame.index, frame.captured_at, frame.source, decision.verdict, decision.score, decision.threshold,
            area_percent(decision.regions, prepared), decision.regions, timings, None, frame.image, decision.shown_map,
            prepared.frame_box_xywh, decision.small_regions, decision.reason, decision.distance,
            self._rules.mm_per_px, article.name or self._told,
        )  # fmt: skip

    def _check_size(self, image: AnyArray) -> None:
        """Refuse a frame of another size than the first where areas or a region of interest were given in its pixels."""
        if not self._size_matters:
            return
        size_wh = (image.shape[1], image.shape[0])
        self._frame_size_wh = self._frame_size_wh or size_wh
        if size_wh != self._frame_size_wh:
            expected, got = (f"{width} x {height}" for width, height in (self._frame_size_wh, size_wh))
            raise EdgeLeatherError(
                f"expected frames of {expected} pixels, for which areas and the region of interest were given, got {got}. "
                "Set the camera's resolution back, or give new ones."
            )

    def _article_of(self, appearance: list[float] | None) -> tuple[TaughtArticle, str | None]:
        """The article that a frame is inspected as, and why it may be of none."""
        if self._recognizer is None:
            return self._first, None
        name, doubt = self._recognizer.of(appearance)
        return self.articles[name], doubt

    def _appearance(self, prepared: Prepared) -> list[float] | None:
        """How the inspected part of a frame looks, before its inference: then the picture is still in the processor's caches.

        None where the bundle cannot compare it, or where the part has too few pixels for contrast and sharpness.
        """
        polygon = self._rules.region_of_interest_xy
        if self._first.looks is None:
            return None
        if not polygon:
            return appearance_of(thinned(prepared)) if min(prepared.map_size_hw) >= _LEAST_SIDE_PX else None
        rows, columns = box = box_around(prepared, polygon)
        if min(rows.stop - rows.start, columns.stop - columns.start) < _LEAST_SIDE_PX:
            return None
        return appearance_of(images_in(prepared, box))

    def _decide(self, result: FrameMap, appearance: list[float] | None, article: TaughtArticle) -> _Decision:
        """From a frame's map and appearance to its verdict.

        Raises:
            EdgeLeatherError: the region of interest lies outside of the frame.
        """
        prepared, rules = result.prepared, self._rules
        threshold = article.verdict_for(prepared.count).value
        anomaly_map, score, shown = result.anomaly_map, result.score, result.anomaly_map
        part = anomaly_map
        if rules.region_of_interest_xy:
            anomaly_map, score = within_polygon(anomaly_map, prepared, rules.region_of_interest_xy)
            shown = np.maximum(anomaly_map, shown.min())
            part = result.anomaly_map[box_around(prepared, rules.region_of_interest_xy)]
        regions: tuple[Region, ...] = ()
        small = 0
        if score > threshold:
            found = rules.measured(article.regions(anomaly_map, prepared, threshold))
            regions = tuple(region for region in found if rules.is_large_enough(region))
            small = len(found) - len(regions)
        verdict: VerdictName = "defect" if regions else "good"
        likeness = Likeness(None, None)
        if article.familiarity and appearance:
            likeness = article.familiarity.of(appearance, part, score, is_above=score > threshold)
        if likeness.reason:
            verdict = "unfamiliar"
        return _Decision(verdict, score, threshold, regions, small, shown, likeness.distance, likeness.reason)

    def close(self) -> None:
        for article in self.articles.values():
            article.engine.close()

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Decision(NamedTuple):
    """What was decided of a frame; `shown_map` is its map with what lies outside of the region of interest flattened."""

    verdict: VerdictName
    score: float
    threshold: float
    regions: tuple[Region, ...]
    small_regions: int
    shown_map: Float32Array
    distance: float | None
    reason: str | None


def _taught(decision: _Decision) -> _Decision:
    """The decision on a picture that the bundle was taught with: its map may be lower than that of any other good picture."""
    return decision._replace(verdict="defect" if decision.regions else "good", reason=None)


def _frozen(decision: _Decision, seconds: float) -> _Decision:
    """The decision on a frame that a camera keeps giving: nobody has looked at the leather since."""
    reason = f"the camera has given this same frame for {seconds:.0f} s"
    return decision._replace(verdict="unfamiliar", reason=reason)


def _frame_of(picture: str | Path | AnyArray) -> Frame:
    if isinstance(picture, np.ndarray):
        return Frame(0, time.time(), "array", picture)
    path = Path(picture)
    if not path.exists():
        raise EdgeLeatherError(f"expected a picture at {path}, found nothing there.")
    return frame_of_picture(0, path)


def _taught_article(bundle: Bundle, settings: InspectorSettings, mode: InputMode) -> TaughtArticle:
    engine, graph = open_proven_engine(bundle, settings)
    try:
        return TaughtArticle(bundle, engine, graph, mode, settings.false_alarm_rate)
    except BaseException:
        engine.close()
        raise


def open_proven_engine(bundle: Bundle, settings: InspectorSettings) -> tuple[Engine, str]:
    """The engine to inspect with and the graph that it is of, after it has given the recorded answer to one golden frame.

    Raises:
        EdgeLeatherError: no such graph, an engine that is damaged, stale or foreign, or none that gives the recorded answer.
    """
    if settings.trusted_engine:
        engine, graph = open_trusted(bundle, Path(settings.trusted_engine), settings.threads)
        return proven(bundle, engine, graph), graph
    backend, precision = wanted_engine(bundle, settings.backend, settings.precision)
    return open_proven(bundle, precision, settings.threads, backend)


def choose_mode(bundle: Bundle, settings: InspectorSettings) -> InputMode:
    """The bundle's input mode, with what the user wishes otherwise.

    Raises:
        EdgeLeatherError: a mode for which the bundle has no threshold.
    """
    mode = bundle.manifest.input_mode
    if settings.input_kind == "resize" and mode.kind == "tiles":
        raise EdgeLeatherError(
            "this bundle was trained on tiles and has no threshold for whole frames made smaller. Use --input tiles, or "
            "train with: edgeleather train --input resize"
        )
    if settings.input_kind == "tiles" and mode.pixel_scale is None:
        raise EdgeLeatherError(
            "this bundle has no threshold for tiles: its training pictures differ in size, so no pixel scale is known. "
            "Use --input resize, or train with: edgeleather train --input tiles"
        )
    kind = mode.kind if settings.input_kind is None else settings.input_kind
    return replace(
        mode.with_white_level(settings.white_level),
        kind="tiles" if kind == "tiles" else "resize",
        fit=settings.fit or mode.fit,
    )


def _reason(error: Exception) -> str:
    return printable(str(error) or "this frame needs more memory than there is.")


def _timings(
    frame: Frame, preprocess: float = 0.0, inference: float = 0.0, decision: float = 0.0, total: float = 0.0
) -> dict[str, float]:
    return {
        "capture": _ms(frame.capture_ms / 1e3),
        "preprocess": _ms(preprocess),
        "inference": _ms(inference),
        "decision": _ms(decision),
        "total": _ms(total),
    }


def _ms(seconds: float) -> float:
    """To the microsecond, as `round` would, which takes longer than the decision that it reports."""
    return int(1e6 * seconds + 0.5) / 1e3
