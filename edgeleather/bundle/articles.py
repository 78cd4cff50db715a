"""A bundle of several articles: a folder with one whole bundle for each, and the list of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeleather.errors import EdgeLeatherError
from edgeleather.records import read_record

ARTICLES_FILE = "articles.json"
_MEND = "Copy the bundle again from where it was made, or make it anew with: edgeleather teach"
_MOST_LETTERS = 60
_FOLDER = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class ArticleList:
    """The folders of the articles' bundles inside the folder that holds them all, by the articles' names."""

    schema: Literal[1]
    folders: dict[str, str]


def read_articles(folder: Path) -> dict[str, Path]:
    """The bundle folder of every article, by name; of a bundle that knows only one, the folder itself under the name "".

    Raises:
        EdgeLeatherError: the list is damaged, or names what is no folder inside.
    """
    path = folder / ARTICLES_FILE
    if not path.is_file():
        return {"": folder}
    folders = read_record(ArticleList, path, _MEND).folders
    if not folders or "" in folders:
        what = "names an article without a name" if folders else "names no article"
        raise EdgeLeatherError(f"{folder}: {ARTICLES_FILE} {what}. {_MEND}")
    for name in folders.values():
        if not _FOLDER.fullmatch(name) or (folder / name).is_symlink() or not (folder / name).is_dir():
            raise EdgeLeatherError(f"{folder}: {ARTICLES_FILE} names {name!r}, which is no folder inside. {_MEND}")
    return {article: folder / name for article, name in folders.items()}


def bundle_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders of single bundles, where some of the folders may be of several articles."""
    return [one for folder in folders for one in read_articles(folder).values()]


def folder_names(articles: Sequence[str], taken: dict[str, str] | None = None) -> dict[str, str]:
    """A folder name for each article, of small ASCII letters, digits and hyphens; those `taken` keep theirs."""
    names = dict(taken or {})
    for article in articles:
        if article in names:
            continue
        plain = unicodedata.normalize("NFKD", article).encode("ascii", "ignore").decode().lower()
        stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MOST_LETTERS] or "article"
        number, name = 2, stem
        while name in names.values():
            number, name = number + 1, f"{stem}-{number}"
        names[article] = name
    return names
