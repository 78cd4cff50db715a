"""A graph that ONNX Runtime runs on the CPU."""

from __future__ import annotations

import hashlib

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.engines.engine import Maps, Signature, check_images
from edgeleather.engines.onnxruntime.session import open_session, version
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import integer_dot_instructions, usable_cores

_CONTRACT = (("image",), ("anomaly_map", "anomaly_score"))


class OnnxRuntimeEngine:
    """A graph's bytes, or those of an engine built from the graph of SHA-256 `built_from`, in an ONNX Runtime session."""

    def __init__(
        self,
        content: bytes,
        name: str,
        precision: str,
        threads: int | None,
        built_from: str | None = None,
        optimise: bool = True,
        exact_products: bool = False,
    ) -> None:
        """`name` is for messages; a built engine is optimised already; for `exact_products` see `open_session`.

        Raises:
            EdgeLeatherError: ONNX Runtime refuses the graph, or it is none of ours.
        """
        threads = threads or usable_cores()
        is_optimised = built_from is not None or not optimise
        self._session = open_session(content, name, threads, None, is_optimised, exact_products)
        dots = " ".join(integer_dot_instructions()) or "none"
        self._signature = Signature(
            backend="onnxruntime",
            precision=precision,
            device=f"cpu, {threads} threads, integer dot products: {dots}",
            versions={"onnxruntime": version()},
            graph_sha256=built_from or hashlib.sha256(content).hexdigest(),
            image_size_hw=self._image_size_hw(name),
            batch_range=(1, None),
        )

    @property
    def signature(self) -> Signature:
        return self._signature

    def infer(self, images: UInt8Array) -> Maps:
        check_images(images, self._signature)
        try:
            maps, scores = self._session.run(list(_CONTRACT[1]), {"image": np.ascontiguousarray(images)})
        except Exception as error:  # it has no root class of its own; one frame without memory must not end the loop
            raise EdgeLeatherError(f"ONNX Runtime failed on these images: {str(error).splitlines()[0]}") from error
        return Maps(maps, scores)

    def close(self) -> None:
        del self._session

    def _image_size_hw(self, name: str) -> tuple[int, int]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        names = (tuple(i.name for i in inputs), tuple(o.name for o in outputs))
        shape = inputs[0].shape if inputs else []
        sized = len(shape) == 4 and all(isinstance(n, int) for n in shape[1:]) and shape[3] == 3
        if names != _CONTRACT or not sized or inputs[0].type != "tensor(uint8)":
            raise EdgeLeatherError(
                f"{name}: expected a graph of EdgeLeather (image uint8 [batch, h, w, 3] to anomaly_map and "
                f"anomaly_score), got inputs {names[0]} of shape {shape} and outputs {names[1]}."
            )
        return int(shape[1]), int(shape[2])
