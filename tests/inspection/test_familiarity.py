"""Frames that do not look like what was taught are unfamiliar, never good; good ones and defects stay what they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgeleather.bundle.bundle import Bundle
from edgeleather.inspection.decisions import DecisionRules
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.sources.frame import Frame


@pytest.fixture(scope="module")
def inspector(bundle):
    with Inspector(bundle, InspectorSettings(precision="fp32")) as opened:
        yield opened


@pytest.fixture(scope="module")
def good(dataset_folder):
    return [cv2.imread(str(path)) for path in sorted((dataset_folder / "test" / "good").glob("*.png"))]


def test_good_pictures_are_familiar(inspector, good):
    verdicts = Counter(inspector.inspect(image).verdict for image in good)
    assert verdicts["unfamiliar"] <= 1 and verdicts["good"] >= len(good) - 1


def test_pictures_that_the_bundle_was_taught_with_are_familiar_in_any_file(inspector, bundle, dataset_folder, tmp_path):
    """A memory bank's map of a picture that is in the bank is far lower than that of another good picture."""
    paths = sorted((dataset_folder / "train" / "good").glob("*.png"))
    images = [cv2.imread(str(path)) for path in paths]
    with Inspector(without_digests(bundle), InspectorSettings(precision="fp32")) as forgetful:
        assert any(forgetful.inspect(image).verdict == "unfamiliar" for image in images)
    assert {inspector.inspect(path).verdict for path in paths} <= {"good", "defect"}
    cv2.imwrite(str(tmp_path / "copy.bmp"), images[0])
    copy = inspector.inspect(tmp_path / "copy.bmp")
    assert (copy.verdict, copy.reason) == ("good", None) and copy.distance > 0


def without_digests(bundle):
    images = replace(bundle.manifest.images, training=(), validation=(), threshold=())
    return Bundle(bundle.folder, replace(bundle.manifest, images=images))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blind_camera_is_never_good(inspector, good, level):
    inspection = inspector.inspect(np.full_like(good[0], level))
    assert inspection.verdict in ("unfamiliar", "defect")
    assert inspection.verdict == "defect" or "does not look like the good pictures" in inspection.reason


def test_what_is_above_the_threshold_stays_a_defect_and_has_its_distance(inspector, dataset_folder):
    found = [inspector.inspect(path) for path in sorted((dataset_folder / "test").glob("[!g]*/*.png"))]
    above = [one for one in found if one.score > one.threshold]
    assert above
    assert all(one.verdict == "defect" and one.reason is None and one.distance > 0 for one in above)


def test_the_reason_says_what_is_odd(inspector, good):
    reasons = [inspector.inspect((image // 8).astype(np.uint8)).reason for image in good]
    assert any(reason and "lower" in reason for reason in reasons)


def test_an_older_bundle_has_no_such_check(bundle, good):
    manifest = replace(bundle.manifest, looks={})
    with Inspector(Bundle(bundle.folder, manifest), InspectorSettings(precision="fp32")) as opened:
        inspection = opened.inspect(good[0])
    assert (inspection.verdict, inspection.reason, inspection.distance) == ("good", None, None)


def test_only_the_region_of_interest_has_to_look_familiar(bundle, good):
    """A dark strip beside the leather, outside of the polygon, is none of the inspection's business."""
    frame = good[0].copy()
    frame[:, 48:] = 0
    rules = DecisionRules(region_of_interest_xy=((0, 0), (40, 0), (40, 63), (0, 63)))
    with Inspector(bundle, InspectorSettings(precision="fp32", rules=rules)) as opened:
        within = opened.inspect(frame)
    with Inspector(bundle, InspectorSettings(precision="fp32")) as opened:
        whole = opened.inspect(frame)
    assert whole.verdict in ("defect", "unfamiliar")
    assert within.distance < whole.distance


@pytest.mark.parametrize("factor", [0.5, 2])
@pytest.mark.parametrize(
    "rules", [DecisionRules(min_area_px=9), DecisionRules(region_of_interest_xy=((0, 0), (40, 0), (40, 40)))]
)
def test_areas_pin_the_size_of_frames(bundle, good, rules, factor):
    with Inspector(bundle, InspectorSettings(precision="fp32", rules=rules)) as opened:
        assert opened.inspect(good[0]).verdict != "failed"
        other = opened.inspect(cv2.resize(good[0], None, fx=factor, fy=factor))
        assert other.verdict == "failed" and "expected frames of 64 x 64 pixels" in other.error
        assert opened.inspect(good[0]).verdict != "failed"


def test_a_stated_size_holds_from_the_first_frame_on(bundle, good):
    rules = DecisionRules(frame_size_px=(128, 128))
    with Inspector(bundle, InspectorSettings(precision="fp32", rules=rules)) as opened:
        assert "expected frames of 128 x 128 pixels" in opened.inspect(good[0]).error


def test_without_areas_frames_of_any_size_are_inspected(inspector, good):
    assert inspector.inspect(cv2.resize(good[0], (128, 128))).verdict != "failed"


def test_a_frame_size_that_no_frame_can_have_is_refused():
    with pytest.raises(ValueError, match="frame_size_px"):
        DecisionRules(frame_size_px=(0, 480))


def test_a_frame_that_a_camera_keeps_giving_is_unfamiliar(inspector, good):
    inspection = inspector.inspect(Frame(0, 0.0, "camera", good[0], frozen_seconds=12.0))
    assert inspection.verdict == "unfamiliar" and inspection.reason == "the camera has given this same frame for 12 s"
