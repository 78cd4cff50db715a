"""From good pictures to a calibrated bundle in one go. The report beside the bundle is a step of its own."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeleather.bundle.bundle import Bundle, check_bundle_target
from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE
from edgeleather.calibration.calibrating import CalibrationResult, CalibrationSettings, calibrate_bundle
from edgeleather.calibration.guard import BudgetError
from edgeleather.dataset.index import DatasetIndex, index_dataset
from edgeleather.dataset.reading import Dataset
from edgeleather.export.bundling import export_run
from edgeleather.progress import Progress
from edgeleather.training.choices import TrainingChoices, preset_and_own, train_chosen
from edgeleather.training.run import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lesson:
    """What teaching came to: the bundle, the run that it was exported from, its calibration, and the index of the dataset.

    Where no INT8 graph holds the budget, `calibrated` is None, `refused` says why, and the bundle stays in fp32.
    """

    bundle: Bundle
    run: Run
    calibrated: CalibrationResult | None
    refused: str | None
    dataset: DatasetIndex


def teach(
    dataset: Path | str | Dataset,
    out: Path | str,
    choices: TrainingChoices | None = None,
    *,
    false_alarm_rate: float = DEFAULT_FALSE_ALARM_RATE,
    calibration: CalibrationSettings | None = None,
    overwrite: bool = False,
) -> Lesson:
    """Train on the good pictures of a dataset (a folder, or its index), export to a bundle at `out` and calibrate that to INT8.

    An interrupted training goes on when the same is taught again.

    Raises:
        EdgeLeatherError: pictures that cannot be used, choices that do not go together, or `out` cannot be written.
        MissingPartError: the 'train' extra is not installed.

    >>> import edgeleather as el
    >>> lesson = el.teach("photos", "taught")
    >>> lesson.bundle.manifest.method
    'memory-bank'
    """
    dataset = Path(dataset) if isinstance(dataset, str) else dataset
    out, choices = Path(os.path.abspath(out)), choices or TrainingChoices()  # noqa: PTH100 - `.` has a name and a parent then
    check_bundle_target(out, overwrite)
    preset_and_own(choices)  # before the pictures are read, which may take minutes
    index = index_dataset(dataset, needs="train")
    # Beside the bundle until it is done: the same call goes on with an interrupted training.
    run_folder = out.with_name(f".{out.name}.run")
    run = train_chosen(index, choices, run_folder)
    _log.info("trained %s in %.1f s, best epoch %d", choices.method, run.training_seconds, run.best_epoch)
    bundle = export_run(run_folder, out, index, false_alarm_rate, overwrite=overwrite)
    shutil.rmtree(run_folder)
    _log.info("exported to %s", out)
    try:
        with Progress("calibrating"):
            calibrated = calibrate_bundle(out, index, calibration)
    except BudgetError as error:
        return Lesson(bundle, run, None, str(error), index)
    return Lesson(calibrated.bundle, run, calibrated, None, index)
