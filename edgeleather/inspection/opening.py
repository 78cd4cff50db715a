"""Opening the inspector of a bundle folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeleather.bundle.bundle import for_inspection, read_bundle, without_original
from edgeleather.engines.built import read_choice
from edgeleather.inspection.inspector import DEFAULT_BACKEND, Inspector, InspectorSettings


def open_inspector(folder: Path, settings: InspectorSettings = InspectorSettings()) -> Inspector:
    """The inspector of a bundle folder, of which only the files that it needs are verified.

    Without precision, backend and trusted engine in the settings it takes what `build --precision auto` chose on this machine.

    Raises:
        EdgeLeatherError: the bundle is damaged or lacks what is asked for, or its engine does not give the recorded answer.
    """
    if not (settings.precision or settings.backend or settings.trusted_engine):
        choice = read_choice(read_bundle(folder, lambda _: ()))
        if choice:
            settings = replace(settings, precision=choice.precision, backend=choice.backend)
    if settings.trusted_engine:
        return Inspector(read_bundle(folder, without_original), settings)
    files = for_inspection(settings.precision, settings.backend or DEFAULT_BACKEND)
    return Inspector(read_bundle(folder, files), settings)
