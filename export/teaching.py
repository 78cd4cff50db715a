"""From good pictures to a calibrated bundle in one go. The report beside the bundle is a step of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeleather.bundle.articles import ARTICLES_FILE, ArticleList, folder_names, read_articles
from edgeleather.bundle.bundle import Bundle, check_bundle_target, everything, place_bundle, read_bundle
from edgeleather.bundle.manifest import ORIGINAL_FOLDER
from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE
from edgeleather.calibration.calibrating import CalibrationResult, CalibrationSettings, calibrate_bundle
from edgeleather.calibration.guard import BudgetError
from edgeleather.dataset.index import DatasetIndex, index_dataset
from edgeleather.dataset.reading import Dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.bundling import export_run, travelling
from edgeleather.files import cannot_write, read_plain_file, write_atomically
from edgeleather.imaging.appearance import FEWEST_PICTURES
from edgeleather.imaging.preprocess import InputMode
from edgeleather.records import LARGEST_RECORD_BYTES, to_json
from edgeleather.training.choices import TrainingChoices, preset_and_own, require_article, train_chosen
from edgeleather.training.run import RUN_FILE, SHEET_FILE, SUSPECTS_FILE, Run, RunMismatchError, read_run

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArticleLesson:
    """What teaching one article came to: its bundle, the run that this was exported from, and its calibration.

    Where no INT8 graph holds the budget, `calibrated` is None, `refused` says why, and the bundle stays in fp32. Where an
    interrupted teaching had finished the bundle, both are None.
    """

    bundle: Bundle
    run: Run
    calibrated: CalibrationResult | None
    refused: str | None


@dataclass(frozen=True)
class Lesson:
    """What teaching came to: the folder of the bundle, what was taught of each article, and the index of the dataset.

    A dataset without articles has one, without a name. `suspect_files` are the list and the sheets of the good pictures that may
    not be good, by name; none where there is none.

    >>> import edgeleather as el
    >>> lesson = el.teach("photos", "taught")
    >>> list(lesson.articles), lesson.run is lesson.articles[""].run
    ([''], True)
    """

    folder: Path
    articles: dict[str, ArticleLesson]
    dataset: DatasetIndex
    suspect_files: dict[str, bytes] = field(default_factory=dict)

    @property
    def bundle(self) -> Bundle:
        """The bundle, of the first article where there are several."""
        return next(iter(self.articles.values())).bundle

    @property
    def run(self) -> Run:
        """The run, of the first article where there are several."""
        return next(iter(self.articles.values())).run

    @property
    def calibrated(self) -> CalibrationResult | None:
        """The calibration, of the first article where there are several."""
        return next(iter(self.articles.values())).calibrated

    @property
    def refused(self) -> str | None:
        """Why no INT8 graph was made, of the first article where there are several."""
        return next(iter(self.articles.values())).refused


def teach(
    dataset: Path | str | Dataset,
    out: Path | str,
    choices: TrainingChoices | None = None,
    *,
    false_alarm_rate: float = DEFAULT_FALSE_ALARM_RATE,
    calibration: CalibrationSettings | None = None,
    overwrite: bool = False,
    then: Callable[[Lesson], object] | None = None,
) -> Lesson:
    """Train on the good pictures of a dataset (a folder, or its index), export to a bundle at `out` and calibrate that to INT8.

    Of a dataset of several articles the bundle knows all, each with a model and thresholds of its own.

    The bundle takes its name when it is whole. `then` is called with what came of it, and belongs to the teaching: when one that
    was interrupted, in `then` too, is taught again with the same choices, it goes on; with other choices it begins anew.

    Raises:
        EdgeLeatherError: pictures that cannot be used, choices that do not go together, `out` cannot be written, or another
            process is at work on it.
        MissingPartError: the 'train' extra is not installed.

    >>> import edgeleather as el
    >>> lesson = el.teach("photos", "taught")
    >>> lesson.bundle.manifest.method
    'memory-bank'
    """
    teaching = _Teaching(_absolute(out), choices or TrainingChoices(), false_alarm_rate, calibration, overwrite)
    if overwrite or not teaching.is_finished():
        check_bundle_target(teaching.out, overwrite)
    return _taught(teaching, dataset, _all_of, then)


def add_articles(
    dataset: Path | str | Dataset,
    bundle: Path | str,
    choices: TrainingChoices | None = None,
    *,
    false_alarm_rate: float = DEFAULT_FALSE_ALARM_RATE,
    calibration: CalibrationSettings | None = None,
    then: Callable[[Lesson], object] | None = None,
) -> Lesson:
    """Teach a bundle the articles of a dataset that it does not know yet; the bundles of the others keep every byte.

    Interrupted, it goes on as `teach` does, and `then` is called as there.

    Raises:
        EdgeLeatherError: the bundle's article has no name, or it knows all of them, or see `teach`.
        MissingPartError: the 'train' extra is not installed.

    >>> import edgeleather as el
    >>> lesson = el.teach("articles", "several")  # articles/brown/*.png
    >>> list(el.add_articles("more-articles", "several").articles)  # more-articles/brown and more-articles/black
    ['black']
    """
    teaching = _Teaching(
        _absolute(bundle), choices or TrainingChoices(), false_alarm_rate, calibration, overwrite=False
    )
    return _taught(teaching, dataset, _with_more_articles, then)


def _absolute(folder: Path | str) -> Path:
    return Path(os.path.abspath(folder))  # noqa: PTH100 - `.` has a name and a parent then


def _taught(
    teaching: _Teaching,
    dataset: Path | str | Dataset,
    work: Callable[[_Teaching, DatasetIndex], Lesson],
    then: Callable[[Lesson], object] | None,
) -> Lesson:
    preset_and_own(teaching.choices)  # before the pictures are read, which may take minutes
    with _held(teaching.place, teaching.out):
        index = index_dataset(Path(dataset) if isinstance(dataset, str) else dataset, needs="train")
        lesson = work(teaching, index)
        if then is not None:
            then(replace(lesson, suspect_files=_suspect_files(teaching.place)))
        shutil.rmtree(teaching.place)
    return lesson


@dataclass(frozen=True)
class _Teaching:
    """What is taught, where the bundle goes, and (`place`) where the work is done until it is whole."""

    out: Path
    choices: TrainingChoices
    false_alarm_rate: float
    calibration: CalibrationSettings | None
    overwrite: bool
    input_mode: InputMode | None = None

    @property
    def place(self) -> Path:
        return self.out.parent / f".{self.out.name}.run"

    def is_finished(self) -> bool:
        """Whether the bundle is whole, and only what comes after it was interrupted."""
        folders = read_articles(self.out)
        return all(
            self.finished(folder, self.place / folder.name if article else self.place)
            for article, folder in folders.items()
        )

    def finished(self, folder: Path, place: Path) -> Bundle | None:
        """The bundle in a folder if the teaching that was interrupted in `place` had finished it; None otherwise."""
        try:
            run = to_json(travelling(read_run(place)))
            if read_plain_file(folder / ORIGINAL_FOLDER / RUN_FILE, LARGEST_RECORD_BYTES) != run:
                return None
            bundle = read_bundle(folder, everything)
        except (OSError, EdgeLeatherError):
            return None
        return bundle if bundle.manifest.thresholds[0].verdict.wished_rate == self.false_alarm_rate else None


def _all_of(teaching: _Teaching, index: DatasetIndex) -> Lesson:
    """All articles of a dataset, or the one that was chosen."""
    chosen = teaching.choices.article
    if chosen is None and len(index.articles) > 1:
        return _all_articles(teaching, index, list(index.articles), {})
    return Lesson(teaching.out, {chosen or "".join(index.articles): _one_article(teaching, index)}, index)


def _one_article(teaching: _Teaching, index: DatasetIndex) -> ArticleLesson:
    """The only article of a bundle, which takes its place."""
    place, out = teaching.place, teaching.out
    run = _trained(teaching, index, place)
    finished = None if teaching.overwrite else teaching.finished(out, place)
    if finished is not None:
        _LOGGER.info("%s was finished before; going on with what comes after it", out)
        return ArticleLesson(finished, run, None, None)
    check_bundle_target(out, teaching.overwrite)
    lesson = _bundled(teaching, run, place / "bundle", index)
    _place(place / "bundle", out)
    return _moved(lesson, out)


def _all_articles(
    teaching: _Teaching, index: DatasetIndex, articles: Sequence[str], known: Mapping[str, Path]
) -> Lesson:
    """Articles one after the other, in one bundle with copies of the bundles of those `known`."""
    _require_enough(index, articles)
    place, out = teaching.place, teaching.out
    of_before = {article: folder.name for article, folder in known.items() if folder != out}
    names = folder_names([*known, *articles], of_before)
    lessons = {}
    for number, article in enumerate(articles, start=1):
        _LOGGER.info("article %s, %d of %d", article, number, len(articles))
        own = replace(teaching, choices=replace(teaching.choices, article=article))
        folder = place / names[article]
        run = _trained(own, index, folder)
        _require_enough_left(run)
        whole = folder / "whole"
        finished = teaching.finished(out / names[article], folder) or teaching.finished(whole, folder)
        if finished is not None:
            lessons[article] = ArticleLesson(finished, run, None, None)
            continue
        lessons[article] = _bundled(own, run, folder / "bundle", index)
        _place(folder / "bundle", whole)
    if all(lesson.bundle.folder.parent == out for lesson in lessons.values()):
        _LOGGER.info("%s was finished before; going on with what comes after it", out)
        return Lesson(out, lessons, index)
    check_bundle_target(out, teaching.overwrite or bool(known))
    made = place / "all_articles"  # no article's folder has an underscore
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for article, name in names.items():
        whole = place / name / "whole"
        shutil.copytree(whole if whole.is_dir() else known[article], made / name)
    write_atomically(made / ARTICLES_FILE, to_json(ArticleList(1, names)))
    _place(made, out)
    return Lesson(out, {article: _moved(lesson, out / names[article]) for article, lesson in lessons.items()}, index)


def _with_more_articles(teaching: _Teaching, index: DatasetIndex) -> Lesson:
    """The bundle at `out` with the articles of a dataset that it does not know yet."""
    out = teaching.out
    known = read_articles(out)
    if "" in known:
        known = {read_bundle(out, lambda _: ()).article: out}
    if "" in known:
        raise EdgeLeatherError(
            f"expected a bundle whose articles have names at {out}, got one without. Make one from a dataset with one subfolder "
            "per article: edgeleather teach DATASET --out BUNDLE"
        )
    if teaching.choices.image_size or teaching.choices.input_kind or teaching.choices.fit:
        raise EdgeLeatherError("an article that is added takes its images like the others: leave size and fit away.")
    # Those whose teaching was interrupted after the bundle had got them are gone on with.
    begun = {article for article, folder in known.items() if (teaching.place / folder.name / RUN_FILE).is_file()}
    chosen = teaching.choices.article
    require_article(index, chosen)
    offered = [article for article in index.articles if chosen in (None, article)]
    articles = [article for article in offered if article not in known or article in begun]
    if not articles:
        there = ", ".join(offered) or "no article, since the good pictures lie in no subfolders"
        raise EdgeLeatherError(f"{out} knows {', '.join(known)}, and {index.root} has {there}: nothing is to be added.")
    mode = read_bundle(next(iter(known.values())), lambda _: ()).manifest.input_mode
    return _all_articles(replace(teaching, input_mode=mode), index, articles, known)


def _require_enough(index: DatasetIndex, articles: Sequence[str]) -> None:
    """Refuse articles of too few pictures to recognise them by, before anything is trained."""
    counts = ((article, len({one.digest for one in index.of_article(article).train_good})) for article in articles)
    few = [f"{article} ({count})" for article, count in counts if count < FEWEST_PICTURES]
    if few:
        raise EdgeLeatherError(
            f"{index.root}: expected at least {FEWEST_PICTURES} different good pictures of every article, got fewer of "
            f"{', '.join(few)}. Add pictures, or move these folders to another place."
        )


def _require_enough_left(run: Run) -> None:
    """Refuse an article of which too few pictures are left without the suspects to recognise it by."""
    splits, article = run.splits, run.settings.article
    left = len((*splits.training, *splits.validation, *splits.threshold))
    if left < FEWEST_PICTURES:
        raise EdgeLeatherError(
            f"article {article}: expected at least {FEWEST_PICTURES} good pictures that are beyond doubt, got {left}. "
            f"Suspects are {', '.join(one.name for one in splits.suspects)}. Add pictures, or take all with --suspects keep."
        )


def _trained(teaching: _Teaching, index: DatasetIndex, place: Path) -> Run:
    """The run in its place: finished, or gone on with; begun anew where what lies there is of another training."""
    choices, out = teaching.choices, teaching.out
    try:
        run = train_chosen(index, choices, place, teaching.input_mode)
    except RunMismatchError:
        if not (out / ARTICLES_FILE).exists():
            check_bundle_target(out, teaching.overwrite)  # a bundle that the other training finished is not given up
        _LOGGER.info("the interrupted teaching of %s had other choices or pictures, or is damaged: beginning anew", out)
        _empty(place)
        run = train_chosen(index, choices, place, teaching.input_mode)
    _LOGGER.info("trained %s in %.1f s, best epoch %d", choices.method, run.training_seconds, run.best_epoch)
    return run


def _bundled(teaching: _Teaching, run: Run, made: Path, index: DatasetIndex) -> ArticleLesson:
    """The run as a calibrated bundle in a folder beside it."""
    bundle = export_run(made.parent, made, index, teaching.false_alarm_rate, overwrite=True)
    try:
        calibrated = calibrate_bundle(made, index, teaching.calibration)
    except BudgetError as error:
        return ArticleLesson(bundle, run, None, str(error))
    return ArticleLesson(calibrated.bundle, run, calibrated, None)


def _place(made: Path, out: Path) -> None:
    try:
        place_bundle(made, out)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error
    _LOGGER.info("exported to %s", out)


def _moved(lesson: ArticleLesson, folder: Path) -> ArticleLesson:
    """The lesson of a bundle that lies in another folder now."""
    bundle = replace(lesson.bundle, folder=folder)
    calibrated = lesson.calibrated and replace(lesson.calibrated, bundle=bundle)
    return replace(lesson, bundle=bundle, calibrated=calibrated)


def _suspect_files(place: Path) -> dict[str, bytes]:
    """The list of suspects of all articles, and the sheet of each."""
    lists = sorted((*place.glob(SUSPECTS_FILE), *place.glob(f"*/{SUSPECTS_FILE}")))
    files: dict[str, bytes] = {}
    for path in lists:
        header, _, rows = path.read_bytes().partition(b"\n")
        files[SUSPECTS_FILE] = files.get(SUSPECTS_FILE, header + b"\n") + rows
        sheet = path.with_name(SHEET_FILE)
        if sheet.is_file():
            files[SHEET_FILE if path.parent == place else f"{path.parent.name}-{SHEET_FILE}"] = sheet.read_bytes()
    return files


@contextlib.contextmanager
def _held(place: Path, out: Path) -> Iterator[None]:
    """The folder in which a teaching works until its bundle is whole; it belongs to one process at a time.

    Raises:
        EdgeLeatherError: it cannot be made, or another process holds it.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY) if os.name == "posix" else None
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error
    try:
        if descriptor is not None:
            import fcntl  # POSIX

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise EdgeLeatherError(
                    f"another process is at work on {out}. Wait until it is done, or choose another --out."
                ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                place.rmdir()  # where nothing came of it yet
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
