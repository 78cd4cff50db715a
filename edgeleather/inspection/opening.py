"""Opening the inspector of a bundle folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeleather.bundle.bundle import read_bundle, without_original
from edgeleather.engines.built import wanted_engine
from edgeleather.engines.graphs import for_inspection
from edgeleather.inspection.inspector import Inspector, InspectorSettings


def open_inspector(folder: Path | str, settings: InspectorSettings = InspectorSettings()) -> Inspector:
    """The inspector of a bundle folder, of which only the files that it needs are verified.

    Without precision, backend and trusted engine in the settings it takes what `build --precision auto` chose on this machine.

    Raises:
        EdgeLeatherError: the bundle is damaged or lacks what is asked for, or its engine does not give the recorded answer.

    >>> import edgeleather as el
    >>> with el.load("bundle") as inspector:
    ...     inspection = inspector.inspect("hide.png")  # a path, or a BGR array as OpenCV gives it
    >>> inspection.verdict
    'defect'
    """
    folder = Path(folder)
    if settings.trusted_engine:
        return Inspector(read_bundle(folder, without_original), settings)
    named = read_bundle(folder, lambda _: ())  # the manifest alone: which files are needed follows from the engine
    backend, precision = wanted_engine(named, settings.backend, settings.precision)
    files = for_inspection(precision, backend)
    return Inspector(read_bundle(folder, files), replace(settings, backend=backend, precision=precision))
