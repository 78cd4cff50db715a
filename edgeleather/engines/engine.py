"""The contract of a backend and of its engines. Which backends there are stands in `table.py`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from edgeleather.arrays import Float32Array, UInt8Array
from edgeleather.engines.table import BACKENDS, capabilities
from edgeleather.errors import EdgeLeatherError

PRECISIONS = ("fp32", "fp16", "int8")
MOST_THREADS = 256


@dataclass(frozen=True)
class Signature:
    """What an engine is: where it runs, at which precision, and which graph (by SHA-256) it was made from."""

    backend: str
    precision: str
    device: str
    versions: dict[str, str]
    graph_sha256: str
    image_size_hw: tuple[int, int]
    batch_range: tuple[int, int | None]


@dataclass(frozen=True)
class Maps:
    """Anomaly maps float32 [n, h, w] and scores float32 [n], each map's maximum; the caller may keep them."""

    maps: Float32Array
    scores: Float32Array


class Engine(Protocol):
    """A loaded graph. Images in, anomaly maps and scores out. Made, used and closed on one thread."""

    @property
    def signature(self) -> Signature: ...

    def infer(self, images: UInt8Array) -> Maps:
        """Run images [n, h, w, 3] RGB.

        Raises:
            EdgeLeatherError: another size or type than the signature's, or another number than its batch range.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class BuildSettings:
    """What a user chooses of a build; what a backend does not take is refused (`check_settings`).

    `batch` is the least, the usual and the greatest number of images at once (TensorRT's optimisation profile), `targets` are
    compute capabilities to build for (tensorrt-rtx), `threads` are the processor's (None: found by measuring).

    >>> import edgeleather as el
    >>> el.build("bundle", precision="fp32", settings=el.BuildSettings(threads=1)).record.threads
    1
    """

    batch: tuple[int, int, int] = (1, 1, 8)
    workspace_mib: int | None = None
    targets: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class BuildReport:
    """What a backend's build gives besides the engine file.

    `built_for` names the hardware it is bound to, `flags` what it was built with, `driver_floor` the oldest GPU driver, `threads`
    the processor's. `layers` is the report of the backend's inspector as JSON; None, with the reason in `notes`, where
    there is none.
    """

    built_for: str
    flags: dict[str, str] = field(default_factory=dict)
    driver_floor: str | None = None
    threads: int | None = None
    layers: str | None = None
    notes: tuple[str, ...] = ()


class Backend(Protocol):
    """What a module in `table.BACKENDS` has."""

    def version(self) -> str:
        """The version of the backend's library.

        Raises:
            MissingPartError: it is not installed.
        """

    def fits(self, built_for: str) -> str:
        """Why an engine that was built for this hardware does not run on this machine; empty where it does."""

    def can_run(self) -> str:
        """Why nothing of this backend can run on this machine; empty where it can."""

    def build(self, graph: Path, engine: Path, settings: BuildSettings) -> BuildReport:
        """Write the engine of a graph.

        Raises:
            EdgeLeatherError: the backend refuses the graph or the settings, or the file cannot be written.
        """

    def load(self, file: Path, precision: str, threads: int | None, built_from: str | None) -> Engine:
        """See `load_engine`."""


def load_engine(
    backend: str, file: Path, precision: str, threads: int | None = None, built_from: str | None = None
) -> Engine:
    """Load a graph file in a backend, or an engine file that was built from the graph of SHA-256 `built_from`.

    Raises:
        EdgeLeatherError: no such backend, or it refuses the file or the number of threads.
    """
    if threads and not capabilities(backend).takes_threads:
        raise EdgeLeatherError(_refusal("--threads", "takes_threads", backend))
    return backend_module(backend).load(file, precision, threads, built_from)


def backend_module(backend: str) -> Backend:
    """A backend's module.

    Raises:
        EdgeLeatherError: no such backend.
    """
    return cast(Backend, importlib.import_module(capabilities(backend).module))


def check_settings(backend: str, settings: BuildSettings) -> None:
    """Refuse build settings that a backend does not take.

    Raises:
        EdgeLeatherError: one is given; the message names the backends that it is for.
    """
    can, usual = capabilities(backend), BuildSettings()
    for option, given, taken in (
        ("--threads", settings.threads is not None, "takes_threads"),
        ("--batch", settings.batch != usual.batch, "takes_batch_profile"),
        ("--workspace-mib", settings.workspace_mib is not None, "takes_workspace"),
        ("--target", bool(settings.targets), "takes_targets"),
    ):
        if given and not getattr(can, taken):
            raise EdgeLeatherError(_refusal(option, taken, backend))


def _refusal(option: str, taken: str, backend: str) -> str:
    takers = ", ".join(name for name, can in BACKENDS.items() if getattr(can, taken))
    return f"{option} is for {takers}; {backend} does not take it. Leave it out, or choose another --backend."


def check_images(images: UInt8Array, signature: Signature) -> None:
    """Refuse what is not uint8 [n, h, w, 3] at the signature's size and batch range, in the words of the contract.

    Raises:
        EdgeLeatherError: another type, shape, size or number.
    """
    height, width = signature.image_size_hw
    if images.dtype != "uint8" or images.ndim != 4 or images.shape[1:] != (height, width, 3) or not len(images):
        raise EdgeLeatherError(
            f"expected images uint8 [n, {height}, {width}, 3] RGB, got {images.dtype} {list(images.shape)}."
        )
    fewest, most = signature.batch_range
    if len(images) < fewest or (most is not None and len(images) > most):
        raise EdgeLeatherError(
            f"expected {fewest} to {most or 'any number of'} images at once, got {len(images)}. Build the engine for another "
            "batch with: edgeleather build BUNDLE --batch MIN OPT MAX"
        )
