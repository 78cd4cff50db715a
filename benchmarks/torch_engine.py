"""The full-precision torch original behind the engine contract: what every other engine is compared with."""

from __future__ import annotations

import torch

from edgeleather.arrays import UInt8Array
from edgeleather.benchmarks.rounds import ORIGINAL
from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import ORIGINAL_FOLDER
from edgeleather.engines.engine import Maps, Signature, check_images
from edgeleather.engines.timing import sample_ns
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import usable_cores
from edgeleather.training.run import RUN_FILE, WEIGHTS_FILE, read_run
from edgeleather.training.training import load_trained

_WARM_UP, _TRIALS = 2, 5


class TorchEngine:
    """The trained method in `eval` and `inference_mode`, in the faster of the two memory layouts (measured here)."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        """Load the original that travels in a bundle.

        Raises:
            EdgeLeatherError: the bundle was exported without it.
        """
        folder = bundle.folder / ORIGINAL_FOLDER
        if f"{ORIGINAL_FOLDER}/{RUN_FILE}" not in bundle.manifest.files:
            raise EdgeLeatherError(f"{bundle.folder} was exported with --without-original: there is no torch row.")
        torch.set_num_threads(threads or usable_cores())
        self._method = load_trained(read_run(folder), folder)
        height, width = bundle.manifest.input_mode.image_size_hw
        example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
        fastest_ns = {}
        for layout in (torch.contiguous_format, torch.channels_last):
            self._method = self._method.to(memory_format=layout)  # type: ignore[call-overload] # not in torch's stub
            fastest_ns[layout] = self._fastest_ns(example)
        faster = min(fastest_ns, key=lambda layout: fastest_ns[layout])
        self._method = self._method.to(memory_format=faster)  # type: ignore[call-overload]
        self._signature = Signature(
            backend=ORIGINAL,
            precision="fp32",
            device=f"cpu, {torch.get_num_threads()} threads, {str(faster).removeprefix('torch.')}",
            versions={ORIGINAL: torch.__version__},
            graph_sha256=bundle.manifest.files[f"{ORIGINAL_FOLDER}/{WEIGHTS_FILE}"].sha256,
            image_size_hw=(height, width),
            batch_range=(1, None),
        )

    @property
    def signature(self) -> Signature:
        return self._signature

    def infer(self, images: UInt8Array) -> Maps:
        check_images(images, self._signature)
        with torch.inference_mode():
            maps, scores = self._method(torch.from_numpy(images))
        return Maps(maps.numpy(), scores.numpy())

    def close(self) -> None:
        del self._method

    def _fastest_ns(self, example: torch.Tensor) -> int:
        with torch.inference_mode():
            return min(sample_ns(lambda _: self._method(example), _TRIALS, warm_up_runs=_WARM_UP))
