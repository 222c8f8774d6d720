"""The weights inside a TFLite file, read from the flatbuffer without running it.

TFLite keeps its own layouts; everything here is handed on in Keras's: a convolution
kernel (out, h, w, in) becomes (h, w, in, out), a dense one (out, in) becomes (in, out).
Quantized integers are shifted by their zero point, so that zero is zero everywhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfprune.errors import DAMAGED, TfpruneError
from tfprune.export.sparse_encoding import densify

_OPERATOR_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}
_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}
# Operator -> index of its kernel among the inputs, index of its bias, and the axes that
# turn TFLite's kernel into Keras's (None: by the number of axes, or as it is).
_WEIGHT_OPERATORS: dict[str, tuple[int, int, tuple[int, ...] | None]] = {
    "CONV_2D": (1, 2, (1, 2, 3, 0)),
    "DEPTHWISE_CONV_2D": (1, 2, (1, 2, 3, 0)),
    "TRANSPOSE_CONV": (1, 3, (1, 2, 0, 3)),
    "CONV_3D": (1, 2, None),
    "FULLY_CONNECTED": (1, 2, (1, 0)),
    "BATCH_MATMUL": (1, -1, None),
    "GATHER": (0, -1, None),
}
# What a converter may put between a layer and the constants of its bias or batch norm.
_PASSED_THROUGH = ("RELU", "RELU6", "RESHAPE", "DEQUANTIZE", "QUANTIZE")


# What may stand between a stored constant and its use: float16, and the sparse encoding.
_UNPACKING = ("DEQUANTIZE", "DENSIFY")


@dataclass(frozen=True)
class Vector:
    """A constant per unit that the file adds to ("ADD") or multiplies ("MUL") a layer with."""

    operator: str
    values: np.ndarray  # (units,)


@dataclass(frozen=True)
class Kernel:
    """One weight tensor and the constants that follow it, in Keras's layout.

    Attributes:
        tensor: name of the tensor in the file.
        names: names that tell which layer it is: of the tensor and of the results.
        values: the weights, zero point taken off.
        vectors: bias ("ADD"), then the "MUL" and "ADD" of a batch norm that follows.
    """

    tensor: str
    names: tuple[str, ...]
    values: np.ndarray
    vectors: tuple[Vector, ...]


def read_kernels(path: str | Path) -> list[Kernel]:
    """The weight tensors of a TFLite file in the order in which they are first used.

    Args:
        path: a `.tflite` file.

    Raises:
        TfpruneError: missing or corrupt file.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TfpruneError(f"cannot read {path}: {error.strerror}") from error
    if data[4:8] != b"TFL3":
        raise TfpruneError(f"{path} is not a TFLite file: it does not carry the mark TFL3")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        return [kernel for graph in model.subgraphs for kernel in _Graph(model, graph).kernels()]
    except (*DAMAGED, struct.error) as error:
        raise TfpruneError(f"{path} is a corrupt TFLite file: {error}") from error


class _Graph:
    """One subgraph: which operator makes and which take a tensor."""

    def __init__(self, model: Any, graph: Any) -> None:
        self.buffers = model.buffers
        self.tensors = graph.tensors
        self.operators = [
            (self._operator_name(model, operator), operator) for operator in graph.operators
        ]
        self.producers = {
            index: entry for entry in self.operators for index in map(int, entry[1].outputs)
        }

    @staticmethod
    def _operator_name(model: Any, operator: Any) -> str:
        code = model.operatorCodes[operator.opcodeIndex]
        # Old files know only the one-byte field, new ones fill both: the larger is right.
        return _OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")

    def name(self, index: int) -> str:
        """The name of a tensor."""
        name = self.tensors[index].name or b""
        return name.decode() if isinstance(name, bytes) else name

    def constant(self, index: int) -> int | None:
        """The constant tensor behind tensor `index`, seen through what unpacks it."""
        passed: set[int] = set()
        while index >= 0:
            data = self.buffers[self.tensors[index].buffer].data
            if data is not None and len(data):
                return index
            name, operator = self.producers.get(index, ("", None))
            if name not in _UNPACKING:
                return None
            _pass(passed, index)
            index = int(operator.inputs[0])
        return None

    def values(self, index: int) -> np.ndarray | None:
        """A constant with its zero point taken off; None where its type is no number."""
        tensor = self.tensors[index]
        dtype = _DTYPES.get(tensor.type)
        if dtype is None:
            return None
        shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
        values = np.asarray(self.buffers[tensor.buffer].data, np.uint8).view(dtype)
        if tensor.sparsity is None:
            values = values.reshape(shape)
        else:
            values = densify(values, shape, tensor.sparsity)
        quantization = tensor.quantization
        points = None if quantization is None else quantization.zeroPoint
        if points is None or not np.any(points):
            return values
        axes = np.ones(values.ndim, int)
        if len(points) > 1:
            axes[quantization.quantizedDimension] = len(points)
        return values.astype(np.int64) - np.reshape(points, axes)

    def kernels(self) -> list[Kernel]:
        """Every weight tensor once, though several operators may share it."""
        found: dict[int, Kernel] = {}
        for name, operator in self.operators:
            if name not in _WEIGHT_OPERATORS:
                continue
            where, bias, axes = _WEIGHT_OPERATORS[name]
            index = self.constant(int(operator.inputs[where]))
            if index is None:
                continue
            values = self.values(index)
            if values is None or values.ndim < 2:
                continue
            if axes is not None:
                values = values.transpose(axes)
            names: tuple[str, ...] = (self.name(index), self.name(int(operator.outputs[0])))
            vectors = self._vectors(operator, bias)
            if index in found:
                first = found[index]
                names, vectors = first.names + names, first.vectors + vectors
            found[index] = Kernel(self.name(index), names, values, vectors)
        return list(found.values())

    def _vectors(self, operator: Any, bias: int) -> tuple[Vector, ...]:
        """The bias of an operator and the constants its result is scaled and shifted by."""
        vectors = []
        if 0 <= bias < len(operator.inputs):
            index = self.constant(int(operator.inputs[bias]))
            values = None if index is None else self.values(index)
            if values is not None:
                vectors.append(Vector("ADD", values.reshape(-1)))
        result = int(operator.outputs[0])
        passed: set[int] = set()
        while True:
            _pass(passed, result)
            takers = [entry for entry in self.operators if result in map(int, entry[1].inputs)]
            if len(takers) != 1:
                return tuple(vectors)
            name, taker = takers[0]
            if name in ("ADD", "MUL", "SUB"):
                constants = [self.constant(int(i)) for i in taker.inputs if int(i) != result]
                constant = constants[0] if constants else None
                values = None if constant is None else self.values(constant)
                if values is None:
                    return tuple(vectors)
                vectors.append(Vector("MUL" if name == "MUL" else "ADD", values.reshape(-1)))
            elif name not in _PASSED_THROUGH:
                return tuple(vectors)
            result = int(taker.outputs[0])


def _pass(passed: set[int], index: int) -> None:
    """Notes that tensor `index` was passed; a ValueError if it was before, as in no real graph."""
    if index in passed:
        raise ValueError(f"its operators lead in a circle from tensor {index}")
    passed.add(index)
