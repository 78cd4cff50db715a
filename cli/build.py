"""`edgeleather build`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeleather.cli.options import as_json_option, bundle_argument, precision_option, print_json, threads_option
from edgeleather.engines.engine import ENGINES


@click.command(epilog="Example: edgeleather build bundle --backend onnxruntime --precision int8")
@bundle_argument
@click.option("--backend", type=click.Choice(list(ENGINES)), default="onnxruntime", show_default=True)
@precision_option
@threads_option
@as_json_option
def build(bundle: Path, backend: str, precision: str | None, threads: int | None, as_json: bool) -> None:
    """Build this machine's engine from a graph of BUNDLE and replay all golden frames on it.

    It is kept below the bundle's engines folder with its signature; `inspect` takes it from there.
    """
    from edgeleather.export.building import build_engine

    file, outcome = build_engine(bundle, backend, precision, threads)
    if as_json:
        print_json({"engine": str(file), "passed": outcome.passed, **vars(outcome)})
        return
    click.echo(
        f"Engine {file}: {outcome.frames} golden frames answered as recorded, "
        f"at most {100 * outcome.worst_deviation:.2g} % off."
    )
