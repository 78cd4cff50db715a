"""EdgeLeather: from good photos of leather to a calibrated engine to an audited inspection loop.

What a Python program needs is named here and imported on use, so that `import edgeleather` stays light. Everything else is
internal and may change.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeleather.benchmarks.report import benchmark_bundles as benchmark
    from edgeleather.benchmarks.threshold_choice import ThresholdWish, choose_threshold
    from edgeleather.calibration.calibrating import CalibrationSettings
    from edgeleather.calibration.calibrating import calibrate_bundle as calibrate
    from edgeleather.engines.engine import BuildSettings
    from edgeleather.errors import EdgeLeatherError
    from edgeleather.export.building import build
    from edgeleather.export.teaching import add_articles, teach
    from edgeleather.inspection.decisions import DecisionRules, Region
    from edgeleather.inspection.inspector import Inspection, Inspector, InspectorSettings
    from edgeleather.inspection.opening import open_inspector as load
    from edgeleather.station.station import Station
    from edgeleather.training.choices import TrainingChoices

__version__ = "0.1.0"
__all__ = [
    "BuildSettings",
    "CalibrationSettings",
    "DecisionRules",
    "EdgeLeatherError",
    "Inspection",
    "Inspector",
    "InspectorSettings",
    "Region",
    "Station",
    "ThresholdWish",
    "TrainingChoices",
    "add_articles",
    "benchmark",
    "build",
    "calibrate",
    "choose_threshold",
    "load",
    "teach",
]
# The library configures no logging; without this line Python would print its warnings for a program that set none up.
logging.getLogger("edgeleather").addHandler(logging.NullHandler())

_FRONT_DOOR = {
    "BuildSettings": "edgeleather.engines.engine:BuildSettings",
    "CalibrationSettings": "edgeleather.calibration.calibrating:CalibrationSettings",
    "DecisionRules": "edgeleather.inspection.decisions:DecisionRules",
    "EdgeLeatherError": "edgeleather.errors:EdgeLeatherError",
    "Inspection": "edgeleather.inspection.inspector:Inspection",
    "Inspector": "edgeleather.inspection.inspector:Inspector",
    "InspectorSettings": "edgeleather.inspection.inspector:InspectorSettings",
    "Region": "edgeleather.inspection.decisions:Region",
    "Station": "edgeleather.station.station:Station",
    "ThresholdWish": "edgeleather.benchmarks.threshold_choice:ThresholdWish",
    "TrainingChoices": "edgeleather.training.choices:TrainingChoices",
    "add_articles": "edgeleather.export.teaching:add_articles",
    "benchmark": "edgeleather.benchmarks.report:benchmark_bundles",
    "build": "edgeleather.export.building:build",
    "calibrate": "edgeleather.calibration.calibrating:calibrate_bundle",
    "choose_threshold": "edgeleather.benchmarks.threshold_choice:choose_threshold",
    "load": "edgeleather.inspection.opening:open_inspector",
    "teach": "edgeleather.export.teaching:teach",
}


def __getattr__(name: str) -> Any:
    """The public name, imported now.

    Raises:
        AttributeError: this name is not public.
    """
    import importlib

    if name not in _FRONT_DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _FRONT_DOOR[name].partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "edgeleather":
            raise
        from edgeleather.errors import MissingPartError
        from edgeleather.machine import TRAIN_PARTS

        module = error.name.partition(".")[0]
        raise MissingPartError(module, "train" if module in TRAIN_PARTS else None) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
