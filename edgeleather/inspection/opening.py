"""Opening the inspector of a bundle folder."""

from __future__ import annotations

from pathlib import Path

from edgeleather.bundle.articles import read_articles
from edgeleather.bundle.bundle import Bundle, read_bundle, without_original
from edgeleather.engines.built import wanted_engine
from edgeleather.engines.graphs import for_inspection
from edgeleather.errors import EdgeLeatherError
from edgeleather.inspection.inspector import Inspector, InspectorSettings


def open_inspector(folder: Path | str, settings: InspectorSettings = InspectorSettings()) -> Inspector:
    """The inspector of a bundle folder, of which only the files that it needs are verified.

    Of a bundle of several articles it holds all, or the one that the settings name beside what the others look like.

    Without precision, backend and trusted engine in the settings it takes what `build --precision auto` chose on this machine.

    Raises:
        EdgeLeatherError: the bundle is damaged or lacks what is asked for, or its engine does not give the recorded answer.

    >>> import edgeleather as el
    >>> with el.load("bundle") as inspector:
    ...     inspection = inspector.inspect("hide.png")  # a path, or a BGR array as OpenCV gives it
    >>> inspection.verdict
    'defect'
    """
    folders = read_articles(Path(folder))
    if "" not in folders and settings.trusted_engine:
        raise EdgeLeatherError(
            f"{folder} holds several articles: an engine to trust is of one of them. Name its folder."
        )
    opened = [_opened(one, article, settings) for article, one in folders.items()]
    known = [bundle.article for bundle in opened]
    if settings.article is not None and "" not in known and settings.article not in known:
        raise EdgeLeatherError(
            f"{folder}: expected the article to be one of {', '.join(known)}, got {settings.article!r}."
        )
    return Inspector(opened, settings)


def _opened(folder: Path, article: str, settings: InspectorSettings) -> Bundle:
    """A bundle, of which only the files that its engine needs are verified."""
    if settings.trusted_engine:
        return read_bundle(folder, without_original)
    named = read_bundle(folder, lambda _: ())  # the manifest alone: which files are needed follows from the engine
    if article and named.article != article:
        raise EdgeLeatherError(f"{folder}: expected the bundle of {article!r}, found that of {named.article!r}.")
    if article and settings.article not in (None, article):
        return named  # for its looks alone
    backend, precision = wanted_engine(named, settings.backend, settings.precision)
    return read_bundle(folder, for_inspection(precision, backend))
