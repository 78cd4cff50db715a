"""A bundle's fp32 graph becomes INT8: ranges, Q/DQ, and everything that belongs to a graph file, measured anew on it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from edgeleather.arrays import UInt8Array
from edgeleather.bundle import Bundle, Calibration, Manifest, read_bundle, update_bundle, without_original
from edgeleather.calibration.qdq import to_onnxruntime_int8
from edgeleather.calibration.quantised_layers import quantised_layers
from edgeleather.calibration.ranges import RANGES_FILE, RangeCollector, Ranges, RangeSet
from edgeleather.dataset.defects import DEFECTS, paste_defect
from edgeleather.dataset.reading import Dataset, Sample, read_dataset
from edgeleather.engines.engine import Engine, load_engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file, write_atomically
from edgeleather.golden import answers_file, read_golden, record_answers
from edgeleather.images import image_digest
from edgeleather.inference import infer_frame
from edgeleather.preprocess import prepare
from edgeleather.progress import track
from edgeleather.records import read_record, to_json
from edgeleather.scoring import find_thresholds, hand_over_metrics
from edgeleather.thresholds import Thresholds

FP32_GRAPH, INT8_GRAPH = "fp32.onnx", "int8-onnxruntime.onnx"
DEFAULT_IMAGES = 100
_COMPARED_PICTURES = 12


@dataclass(frozen=True)
class _Pictures:
    """The pictures of a dataset that a bundle was made with, found again by their pixels."""

    by_digest: dict[str, Sample]
    dataset: Dataset

    def find(self, digests: Sequence[str], use: str) -> list[Sample]:
        found = [self.by_digest[digest] for digest in digests if digest in self.by_digest]
        if len(found) < len(digests):
            raise EdgeLeatherError(
                f"{self.dataset.root}: expected the {len(digests)} pictures that this bundle used for {use}, found "
                f"{len(found)} of them unchanged. Say where the dataset that trained it is with --data."
            )
        return found


def calibrate_bundle(folder: Path, data: Path, images: int = DEFAULT_IMAGES) -> Bundle:
    """Add an INT8 graph in ONNX Runtime's dialect to a bundle, with thresholds, golden answers and metrics of its own.

    Ranges come from the training part of the good pictures (at most `images` model images, and the same with synthetic
    defects); those in the bundle's ranges.json are used again where graph and pictures are the same.

    Raises:
        EdgeLeatherError: the bundle is damaged, the pictures are not those that trained it, cannot be read or show nothing,
            or the bundle cannot be written. Nothing half-written stays behind.
    """
    bundle = read_bundle(folder, _needed)
    pictures = _read_pictures(bundle, data)
    model = onnx.load(folder / FP32_GRAPH)
    ranges = _ranges(bundle, model, pictures, images)
    with tempfile.TemporaryDirectory() as work, closing(_engine(folder / FP32_GRAPH, "fp32")) as original:
        int8 = Path(work) / INT8_GRAPH
        shown = _compared_images(bundle, pictures)
        candidates: dict[str, bytes] = {found.shows: _quantise(model, found) for found in ranges.sets}
        errors: dict[str, float] = {}
        for shows, content in candidates.items():
            write_atomically(int8, content)
            with closing(_engine(int8, "int8")) as engine:
                errors[shows] = _map_error(original, engine, shown)
        best = min(errors, key=lambda shows: errors[shows])
        write_atomically(int8, candidates[best])
        with closing(_engine(int8, "int8")) as engine:
            thresholds = _thresholds(bundle, original, engine, pictures)
            answers = record_answers(engine, INT8_GRAPH, read_golden(bundle))
            seen = bundle.manifest.images.all
            metrics = hand_over_metrics(engine, INT8_GRAPH, bundle.manifest.input_mode, pictures.dataset.test, seen)
    contents = {
        INT8_GRAPH: candidates[best],
        answers_file(INT8_GRAPH): to_json(answers),
        RANGES_FILE: json.dumps(asdict(ranges), separators=(",", ":")).encode(),
    }
    before = bundle.manifest
    (taken,) = (found for found in ranges.sets if found.shows == best)
    record = Calibration(INT8_GRAPH, taken.images, best, errors)
    manifest = replace(
        before,
        thresholds=(*(t for t in before.thresholds if t.graph != INT8_GRAPH), thresholds),
        calibrations=(*(c for c in before.calibrations if c.graph != INT8_GRAPH), record),
        metrics=(*(m for m in before.metrics if m.graph != INT8_GRAPH), metrics),
        images=replace(before.images, calibration=ranges.image_digests),
    )
    return update_bundle(bundle, manifest, contents)


def auroc_lost(manifest: Manifest) -> float | None:
    """By how much the INT8 graph's image AUROC at hand-over is below the fp32 graph's; None without test pictures."""
    auroc = {metrics.graph: metrics.image_auroc for metrics in manifest.metrics}
    before, after = auroc.get(FP32_GRAPH), auroc.get(INT8_GRAPH)
    return None if before is None or after is None else before - after


def _needed(manifest: Manifest) -> Collection[str]:
    """What calibration writes anew may be damaged: calibrating again is how it is mended."""
    rewritten = (INT8_GRAPH, RANGES_FILE, answers_file(INT8_GRAPH))
    return [name for name in without_original(manifest) if name not in rewritten]


def _engine(graph: Path, precision: str) -> Engine:
    return load_engine("onnxruntime", graph, precision)


def _read_pictures(bundle: Bundle, data: Path) -> _Pictures:
    dataset = read_dataset(data, needs="train")
    by_digest: dict[str, Sample] = {}
    for sample in track((*dataset.train_good, *dataset.test), "finding the bundle's pictures"):
        by_digest.setdefault(image_digest(sample.read()), sample)
    return _Pictures(by_digest, dataset)


def _ranges(bundle: Bundle, model: onnx.ModelProto, pictures: _Pictures, most: int) -> Ranges:
    digests = bundle.manifest.images.training
    chosen = _taking_turns(pictures.find(digests, "training"), digests, most)
    _check_that_they_show_something([sample for _, sample in chosen], pictures.dataset)
    tensors = quantised_layers(model).tensors
    used = tuple(digest for digest, _ in chosen)
    graph_sha256 = bundle.manifest.files[FP32_GRAPH].sha256
    if kept := _kept_ranges(bundle):
        same = (kept.graph_sha256, kept.image_digests, kept.most_images) == (graph_sha256, used, most)
        if same and all(set(tensors) <= found.tensors.keys() for found in kept.sets):
            return kept
    collector = RangeCollector(model, tensors)
    mode = bundle.manifest.input_mode
    each = -(-most // len(chosen))  # of tiles, a picture gives so many
    rng = np.random.default_rng(5)

    def normals() -> Iterator[UInt8Array]:
        for _, sample in track(chosen, "calibrating on normals"):
            yield from prepare(sample.read(), mode).images[:each]

    def with_defects() -> Iterator[UInt8Array]:
        for _, sample in track(chosen, "calibrating on synthetic defects"):
            for image in prepare(sample.read(), mode).images[:each]:
                yield paste_defect(image, str(rng.choice(sorted(DEFECTS))), rng)[0]

    collector.add(normals())
    sets = [collector.ranges("normals")]
    collector.add(with_defects())
    sets.append(collector.ranges("normals and synthetic defects"))
    return Ranges(1, graph_sha256, used, most, tuple(sets))


def _kept_ranges(bundle: Bundle) -> Ranges | None:
    """The bundle's ranges.json, or None where there is none or it is damaged: it can be measured again."""
    record, path = bundle.manifest.files.get(RANGES_FILE), bundle.folder / RANGES_FILE
    if record is None or not path.is_file() or sha256_of_file(path) != record.sha256:
        return None
    return read_record(Ranges, path, "Delete it and calibrate again.")


def _check_that_they_show_something(samples: Sequence[Sample], dataset: Dataset) -> None:
    for sample in samples:
        image = sample.read()
        if (image != image[:1, :1]).any():
            return
    raise EdgeLeatherError(
        f"{dataset.root}: every calibration picture is of one colour all over; activations measured on them say nothing. "
        "Give pictures of leather."
    )


def _taking_turns(samples: Sequence[Sample], digests: Sequence[str], most: int) -> list[tuple[str, Sample]]:
    """At most so many pictures, one of each photograph before a second of any."""
    seen: dict[str, int] = {}
    turns = []
    for digest, sample in zip(digests, samples, strict=True):
        seen[sample.group] = seen.get(sample.group, 0) + 1
        turns.append((seen[sample.group], sample.name, digest, sample))
    return [(digest, sample) for _, _, digest, sample in sorted(turns, key=lambda turn: turn[:2])[:most]]


def _quantise(model: onnx.ModelProto, found: RangeSet) -> bytes:
    quantised = to_onnxruntime_int8(model, found.tensors)
    onnx.checker.check_model(quantised, full_check=True)
    return bytes(quantised.SerializeToString())


def _compared_images(bundle: Bundle, pictures: _Pictures) -> list[UInt8Array]:
    """Model images that no range was measured on: validation pictures, and the same with a synthetic defect."""
    digests = bundle.manifest.images.validation
    chosen = _taking_turns(pictures.find(digests, "validation"), digests, _COMPARED_PICTURES)
    rng = np.random.default_rng(6)
    images = []
    for _, sample in chosen:
        image = prepare(sample.read(), bundle.manifest.input_mode).images[0]
        images += [image, paste_defect(image, str(rng.choice(sorted(DEFECTS))), rng)[0]]
    return images


def _map_error(original: Engine, engine: Engine, images: Sequence[UInt8Array]) -> float:
    """Mean absolute difference of two engines' maps, as a share of the first one's range."""
    pairs = [(original.infer(image[None]).maps, engine.infer(image[None]).maps) for image in track(images, "comparing")]
    expected, got = (np.concatenate(maps) for maps in zip(*pairs, strict=True))
    return float(np.abs(got - expected).mean() / max(float(np.ptp(expected)), 1e-12))


def _thresholds(bundle: Bundle, original: Engine, engine: Engine, pictures: _Pictures) -> Thresholds:
    """Refitted on the INT8 graph; see `find_thresholds`."""
    manifest, before = bundle.manifest, bundle.thresholds_of(FP32_GRAPH)
    used = manifest.images
    return find_thresholds(
        engine,
        INT8_GRAPH,
        manifest.input_mode,
        pictures.find(used.threshold, "thresholds"),
        pictures.find(used.t2_t3, "T2 and T3"),
        left_out_scores=_carried_over(before.left_out_scores, original, engine, pictures, bundle),
        good_groups=before.good_groups,
        false_alarm_rate=before.verdict.wished_rate,
    )


def _carried_over(
    left_out: dict[str, float], original: Engine, engine: Engine, pictures: _Pictures, bundle: Bundle
) -> dict[str, float]:
    """Scores under refits without a picture's photograph, moved by what INT8 does to scores of pictures never trained on.

    The refitted models themselves were never graphs; what quantisation adds is the networks' rounding, and that they share.
    Training pictures cannot tell: they lie in the deployed memory, at a distance near 0, where rounding counts far more.
    Validation pictures were scored by the deployed model, and are scored by its INT8 graph here.
    """
    if not left_out:
        return {}
    used, mode = bundle.manifest.images, bundle.manifest.input_mode
    held_out = dict.fromkeys((*used.validation, *used.threshold))
    moved: dict[str, float] = {}
    scores: dict[str, float] = {}
    for digest in track(held_out, "carrying scores over"):
        (sample,) = pictures.find([digest], "validation and thresholds")
        image = sample.read()
        scores[digest] = infer_frame(engine, image, mode).score
        moved[digest] = scores[digest] - infer_frame(original, image, mode).score
    shift = float(np.mean(list(moved.values())))
    return {digest: scores.get(digest, score + shift) for digest, score in left_out.items()}
