"""`edgeleather calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeleather.cli.options import (
    FiniteFloat,
    absolute_path,
    as_json_option,
    bundle_argument,
    print_json,
    white_level_option,
)
from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND, capabilities
from edgeleather.errors import MissingPartError
from edgeleather.machine import is_installed

if TYPE_CHECKING:
    from edgeleather.calibration.calibrating import CalibrationResult, CalibrationSettings
    from edgeleather.calibration.sensitivity import LayerError


@click.command(epilog="Example: edgeleather calibrate bundle --data photos --max-map-error 1 --sensitivity layers")
@bundle_argument
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The dataset that trained it; its good pictures calibrate.",
)
@click.option(
    "--precision",
    type=click.Choice(["int8", "fp16", "auto"]),
    default="int8",
    show_default=True,
    help="auto makes both and has inspect take the fastest here that holds the budget, fp32 included.",
)
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default=REFERENCE_BACKEND,
    show_default=True,
    help="Whose INT8 dialect; tensorrt and tensorrt-rtx share one, with FP16 around the INT8 layers.",
)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="At most so many pictures to measure ranges on.",
)
@click.option(
    "--range-rule",
    type=click.Choice(["minmax", "percentile", "entropy", "by-map-error"]),
    default="minmax",
    show_default=True,
    help="What the 8 bits of an activation cover; by-map-error chooses for each tensor, in minutes.",
)
@click.option(
    "--max-flips",
    type=click.IntRange(0),
    default=None,
    help="Guard: so many verdicts may differ from fp32's, on validation pictures, the same with synthetic defects, and the "
    "pictures of T2 and T3.",
)
@click.option(
    "--max-auroc-drop",
    type=FiniteFloat(0, 100),
    default=None,
    help="Guard: points of image AUROC that may be lost there.",
)
@click.option(
    "--max-aupro-drop", type=FiniteFloat(0, 100), default=None, help="Guard: points of AUPRO that may be lost there."
)
@click.option(
    "--max-map-error",
    type=FiniteFloat(0, 100),
    default=None,
    help="Guard: mean difference of the maps there, in % of the fp32 maps' range.  [default: 0.5, and a point "
    "each of AUROC and AUPRO, where no limit is set]",
)
@click.option(
    "--sensitivity",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    default=None,
    help="Folder for a ranking of the layers by the map error that each causes: sensitivity.json and a picture.",
)
@white_level_option
@as_json_option
def calibrate(
    bundle: Path,
    data: Path,
    precision: str,
    backend: str,
    images: int,
    range_rule: str,
    max_flips: int | None,
    max_auroc_drop: float | None,
    max_aupro_drop: float | None,
    max_map_error: float | None,
    sensitivity: Path | None,
    white_level: int | None,
    as_json: bool,
) -> None:
    """Add an INT8 or FP16 graph to BUNDLE, with thresholds and golden answers of its own, and say what it cost.

    Ranges are measured on good pictures that trained the bundle, and on the same with synthetic defects; the choice whose
    maps are nearer to the fp32 graph's is taken. A guard keeps the most sensitive layers in higher precision until its
    limits hold, and refuses where nothing does.
    """
    if precision == "auto" and not capabilities(backend).is_reference:
        raise click.UsageError(
            "--precision auto times graphs in ONNX Runtime; build --precision auto times TensorRT's engines."
        )
    if sensitivity and precision == "fp16":
        raise click.UsageError("--sensitivity ranks the layers that INT8 quantises; it says nothing of fp16.")
    require_onnx()
    from edgeleather.calibration.calibrating import CalibrationSettings
    from edgeleather.calibration.guard import DEFAULT_BUDGET, Budget, BudgetError
    from edgeleather.calibration.report import raised_layers, result_as_json
    from edgeleather.files import require_folder

    budget = Budget(max_flips, _share(max_auroc_drop), _share(max_map_error), _share(max_aupro_drop))
    budget = DEFAULT_BUDGET if budget == Budget() else budget
    settings = CalibrationSettings(
        precision, backend, images, range_rule, budget, rank=sensitivity is not None, white_level=white_level
    )
    if sensitivity:
        require_folder(sensitivity)
    try:
        result = calibrate_and_report(bundle, data, settings, quiet=as_json)
    except BudgetError as error:
        if sensitivity:
            _write_ranking(error.ranking, (), sensitivity, quiet=as_json)
        raise
    if sensitivity:
        _write_ranking(result.ranking, raised_layers(result), sensitivity, quiet=as_json)
    if as_json:
        print_json(result_as_json(result, bundle))


def calibrate_and_report(bundle: Path, data: Path, settings: CalibrationSettings, quiet: bool) -> CalibrationResult:
    """Calibrate and print what it came to; with `quiet` that goes to standard error."""
    require_onnx()
    from edgeleather.calibration.calibrating import calibrate_bundle

    result = calibrate_bundle(bundle, data, settings)
    print_calibration(result, settings, quiet)
    return result


def print_calibration(result: CalibrationResult, settings: CalibrationSettings, quiet: bool) -> None:
    """What a calibration came to; with `quiet` on standard error."""
    from edgeleather.calibration.report import describe, warnings

    for line in describe(result, settings):
        click.echo(line, err=quiet)
    for line in warnings(result):
        click.echo(line, err=True)


def require_onnx() -> None:
    """Say which extra is missing, before onnx is imported.

    Raises:
        MissingPartError: onnx is not installed.
    """
    if not is_installed("onnx"):
        raise MissingPartError("onnx", "train")


def _write_ranking(ranking: Sequence[LayerError], raised: Sequence[str], folder: Path, quiet: bool) -> None:
    from edgeleather.calibration.report import write_ranking

    write_ranking(ranking, raised, folder)
    if ranking:
        worst = ranking[0]
        click.echo(
            f"Most sensitive: {worst.name}, {100 * worst.map_error:.2f} % alone. Ranking in {folder}.", err=quiet
        )


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100
