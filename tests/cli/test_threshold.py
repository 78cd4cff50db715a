from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edgeleather.bundle.articles import ARTICLES_FILE
from edgeleather.bundle.bundle import read_bundle
from edgeleather.cli.main import main
from edgeleather.cli.threshold import page_beside


def run(*arguments):
    return CliRunner().invoke(main, ["threshold", *map(str, arguments)])


def test_text_and_page_by_default_and_one_object_with_json(bundle_copy):
    shown = run(bundle_copy)
    page = bundle_copy.with_name("bundle-copy-threshold.html")
    assert shown.exit_code == 0 and "| `in use` |" in shown.stdout and f"Look at {page}" in shown.stdout
    assert page.read_text().startswith("<!doctype html>")
    data = json.loads(run(bundle_copy, "--json").stdout)
    assert data["page"] == str(page) and data["threshold"]["value"] == pytest.approx(
        read_bundle(bundle_copy).thresholds_of(data["graph"]).verdict.value
    )


def test_the_page_of_one_article_of_several_lies_outside_of_the_folder_of_all(tmp_path):
    (tmp_path / "all" / "brown").mkdir(parents=True)
    assert page_beside(tmp_path / "all" / "brown") == tmp_path / "all" / "brown-threshold.html"
    (tmp_path / "all" / ARTICLES_FILE).touch()
    assert page_beside(tmp_path / "all" / "brown") == tmp_path / "all-brown-threshold.html"


def test_a_chosen_threshold_is_in_the_bundle(bundle_copy, tmp_path):
    done = run(bundle_copy, "--set", 2.5, "--out", tmp_path / "new" / "page.html", "--json")
    assert done.exit_code == 0 and (tmp_path / "new" / "page.html").exists()
    report = json.loads(done.stdout)
    assert report["threshold"]["value"] == 2.5
    assert read_bundle(bundle_copy).thresholds_of(report["graph"]).choice.wished == 2.5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "nan"], 2, "no number to work with"),
        (["--false-alarm-rate", "1"], 2, "is not in the range"),
        (["--hit-rate", "1.5"], 2, "is not in the range"),
        (["--set", "1", "--hit-rate", "0.9"], 2, "exclude each other"),
        (["--hit-rate", "0.9"], 1, "expected labelled pictures"),
        (["--precision", "fp64"], 1, "expected a precision of"),
    ],
)
def test_what_cannot_be_is_one_message(bundle_copy, arguments, code, message):
    before = (bundle_copy / "manifest.json").read_bytes()
    done = run(bundle_copy, *arguments)
    assert done.exit_code == code and message in done.stderr
    assert (bundle_copy / "manifest.json").read_bytes() == before
