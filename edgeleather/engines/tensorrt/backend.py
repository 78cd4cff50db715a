"""What `engine.Backend` asks of a module, once for both TensorRT libraries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeleather.engines.engine import BuildReport, BuildSettings
from edgeleather.engines.tensorrt.building import build_plan
from edgeleather.engines.tensorrt.library import Library, compute_capability, cuda_driver, imported
from edgeleather.engines.tensorrt.running import TensorRtEngine
from edgeleather.errors import EdgeLeatherError

_FOR = "compute capability "
_LATER = " and later"


@dataclass(frozen=True)
class TensorRtBackend:
    """See `engine.Backend`."""

    library: Library

    def version(self) -> str:
        return str(imported(self.library).__version__)

    def can_run(self) -> str:
        try:
            imported(self.library)
            cuda_driver()
        except EdgeLeatherError as error:
            return str(error)
        return ""

    def fits(self, built_for: str) -> str:
        try:
            here = compute_capability()
        except EdgeLeatherError as error:
            return str(error).removesuffix(".")
        wanted = built_for.removeprefix(_FOR)
        is_later = wanted.endswith(_LATER) and _number(here) >= _number(wanted.removesuffix(_LATER))
        return "" if is_later or here in wanted.split(", ") else f"this GPU has compute capability {here}"

    def build(self, graph: Path, engine: Path, settings: BuildSettings) -> BuildReport:
        return build_plan(self.library, graph, engine, settings)

    def load(self, file: Path, precision: str, threads: int | None, built_from: str | None) -> TensorRtEngine:
        if built_from is None:
            raise EdgeLeatherError(
                f"{file.name}: {self.library.backend} runs engines, not graphs. Build one with: edgeleather build BUNDLE "
                f"--backend {self.library.backend} --precision {precision}"
            )
        return TensorRtEngine(self.library, file, precision, built_from)


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))
