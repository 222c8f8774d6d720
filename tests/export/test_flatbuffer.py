"""Files that contradict themselves: small, quick to refuse, and one clear line."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfprune import verify
from tfprune.errors import TfpruneError
from tfprune.export.flatbuffer import read_kernels

OPERATORS = schema.BuiltinOperator
#: Tensors of every file here: the input, the kernel, the result of the layer and what follows.
INPUT, KERNEL, RESULT, NEXT = range(4)


def tensor(name: str, shape: tuple[int, ...], buffer: int = 0) -> schema.TensorT:
    return schema.TensorT(shape=list(shape), name=name, buffer=buffer)


def operator(code: int, inputs: list[int], output: int) -> schema.OperatorT:
    return schema.OperatorT(opcodeIndex=code, inputs=inputs, outputs=[output])


def write(
    path: Path,
    *following: tuple[int, list[int], int],
    kernel: int = KERNEL,
    shape: tuple[int, ...] = (3, 2),
    sparsity: schema.SparsityParametersT | None = None,
) -> Path:
    """A dense layer of six weights, and operators (kind, inputs, output) that follow it."""
    stored = tensor("fc1/MatMul", shape, buffer=1)
    stored.sparsity = sparsity
    kinds = [OPERATORS.FULLY_CONNECTED, *(kind for kind, _, _ in following)]
    calls = [(0, [INPUT, kernel], RESULT)]
    calls += [(1 + i, inputs, output) for i, (_, inputs, output) in enumerate(following)]
    graph = schema.SubGraphT(
        tensors=[
            *(tensor("images", (1, 2)), stored),
            *(tensor("result", (1, 3)), tensor("next", (1, 3))),
        ],
        operators=[operator(*call) for call in calls],
        inputs=[INPUT],
        outputs=[NEXT],
    )
    weights = np.arange(1, 7, dtype="<f4").view(np.uint8)
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(deprecatedBuiltinCode=kind, builtinCode=kind) for kind in kinds
        ],
        subgraphs=[graph],
        buffers=[schema.BufferT(), schema.BufferT(data=weights)],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def dense(size: int) -> schema.DimensionMetadataT:
    return schema.DimensionMetadataT(denseSize=size)


def sparse(segments: list[int] | None, indices: list[int]) -> schema.DimensionMetadataT:
    vectors = [None if v is None else schema.Int32VectorT(values=v) for v in (segments, indices)]
    kinds = [schema.SparseIndexVector.Int32Vector if v is not None else 0 for v in vectors]
    return schema.DimensionMetadataT(
        format=schema.DimensionType.SPARSE_CSR,
        arraySegmentsType=kinds[0],
        arraySegments=vectors[0],
        arrayIndicesType=kinds[1],
        arrayIndices=vectors[1],
    )


def test_the_builder_makes_files_that_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tflite", (OPERATORS.RELU, [RESULT], NEXT))
    (kernel,) = read_kernels(path)
    assert kernel.names == ("fc1/MatMul", "result")
    np.testing.assert_array_equal(kernel.values, [[1, 3, 5], [2, 4, 6]])
    levels = [dense(3), sparse([0, 2, 4, 6], [0, 3, 1, 2, 0, 3])]
    encoding = schema.SparsityParametersT(traversalOrder=[0, 1], dimMetadata=levels)
    (kernel,) = read_kernels(write(path, shape=(3, 4), sparsity=encoding))
    wanted = [[1, 0, 0, 2], [0, 3, 4, 0], [5, 0, 0, 6]]
    np.testing.assert_array_equal(kernel.values, np.transpose(wanted))


@pytest.mark.parametrize(
    ("kernel", "following"),
    [
        (KERNEL, [(OPERATORS.RELU, [NEXT], NEXT), (OPERATORS.RESHAPE, [RESULT], NEXT)]),
        (KERNEL, [(OPERATORS.RELU, [RESULT], RESULT)]),
        (KERNEL, [(OPERATORS.RELU, [RESULT], NEXT), (OPERATORS.RELU6, [NEXT], RESULT)]),
        (KERNEL, [(OPERATORS.MUL, [RESULT, KERNEL], RESULT)]),
        (NEXT, [(OPERATORS.DEQUANTIZE, [NEXT], NEXT)]),
        (NEXT, [(OPERATORS.DENSIFY, [INPUT], NEXT), (OPERATORS.DEQUANTIZE, [NEXT], INPUT)]),
    ],
)
def test_operators_in_a_circle_are_refused(
    kernel: int, following: list[tuple[int, list[int], int]], tmp_path: Path
) -> None:
    path = write(tmp_path / "m.tflite", *following, kernel=kernel)
    with pytest.raises(TfpruneError, match=r"m\.tflite is a corrupt TFLite file: .*circle"):
        read_kernels(path)


#: Levels that claim more than the file holds, or leave out what they need.
CONTRADICTIONS = [
    [dense(2000), dense(10_000)],
    [dense(2000), dense(10_000), dense(0)],
    [dense(-1), dense(-6)],
    [dense(2_000_000_000), sparse([0, 6], [0] * 6)],
    [sparse([0, 0], []), dense(2_000_000_000)],
    [sparse([-2_000_000_000, 6], [0] * 6), dense(1)],
    [sparse([0, 2_000_000_000, 6], [0] * 6), dense(1)],
    [dense(3), sparse(None, [0] * 6)],
]


@pytest.mark.parametrize("levels", CONTRADICTIONS)
def test_sparse_levels_are_refused_before_they_are_allocated(
    levels: list[schema.DimensionMetadataT], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = list(range(len(levels)))
    encoding = schema.SparsityParametersT(traversalOrder=order, dimMetadata=levels)
    path = write(tmp_path / "m.tflite", shape=(2000, 10_000, 1)[: len(levels)], sparsity=encoding)
    assert path.stat().st_size < 1000
    tracemalloc.start()
    try:
        assert verify.main([str(path)]) == 1
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    error = capsys.readouterr().err
    assert "m.tflite is a corrupt TFLite file" in error and error.count("\n") == 1
