"""What a precision costs: its maps, scores and verdicts against those of the fp32 graph, on pictures that no report counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import Cost
from edgeleather.bundle.thresholds import Thresholds
from edgeleather.calibration.pictures import CalibrationPictures, ComparedFrames, compared_frames
from edgeleather.engines.engine import Engine
from edgeleather.engines.onnxruntime.running import OnnxRuntimeEngine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import Prepared, prepare
from edgeleather.inspection.inference import FrameMap, infer_prepared
from edgeleather.metrics.pixels import PixelCounts
from edgeleather.metrics.scores import image_auroc
from edgeleather.progress import track

_MOST_PICTURES = 24
_NOT_FINITE = Cost(float("inf"), (), None, None)


@dataclass(frozen=True)
class CandidateGraph:
    """A graph that may come into a bundle, as the bytes of its file.

    Of a Q/DQ graph in FP16, as TensorRT wants it, ONNX Runtime 1.32's basic optimisations change the answers (map error 1.1
    instead of 0.008 on synthetic leather, memory-bank); such a graph `is_run_as_written`, and ONNX Runtime then computes what
    it says.
    """

    content: bytes
    is_run_as_written: bool = False


class Comparison:
    """The fp32 graph's answers to the compared frames and held-out good pictures, to which other graphs' are compared."""

    def __init__(self, bundle: Bundle, pictures: CalibrationPictures, fp32: CandidateGraph) -> None:
        self._mode = bundle.manifest.input_mode
        self._before: Thresholds = bundle.thresholds_of("fp32.onnx")
        used = bundle.manifest.images
        self._threshold_digests = frozenset(used.threshold)
        digests = tuple(dict.fromkeys((*used.validation, *used.threshold)))
        found = pictures.find(digests, "validation and thresholds")
        self._held_out = {
            digest: prepare(sample.read(), self._mode)
            for digest, sample in zip(digests, track(found, "reading held-out pictures"), strict=True)
        }
        self.compared: ComparedFrames = compared_frames(bundle, pictures, _MOST_PICTURES)
        with opened(fp32) as engine:
            self._maps = _maps(engine, self.compared.frames)
            self._scores = self._held_out_scores(engine)
        self._range = max(float(np.ptp(np.concatenate([found.anomaly_map.ravel() for found in self._maps]))), 1e-12)

    def map_error(self, graph: CandidateGraph, most: int | None = None) -> float:
        """The map error of `Cost`, on all compared frames or the first `most`; infinite where a map is not finite."""
        with opened(graph) as engine:
            try:
                return self._error_of(_maps(engine, self.compared.frames[:most]))
            except EdgeLeatherError:
                return float("inf")

    def cost(self, graph: CandidateGraph) -> Cost:
        """See `Cost`; the graph's threshold is refitted as the bundle's would be. Infinite where a map is not finite."""
        with opened(graph) as engine:
            try:
                got = _maps(engine, self.compared.frames)
                held_out = self._held_out_scores(engine)
            except EdgeLeatherError:
                return _NOT_FINITE
        error = self._error_of(got)
        if not np.isfinite(error):
            return _NOT_FINITE
        carried = self.carried_over(held_out)
        scores = tuple(score for digest, score in held_out.items() if digest in self._threshold_digests)
        after = self._before.refitted(scores, carried)
        flips = tuple(
            name
            for name, frame, before, now in zip(self.compared.names, self.compared.frames, self._maps, got, strict=True)
            if (before.score > self._before.verdict_for(frame.count).value)
            != (now.score > after.verdict_for(frame.count).value)
        )
        defective = np.array(self.compared.defective)
        areas = [image_auroc(np.array([found.score for found in maps]), defective) for maps in (self._maps, got)]
        drop = None if areas[0] is None or areas[1] is None else areas[0] - areas[1]
        before_aupro, after_aupro = self._aupro(self._maps), self._aupro(got)
        aupro_drop = None if before_aupro is None or after_aupro is None else before_aupro - after_aupro
        return Cost(error, flips, drop, aupro_drop)

    def _aupro(self, maps: list[FrameMap]) -> float | None:
        """The AUPRO over the frames whose defects have a mask, and the good ones."""
        pixels = PixelCounts()
        for found, mask, defective in zip(maps, self.compared.masks, self.compared.defective, strict=True):
            if mask is not None or not defective:
                pixels.add(found.anomaly_map, mask)
        return pixels.curve().aupro()

    def carried_over(self, held_out: dict[str, float]) -> dict[str, float]:
        """Scores under refits without a picture's photograph, moved by what a graph does to scores of held-out pictures.

        The refitted models themselves were never graphs; what quantisation adds is the networks' rounding, and that they share.
        Training pictures cannot tell: they lie in the deployed memory, at a distance near 0, where rounding counts far more.
        Validation pictures were scored by the deployed model, and are by its graph here.
        """
        left_out = self._before.left_out_scores
        if not left_out:
            return {}
        shift = float(np.mean([score - self._scores[digest] for digest, score in held_out.items()]))
        return {digest: held_out.get(digest, score + shift) for digest, score in left_out.items()}

    def carried_over_by(self, engine: Engine) -> dict[str, float]:
        """`carried_over` for an engine's own scores of the held-out pictures."""
        return self.carried_over(self._held_out_scores(engine)) if self._before.left_out_scores else {}

    def _held_out_scores(self, engine: Engine) -> dict[str, float]:
        pictures = track(self._held_out.items(), "scoring held-out pictures", len(self._held_out))
        return {digest: infer_prepared(engine, prepared).score for digest, prepared in pictures}

    def _error_of(self, got: list[FrameMap]) -> float:
        differences = [
            np.abs(now.anomaly_map - before.anomaly_map).mean(dtype=np.float64)
            for before, now in zip(self._maps, got, strict=False)
        ]
        error = float(np.mean(differences) / self._range)
        return error if np.isfinite(error) else float("inf")


def opened(graph: CandidateGraph, exact_products: bool = True) -> closing[OnnxRuntimeEngine]:
    """A candidate in ONNX Runtime, with exact integer products; it runs as it is written where optimisations change its answers.

    A processor that saturates must not leave its mark on what is recorded: its golden replay would then find nothing wrong.
    """
    optimise = not graph.is_run_as_written
    return closing(
        OnnxRuntimeEngine(graph.content, "graph", "any", None, optimise=optimise, exact_products=exact_products)
    )


def _maps(engine: Engine, frames: Sequence[Prepared]) -> list[FrameMap]:
    return [infer_prepared(engine, frame) for frame in frames]
