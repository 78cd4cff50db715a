"""Running a graph on pictures: its thresholds on those set aside for them, its metrics on those that nothing has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from edgeleather.bundle.manifest import HandOverMetrics
from edgeleather.bundle.thresholds import T1_QUANTILE, FoundThreshold, Thresholds, verdict_threshold
from edgeleather.dataset.reading import Sample
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import image_digest
from edgeleather.imaging.preprocess import InputMode, resize_mask
from edgeleather.inspection.inference import FrameMap, infer_frame
from edgeleather.metrics.pixels import PixelCounts
from edgeleather.metrics.scores import best_image_f1_threshold, image_auroc
from edgeleather.progress import track


@dataclass(frozen=True)
class Scored:
    """The scores of some pictures, whether each is defective, their photographs and tiles, and their pixels' counts."""

    scores: tuple[float, ...]
    defective: tuple[bool, ...]
    groups: tuple[str, ...]
    tiles: tuple[int, ...]
    pixels: PixelCounts


def score_samples(engine: Engine, samples: Sequence[Sample], mode: InputMode, label: str) -> Scored:
    """Run pictures one by one and count their pixels against the ground truth.

    Raises:
        EdgeLeatherError: a picture or mask cannot be read or does not fit; its name is in the message.
    """
    pixels = PixelCounts()
    scores, tiles = [], []
    for sample in track(samples, label):
        image = sample.read()
        try:
            result = infer_frame(engine, image, mode)
        except EdgeLeatherError as error:
            raise EdgeLeatherError(f"{sample.name}: {error}") from error
        count_pixels(pixels, sample, result, (image.shape[0], image.shape[1]))
        scores.append(result.score)
        tiles.append(len(result.prepared.images))
    defective = tuple(not sample.is_good for sample in samples)
    return Scored(tuple(scores), defective, tuple(s.group for s in samples), tuple(tiles), pixels)


def unseen_samples(samples: Sequence[Sample], seen_digests: Set[str]) -> tuple[list[Sample], list[str]]:
    """The pictures that neither training nor a threshold has seen, and the names of the others; by their pixels."""
    unseen, seen = [], []
    for sample in samples:
        if image_digest(sample.read()) in seen_digests:
            seen.append(sample.name)
        else:
            unseen.append(sample)
    return unseen, seen


def count_pixels(pixels: PixelCounts, sample: Sample, result: FrameMap, frame_hw: tuple[int, int]) -> None:
    """Count one map against its ground truth, brought to the map's size."""
    mask = None if sample.is_good else resize_mask(sample.read_mask(frame_hw), result.prepared)
    pixels.add(result.anomaly_map, mask)


def hand_over_metrics(
    engine: Engine, graph: str, mode: InputMode, test: Sequence[Sample], seen_digests: Set[str]
) -> HandOverMetrics:
    """Metrics of a graph on the test pictures that nothing has seen; None each where there are too few.

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
    engine: Engine,
    graph: str,
    mode: InputMode,
    held_out: Sequence[Sample],
    t2_t3: Sequence[Sample],
    left_out_scores: Mapping[str, float],
    good_groups: int,
    false_alarm_rate: float,
) -> Thresholds:
    """T1 and the verdict from held-out good pictures, T2 and T3 from the test pictures set aside (None without any).

    `left_out_scores` are, by picture digest, scores of the other good pictures under refits without their photograph; they
    join the verdict's. `good_groups` counts the photographs of all of them.

    Raises:
        EdgeLeatherError: a picture cannot be used, or frames differ in their number of tiles.
    """
    good = score_samples(engine, held_out, mode, "threshold pictures")
    if len(set(good.tiles)) != 1:
        raise EdgeLeatherError(
            f"expected threshold pictures of one size, got frames of {min(good.tiles)} to {max(good.tiles)} tiles."
        )
    t2 = t3 = None
    if t2_t3:
        fitted = score_samples(engine, t2_t3, mode, "pictures for T2 and T3")
        count = (len(t2_t3), len(set(fitted.groups)))
        t2 = FoundThreshold(fitted.pixels.curve().best_f1_threshold(), *count)
        t3 = FoundThreshold(best_image_f1_threshold(np.array(fitted.scores), np.array(fitted.defective)), *count)
    return Thresholds(
        graph=graph,
        input_kind=mode.kind,
        tiles_per_frame=good.tiles[0],
        held_out_scores=tuple(sorted(good.scores)),
        left_out_scores=dict(left_out_scores),
        good_groups=good_groups,
        verdict=verdict_threshold((*good.scores, *left_out_scores.values()), false_alarm_rate),
        t1_pixel=FoundThreshold(good.pixels.normal_quantile(T1_QUANTILE), len(held_out), len(set(good.groups))),
        t2_pixel=t2,
        t3_image=t3,
    )
