"""Exports to TFLite: convert, prove, measure.

No file is handed out that was not loaded, run and compared: some combinations convert and
then fail in the interpreter, or fail nowhere and compute something else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.errors import TfpruneError, UsageError
from tfprune.export.interpreter import Inputs, latencies_ms, one_line, run_tflite
from tfprune.export.zipped import zipped_bytes
from tfprune.memory import give_back_freed_memory
from tfprune.quiet import quiet

if TYPE_CHECKING:
    from tfprune.backend import keras

__all__ = [
    "QUANTIZATIONS",
    "count_zeros",
    "export_tflite",
    "latencies_ms",
    "measure_export",
    "run_tflite",
]

#: Kind of quantization -> largest accepted ||tflite - keras|| / ||keras||. The bounds are
#: wide: they catch files that compute something else, not the loss that comes with int8.
_TOLERANCES: dict[str | None, float] = {
    None: 1e-3,
    "float16": 2e-2,
    "dynamic": 0.5,
    "int8": 0.7,
    "qat": 0.5,
}
QUANTIZATIONS: tuple[str, ...] = tuple(kind for kind in _TOLERANCES if kind)

_CALIBRATION_SAMPLES = 200
_PROOF_SAMPLES = 16
#: Parameters from which on memory that nobody needs is given back around a conversion, which takes
#: some seven times the network and leaves half of it behind.
_LARGE = 1_000_000


def export_tflite(
    model: keras.Model,
    path: str | Path,
    *,
    quantize: str | None = None,
    representative_data: np.ndarray | None = None,
    sparse: bool = False,
) -> Path:
    """Writes a model as a TFLite file that was run and compared with it.

    The wrappers of tfprune are stripped first; zeros stay zeros in every kind of file. The
    batch axis stays open (`run_tflite` shows how to resize it), input and output stay
    floating-point.

    Args:
        model: a built Keras model with one input and one output, wrapped or not.
        path: where the `.tflite` file goes.
        quantize: None for float32, "float16" (weights only), "dynamic" (int8 weights,
            activations quantized while running), "int8" (both int8, calibrated) or "qat" (both
            int8, of a model that `tfprune.export.qat.quantize_aware` made and was trained).
        representative_data: (N, ...) inputs as the model takes them; "int8" is calibrated on
            the first 200. The proof runs on the first 16, or on random numbers without it.
        sparse: store zeros in TFLite's sparse encoding: a smaller file, unpacked when it is
            loaded, and not faster. With float32 and float16 only: with int8 weights the
            converter writes files that LiteRT can not run.

    Returns:
        The path.

    Raises:
        UsageError: unknown `quantize`, "int8" without representative data, "qat" of another
            model, `sparse` with int8 weights, or a model with several inputs or outputs.
        TfpruneError: the model can not be converted, or the file does not run, or its
            outputs are NaN or unrelated to the model's; no file is left.
    """
    from tfprune.export.qat import is_quantize_aware
    from tfprune.pruning.graph import has_wrappers
    from tfprune.pruning.pruner import strip

    path = Path(path)
    if quantize not in _TOLERANCES:
        raise UsageError(
            f"quantize must be None or one of {', '.join(QUANTIZATIONS)}. Received: {quantize!r}"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UsageError(
            "a TFLite export takes a model with one input and one output. "
            f"Received: {len(model.inputs)} inputs and {len(model.outputs)} outputs"
        )
    if quantize == "int8" and (representative_data is None or not len(representative_data)):
        raise UsageError(
            'quantize="int8" needs representative_data, an array of inputs (N, ...) to calibrate '
            f"on. Received: {'None' if representative_data is None else 'an empty array'}"
        )
    if (quantize == "qat") != is_quantize_aware(model):
        raise UsageError(
            'quantize="qat" is for a model that quantize_aware made, and the only one for it. '
            f"Received: quantize={quantize!r}, model {model.name!r}"
        )
    if sparse and quantize not in (None, "float16"):
        raise UsageError(
            f'sparse=True does not go with quantize="{quantize}": such a file converts and then '
            "does not run, since LiteRT's default XNNPACK delegate takes no unpacked int8 weights "
            "(failed to prepare)"
        )
    plain = strip(model) if has_wrappers(model) else model
    sample = _sample(plain, representative_data)
    large = plain.count_params() >= _LARGE
    if large:
        give_back_freed_memory()
    with atomic_path(path) as temporary:
        try:
            with quiet():
                content = _convert(plain, quantize, representative_data, sparse)
        except Exception as error:
            raise TfpruneError(
                f"TFLite can not convert model {model.name!r} ({quantize or 'float32'}): "
                f"{one_line(error)}"
            ) from error
        finally:
            if large:
                give_back_freed_memory()
        temporary.write_bytes(content)
        _prove(plain, temporary, sample, quantize)
    return path


def count_zeros(path: str | Path) -> dict[str, tuple[int, int]]:
    """Zeros in the weight tensors (kernels) of a TFLite file.

    Args:
        path: a `.tflite` file; in quantized ones the zero point is zero.

    Returns:
        Tensor name -> (zeros, size), in the order of use; names that occur twice get their
        position appended ("dense#3").

    Raises:
        TfpruneError: the file is missing or corrupt.
    """
    from tfprune.export.flatbuffer import read_kernels

    counts: dict[str, tuple[int, int]] = {}
    for position, kernel in enumerate(read_kernels(path)):
        name = kernel.tensor if kernel.tensor not in counts else f"{kernel.tensor}#{position}"
        size = kernel.values.size
        counts[name] = (size - int(np.count_nonzero(kernel.values)), size)
    return counts


def measure_export(
    path: str | Path,
    model_outputs: np.ndarray,
    inputs: Inputs,
    labels: np.ndarray,
    *,
    timed: bool = True,
    threads: int | None = None,
) -> dict[str, Any]:
    """The figures of one export, as `summary.json` has them.

    Args:
        path: a `.tflite` file.
        model_outputs: (N, classes), what the Keras model gives for `inputs`.
        inputs: (N, ...), the whole test set.
        labels: (N,) or (N, 1) class numbers.
        timed: whether to time the file, alone; figures to compare come from one call of
            `latencies_ms` for all files.
        threads: CPU threads that run all inputs; see `run_tflite`.

    Returns:
        bytes; zipped_bytes (see there); accuracy (fraction); max_abs_difference (from
        `model_outputs`, in their units); latency_ms (median of one input on one thread; None
        when not timed); zeros (in all weight tensors).

    Raises:
        UsageError: the numbers of inputs, labels and outputs differ.
        TfpruneError: the file is missing or corrupt or does not run.
    """
    if not len(inputs) == len(labels) == len(model_outputs):
        raise UsageError(
            "measure_export needs an output and a label for every input. Received: "
            f"{len(inputs)} inputs, {len(model_outputs)} outputs, {len(labels)} labels"
        )
    outputs = run_tflite(path, inputs, threads=threads)
    return {
        "bytes": Path(path).stat().st_size,
        "zipped_bytes": zipped_bytes(Path(path)),
        "accuracy": float(np.mean(np.argmax(outputs, axis=-1) == np.reshape(labels, -1))),
        "max_abs_difference": float(np.max(np.abs(outputs - model_outputs))),
        "latency_ms": latencies_ms({"": path}, inputs)[""] if timed else None,
        "zeros": sum(zeros for zeros, _ in count_zeros(path).values()),
    }


def _convert(
    model: keras.Model, quantize: str | None, data: np.ndarray | None, sparse: bool
) -> bytes:
    from tfprune.backend import tf

    tensor = model.inputs[0]
    signature = tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)
    function = tf.function(lambda inputs: model(inputs, training=False))
    concrete = function.get_concrete_function(signature)
    # The variables go along: the converter then reads them from a SavedModel. Without them it
    # freezes the graph itself, which takes more than twice the memory, and leaves those of
    # Keras 3 as resources, which it can neither quantize nor run.
    owner = tf.Module()
    owner.captured = concrete.variables
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], owner)
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if sparse:
        converter.optimizations = [
            *(converter.optimizations or ()),
            tf.lite.Optimize.EXPERIMENTAL_SPARSITY,
        ]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        assert data is not None  # export_tflite has seen to it
        few = data[:_CALIBRATION_SAMPLES].astype(signature.dtype.as_numpy_dtype)
        converter.representative_dataset = lambda: ([few[i : i + 1]] for i in range(len(few)))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def _sample(model: keras.Model, data: np.ndarray | None) -> np.ndarray:
    """Inputs for the proof: the first of `data`, or random ones."""
    from tfprune.backend import tf

    dtype = tf.as_dtype(model.inputs[0].dtype)
    if data is not None and len(data):
        return np.asarray(data[:_PROOF_SAMPLES], dtype.as_numpy_dtype)
    # An open axis (any image size, any length) is run at 32.
    shape = [32 if size is None else size for size in model.inputs[0].shape[1:]]
    random = np.random.default_rng(0)
    values: np.ndarray
    if dtype.is_floating:
        values = random.standard_normal((_PROOF_SAMPLES, *shape))
    else:
        values = random.integers(0, 2, (_PROOF_SAMPLES, *shape))
    return values.astype(dtype.as_numpy_dtype)


def _prove(model: keras.Model, path: Path, sample: np.ndarray, quantize: str | None) -> None:
    """Compares the file with the model on `sample`; a partial batch is among the runs."""
    expected = np.asarray(model(sample, training=False), np.float64)
    kind = quantize or "float32"
    try:
        outputs = run_tflite(path, sample, batch_size=max(1, len(sample) - 1)).astype(np.float64)
    except TfpruneError as error:
        cause = str(error).partition(": ")[2]
        raise TfpruneError(
            f"the {kind} TFLite file of model {model.name!r} converts and does not run: {cause}"
        ) from error
    if outputs.shape != expected.shape:
        raise TfpruneError(
            f"the {kind} TFLite file of model {model.name!r} gives outputs of shape "
            f"{outputs.shape} where Keras gives {expected.shape}"
        )
    usable = np.isfinite(expected)
    if not np.isfinite(outputs[usable]).all():
        raise TfpruneError(
            f"the {kind} TFLite file of model {model.name!r} gives NaN or infinity where Keras "
            "does not"
        )
    difference = float(np.linalg.norm(outputs[usable] - expected[usable]))
    scale = float(np.linalg.norm(expected[usable]))
    # The second term lets rounding pass where the outputs themselves are next to zero.
    if difference > _TOLERANCES[quantize] * scale + 1e-5 * np.sqrt(expected.size):
        raise TfpruneError(
            f"the {kind} TFLite file of model {model.name!r} computes something else: its outputs "
            f"differ by {difference:.3g}, their size is {scale:.3g}"
        )
