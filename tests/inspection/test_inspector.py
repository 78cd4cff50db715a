from __future__ import annotations

import time

import numpy as np
import pytest

from edgeleather.bundle.bundle import read_bundle
from edgeleather.bundle.manifest import INT8_7BIT_GRAPH, INT8_GRAPH
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import read_image
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.inspection.opening import open_inspector
from edgeleather.machine import saturates_integer_products
from edgeleather.sources.frame import Frame
from edgeleather.sources.memory import MemorySource
from tests.tiny import spoil_answers


@pytest.fixture(scope="module")
def inspector(bundle):
    made = Inspector(bundle, InspectorSettings())
    yield made
    made.close()


def frame_of(image, error=None):
    return Frame(0, time.time(), "test", image, 1.0, error)


def test_a_hole_is_a_defect_with_a_region_where_it_is(inspector, hole_picture, dataset_folder):
    inspection = inspector.inspect(frame_of(read_image(hole_picture)))
    assert inspection.verdict == "defect" and inspection.score > inspection.threshold
    mask = read_image(dataset_folder / "ground_truth/hole/000_mask.png")[..., 0] > 0
    x, y, width, height = inspection.regions[0].box_xywh
    rows, columns = np.nonzero(mask)
    assert x <= columns.mean() <= x + width and y <= rows.mean() <= y + height
    assert 0 < inspection.defect_area_percent <= 100
    assert set(inspection.timings_ms) == {"capture", "preprocess", "inference", "decision", "total"}


def test_most_good_pictures_are_good(inspector, dataset_folder):
    verdicts = [
        inspector.inspect(frame_of(read_image(p))).verdict for p in sorted((dataset_folder / "test/good").iterdir())
    ]
    assert verdicts.count("good") >= 7


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "could not be captured"),
        (np.zeros((0, 0, 3), np.uint8), "empty"),
        (np.full((64, 64, 3), np.nan), "NaN"),
        (np.zeros((64, 90, 3), np.uint8), "aspect ratio"),
        (np.zeros((64, 64, 3), np.uint16), "--white-level"),
    ],
)
def test_a_frame_that_cannot_be_inspected_failed_and_is_never_good(inspector, image, message):
    inspection = inspector.inspect(frame_of(image))
    assert inspection.verdict == "failed" and message in inspection.error
    assert inspection.score is None and inspection.regions == ()


def test_tiles_of_a_larger_frame_with_a_stricter_threshold(bundle, dataset_folder):
    good = [read_image(p) for p in sorted((dataset_folder / "test/good").iterdir())[:4]]
    frame = np.vstack([np.hstack(good[:2]), np.hstack(good[2:])])
    frame[20:40, 84:108] = (10, 10, 240)  # a red patch: no hole of this size is plain enough for nine tiles' threshold
    made = Inspector(bundle, InspectorSettings(input_kind="tiles"))
    try:
        inspection = made.inspect(next(iter(MemorySource([frame]))))
        assert inspection.threshold > made.thresholds.verdict.value
        assert inspection.verdict == "defect"
        x, y, width, height = inspection.regions[0].box_xywh
        assert x + width / 2 > 64 and y + height / 2 < 64
        assert inspection.anomaly_map.shape == (128, 128)
    finally:
        made.close()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input_kind": "tile"}, "expected the input kind to be one of resize, tiles, got 'tile'"),
        ({"fit": "bogus"}, "expected the fit to be one of exact, crop, stretch, got 'bogus'"),
        ({"threads": -3}, "expected the number of threads to be 1 to 256, got -3"),
    ],
)
def test_a_setting_that_is_not_known_is_refused(values, message):
    with pytest.raises(EdgeLeatherError, match=message):
        InspectorSettings(**values)


def test_a_trusted_engine_may_be_named_by_a_text(bundle):
    with pytest.raises(EdgeLeatherError, match=r"expected an engine file .* at x\.engine, found no such name"):
        Inspector(bundle, InspectorSettings(trusted_engine="x.engine"))


def test_a_rarer_false_alarm_rate_raises_the_threshold(bundle):
    made = Inspector(bundle, InspectorSettings(false_alarm_rate=1e-3))
    try:
        assert made.articles[""].verdict_for(1).rule == "extrapolated"
        assert made.articles[""].verdict_for(1).value >= made.thresholds.verdict.value
    finally:
        made.close()


def test_a_damaged_engine_is_found_before_the_first_verdict(bundle_copy):
    spoil_answers(bundle_copy, "fp32.onnx")
    with pytest.raises(EdgeLeatherError, match="golden frames"):
        Inspector(read_bundle(bundle_copy), InspectorSettings(precision="fp32"))


def test_golden_frames_decide_between_the_8_bit_and_the_7_bit_graph(bundle_copy):
    """A processor that saturates gives other answers than recorded; on others the record of the 8-bit graph is spoilt here."""
    made = Inspector(read_bundle(bundle_copy), InspectorSettings(precision="int8"))
    made.close()
    assert made.graph == INT8_GRAPH or saturates_integer_products()
    if made.graph == INT8_GRAPH:
        spoil_answers(bundle_copy, INT8_GRAPH)
    other = Inspector(read_bundle(bundle_copy), InspectorSettings(precision="int8"))
    other.close()
    assert other.graph == INT8_7BIT_GRAPH and other.thresholds == read_bundle(bundle_copy).thresholds_of(
        INT8_7BIT_GRAPH
    )
    spoil_answers(bundle_copy, INT8_7BIT_GRAPH)
    with pytest.raises(EdgeLeatherError, match="does not give the recorded answers"):
        Inspector(read_bundle(bundle_copy), InspectorSettings(precision="int8"))


def test_a_path_an_array_and_a_frame_get_the_same_verdict(inspector, hole_picture):
    image = read_image(hole_picture)
    seen = [inspector.inspect(one) for one in (hole_picture, str(hole_picture), image, frame_of(image))]
    assert len({(one.verdict, one.score, one.regions) for one in seen}) == 1 and seen[0].verdict == "defect"
    assert seen[0].source == str(hole_picture) and seen[0].timings_ms["capture"] > 0


def test_a_picture_that_cannot_be_read_failed_and_one_that_is_not_there_raises(inspector, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"damaged")
    for path in (tmp_path / "damaged.png", tmp_path):
        inspection = inspector.inspect(path)
        assert inspection.verdict == "failed" and inspection.error.startswith(str(path))
    with pytest.raises(EdgeLeatherError, match=r"expected a picture at .*, found nothing there"):
        inspector.inspect(tmp_path / "absent.png")
    assert inspector.inspect(np.zeros((0, 0, 3), np.uint8)).verdict == "failed"


def test_a_bundle_is_opened_with_what_build_chose_and_closed_at_the_end(bundle_copy, good_picture):
    from edgeleather.engines.built import Choice, graph_digests, machine_folder
    from edgeleather.records import to_json

    with open_inspector(bundle_copy) as inspector:
        assert inspector.precision == "int8" and inspector.inspect(good_picture).error is None
    choice = Choice(1, "onnxruntime", "fp32", {"fp32": 1.0}, graph_digests(read_bundle(bundle_copy).manifest))
    machine_folder(bundle_copy).mkdir(parents=True)
    (machine_folder(bundle_copy) / "choice.json").write_bytes(to_json(choice))
    (bundle_copy / "int8-onnxruntime.onnx").write_bytes(b"damaged, and not needed")
    with open_inspector(bundle_copy) as inspector:
        assert inspector.precision == "fp32"
    named = read_bundle(bundle_copy, without_int8)
    with Inspector(named, InspectorSettings()) as inspector:
        assert inspector.precision == "fp32"
    with pytest.raises(EdgeLeatherError, match="int8-onnxruntime"):
        open_inspector(bundle_copy, InspectorSettings(precision="int8"))


def without_int8(manifest):
    return [name for name in manifest.files if name != INT8_GRAPH]
