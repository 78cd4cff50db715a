"""`edgeleather calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeleather.cli.options import FiniteFloat, absolute_path, as_json_option, bundle_argument, print_json
from edgeleather.errors import EdgeLeatherError, MissingPartError
from edgeleather.machine import is_installed

if TYPE_CHECKING:
    from edgeleather.bundle.bundle import Bundle
    from edgeleather.bundle.manifest import Calibration
    from edgeleather.calibration.calibrating import Calibrated, CalibrationSettings
    from edgeleather.calibration.sensitivity import LayerError

WORTH_A_WARNING = 0.005  # of image AUROC, of AUPRO


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
    type=click.Choice(["onnxruntime", "tensorrt"]),
    default="onnxruntime",
    show_default=True,
    help="Whose INT8 dialect; tensorrt's is for tensorrt-rtx too, with FP16 around the INT8 layers.",
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
    as_json: bool,
) -> None:
    """Add an INT8 or FP16 graph to BUNDLE, with thresholds and golden answers of its own, and say what it cost.

    Ranges are measured on good pictures that trained the bundle, and on the same with synthetic defects; the choice whose
    maps are nearer to the fp32 graph's is taken. A guard keeps the most sensitive layers in higher precision until its
    limits hold, and refuses where nothing does.
    """
    if precision == "auto" and backend != "onnxruntime":
        raise click.UsageError(
            "--precision auto times graphs in ONNX Runtime; build --precision auto times TensorRT's engines."
        )
    if sensitivity and precision == "fp16":
        raise click.UsageError("--sensitivity ranks the layers that INT8 quantises; it says nothing of fp16.")
    _require_onnx()
    from edgeleather.calibration.calibrating import CalibrationSettings
    from edgeleather.calibration.guard import DEFAULT_BUDGET, Budget, BudgetError

    budget = Budget(max_flips, _share(max_auroc_drop), _share(max_map_error), _share(max_aupro_drop))
    budget = DEFAULT_BUDGET if budget == Budget() else budget
    settings = CalibrationSettings(precision, backend, images, range_rule, budget, rank=sensitivity is not None)
    if sensitivity:
        require_folder(sensitivity)
    try:
        made = calibrate_and_report(bundle, data, settings, quiet=as_json)
    except BudgetError as error:
        if sensitivity:
            write_sensitivity(error.ranking, (), sensitivity, quiet=as_json)
        raise
    if sensitivity:
        raised = made.records[0].float_layers if made.records else ()
        write_sensitivity(made.ranking, raised, sensitivity, quiet=as_json)
    if as_json:
        manifest = made.bundle.manifest
        graphs = [
            asdict(record) | {"verdict_threshold": made.bundle.thresholds_of(record.graph).verdict.value}
            for record in made.records
        ]
        print_json(
            {
                "bundle": str(bundle),
                "default_precision": manifest.default_precision,
                "graphs": graphs,
                "refused": made.refused,
            }
        )


def calibrate_and_report(bundle: Path, data: Path, settings: CalibrationSettings, quiet: bool) -> Calibrated:
    """What `calibrate` and `teach` share; with `quiet` what is said goes to standard error."""
    _require_onnx()
    from edgeleather.calibration.calibrating import calibrate_bundle, lost_at_hand_over

    made = calibrate_bundle(bundle, data, settings)
    for record in made.records:
        for line in describe(made.bundle, record):
            click.echo(line, err=quiet)
        losses = [
            f"{100 * loss:.1f} points of {name}"
            for name, loss in lost_at_hand_over(made.bundle.manifest, record.graph).items()
            if loss > WORTH_A_WARNING
        ]
        if losses:
            click.echo(
                f"Warning: {record.graph} loses {' and '.join(losses)} on the test pictures. Read the benchmark's report before "
                "you use it; inspect --precision fp32 takes the other graph.",
                err=True,
            )
    for reason in made.refused:
        click.echo(f"Left out: {reason}", err=quiet)
    if settings.precision == "auto":
        click.echo(f"Fastest here of what holds the budget: {made.bundle.default_precision}.", err=quiet)
    return made


def describe(bundle: Bundle, record: Calibration) -> list[str]:
    """What a new graph is and what it cost, a line each."""
    lines = []
    if record.map_errors:
        errors = ", ".join(f"{100 * error:.2f} % from {shows}" for shows, error in record.map_errors.items())
        lines.append(
            f"{record.graph}: ranges ({record.range_rule}) from {record.images} {record.images_show}; map error {errors}."
        )
    drops = (("image AUROC", record.cost.auroc_drop), ("AUPRO", record.cost.aupro_drop))
    changes = "".join(f", {name} {0.0 - 100 * drop:+.2f} points" for name, drop in drops if drop is not None)
    lines.append(
        f"{record.graph} against fp32, on pictures that no report counts: map error {100 * record.cost.map_error:.2f} %, "
        f"{len(record.cost.flips)} flipped verdicts{changes}."
    )
    lines += [f"  flipped: {name}" for name in record.cost.flips]
    if record.float_layers:
        kept = f"{len(record.float_layers)} of {record.layers} layers in higher precision"
        lines.append(f"  {kept}: {', '.join(record.float_layers)}")
    if record.float32_nodes:
        lines.append(f"  {len(record.float32_nodes)} nodes stay float32, where FP16 overflows or loses the map")
    if record.median_ms is not None and record.fp32_median_ms is not None:
        times = record.fp32_median_ms / record.median_ms
        speed = (
            f"{times:.2f} times as fast as fp32"
            if times > 1
            else f"NOT faster than fp32 ({record.fp32_median_ms:.2f} ms)"
        )
        lines.append(f"  {record.median_ms:.2f} ms an image on this machine in ONNX Runtime: {speed}")
    lines.append(f"  verdict: {bundle.thresholds_of(record.graph).describe()}")
    return lines


def write_sensitivity(ranking: Sequence[LayerError], raised: Sequence[str], folder: Path, quiet: bool) -> None:
    """The ranking of the layers, as JSON and as a picture."""
    import json

    from edgeleather.calibration.sensitivity import picture_of
    from edgeleather.files import write_atomically

    rows = [asdict(error) | {"raised": error.name in raised} for error in ranking]
    write_atomically(folder / "sensitivity.json", (json.dumps(rows, indent=1) + "\n").encode())
    if ranking and is_installed("matplotlib"):
        write_atomically(folder / "sensitivity.png", picture_of(ranking, raised))
    if ranking:
        worst = ranking[0]
        click.echo(
            f"Most sensitive: {worst.name}, {100 * worst.map_error:.2f} % alone. Ranking in {folder}.", err=quiet
        )


def require_folder(folder: Path) -> None:
    """Make a folder to write into, before hours of work and not after.

    Raises:
        EdgeLeatherError: it cannot be made.
    """
    from edgeleather.files import cannot_write

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _require_onnx() -> None:
    if not is_installed("onnx"):
        raise MissingPartError("onnx", "train")
