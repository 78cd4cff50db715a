"""TensorRT 10.x and 11.x on NVIDIA GPUs."""

from __future__ import annotations

from edgeleather.engines.tensorrt.backend import TensorRtBackend
from edgeleather.engines.tensorrt.library import TENSORRT

_backend = TensorRtBackend(TENSORRT)
version, fits, can_run, build, load = _backend.version, _backend.fits, _backend.can_run, _backend.build, _backend.load
