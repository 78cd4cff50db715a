"""TensorRT 10.x and 11.x and TensorRT for RTX behind one set of names: which module, which GPU, what the logger heard."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from typing import Any

from edgeleather.errors import EdgeLeatherError, MissingPartError

# The oldest driver of each CUDA major version (NVIDIA's CUDA compatibility table).
_DRIVER_FLOORS = {"11": "450", "12": "525", "13": "580"}


@dataclass(frozen=True)
class Library:
    """One of the two libraries; `backend` is also the name of its extra."""

    backend: str
    module: str
    is_rtx: bool


TENSORRT = Library("tensorrt", "tensorrt", is_rtx=False)
TENSORRT_RTX = Library("tensorrt-rtx", "tensorrt_rtx", is_rtx=True)


def imported(library: Library) -> Any:
    """The library's Python module.

    Raises:
        MissingPartError: it is not installed.
        EdgeLeatherError: it is, but its shared libraries do not load.
    """
    try:
        return importlib.import_module(library.module)
    except ModuleNotFoundError as error:
        raise MissingPartError(library.module, library.backend) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise EdgeLeatherError(
            f"{library.module} is installed, but does not load: {error}. Install it again, for this machine's CUDA, with: "
            f"pip install 'edgeleather[{library.backend}]'"
        ) from error


def driver_floor(library: Library) -> str | None:
    """The oldest GPU driver that the installed library works with, by the CUDA version in its package's name."""
    for name in packages_distributions().get(library.module, []):
        for cuda, driver in _DRIVER_FLOORS.items():
            if f"cu{cuda}" in name:
                return f"{driver} (CUDA {cuda})"
    return None


def cuda_driver() -> Any:
    """pycuda's driver module, initialised, with at least one GPU. `pycuda.autoinit` is not for us: it makes a context of its own.

    Raises:
        EdgeLeatherError: pycuda, the driver or a GPU is missing.
    """
    try:
        cuda = importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise MissingPartError("pycuda", "cuda") from error
    except (ImportError, OSError) as error:
        raise EdgeLeatherError(
            f"pycuda does not load: {error}. An NVIDIA GPU and its driver are needed here."
        ) from error
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        raise EdgeLeatherError(f"no NVIDIA GPU can be used here: {error}.") from error
    if not count:
        raise EdgeLeatherError("no NVIDIA GPU is in this machine.")
    return cuda


def compute_capability() -> str:
    """The compute capability of the first GPU, as "8.6".

    Raises:
        EdgeLeatherError: there is none, or no pycuda.
    """
    major, minor = cuda_driver().Device(0).compute_capability()
    return f"{major}.{minor}"


def collecting_logger(trt: Any) -> Any:
    """A logger of this library that keeps its errors in `.errors` instead of printing them."""

    class Collecting(trt.ILogger):  # type: ignore[misc] # its base is only known when the library is
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Collecting()
