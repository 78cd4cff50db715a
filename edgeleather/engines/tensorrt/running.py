"""One runner for TensorRT 10.x and 11.x and TensorRT for RTX, on the GPU's primary context, which torch shares."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.engines.engine import Maps, Signature, check_images
from edgeleather.engines.tensorrt.library import Library, collecting_logger, cuda_driver, imported
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import write_atomically

_IMAGE, _MAP, _SCORE = "image", "anomaly_map", "anomaly_score"


class TensorRtEngine:
    """A plan with its buffers: pinned host and device memory for the largest batch, bound once; one stream, one thread."""

    def __init__(self, library: Library, file: Path, precision: str, built_from: str) -> None:
        """Load a plan file.

        Raises:
            EdgeLeatherError: no library, pycuda or GPU; or the plan is not for this GPU or version.
        """
        self._trt = imported(library)
        self._cuda = cuda_driver()
        self._logger = collecting_logger(self._trt)
        try:
            device = self._cuda.Device(0)
            self._cuda_context = device.retain_primary_context()
            self._cuda_context.push()
            self._open(library, file)
            self._bind()
            major, minor = device.compute_capability()
        except BaseException as error:
            self.close()
            # A runtime that finds no usable GPU comes as a TypeError from the bindings.
            if isinstance(error, (self._cuda.Error, TypeError, RuntimeError)):
                raise EdgeLeatherError(f"{file}: the GPU refuses this engine: {error}.") from error
            raise
        self._signature = Signature(
            backend=library.backend,
            precision=precision,
            device=f"{device.name()}, compute capability {major}.{minor}",
            versions={library.backend: str(self._trt.__version__), "cuda": str(self._cuda.get_driver_version())},
            graph_sha256=built_from,
            image_size_hw=(int(self._most[1]), int(self._most[2])),
            batch_range=(1, int(self._most[0])),
        )

    @property
    def signature(self) -> Signature:
        return self._signature

    def infer(self, images: UInt8Array) -> Maps:
        check_images(images, self._signature)
        count = len(images)
        try:
            self._copy_in_and_run(images, count)
        except self._cuda.Error as error:
            raise EdgeLeatherError(f"the GPU failed on these images: {error}.") from error
        # Copies: the pinned buffers are written again by the next frame.
        return Maps(self._host[_MAP][:count].copy(), self._host[_SCORE][:count].copy())

    def close(self) -> None:
        """Free everything on the GPU, in the order that it hangs together; can be called again."""
        if getattr(self, "_cuda_context", None) is None:
            return
        self._keep_runtime_cache()
        for name in ("_context", "_runtime_cache", "_engine", "_runtime", "_stream", "_device", "_host"):
            self.__dict__.pop(name, None)
        self._cuda_context.pop()
        self._cuda_context.detach()
        self._cuda_context = None

    def _open(self, library: Library, file: Path) -> None:
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            heard = "; ".join(dict.fromkeys(self._logger.errors)) or "nothing more"
            raise EdgeLeatherError(f"{file}: {library.backend} does not load this engine. It says: {heard}.")
        self._cache_file = file.with_suffix(".runtime-cache")
        self._runtime_cache = None
        if library.is_rtx:
            # Kernels are compiled at the first run; the cache spares the next start that.
            config = self._engine.create_runtime_config()
            self._runtime_cache = config.create_runtime_cache()
            if self._cache_file.is_file():
                self._runtime_cache.deserialize(self._cache_file.read_bytes())
            config.set_runtime_cache(self._runtime_cache)
            self._context = self._engine.create_execution_context(config)
        else:
            self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EdgeLeatherError(f"{file}: no room on the GPU to run this engine. {'; '.join(self._logger.errors)}")

    def _bind(self) -> None:
        self._least, _, self._most = self._engine.get_tensor_profile_shape(_IMAGE, 0)
        count, height, width = self._most[:3]
        shapes = {_IMAGE: ((count, height, width, 3), np.uint8), _MAP: ((count, height, width), np.float32)}
        shapes[_SCORE] = ((count,), np.float32)
        self._stream = self._cuda.Stream()
        self._host = {name: self._cuda.pagelocked_empty(shape, kind) for name, (shape, kind) in shapes.items()}
        self._device = {name: self._cuda.mem_alloc(array.nbytes) for name, array in self._host.items()}
        for name, memory in self._device.items():
            self._context.set_tensor_address(name, int(memory))
        self._count = 0

    def _copy_in_and_run(self, images: UInt8Array, count: int) -> None:
        run = max(
            count, int(self._least[0])
        )  # fewer than the profile's least run with whatever the buffers hold behind them
        if run != self._count:
            if not self._context.set_input_shape(_IMAGE, (run, *images.shape[1:])):
                raise EdgeLeatherError(
                    f"the engine takes no batch of {run} images: {'; '.join(self._logger.errors[-3:])}"
                )
            self._count = run
        np.copyto(self._host[_IMAGE][:count], images)
        self._cuda.memcpy_htod_async(self._device[_IMAGE], self._host[_IMAGE][:count], self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise EdgeLeatherError(f"the engine failed on these images: {'; '.join(self._logger.errors[-3:])}")
        for name in (_MAP, _SCORE):
            self._cuda.memcpy_dtoh_async(self._host[name][:count], self._device[name], self._stream)
        self._stream.synchronize()

    def _keep_runtime_cache(self) -> None:
        cache = getattr(self, "_runtime_cache", None)
        if cache is not None and not self._cache_file.exists():
            with contextlib.suppress(EdgeLeatherError):  # a bundle on a read-only disk starts cold each time
                write_atomically(self._cache_file, bytes(cache.serialize()))
