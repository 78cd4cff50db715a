"""`edgeleather calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeleather.cli.options import as_json_option, bundle_argument, print_json
from edgeleather.errors import MissingPartError
from edgeleather.machine import is_installed

if TYPE_CHECKING:
    from edgeleather.bundle import Bundle, Calibration


WORTH_A_WARNING = 0.005  # of image AUROC


@click.command(epilog="Example: edgeleather calibrate bundle --data photos")
@bundle_argument
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The dataset that trained it; its good pictures calibrate.",
)
@click.option("--precision", type=click.Choice(["int8"]), default="int8", show_default=True)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="At most so many pictures to measure ranges on.",
)
@as_json_option
def calibrate(bundle: Path, data: Path, precision: str, images: int, as_json: bool) -> None:
    """Add an INT8 graph to BUNDLE: activation ranges, thresholds and golden answers of its own, and what it cost.

    Ranges are measured on good pictures that trained the bundle, and on the same with synthetic defects; the choice whose
    maps are nearer to the fp32 graph's is taken.
    """
    made, record = calibrate_and_report(bundle, data, images, quiet=as_json)
    if as_json:
        verdict = made.thresholds_of(record.graph).verdict.value
        print_json({"bundle": str(bundle), "verdict_threshold": verdict} | vars(record))


def calibrate_and_report(bundle: Path, data: Path, images: int, quiet: bool) -> tuple[Bundle, Calibration]:
    """What `calibrate` and `teach` share; with `quiet` what is said goes to standard error."""
    if not is_installed("onnx"):
        raise MissingPartError("onnx", "train")
    from edgeleather.calibration.calibrating import INT8_GRAPH, auroc_lost, calibrate_bundle

    made = calibrate_bundle(bundle, data, images)
    (record,) = (found for found in made.manifest.calibrations if found.graph == INT8_GRAPH)
    errors = ", ".join(f"{100 * error:.2f} % from {shows}" for shows, error in record.map_errors.items())
    click.echo(f"INT8: ranges from {record.images} {record.images_show}; mean map error {errors}.", err=quiet)
    click.echo(f"Verdict of the INT8 graph: {made.thresholds_of(INT8_GRAPH).describe()}.", err=quiet)
    lost = auroc_lost(made.manifest)
    if lost is not None and lost > WORTH_A_WARNING:
        click.echo(
            f"Warning: the INT8 graph loses {100 * lost:.1f} points of image AUROC on the test pictures. "
            "Read the benchmark's report before you use it; inspect --precision fp32 takes the other graph.",
            err=True,
        )
    return made, record
