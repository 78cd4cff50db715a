from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from edgeleather.engines.engine import Maps, load_engine
from edgeleather.engines.replay import replay, require_golden
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.golden_frames import golden_frames


class Drifted:
    """A real engine whose answers are off by a share of the golden score range."""

    def __init__(self, engine, offset):
        self._engine, self._offset = engine, offset
        self.signature = engine.signature

    def infer(self, images):
        maps = self._engine.infer(images)
        return Maps(maps.maps + np.float32(self._offset), maps.scores + np.float32(self._offset))

    def close(self):
        self._engine.close()


@pytest.fixture
def engine(bundle):
    with closing(load_engine("onnxruntime", bundle.folder / "fp32.onnx", "fp32")) as loaded:
        yield loaded


def test_the_recording_engine_passes(bundle, engine):
    outcome = replay(bundle, engine, "fp32.onnx")
    assert outcome.passed and outcome.frames == 8 and outcome.worst_deviation < 1e-3


def test_defects_score_higher_than_their_normals(bundle, engine):
    from edgeleather.bundle.golden import GoldenAnswers
    from edgeleather.records import read_record

    answers = read_record(GoldenAnswers, bundle.folder / "golden" / "fp32.onnx.json", "").answers
    good = [a.score for a in answers if a.shows == "good"]
    bad = [a.score for a in answers if a.shows != "good"]
    assert np.mean(bad) > np.mean(good)
    assert all(np.array(a.small_map).shape == (16, 16) for a in answers)


def test_an_engine_that_drifts_is_refused(bundle, engine):
    answers = replay(bundle, engine, "fp32.onnx")
    assert answers.passed
    with pytest.raises(EdgeLeatherError, match="does not give the recorded answers"):
        require_golden(bundle, Drifted(engine, 0.2), "fp32.onnx")
    assert not replay(bundle, Drifted(engine, float("nan")), "fp32.onnx").passed


def test_at_most_eight_frames_and_the_seed_decides():
    images = [np.full((64, 64, 3), 90 + i, np.uint8) for i in range(9)]
    frames = golden_frames(images, 1)
    assert len(frames) == 8
    again = golden_frames(images, 1)
    assert all(np.array_equal(frames[name], again[name]) for name in frames)
