"""A bundle of several articles: taught in one go, recognised frame by frame, and added to without touching the rest."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

import edgeleather as el
from edgeleather.benchmarks.report import benchmark_bundles, markdown
from edgeleather.bundle.articles import read_articles
from edgeleather.bundle.bundle import read_bundle
from edgeleather.calibration.calibrating import CalibrationSettings
from edgeleather.calibration.guard import Budget
from edgeleather.cli.main import main
from edgeleather.errors import EdgeLeatherError
from edgeleather.export import teaching
from edgeleather.export.teaching import add_articles, teach
from edgeleather.files import sha256_of_file
from edgeleather.imaging.images import read_image, write_image
from edgeleather.training.choices import TrainingChoices, train_chosen
from tests.dataset.test_reading import with_articles

pytestmark = [pytest.mark.train, pytest.mark.slow]

BLACK = "schwarz glänzend"
QUICK = {"calibration": CalibrationSettings(precision="fp16", budget=Budget())}
CHOICES = TrainingChoices(suspects="keep")


@pytest.fixture(scope="module")
def dataset(dataset_folder, tmp_path_factory):
    return with_articles(dataset_folder, tmp_path_factory.mktemp("articles") / "photos")


@pytest.fixture(scope="module")
def lesson(dataset, tmp_path_factory):
    return teach(dataset, tmp_path_factory.mktemp("bundle") / "several", CHOICES, **QUICK)


def pictures(dataset, place):
    return [read_image(path) for path in sorted((dataset / place).iterdir())]


def digests(folder):
    return {path.relative_to(folder): sha256_of_file(path) for path in folder.rglob("*") if path.is_file()}


def test_every_article_has_a_bundle_of_its_own_with_its_pictures_alone(lesson, dataset):
    folders = read_articles(lesson.folder)
    assert list(lesson.articles) == list(folders) == ["beige", BLACK]
    assert [path.name for path in lesson.folder.parent.iterdir()] == ["several"]
    used = []
    for article, folder in folders.items():
        bundle = read_bundle(folder)
        assert bundle.article == article and list(bundle.manifest.looks) == [article]
        assert {thresholds.article for thresholds in bundle.manifest.thresholds} == {article}
        used.append(bundle.manifest.images.all)
    assert used[0] and not used[0] & used[1]


def test_the_article_of_a_frame_is_recognised_and_stands_in_its_record(lesson, dataset):
    with el.load(lesson.folder) as inspector:
        for article in ("beige", BLACK):
            found = [inspector.inspect(image) for image in pictures(dataset, f"test/good/{article}")]
            assert {one.article for one in found} == {article}
            holes = [inspector.inspect(image) for image in pictures(dataset, f"test/hole/{article}")]
            assert {one.article for one in holes} == {article} and "defect" in {one.verdict for one in holes}
        assert inspector.inspect(np.full((64, 64, 3), 255, np.uint8)).verdict == "unfamiliar"  # of none


def test_a_frame_gets_the_verdict_of_its_articles_own_bundle(lesson, dataset):
    folder = read_articles(lesson.folder)[BLACK]
    with el.load(lesson.folder) as several, el.load(folder) as single:
        for image in pictures(dataset, f"test/hole/{BLACK}"):
            one, other = several.inspect(image), single.inspect(image)
            assert (one.verdict, one.score, one.threshold, one.regions) == (
                other.verdict,
                other.score,
                other.threshold,
                other.regions,
            )


def test_a_frame_of_another_article_than_told_is_unfamiliar(lesson, dataset):
    with el.load(lesson.folder, el.InspectorSettings(article="beige")) as inspector:
        assert list(inspector.articles) == ["beige"]  # the others cost no engine
        found = [inspector.inspect(image) for image in pictures(dataset, f"test/good/{BLACK}")]
        assert {one.verdict for one in found} == {"unfamiliar"}
        assert all(f"it looks like the article {BLACK}, not like beige" in one.reason for one in found)
        own = [inspector.inspect(image).reason for image in pictures(dataset, "test/good/beige")]
        assert not any("it looks like the article" in (reason or "") for reason in own)
    with pytest.raises(EdgeLeatherError, match=rf"expected the article to be one of beige, {BLACK}, got 'red'"):
        el.load(lesson.folder, el.InspectorSettings(article="red"))


def test_the_command_names_the_article_of_every_frame(lesson, dataset, tmp_path, capsys):
    lines = tmp_path / "lines.jsonl"
    arguments = ["--source", str(dataset / "test/good" / BLACK), "--jsonl", str(lines), "--quiet", "--json"]
    main(["inspect", str(lesson.folder), *arguments], standalone_mode=False)
    assert {json.loads(line)["article"] for line in lines.read_text().splitlines()} == {BLACK}
    summary = json.loads(capsys.readouterr().out)
    assert {row["article"] for row in summary["verdicts"]} == {"beige", BLACK}


def test_the_report_has_rows_of_every_article_on_its_own_pictures(lesson, dataset, tmp_path):
    report = benchmark_bundles([lesson.folder], dataset, tmp_path / "report", rounds=1, repeats=2)
    rows = {(row["article"], row["backend"], row["precision"]): row for row in report["rows"]}
    assert {article for article, *_ in rows} == {"beige", BLACK}
    names = {rows[article, "torch", "fp32"]["bundle"] for article in ("beige", BLACK)}
    assert names == {"several/beige", "several/schwarz-glanzend"}
    assert (
        sum(rows[article, "torch", "fp32"]["tested_images"] for article in ("beige", BLACK)) == report["tested_images"]
    )
    assert f"| several/schwarz-glanzend | {BLACK} | onnxruntime | fp32 |" in markdown(report)


def test_an_article_without_test_pictures_is_named_in_the_report_beside_the_others(lesson, dataset, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(dataset / "test", photos / "test")
    for folder in photos.glob("test/*/beige"):
        shutil.rmtree(folder)
    report = benchmark_bundles([lesson.folder], photos, tmp_path / "report", rounds=1, repeats=2)
    assert {row["article"] for row in report["rows"]} == {BLACK}
    assert "several/beige: no test pictures in test/<class>/beige, so" in "".join(report["notes"])
    for folder in photos.glob("test/*/*"):
        folder.rename(folder.with_name("red"))
    with pytest.raises(
        EdgeLeatherError, match=rf"expected test pictures .* in test/<class>/beige, test/<class>/{BLACK}"
    ):
        benchmark_bundles([lesson.folder], photos, tmp_path / "report", rounds=1, repeats=2)


def test_an_article_is_added_and_the_others_keep_every_byte(lesson, dataset, tmp_path):
    out, photos = tmp_path / "several", tmp_path / "photos"
    shutil.copytree(lesson.folder, out)
    before = digests(out)
    shutil.copytree(dataset / "train/good/beige", photos / "red")
    for path in sorted((photos / "red").iterdir()):
        image = read_image(path)
        image[..., :2] //= 2
        write_image(path, image)
    added = add_articles(photos, out, CHOICES, **QUICK)
    assert list(added.articles) == ["red"] and list(read_articles(out)) == ["beige", BLACK, "red"]
    after = digests(out)
    assert {name: after[name] for name in before if name.name != "articles.json"} == {
        name: digest for name, digest in before.items() if name.name != "articles.json"
    }
    with el.load(out) as inspector:
        found = [inspector.inspect(image) for image in pictures(photos, "red")]
    assert {one.article for one in found} == {"red"}
    with pytest.raises(EdgeLeatherError, match=r"knows beige, .*, red, and .* has red: nothing is to be added"):
        add_articles(photos, out, CHOICES, **QUICK)


def test_an_article_may_be_called_like_a_folder_of_the_work_and_be_the_only_one_that_is_added(
    lesson, dataset, tmp_path
):
    out, photos = tmp_path / "several", tmp_path / "photos"
    shutil.copytree(lesson.folder, out)
    for name in ("bundle", "whole"):
        shutil.copytree(dataset / "train/good/beige", photos / name)
    only = TrainingChoices(suspects="keep", article="bundle")
    assert list(add_articles(photos, out, only, **QUICK).articles) == ["bundle"]
    assert list(read_articles(out)) == ["beige", BLACK, "bundle"]
    with pytest.raises(EdgeLeatherError, match=r"expected the article to be one of bundle, whole, got 'red'"):
        add_articles(photos, out, TrainingChoices(article="red"), **QUICK)


def test_an_article_of_which_suspects_leave_too_few_is_refused_since_no_frame_could_be_recognised(dataset, tmp_path):
    photos, listed = tmp_path / "photos", tmp_path / "suspects.csv"
    shutil.copytree(dataset / "train/good", photos)
    names = [f"beige/{path.name}" for path in sorted((photos / "beige").iterdir())]
    listed.write_text("file,use\n" + "".join(f"{name},leave out\n" for name in names[7:]))
    with pytest.raises(
        EdgeLeatherError, match=rf"article beige: expected at least 8 .*, got 7\. Suspects are {names[7]}"
    ):
        teach(photos, tmp_path / "b", TrainingChoices(suspects=listed), **QUICK)
    assert not (tmp_path / "b").exists()


def test_nothing_is_added_to_a_bundle_whose_article_has_no_name(bundle_copy, dataset):
    with pytest.raises(EdgeLeatherError, match="expected a bundle whose articles have names"):
        add_articles(dataset, bundle_copy, CHOICES, **QUICK)


def test_an_interrupted_teaching_goes_on_with_the_article_that_it_had_come_to(dataset, tmp_path, monkeypatch):
    trained = []
    export = teaching.export_run

    def interrupted(folder, *rest, **named):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(folder.name)
        return export(folder, *rest, **named)

    monkeypatch.setattr(teaching, "export_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teach(dataset, tmp_path / "b", CHOICES, **QUICK)
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr(
        teaching, "export_run", lambda *rest, **named: trained.append("again") or export(*rest, **named)
    )
    again = teach(dataset, tmp_path / "b", CHOICES, **QUICK)
    assert trained == ["beige", "again"] and list(again.articles) == ["beige", BLACK]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_articles_of_too_few_pictures_are_told_before_anything_is_trained(dataset, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(dataset / "train/good", photos)
    for path in sorted((photos / "beige").iterdir())[5:]:
        path.unlink()
    with pytest.raises(EdgeLeatherError, match=r"at least 8 different good pictures of every article.*beige \(5\)"):
        teach(photos, tmp_path / "b", CHOICES, **QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_one_article_of_several_may_be_trained_alone(dataset, tmp_path):
    run = train_chosen(dataset, TrainingChoices(suspects="keep", article="beige"), tmp_path / "run")
    assert run.settings.article == "beige"
    assert all("/beige/" in record.name for record in (*run.splits.training, *run.splits.threshold))
    with pytest.raises(EdgeLeatherError, match=r"expected good pictures of one article, got those of beige, "):
        train_chosen(dataset, TrainingChoices(), tmp_path / "all")
    with pytest.raises(EdgeLeatherError, match=r"expected the article to be one of beige, .*, got 'red'"):
        teach(dataset, tmp_path / "c", TrainingChoices(article="red"), **QUICK)
