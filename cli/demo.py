"""`edgeleather demo`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import click

from edgeleather.cli.options import absolute_path, seed_option
from edgeleather.cli.reporting import LocalWriters, report_and_exit, stop_on_signals
from edgeleather.cli.teach import print_lesson, report_on
from edgeleather.events.stop import Stop
from edgeleather.sources.address import parse_address
from edgeleather.station.running import RunSettings, inspect_source
from edgeleather.training.choices import TrainingChoices, require_train_extra

FRAMES = 60


@click.command(epilog="Example: edgeleather demo --out demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    default=Path("demo"),
    show_default=True,
    help="Folder for all of it.",
)
@seed_option
def demo(out: Path, seed: int) -> None:
    """Make synthetic leather, teach a bundle, inspect a film with it, and leave pictures and a report."""
    require_train_extra()
    from edgeleather.dataset.film import write_film
    from edgeleather.dataset.synthesis import SynthSettings, synthesize_dataset
    from edgeleather.errors import EdgeLeatherError
    from edgeleather.export.teaching import teach

    usable = not os.path.lexists(out) or (out.is_dir() and not out.is_symlink())
    if not usable or (out.exists() and any(out.iterdir()) and not (out / ".edgeleather-demo").is_file()):
        raise EdgeLeatherError(f"{out} exists and is no earlier demo. Choose another --out.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / ".edgeleather-demo").write_text("made by: edgeleather demo\n")
    settings = SynthSettings(seed=seed)
    click.echo("1. Synthetic leather: good pictures to learn from, defects to test with.")
    synthesize_dataset(out / "leather", settings)
    click.echo("2. Teach: train, export to ONNX, compare with the torch original.")
    training = TrainingChoices(method="memory-bank", seed=seed)
    lesson = teach(out / "leather", out / "bundle", training)
    print_lesson(lesson, quiet=False)
    report_on(lesson, out / "report", quiet=False)
    click.echo(f"3. Inspect a film of {FRAMES} frames.")
    shown = write_film(out / "film.mkv", FRAMES, settings)
    writers, stop = LocalWriters(False, False, out / "inspections.jsonl", out / "defects"), Stop()
    film = RunSettings(out / "bundle", parse_address(str(out / "film.mkv")))
    try:
        with stop_on_signals(stop):
            report_and_exit(inspect_source(film, writers.open, stop), writers.opened, stop, as_json=False)
    finally:
        summarise(out, shown)


def summarise(out: Path, shown: list[bool]) -> None:
    """Compare the film's verdicts with what its frames show, and say where everything lies."""
    lines = (out / "inspections.jsonl").read_text().splitlines() if (out / "inspections.jsonl").is_file() else []
    verdicts = [json.loads(line)["verdict"] for line in lines]
    pairs = list(zip(shown, verdicts, strict=False))
    found = sum(defect and verdict == "defect" for defect, verdict in pairs)
    alarms = sum(not defect and verdict == "defect" for defect, verdict in pairs)
    click.echo(
        f"Of {sum(shown)} frames that show a defect, or part of one, {found} were called defects; "
        f"of {len(shown) - sum(shown)} good ones {alarms} were."
    )
    click.echo(f"Look at {out}/defects (pictures), {out}/report/report.md, {out}/inspections.jsonl, {out}/bundle.")
