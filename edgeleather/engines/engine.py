"""The backend contract, and the visible table of backends."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgeleather.arrays import Float32Array, UInt8Array
from edgeleather.errors import EdgeLeatherError

ENGINES = {
    "onnxruntime": "edgeleather.engines.onnxruntime",
}


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
            EdgeLeatherError: another size or type than the signature's.
        """

    def close(self) -> None: ...


def load_engine(
    backend: str, file: Path, precision: str, threads: int | None = None, built_from: str | None = None
) -> Engine:
    """Load a graph file in a backend, or an engine file that was built from the graph of SHA-256 `built_from`.

    Raises:
        EdgeLeatherError: no such backend, or it refuses the file.
    """
    engine: Engine = backend_module(backend).load(file, precision, threads, built_from)
    return engine


def backend_module(backend: str) -> Any:
    """A backend's module: `load`, `build` and `VERSION`.

    Raises:
        EdgeLeatherError: no such backend.
    """
    if backend not in ENGINES:
        raise EdgeLeatherError(f"expected a backend of {', '.join(ENGINES)}, got {backend!r}.")
    return importlib.import_module(ENGINES[backend])


def check_images(images: UInt8Array, signature: Signature) -> None:
    """Refuse what is not uint8 [n, h, w, 3] at the signature's size, in the words of the contract.

    Raises:
        EdgeLeatherError: another type, shape or size.
    """
    height, width = signature.image_size_hw
    if images.dtype != "uint8" or images.ndim != 4 or images.shape[1:] != (height, width, 3) or not len(images):
        raise EdgeLeatherError(
            f"expected images uint8 [n, {height}, {width}, 3] RGB, got {images.dtype} {list(images.shape)}."
        )
