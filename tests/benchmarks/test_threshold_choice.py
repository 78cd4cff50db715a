from __future__ import annotations

import html
import json
import math
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeleather.benchmarks.threshold_choice import ThresholdWish, choose_threshold
from edgeleather.benchmarks.threshold_page import text
from edgeleather.bundle.bundle import everything, read_bundle
from edgeleather.bundle.thresholds import verdict_threshold
from edgeleather.errors import EdgeLeatherError
from edgeleather.inspection.opening import open_inspector
from tests.browser import opened
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def shown(bundle, dataset_folder, tmp_path_factory):
    """The report of a bundle whose threshold is so high that defects are missed, and its page."""
    folder = tmp_path_factory.mktemp("threshold")
    copy = shutil.copytree(bundle.folder, folder / "bundle")
    scores = read_bundle(copy).thresholds_of("fp32.onnx").good_scores
    wish = ThresholdWish(value=1.5 * max(scores))
    page = folder / "page.html"
    return choose_threshold(copy, dataset_folder, wish, page, precision="fp32"), page.read_text()


def thresholds(folder):
    return {one.graph: one for one in read_bundle(folder, everything).manifest.thresholds}


def test_without_data_it_shows_the_good_scores_and_changes_nothing(bundle_copy):
    before = (bundle_copy / "manifest.json").read_bytes()
    report = choose_threshold(bundle_copy)
    assert (bundle_copy / "manifest.json").read_bytes() == before
    assert report["labelled"] is None and report["classes"] == [] and report["missed"] == []
    kept = thresholds(bundle_copy)[report["graph"]]
    assert report["good"]["scores"] == sorted(kept.good_scores) and report["good"]["photographs"] == kept.good_groups
    assert sum(report["distribution"]["rows"][0]["counts"]) == len(kept.good_scores)
    row = next(row for row in report["thresholds"] if row["origin"] == "in use")
    assert row["threshold"] == kept.verdict.value and row["hits"] is None
    values = [row["threshold"] for row in report["thresholds"]]
    assert values == sorted(values)


def test_counts_are_those_of_the_inspector(bundle, dataset_folder):
    report = choose_threshold(bundle.folder, dataset_folder)
    with open_inspector(bundle.folder) as inspector:
        verdicts = {
            one["name"]: inspector.inspect(dataset_folder / one["name"]).verdict for one in report["labelled"]["scores"]
        }
    assert len(verdicts) == report["labelled"]["pictures"] > 8
    for row in report["classes"]:
        of_class = [verdict for name, verdict in verdicts.items() if name.split("/")[1] == row["class"]]
        assert {verdict: of_class.count(verdict) for verdict in ("good", "defect", "unfamiliar")} == {
            verdict: row[verdict] for verdict in ("good", "defect", "unfamiliar")
        }
    missed = {name for name, verdict in verdicts.items() if "/good/" not in name and verdict != "defect"}
    assert {one["name"] for one in report["missed"]} == missed


def test_a_score_is_written_for_each_graph_with_where_it_came_from(bundle_copy, dataset_folder):
    before = thresholds(bundle_copy)
    report = choose_threshold(bundle_copy, dataset_folder, ThresholdWish(value=2.5), precision="fp32")
    after = thresholds(bundle_copy)
    assert after["fp32.onnx"].verdict.value == 2.5 and len(after) >= 2
    for graph, one in after.items():
        shift = np.mean(before[graph].good_scores) - np.mean(before["fp32.onnx"].good_scores)
        assert one.verdict.value == pytest.approx(2.5 + shift) and one.choice.kind == "value"
        assert len(one.choice.pictures) == report["labelled"]["pictures"] and one.choice.data == dataset_folder.name
        assert one.held_out_scores == before[graph].held_out_scores
    assert report["threshold"]["chosen_on"] == report["labelled"]["pictures"]
    assert "no measurement" in report["notes"][0] and "no measurement" in report["threshold"]["description"]
    with open_inspector(bundle_copy) as inspector:
        assert inspector.articles[""].verdict_for(1).rule == "chosen"


def test_a_rate_is_that_of_each_graphs_good_scores_and_leaves_labelled_pictures_a_measurement(
    bundle_copy, dataset_folder
):
    report = choose_threshold(bundle_copy, dataset_folder, ThresholdWish(false_alarm_rate=1e-4))
    for one in thresholds(bundle_copy).values():
        assert one.verdict == verdict_threshold(one.good_scores, 1e-4, extrapolate=True)
        assert one.verdict.value > max(one.good_scores) and one.choice.pictures == ()
    assert report["threshold"]["chosen_on"] == 0


def test_a_hit_rate_finds_so_many_of_the_defects(bundle_copy, dataset_folder):
    report = choose_threshold(bundle_copy, dataset_folder, ThresholdWish(hit_rate=0.6))
    row = next(row for row in report["thresholds"] if row["origin"] == "in use")
    assert row["hits"]["percent"] >= 60 and row["hits"]["pictures"] == math.ceil(0.6 * row["hits"]["of"])
    assert report["threshold"]["choice"]["wished"] == 0.6


def numbers(value):
    """Every number of a record, also those inside its texts, as a page may write them."""
    if isinstance(value, dict):
        return {form for item in (*value.keys(), *value.values()) for form in numbers(item)}
    if isinstance(value, list):
        return {form for item in value for form in numbers(item)} | {str(len(value))}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {f"{value:.4g}", f"{value:.3g}", f"{value:.1f}", str(value)}
    return set(_NUMBER.findall(value)) if isinstance(value, str) else set()


_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


def test_every_number_on_the_page_is_in_the_record(shown):
    report, page = shown
    seen = re.sub(r"<(style|svg|head)\b.*?</\1>", " ", page, flags=re.DOTALL)
    written = set(_NUMBER.findall(html.unescape(re.sub(r"<[^>]*>", " ", seen))))
    assert len(written) > 50
    # The names of thresholds and metrics are none.
    assert written - numbers(json.loads(json.dumps(report))) - {"1"} == set()
    assert set(_NUMBER.findall(text(report))) <= written | {"1", "3"}


def test_the_page_needs_no_other_file_and_shows_what_was_missed(shown):
    report, page = shown
    assert report["missed"] and "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/jpeg") == len(report["missed"]) + len(report["false_alarms"])
    for row in report["distribution"]["rows"]:
        assert row["name"] in page and sum(row["counts"]) == row["pictures"]


def test_names_of_files_and_classes_spoil_no_page(bundle_copy, dataset_folder, tmp_path):
    classes = tmp_path / "data" / "test"
    shutil.copytree(dataset_folder / "test" / "good", classes / "good")
    shutil.copytree(dataset_folder / "test" / "hole", classes / "a|b`<c")
    shutil.copytree(dataset_folder / "ground_truth" / "hole", tmp_path / "data" / "ground_truth" / "a|b`<c")
    odd = classes / "a|b`<c" / "x](y)|`<z.png"
    (classes / "a|b`<c" / "000.png").rename(odd)
    masks = tmp_path / "data" / "ground_truth" / "a|b`<c"
    (masks / "000_mask.png").rename(masks / "x](y)|`<z_mask.png")
    report = choose_threshold(bundle_copy, tmp_path / "data", ThresholdWish(value=1e3), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "x](y)|`&lt;z.png: " in page and page.count("data:image/jpeg") == len(report["missed"]) == 3
    assert "<td>a¦b`&lt;c</td>" in page and "<c" not in page.replace("<code", "")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width_px", [1400, 500])  # Chromium's window is no narrower
def test_a_browser_shows_the_page_without_errors_and_without_sideways_scrolling(shown, tmp_path, width_px):
    report, page = shown
    widths, too_wide = opened(page, tmp_path, width_px)
    assert len(widths) == len(report["missed"]) + len(report["false_alarms"]) and min(widths) > 100
    assert too_wide <= 0


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({}, "exactly one .* got none"),
        ({"value": 1.0, "hit_rate": 0.5}, "got value and hit_rate"),
        ({"value": math.nan}, "expected a finite number as value, got nan"),
        ({"value": math.inf}, "expected a finite number"),
        ({"false_alarm_rate": 0.0}, "false alarm rate between 0 and 1"),
        ({"hit_rate": 1.0}, "hit rate between 0 and 1"),
        ({"hit_rate": -0.5}, "hit rate between 0 and 1"),
    ],
)
def test_what_is_no_wish_is_refused(wish, message):
    with pytest.raises(EdgeLeatherError, match=message):
        ThresholdWish(**wish)


def unchanged(folder, before):
    return (folder / "manifest.json").read_bytes() == before and not list(folder.glob("*.partial"))


def test_a_hit_rate_without_defects_is_refused(bundle_copy, dataset_folder, tmp_path):
    before = (bundle_copy / "manifest.json").read_bytes()
    with pytest.raises(EdgeLeatherError, match=r"expected labelled pictures .* got none"):
        choose_threshold(bundle_copy, None, ThresholdWish(hit_rate=0.9))
    goods = tmp_path / "goods"
    shutil.copytree(dataset_folder / "test" / "good", goods / "test" / "good")
    with pytest.raises(EdgeLeatherError, match=r"expected labelled defects .* got 8 good pictures"):
        choose_threshold(bundle_copy, goods, ThresholdWish(hit_rate=0.9))
    assert unchanged(bundle_copy, before)


def test_data_of_another_leather_is_refused_and_says_what_is_odd(bundle_copy, dataset_folder, tmp_path):
    before = (bundle_copy / "manifest.json").read_bytes()
    other = Path(shutil.copytree(dataset_folder, tmp_path / "other"))
    for picture in (other / "test").rglob("*.png"):
        cv2.imwrite(str(picture), cv2.imread(str(picture)) // 4)
    with pytest.raises(EdgeLeatherError, match=r"do not look like what was taught.*brightness"):
        choose_threshold(bundle_copy, other, ThresholdWish(hit_rate=0.9))
    assert unchanged(bundle_copy, before)
    assert "another leather" in choose_threshold(bundle_copy, other)["notes"][0]


def test_pictures_that_made_the_bundle_are_no_labelled_ones(bundle_copy, dataset_folder, tmp_path):
    shutil.copytree(dataset_folder / "train" / "good", tmp_path / "seen" / "test" / "good")
    with pytest.raises(EdgeLeatherError, match="that the bundle was not made from, got none: all 24"):
        choose_threshold(bundle_copy, tmp_path / "seen")


def test_places_that_cannot_be_written_are_told_before_any_work(bundle_copy, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeLeatherError, match="cannot write"):
        choose_threshold(bundle_copy, "no-such-data", out=tmp_path / "file" / "page.html")
    for out in (tmp_path, bundle_copy / "page.html"):
        with pytest.raises(EdgeLeatherError, match="name of a page outside of the bundle"):
            choose_threshold(bundle_copy, "no-such-data", out=out)


@pytest.mark.tmpfs
def test_a_bundle_on_a_full_disk_stays_as_it_is(small_disk_2mb):
    folder = Path(shutil.copytree(REPOSITORY / "tests" / "data" / "bundle-schema-4", small_disk_2mb / "bundle"))
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(OSError, match="No space"), (small_disk_2mb / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(1024))
    with pytest.raises(EdgeLeatherError, match=r"cannot write .* No space"):
        choose_threshold(folder, None, ThresholdWish(value=1.0))
    assert unchanged(folder, before)
