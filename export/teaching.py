"""From good pictures to a calibrated bundle in one go. The report beside the bundle is a step of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeleather.bundle.bundle import Bundle, check_bundle_target, everything, place_bundle, read_bundle
from edgeleather.bundle.manifest import ORIGINAL_FOLDER
from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE
from edgeleather.calibration.calibrating import CalibrationResult, CalibrationSettings, calibrate_bundle
from edgeleather.calibration.guard import BudgetError
from edgeleather.dataset.index import DatasetIndex, index_dataset
from edgeleather.dataset.reading import Dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.bundling import export_run, travelling
from edgeleather.files import cannot_write, read_plain_file
from edgeleather.records import LARGEST_RECORD_BYTES, to_json
from edgeleather.training.choices import TrainingChoices, preset_and_own, train_chosen
from edgeleather.training.run import RUN_FILE, SHEET_FILE, SUSPECTS_FILE, Run, RunMismatchError, read_run

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lesson:
    """What teaching came to: the bundle, the run that it was exported from, its calibration, and the index of the dataset.

    Where no INT8 graph holds the budget, `calibrated` is None, `refused` says why, and the bundle stays in fp32. Where an
    interrupted teaching had finished the bundle, both are None. `suspect_files` are the list and the sheet of the good pictures
    that may not be good, by name; none where there is none.
    """

    bundle: Bundle
    run: Run
    calibrated: CalibrationResult | None
    refused: str | None
    dataset: DatasetIndex
    suspect_files: dict[str, bytes] = field(default_factory=dict)


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
    dataset = Path(dataset) if isinstance(dataset, str) else dataset
    out, choices = Path(os.path.abspath(out)), choices or TrainingChoices()  # noqa: PTH100 - `.` has a name and a parent then
    place = out.parent / f".{out.name}.run"
    if overwrite or _finished(out, place, false_alarm_rate) is None:
        check_bundle_target(out, overwrite)
    preset_and_own(choices)  # before the pictures are read, which may take minutes
    with _held(place, out):
        index = index_dataset(dataset, needs="train")
        run = _trained(index, choices, place, out, overwrite)
        finished = None if overwrite else _finished(out, place, false_alarm_rate)
        if finished is None:
            lesson = _bundled(run, place, out, index, false_alarm_rate, calibration)
        else:
            _LOGGER.info("%s was finished before; going on with what comes after it", out)
            lesson = Lesson(finished, run, None, None, index)
        if then is not None:
            then(replace(lesson, suspect_files=_suspect_files(place)))
        shutil.rmtree(place)
    return lesson


def _trained(index: DatasetIndex, choices: TrainingChoices, place: Path, out: Path, overwrite: bool) -> Run:
    """The run in its place: finished, or gone on with; begun anew where what lies there is of another training."""
    try:
        run = train_chosen(index, choices, place)
    except RunMismatchError:
        check_bundle_target(out, overwrite)  # a bundle that the other training finished is not given up
        _LOGGER.info(
            "the interrupted teaching of %s was of other choices or pictures, or is damaged: beginning anew", out
        )
        _empty(place)
        run = train_chosen(index, choices, place)
    _LOGGER.info("trained %s in %.1f s, best epoch %d", choices.method, run.training_seconds, run.best_epoch)
    return run


def _bundled(
    run: Run,
    place: Path,
    out: Path,
    index: DatasetIndex,
    false_alarm_rate: float,
    calibration: CalibrationSettings | None,
) -> Lesson:
    """The run as a bundle, made beside the run and then given its name."""
    made = place / "bundle"
    bundle = export_run(place, made, index, false_alarm_rate, overwrite=True)
    calibrated, refused = None, None
    try:
        calibrated = calibrate_bundle(made, index, calibration)
    except BudgetError as error:
        refused = str(error)
    bundle = replace(bundle if calibrated is None else calibrated.bundle, folder=out)
    try:
        place_bundle(made, out)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error
    _LOGGER.info("exported to %s", out)
    return Lesson(bundle, run, None if calibrated is None else replace(calibrated, bundle=bundle), refused, index)


def _suspect_files(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / SUSPECTS_FILE, place / SHEET_FILE) if path.is_file()}


def _finished(out: Path, place: Path, false_alarm_rate: float) -> Bundle | None:
    """The bundle at `out` if the teaching that was interrupted in `place` had finished it; None otherwise."""
    try:
        run = to_json(travelling(read_run(place)))
        if read_plain_file(out / ORIGINAL_FOLDER / RUN_FILE, LARGEST_RECORD_BYTES) != run:
            return None
        bundle = read_bundle(out, everything)
    except (OSError, EdgeLeatherError):
        return None
    return bundle if bundle.manifest.thresholds[0].verdict.wished_rate == false_alarm_rate else None


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
