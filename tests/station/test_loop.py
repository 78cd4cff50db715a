from __future__ import annotations

import json
import statistics
import time

import numpy as np
import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.stop import Stop
from edgeleather.events.writers import DefectPicturesWriter, JsonLinesWriter, QueuedWriter
from edgeleather.imaging.images import read_image
from edgeleather.imaging.preprocess import prepare
from edgeleather.inspection.inference import infer_frame
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.sources.frame import Frame
from edgeleather.sources.memory import MemorySource
from edgeleather.sources.opening import open_source
from edgeleather.station.loop import run_loop


@pytest.fixture(scope="module")
def inspector(bundle):
    made = Inspector(bundle, InspectorSettings())
    yield made
    made.close()


class FailingWriter:
    name = "failing"

    def write(self, entry):
        raise EdgeLeatherError("no room")

    def close(self):
        pass


class EndingSource(MemorySource):
    """Ends abnormally after its frames."""

    def __iter__(self):
        yield from super().__iter__()
        raise EdgeLeatherError("the cable was pulled")


def test_counts_add_up_and_every_record_is_written_in_order(inspector, dataset_folder, tmp_path):
    (tmp_path / "in").mkdir()
    for index, kind in enumerate(("good", "hole", "stain")):
        content = (dataset_folder / f"test/{kind}/000.png").read_bytes()
        (tmp_path / f"in/{index}.png").write_bytes(content)
    (tmp_path / "in/3.png").write_bytes(b"damaged")
    writers = [
        QueuedWriter(JsonLinesWriter(tmp_path / "out.jsonl")),
        QueuedWriter(DefectPicturesWriter(tmp_path / "defects")),
    ]
    summary = run_loop(open_source(str(tmp_path / "in")), inspector, writers, Stop())
    assert summary.captured == 4 == summary.inferred + summary.dropped + summary.failed
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == [0, 1, 2, 3]
    assert [record["verdict"] for record in records].count("defect") == summary.defects
    assert records[3]["verdict"] == "failed" and "does not decode" in records[3]["error"]
    assert set(records[0]) >= {
        "frame", "source", "verdict", "score", "threshold", "defect_area_percent", "regions", "timings_ms", "error",
    }  # fmt: skip
    pictures = sorted((tmp_path / "defects").iterdir())
    assert len(pictures) == summary.defects
    assert all(shape[0] > 64 and shape[1:] == (128, 3) for shape in (read_image(path).shape for path in pictures))
    regions = [region for record in records for region in record["regions"]]
    assert regions and all(len(region["contour_xy"]) >= 3 and region["area_mm2"] is None for region in regions)


def test_one_writers_failure_touches_neither_another_nor_the_loop(inspector, noise_bgr, tmp_path):
    failing, writing = QueuedWriter(FailingWriter()), QueuedWriter(JsonLinesWriter(tmp_path / "out.jsonl"))
    summary = run_loop(MemorySource([noise_bgr] * 5), inspector, [failing, writing], Stop())
    assert summary.inferred == 5 and failing.lost == 5 and failing.first_error == "no room"
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5 and writing.first_error is None


def test_an_abnormal_end_keeps_what_was_inspected(inspector, noise_bgr, tmp_path):
    writer = QueuedWriter(JsonLinesWriter(tmp_path / "out.jsonl"))
    summary = run_loop(EndingSource([noise_bgr] * 3), inspector, [writer], Stop())
    assert summary.source_error == "the cable was pulled" and summary.inferred == 3
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_stopping_ends_after_the_frame_in_hand(inspector, noise_bgr):
    stop = Stop()

    class Stopping(MemorySource):
        def __iter__(self):
            for frame in super().__iter__():
                if frame.index == 2:
                    stop.set()
                yield frame

    summary = run_loop(Stopping([noise_bgr] * 10), inspector, [], stop)
    assert summary.inferred == summary.captured == 3 and summary.stopped_by_signal


@pytest.mark.alone
@pytest.mark.train
def test_the_loop_keeps_at_least_95_percent_of_the_engines_speed(bundle_256):
    """Good frames from memory at 256 pixels; engine and loop take turns in this process."""
    made = Inspector(bundle_256, InspectorSettings())
    images = [read_image(path) for path in sorted((bundle_256.folder.parent / "data/train/good").iterdir())]
    prepared = [prepare(image, made.mode).images for image in images]

    def engine_alone():
        for image in prepared:
            made.engine.infer(image)

    def whole_loop():
        run_loop(MemorySource(images), made, [], Stop())

    ratios = []
    for turn in range(101):
        seconds = {}
        for work in (engine_alone, whole_loop) if turn % 2 else (whole_loop, engine_alone):
            started = time.perf_counter()
            work()
            seconds[work] = time.perf_counter() - started
        ratios.append(seconds[engine_alone] / seconds[whole_loop])
    made.close()
    # The median over neighbouring rounds: what another process of this shared machine takes hits either of a pair alike, while
    # the fastest round of each is a stroke of luck that need not come to both.
    assert statistics.median(ratios) >= 0.95, ratios


def test_frames_are_inferred_the_same_way_everywhere(inspector, noise_bgr):
    frame = Frame(0, 0.0, "x", noise_bgr)
    direct = infer_frame(inspector.engine, noise_bgr, inspector.mode)
    assert inspector.inspect(frame).score == direct.score
    assert np.array_equal(inspector.inspect(frame).anomaly_map, direct.anomaly_map)
