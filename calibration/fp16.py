"""FP16 inside the graph: inputs and outputs keep their types, and the nodes that must not lose digits stay float32."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16
# Operands that an operator takes as float32 whatever its data are: a resize's scales and region.
_ALWAYS_FLOAT = {"Resize": (1, 2)}


def to_fp16(model: ModelProto, float32_nodes: Collection[str]) -> ModelProto:
    """The model with every floating-point node in FP16, but for those whose first output is among `float32_nodes`.

    Q/DQ pairs follow what they quantise: scales become FP16, so that a strongly typed engine computes in it.
    """
    return _Writer(model, set(float32_nodes)).write()


class _Writer:
    def __init__(self, model: ModelProto, float32_nodes: set[str]) -> None:
        self._model = model
        self._kept = float32_nodes
        self._types = element_types(model)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._is_half: set[str] = set()  # floating-point tensors of the new graph that are FP16 under their own name
        self._added: dict[str, TensorProto] = {}
        self._casts: dict[tuple[str, int], str] = {}
        self._nodes: list[NodeProto] = []

    def write(self) -> ModelProto:
        outputs = {value.name for value in self._model.graph.output}
        for node in self._model.graph.node:
            copy = NodeProto()
            copy.CopyFrom(node)
            half = self._belongs_in_half(node)
            always = _ALWAYS_FLOAT.get(node.op_type, ())
            for index, name in enumerate(node.input):
                if self._types.get(name) == _FLOAT:
                    copy.input[index] = self._read(name, half and index not in always)
            for index, name in enumerate(node.output):
                if half and self._types.get(name) == _FLOAT:
                    if name in outputs:
                        copy.output[index] = f"{name}_half"
                    else:
                        self._is_half.add(name)
            if half and node.op_type == "Cast":
                self._set_cast_type(copy)
            self._nodes.append(copy)
            for renamed, name in zip(copy.output, node.output, strict=True):
                if renamed != name:
                    self._nodes.append(helper.make_node("Cast", [renamed], [name], f"{name}_to_float", to=_FLOAT))
        return self._assembled()

    def _belongs_in_half(self, node: NodeProto) -> bool:
        """Whether a node gives floats and none of them has to stay float32; a quantiser follows what it reads."""
        if node.op_type == "QuantizeLinear":
            return node.input[0] in self._is_half
        gives_floats = any(self._types.get(name) == _FLOAT for name in node.output)
        reads_only_shapes = node.op_type in ("ConstantOfShape", "Range", "Constant", "RandomNormal")
        return gives_floats and not reads_only_shapes and node.output[0] not in self._kept

    def _read(self, name: str, half: bool) -> str:
        """The name under which a node reads a floating-point tensor in the type it wants."""
        if half == (name in self._is_half):
            return name
        if name in self._constants and half:
            return self._half_constant(name)
        wanted = _HALF if half else _FLOAT
        if (name, wanted) not in self._casts:
            cast = f"{name}_as_{'half' if half else 'float'}"
            self._nodes.append(helper.make_node("Cast", [name], [cast], cast, to=wanted))
            self._casts[name, wanted] = cast
        return self._casts[name, wanted]

    def _half_constant(self, name: str) -> str:
        values = numpy_helper.to_array(self._constants[name]).astype(np.float32)
        limit = np.finfo(np.float16).max
        made = f"{name}_half"
        self._added[made] = numpy_helper.from_array(np.clip(values, -limit, limit).astype(np.float16), made)
        return made

    def _set_cast_type(self, node: NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.name == "to":
                attribute.i = _HALF

    def _assembled(self) -> ModelProto:
        changed = ModelProto()
        changed.CopyFrom(self._model)
        graph = changed.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        graph.initializer.extend(t for name, t in (self._constants | self._added).items() if name in used)
        return changed


def element_types(model: ModelProto) -> dict[str, int]:
    """The element type of every tensor of a model, as ONNX numbers them."""
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {value.name: int(value.type.tensor_type.elem_type) for value in values}
    return types | {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
