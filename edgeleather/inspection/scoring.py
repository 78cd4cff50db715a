"""Running a graph on pictures: its thresholds on those set aside for them, its metrics on those that nothing has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from edgeleather.bundle.manifest import HandOverMetrics
from edgeleather.bundle.thresholds import (
    DEFAULT_FALSE_ALARM_RATE,
    T1_QUANTILE,
    FittedThreshold,
    Thresholds,
    can_extrapolate,
    verdict_threshold,
)
from edgeleather.dataset.index import IndexedSample
from edgeleather.dataset.reading import Sample
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode, resize_mask
from edgeleather.inspection.inference import FrameMap, infer_frame
from edgeleather.inspection.reach import fit_peak_share
from edgeleather.metrics.pixels import PixelCounts
from edgeleather.metrics.scores import best_image_f1_threshold, image_auroc
from edgeleather.progress import track


@dataclass(frozen=True)
class ScoredPictures:
    """The scores of some pictures, whether each is defective, their photographs and tiles, and their pixels' counts.

    `masks` is how many of the defective ones have a mask; the pixels of the others are not counted. `unfamiliar` says which of
    them do not look like what was taught.
    """

    scores: tuple[float, ...]
    defective: tuple[bool, ...]
    groups: tuple[str, ...]
    tiles: tuple[int, ...]
    pixels: PixelCounts
    masks: int
    unfamiliar: tuple[bool, ...]


@dataclass(frozen=True)
class ThresholdPictures:
    """What a graph's thresholds are found on: held-out good pictures, and the test pictures of T2 and T3.

    There are none of the latter without a test set. `left_out_scores` are, by picture digest, scores of the other good pictures
    under refits without their photograph; they join the verdict's. `good_groups` counts the photographs of all good pictures.
    All are of one `article`.
    """

    held_out: Sequence[IndexedSample]
    t2_t3: Sequence[Sample]
    left_out_scores: Mapping[str, float]
    good_groups: int
    article: str


def score_samples(
    engine: Engine,
    samples: Sequence[Sample],
    mode: InputMode,
    label: str,
    is_unfamiliar: Callable[[FrameMap], bool] = lambda result: False,
) -> ScoredPictures:
    """Run pictures one by one and count the pixels of those whose ground truth is known.

    Raises:
        EdgeLeatherError: a picture or mask cannot be read or does not fit; its name is in the message.
    """
    pixels = PixelCounts()
    scores, tiles, unfamiliar = [], [], []
    for sample in track(samples, label):
        image = sample.read()
        try:
            result = infer_frame(engine, image, mode)
        except EdgeLeatherError as error:
            raise EdgeLeatherError(f"{sample.name}: {error}") from error
        count_pixels(pixels, sample, result, (image.shape[0], image.shape[1]))
        scores.append(result.score)
        tiles.append(result.prepared.count)
        unfamiliar.append(is_unfamiliar(result))
    defective = tuple(not sample.is_good for sample in samples)
    groups = tuple(sample.group for sample in samples)
    masks = sum(sample.has_truth for sample in samples if not sample.is_good)
    return ScoredPictures(tuple(scores), defective, groups, tuple(tiles), pixels, masks, tuple(unfamiliar))


def unseen_samples(samples: Sequence[IndexedSample], seen_digests: Set[str]) -> tuple[list[IndexedSample], list[str]]:
    """The pictures that neither training nor a threshold has seen, and the names of the others; by their pixels."""
    unseen = [sample for sample in samples if sample.digest not in seen_digests]
    return unseen, [sample.name for sample in samples if sample.digest in seen_digests]


def count_pixels(pixels: PixelCounts, sample: Sample, result: FrameMap, frame_hw: tuple[int, int]) -> None:
    """Count one map against its ground truth, brought to the map's size; a defect without a mask is not counted."""
    mask = sample.read_mask(frame_hw)
    if mask is not None:
        pixels.add(result.anomaly_map, None if sample.is_good else resize_mask(mask, result.prepared))


def hand_over_metrics(
    engine: Engine, graph: str, mode: InputMode, test: Sequence[IndexedSample], seen_digests: Set[str]
) -> HandOverMetrics:
    """Metrics of a graph on the test pictures that nothing has seen; None each where there are too few.

    Those of pixels rest on the good pictures and on the defective ones that have a mask.

    Raises:
        EdgeLeatherError: a picture or mask cannot be used.
    """
    tested, _ = unseen_samples(test, seen_digests)
    scored = score_samples(engine, tested, mode, "test pictures")
    curve = scored.pixels.curve()
    return HandOverMetrics(
        graph=graph,
        test_images=len(tested),
        image_auroc=image_auroc(np.array(scored.scores), np.array(scored.defective, bool)),
        pixel_auroc=curve.auroc(),
        aupro=curve.aupro(),
    )


def find_thresholds(
    engine: Engine, graph: str, mode: InputMode, pictures: ThresholdPictures, false_alarm_rate: float
) -> Thresholds:
    """T1 and the verdict from held-out good pictures, T2 and T3 from the test pictures set aside.

    T3 is None where none was set aside, T2 also where none of their defects has a mask. How far below its peak a region reaches
    comes from synthetic defects on the held-out pictures.

    A rate rarer than the default was asked for, so it is extrapolated where the pictures are enough for that.

    Raises:
        EdgeLeatherError: a picture cannot be used, or frames differ in their number of tiles.
    """
    good = score_samples(engine, pictures.held_out, mode, "threshold pictures")
    if len(set(good.tiles)) != 1:
        raise EdgeLeatherError(
            f"expected threshold pictures of one size, got frames of {min(good.tiles)} to {max(good.tiles)} tiles."
        )
    t2, t3 = _fitted_on_test_pictures(engine, mode, pictures.t2_t3)
    t1 = good.pixels.normal_quantile(T1_QUANTILE)
    normal = good.pixels.normal_quantile(0.5)
    scores = (*good.scores, *pictures.left_out_scores.values())
    extrapolate = false_alarm_rate < DEFAULT_FALSE_ALARM_RATE and can_extrapolate(scores)
    verdict = verdict_threshold(scores, false_alarm_rate, extrapolate=extrapolate)
    return Thresholds(
        article=pictures.article,
        graph=graph,
        input_kind=mode.kind,
        tiles_per_frame=good.tiles[0],
        held_out_scores=tuple(sorted(good.scores)),
        left_out_scores=dict(pictures.left_out_scores),
        good_groups=pictures.good_groups,
        verdict=verdict,
        t1_pixel=FittedThreshold(t1, len(pictures.held_out), len(set(good.groups))),
        t2_pixel=t2,
        t3_image=t3,
        peak_share=fit_peak_share(engine, mode, pictures.held_out, normal, min(t1, verdict.value)),
        choice=None,
    )


def _fitted_on_test_pictures(
    engine: Engine, mode: InputMode, samples: Sequence[Sample]
) -> tuple[FittedThreshold | None, FittedThreshold | None]:
    """T2 and T3; no T2 without the mask of a defect, none of both without pictures."""
    if not samples:
        return None, None
    fitted = score_samples(engine, samples, mode, "pictures for T2 and T3")
    t3 = best_image_f1_threshold(np.array(fitted.scores), np.array(fitted.defective))
    t2 = fitted.pixels.curve().best_f1_threshold()
    known = [sample for sample in samples if sample.has_truth]
    return (
        None if t2 is None else FittedThreshold(t2, len(known), len({sample.group for sample in known})),
        FittedThreshold(t3, len(samples), len(set(fitted.groups))),
    )
