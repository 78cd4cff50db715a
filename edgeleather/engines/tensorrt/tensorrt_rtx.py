"""TensorRT for RTX on NVIDIA GPUs."""

from __future__ import annotations

from edgeleather.engines.tensorrt.backend import TensorRtBackend
from edgeleather.engines.tensorrt.library import TENSORRT_RTX

_backend = TensorRtBackend(TENSORRT_RTX)
version, fits, can_run, build, load = _backend.version, _backend.fits, _backend.can_run, _backend.build, _backend.load
