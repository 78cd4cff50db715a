"""The proof that a graph file is plain: all its weights inside, and no operator that runs other graphs.

The file is walked as protobuf fields, by the numbers of onnx.proto, since the runtime has no onnx package. An ONNX runtime
would read external data from the working folder, outside of every digest, and a loop in a graph need never end.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE_TENSOR = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE_TENSORS = (5, 10), (6, 11), (22, 23)
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 8, 13, 14
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_MOST_FIELDS = 500_000  # walked in about two seconds; the largest graph of EdgeLeather has some ten thousand


def why_not_plain(content: bytes) -> str:
    """What a graph file has that no graph of EdgeLeather has, in words; empty for a plain graph."""
    try:
        return _Walk().of_model(memoryview(content))
    except (ValueError, IndexError):
        return "something that is no ONNX graph"


class _Walk:
    """One walk through a file, which counts the fields that it has seen."""

    def __init__(self) -> None:
        self._fields_left = _MOST_FIELDS

    def of_model(self, model: memoryview) -> str:
        for number, value in self._fields(model):
            if number == _MODEL_FUNCTIONS:
                return "functions of its own"
            if number == _MODEL_GRAPH and (found := self._of_graph(_message(value))):
                return found
        return ""

    def _of_graph(self, graph: memoryview) -> str:
        for number, value in self._fields(graph):
            found = ""
            if number == _GRAPH_NODE:
                found = self._of_node(_message(value))
            elif number == _GRAPH_TENSOR:
                found = self._of_tensor(_message(value))
            elif number == _GRAPH_SPARSE_TENSOR:
                found = "sparse weights"
            if found:
                return found
        return ""

    def _of_node(self, node: memoryview) -> str:
        for number, value in self._fields(node):
            if number == _NODE_OPERATOR:
                operator = bytes(_message(value)).decode("utf-8", "replace")
                if operator in _CONTROL_FLOW:
                    return f"the operator {operator}, which runs another graph"
            elif number == _NODE_ATTRIBUTE and (found := self._of_attribute(_message(value))):
                return found
        return ""

    def _of_attribute(self, attribute: memoryview) -> str:
        for number, value in self._fields(attribute):
            if number in _ATTRIBUTE_GRAPHS:
                return "a graph inside an operator"
            if number in _ATTRIBUTE_SPARSE_TENSORS:
                return "sparse weights"
            if number in _ATTRIBUTE_TENSORS and (found := self._of_tensor(_message(value))):
                return found
        return ""

    def _of_tensor(self, tensor: memoryview) -> str:
        name, is_external = "", False
        for number, value in self._fields(tensor):
            if number == _TENSOR_NAME:
                name = bytes(_message(value)).decode("utf-8", "replace")[:60]
            elif number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_LOCATION and value != 0):
                is_external = True
        return f"weights in another file (external data of {name!r})" if is_external else ""

    def _fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Number and value of each field: an integer, or the bytes of a string, a message or a number of fixed size."""
        at = 0
        while at < len(message):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError
            key, at = _varint(message, at)
            kind = key & 7
            if kind == _VARINT:
                value, at = _varint(message, at)
                yield key >> 3, value
                continue
            if kind == _BYTES:
                size, at = _varint(message, at)
            elif kind in (_FIXED32, _FIXED64):
                size = 4 if kind == _FIXED32 else 8
            else:
                raise ValueError
            if size > len(message) - at:
                raise ValueError
            yield key >> 3, message[at : at + size]
            at += size


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError
    return value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError
