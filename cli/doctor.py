"""`edgeleather doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeleather.cli.options import as_json_option, print_json, threads_option
from edgeleather.engines.checkup import check_up
from edgeleather.sources.devices.opencv import has_gstreamer


@click.command(epilog="Example: edgeleather doctor bundle")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@threads_option
@as_json_option
def doctor(bundle: Path | None, threads: int | None, as_json: bool) -> None:
    """Say what this machine has; with BUNDLE, verify it and replay all its golden frames.

    Exit code 1 if the bundle is damaged or an engine does not give the recorded answers.
    """
    found = check_up(bundle, threads)
    facts = found.as_json() | {"gstreamer": has_gstreamer()}
    result: dict[str, Any] = {
        key: facts[key] for key in ("machine", "parts", "backends", "gstreamer", "bundle") if key in facts
    }
    if as_json:
        print_json(result)
    else:
        _print(result)
    if found.bundle is not None and not found.bundle.passed:
        raise SystemExit(1)


def _print(result: dict[str, Any]) -> None:
    machine = result["machine"]
    click.echo(f"edgeleather {machine['edgeleather']}, Python {machine['python']}")
    click.echo(f"{machine['cpu']}, {machine['usable_cores']} usable cores")
    instructions = ", ".join(machine["integer_dot_instructions"])
    instructions = instructions or "none: INT8 gains little here, and the 7-bit graph may be needed"
    click.echo(f"integer dot products: {instructions}")
    for part in result["parts"]:
        state = part["version"] or f"missing, get it with: {part['install']}"
        click.echo(f"  {part['part']:9s} {part['name']:34s} {state}")
    for backend in result["backends"]:
        version_text = f"{backend['version']}, builds engines" if backend["version"] else ""
        runs = f"does not run here: {backend['cannot_run']}" if backend["cannot_run"] else "runs here"
        click.echo(f"  backend   {backend['backend']:34s} {'; '.join(filter(None, (version_text, runs)))}")
    pipelines = (
        "taken by this OpenCV"
        if result["gstreamer"]
        else "not taken: this OpenCV has no GStreamer (the wheel has none)"
    )
    click.echo(f"  source    gstreamer:PIPELINE                 {pipelines}")
    if "bundle" in result:
        bundle = result["bundle"]
        click.echo(f"{bundle['folder']}: {bundle['method']}, {bundle['files']} files as the manifest says")
        for graph in bundle["graphs"]:
            state = "passed" if graph["passed"] else f"FAILED (flipped: {', '.join(graph['flipped']) or 'none'})"
            click.echo(
                f"  {graph['graph']}: {graph['frames']} golden frames {state}, "
                f"at most {100 * graph['worst_deviation']:.2g} % off; {graph['verdict']}"
            )
        for engine in bundle["engines"]:
            failed = f"FAILED: {engine['error'] or 'other answers than recorded'}"
            state = {True: "passed", False: failed, None: f"not replayed here: {engine['error']}"}[engine["passed"]]
            click.echo(f"  engine {engine['engine']}: {state}")
