"""The list of a bundle's articles: read strictly, names that any file system takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.bundle.articles import _FOLDER, ARTICLES_FILE, bundle_folders, folder_names, read_articles
from edgeleather.bundle.bundle import check_bundle_target, read_bundle
from edgeleather.errors import EdgeLeatherError


def listed(folder, folders, schema=1):
    for name in folders.values():
        if name.isalpha():
            (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / ARTICLES_FILE).write_text(json.dumps({"schema": schema, "folders": folders}))
    return folder


def test_a_plain_bundle_has_one_article_without_a_name(tmp_path):
    assert read_articles(tmp_path) == {"": tmp_path} and bundle_folders([tmp_path]) == [tmp_path]


def test_every_article_has_a_folder(tmp_path):
    listed(tmp_path, {"Größe 2": "groe", "black": "black"})
    assert read_articles(tmp_path) == {"Größe 2": tmp_path / "groe", "black": tmp_path / "black"}
    assert bundle_folders([tmp_path, tmp_path / "black"])[1:] == [tmp_path / "black"] * 2


@pytest.mark.parametrize("name", ["../up", "/etc", "a/b", "", ".hidden", "absent-1"])
def test_a_folder_that_is_none_inside_is_refused(tmp_path, name):
    with pytest.raises(EdgeLeatherError, match="which is no folder inside"):
        read_articles(listed(tmp_path, {"a": name}))


def test_a_link_an_empty_list_and_a_newer_schema_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    bundle = listed(tmp_path / "bundle", {"a": "alpha"}) if (tmp_path / "bundle").mkdir() is None else None
    (bundle / "alpha").rmdir()
    (bundle / "alpha").symlink_to(tmp_path / "other")
    with pytest.raises(EdgeLeatherError, match="which is no folder inside"):
        read_articles(bundle)
    with pytest.raises(EdgeLeatherError, match="names no article"):
        read_articles(listed(tmp_path, {}))
    with pytest.raises(EdgeLeatherError, match="names an article without a name"):
        read_articles(listed(tmp_path, {"": "alpha", "b": "beta"}))
    with pytest.raises(EdgeLeatherError, match="a newer edgeleather wrote it"):
        read_articles(listed(tmp_path, {"a": "alpha"}, schema=2))


def test_what_wants_one_bundle_names_those_that_there_are(tmp_path):
    listed(tmp_path, {"a": "alpha", "b": "beta"})
    with pytest.raises(
        EdgeLeatherError, match=r"holds the bundles of several articles\. Name one of them: .*alpha, .*beta"
    ):
        read_bundle(tmp_path)


def test_a_bundle_of_articles_is_overwritten_only_where_it_was_asked_for_and_holds_nothing_else(bundle, tmp_path):
    import shutil

    folder = tmp_path / "several"
    shutil.copytree(bundle.folder, folder / "alpha")
    listed(folder, {"a": "alpha"})
    with pytest.raises(EdgeLeatherError, match="is a bundle already"):
        check_bundle_target(folder, overwrite=False)
    check_bundle_target(folder, overwrite=True)
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(EdgeLeatherError, match=r"no bundle \(diary\.txt\)"):
        check_bundle_target(folder, overwrite=True)


@given(st.lists(st.text(min_size=1, max_size=80), max_size=6, unique=True))
def test_any_names_have_folders_of_their_own(articles):
    names = folder_names(articles, {"known": "kept"})
    assert names["known"] == "kept" and set(names) == {*articles, "known"}
    assert len(set(names.values())) == len(names) and all(map(_FOLDER.fullmatch, names.values()))
