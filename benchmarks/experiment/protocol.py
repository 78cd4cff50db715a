"""The seed paper's protocol for one graph on one leather (sections 3.2 to 3.4), and beside it what it should have been.

T1 is the 99 % quantile of held-out normal pixels; T2 and T3 are the F1 optima on 15 % of the test set, as in gudovskiy/cflow-ad;
the rest is scored. Beside the paper's columns: IoU over defective pictures only, AUROC without the border, intervals from a
bootstrap over photographs, and the AUROC that a picture's sharpness alone reaches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgeleather.arrays import AnyArray, BoolArray, Float32Array, Float64Array, UInt8Array
from edgeleather.dataset.reading import Dataset, Sample
from edgeleather.dataset.splitting import split_test
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode, Prepared, prepare, resize_mask
from edgeleather.inspection.inference import infer_prepared
from edgeleather.metrics.pixels import PixelCounts
from edgeleather.metrics.scores import best_image_f1_threshold, image_auroc, image_f1

_RESAMPLES = 200
_BORDER_SHARE = 0.05  # of a side, that the cleared AUROC leaves out on each
_EVERY_PIXEL = 8  # of a map's rows and columns, that the resampled T2 is fitted on


@dataclass(frozen=True)
class ScoredMaps:
    """Maps float32 [h, w] and masks uint8 [h, w] of some pictures; times of the engine alone, and of all.

    A defect that nobody has marked has None for a mask.
    """

    samples: tuple[Sample, ...]
    maps: tuple[Float32Array, ...]
    masks: tuple[UInt8Array | None, ...]
    sharpness: Float64Array
    engine_ms: Float64Array
    seconds: float

    @property
    def scores(self) -> Float64Array:
        return np.array([found.max() for found in self.maps], np.float64)

    @property
    def defective(self) -> BoolArray:
        return np.array([not sample.is_good for sample in self.samples], np.bool_)


@dataclass(frozen=True)
class Metrics:
    """Shares of 1. The first eight are the paper's columns, in its order; intervals hold 95 % of the resamples.

    What is of pixels rests on the good pictures and the defective ones that have a mask, and is None without any.
    """

    iou_t1: float | None
    iou_t2: float | None
    pro_t1: float | None
    pro_t2: float | None
    pixel_auroc: float | None
    f1_t1: float
    f1_t3: float
    image_auroc: float | None
    aupro: float | None
    iou_t1_defective: float | None
    iou_t2_defective: float | None
    image_auroc_cleared: float | None
    pixel_auroc_cleared: float | None
    image_auroc_same_scale: float | None
    image_auroc_interval: tuple[float, float] | None
    iou_t2_interval: tuple[float, float] | None
    f1_t3_interval: tuple[float, float]
    sharpness_auroc: float | None
    t1: float
    t2: float | None
    t3: float
    fitted_images: int
    scored_images: int
    test_seconds: float
    test_fps: float
    engine_median_ms: float


def score_maps(engine: Engine, samples: Sequence[Sample], mode: InputMode, through_px: int | None = None) -> ScoredMaps:
    """Run pictures one by one, reading and resizing each, as the paper's "inference time" counts it.

    With `through_px` each is first made so small that its shorter side has that many pixels: so no sharpness tells them apart.

    Raises:
        EdgeLeatherError: a picture or mask cannot be used; its name is in the message.
    """
    maps, masks, sharpness, engine_ms = [], [], [], []
    seconds = 0.0
    for sample in samples:
        try:
            started = time.perf_counter()
            image = sample.read()
            prepared = prepare(image if through_px is None else _shrunk(image, through_px), mode)
            ready = time.perf_counter()
            found = infer_prepared(engine, prepared)
            done = time.perf_counter()
        except EdgeLeatherError as error:
            raise EdgeLeatherError(f"{sample.name}: {error}") from error
        seconds += done - started
        engine_ms.append(1e3 * (done - ready))
        maps.append(found.anomaly_map)
        masks.append(_mask(sample, (image.shape[0], image.shape[1]), prepared))
        grey = cv2.cvtColor(prepared.images[0], cv2.COLOR_RGB2GRAY)
        sharpness.append(float(cv2.Laplacian(grey, cv2.CV_32F).var()))
    return ScoredMaps(tuple(samples), tuple(maps), tuple(masks), np.array(sharpness), np.array(engine_ms), seconds)


def smallest_side(samples: Sequence[Sample]) -> int | None:
    """The shorter side in pixels of the smallest picture; None where all are of one size, and so at one scale."""
    sides = {min(sample.read().shape[:2]) for sample in samples}
    return min(sides) if len(sides) > 1 else None


def _shrunk(image: AnyArray, side_px: int) -> AnyArray:
    scale = side_px / min(image.shape[:2])
    size = [max(1, round(n * scale)) for n in image.shape[1::-1]]
    return image if scale >= 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _mask(sample: Sample, frame_hw: tuple[int, int], prepared: Prepared) -> UInt8Array | None:
    """The ground truth at the map's size, whatever size the picture was run at; None where nobody has marked the defect."""
    mask = sample.read_mask(frame_hw)
    whole = replace(prepared, frame_box_xywh=(0, 0, frame_hw[1], frame_hw[0]))
    return None if mask is None else resize_mask(mask, whole)


def split_scored(dataset: Dataset, seed: int) -> tuple[list[Sample], list[Sample]]:
    """The test pictures that fit T2 and T3, and the rest.

    Raises:
        EdgeLeatherError: too few photographs for both.
    """
    fitted = list(split_test(dataset.test, seed))
    if not fitted:
        raise EdgeLeatherError(
            f"{dataset.root}: expected good and defective test pictures of several photographs, to fit T2 and T3 on some and "
            "score the others; got too few."
        )
    names = {sample.name for sample in fitted}
    return fitted, [sample for sample in dataset.test if sample.name not in names]


def measure(fitted: ScoredMaps, scored: ScoredMaps, at_one_scale: ScoredMaps | None, t1: float, seed: int) -> Metrics:
    """All columns of a row; `at_one_scale` are the scored pictures at one scale, None where they are at one anyway."""
    t2 = _pixels(fitted).curve().best_f1_threshold()
    t3 = best_image_f1_threshold(fitted.scores, fitted.defective)
    curve = _pixels(scored).curve()
    only = _pixels(scored, only_defective=True).curve()
    cleared_maps, cleared = _without_border(scored)
    rng = np.random.default_rng((seed, 3))
    t2_interval, t3_interval = _resampled_thresholds(fitted, scored, rng)
    seconds = fitted.seconds + scored.seconds
    return Metrics(
        iou_t1=curve.iou_at(t1),
        iou_t2=None if t2 is None else curve.iou_at(t2),
        pro_t1=curve.pro_at(t1),
        pro_t2=None if t2 is None else curve.pro_at(t2),
        pixel_auroc=curve.auroc(),
        f1_t1=image_f1(scored.scores, scored.defective, t1),
        f1_t3=image_f1(scored.scores, scored.defective, t3),
        image_auroc=image_auroc(scored.scores, scored.defective),
        aupro=curve.aupro(),
        iou_t1_defective=only.iou_at(t1),
        iou_t2_defective=None if t2 is None else only.iou_at(t2),
        image_auroc_cleared=image_auroc(np.array([m.max() for m in cleared_maps]), scored.defective),
        image_auroc_same_scale=image_auroc((at_one_scale or scored).scores, scored.defective),
        pixel_auroc_cleared=cleared.curve().auroc(),
        image_auroc_interval=_resampled_auroc(scored, rng),
        iou_t2_interval=t2_interval,
        f1_t3_interval=t3_interval,
        sharpness_auroc=_either_way(image_auroc(scored.sharpness, scored.defective)),
        t1=t1,
        t2=t2,
        t3=t3,
        fitted_images=len(fitted.samples),
        scored_images=len(scored.samples),
        test_seconds=seconds,
        test_fps=(len(fitted.samples) + len(scored.samples)) / seconds,
        engine_median_ms=float(np.median(np.concatenate([fitted.engine_ms, scored.engine_ms]))),
    )


def _pixels(found: ScoredMaps, only_defective: bool = False) -> PixelCounts:
    pixels = PixelCounts()
    for anomaly_map, mask, defective in zip(found.maps, found.masks, found.defective, strict=True):
        if mask is not None and (defective or not only_defective):
            pixels.add(anomaly_map, mask)
    return pixels


def _without_border(found: ScoredMaps) -> tuple[list[Float32Array], PixelCounts]:
    """The maps' inner parts and their pixels' counts: the right way to clear borders is to leave them out, of both."""
    pixels, inner = PixelCounts(), []
    for anomaly_map, mask in zip(found.maps, found.masks, strict=True):
        edge = max(1, round(_BORDER_SHARE * min(anomaly_map.shape)))
        part = np.ascontiguousarray(anomaly_map[edge:-edge, edge:-edge])
        inner.append(part)
        if mask is not None:
            pixels.add(part, np.ascontiguousarray(mask[edge:-edge, edge:-edge]))
    return inner, pixels


def _resampled_auroc(found: ScoredMaps, rng: np.random.Generator) -> tuple[float, float] | None:
    """95 % interval of image AUROC over photographs drawn with replacement."""
    values = []
    for chosen in _draws(found.samples, rng):
        value = image_auroc(found.scores[chosen], found.defective[chosen])
        if value is not None:
            values.append(value)
    return _interval(values) if values else None


def _resampled_thresholds(
    fitted: ScoredMaps, scored: ScoredMaps, rng: np.random.Generator
) -> tuple[tuple[float, float] | None, tuple[float, float]]:
    """95 % intervals of IoU at T2 and F1 at T3 on the same scored pictures, over redrawn pictures to fit T2 and T3 on.

    Draws of which T2 or IoU cannot be had, for want of masks, leave the first one out; None where all do.
    """
    curve = _pixels(scored).curve()
    step = slice(None, None, _EVERY_PIXEL)
    values = [anomaly_map[step, step].ravel() for anomaly_map in fitted.maps]
    truths = [None if mask is None else mask[step, step].ravel() > 0 for mask in fitted.masks]
    ious, f1s = [], []
    for chosen in _draws(fitted.samples, rng):
        defective = fitted.defective[chosen]
        if not defective.any() or defective.all():
            continue
        pairs = [(values[i], truth) for i in chosen if (truth := truths[i]) is not None]
        pixels = np.concatenate([value for value, _ in pairs]).astype(np.float64)
        truth = np.concatenate([truth for _, truth in pairs])
        iou = curve.iou_at(best_image_f1_threshold(pixels, truth)) if truth.any() else None
        ious += [] if iou is None else [iou]
        t3 = best_image_f1_threshold(fitted.scores[chosen], defective)
        f1s.append(image_f1(scored.scores, scored.defective, t3))
    return _interval(ious) if ious else None, _interval(f1s)


def _draws(samples: Sequence[Sample], rng: np.random.Generator) -> list[list[int]]:
    """Indices of pictures whose photographs were drawn with replacement, many times."""
    groups: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(sample.group, []).append(index)
    names = sorted(groups)
    return [
        [index for number in rng.integers(len(names), size=len(names)) for index in groups[names[number]]]
        for _ in range(_RESAMPLES)
    ]


def _interval(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _either_way(auroc: float | None) -> float | None:
    """A confounder may point either way."""
    return None if auroc is None else max(auroc, 1.0 - auroc)
