"""Exports are proven: they agree with Keras, or there is no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tfprune.backend import keras, tf
from tfprune.errors import TfpruneError, UsageError
from tfprune.export.tflite import (
    _prove,
    count_zeros,
    export_tflite,
    latencies_ms,
    measure_export,
    run_tflite,
)

DATA = np.random.default_rng(0).normal(size=(21, 8, 8, 2)).astype(np.float32)
# Largest accepted difference as a part of the largest output.
CLOSE = {None: 1e-5, "float16": 1e-2, "dynamic": 0.1, "int8": 0.2}


@pytest.mark.parametrize("quantize", CLOSE)
def test_outputs_agree_with_keras_for_any_number_of_images(
    quantize: str | None, wrapped: keras.Model, tmp_path: Path
) -> None:
    path = export_tflite(
        wrapped, tmp_path / "m.tflite", quantize=quantize, representative_data=DATA
    )
    assert path == tmp_path / "m.tflite" and list(tmp_path.iterdir()) == [path]
    expected = np.asarray(wrapped(DATA, training=False))
    for batch_size in (1, 8, 256):
        outputs = run_tflite(path, DATA, batch_size=batch_size, threads=1)
        assert outputs.dtype == np.float32 and outputs.shape == expected.shape
        assert np.abs(outputs - expected).max() <= CLOSE[quantize] * np.abs(expected).max()


def test_the_batch_axis_stays_open(stripped: keras.Model, tmp_path: Path) -> None:
    path = export_tflite(stripped, tmp_path / "m.tflite")
    details = Interpreter(model_path=str(path)).get_input_details()[0]
    assert list(details["shape_signature"]) == [-1, 8, 8, 2]
    assert details["dtype"] == np.float32


def test_zeros_are_those_of_the_model(stripped: keras.Model, tmp_path: Path) -> None:
    kernels = [weights for weights in stripped.get_weights() if weights.ndim > 1]
    expected = sorted((int(np.sum(kernel == 0)), kernel.size) for kernel in kernels)
    for quantize in (None, "float16"):
        path = export_tflite(stripped, tmp_path / "m.tflite", quantize=quantize)
        assert sorted(count_zeros(path).values()) == expected


@pytest.mark.parametrize("quantize", [None, "float16", "dynamic", "int8"])
def test_a_model_tflite_does_not_know_leaves_no_file(quantize: str | None, tmp_path: Path) -> None:
    def through_python(x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.py_function(lambda v: v * 2.0, [x], tf.float32), (None, 3))

    inputs = keras.Input((3,))
    layer = keras.layers.Lambda(through_python, output_shape=(3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)), name="odd")
    with pytest.raises(TfpruneError, match="can not convert model 'odd'") as caught:
        export_tflite(
            model,
            tmp_path / "m.tflite",
            quantize=quantize,
            representative_data=np.ones((2, 3), np.float32),
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_large_number_that_float16_can_not_hold_leaves_what_stood_there(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(300, use_bias=False)(inputs), name="large")
    model.set_weights([np.full((4, 300), 1e6)])  # float16 ends at 65504
    path = tmp_path / "m.tflite"
    path.write_bytes(b"what stood here before")
    with pytest.raises(TfpruneError, match="float16 TFLite file of model 'large' computes"):
        export_tflite(model, path, quantize="float16", representative_data=np.ones((2, 4)))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"what stood here before"


def test_the_proof_tells_files_that_are_not_the_model(tmp_path: Path) -> None:
    def dense(inputs: int, outputs: int, value: float) -> keras.Model:
        layer_inputs = keras.Input((inputs,))
        model = keras.Model(layer_inputs, keras.layers.Dense(outputs)(layer_inputs), name="dense")
        model.set_weights([np.full((inputs, outputs), value), np.zeros(outputs)])
        return model

    huge = export_tflite(dense(2, 3, 3e38), tmp_path / "huge.tflite")
    sample = np.ones((4, 2), np.float32)
    for model, what in (
        (dense(2, 3, 1.0), "NaN or infinity where Keras does not"),
        (dense(2, 2, 1.0), r"outputs of shape \(4, 3\) where Keras gives \(4, 2\)"),
    ):
        with pytest.raises(TfpruneError, match=what):
            _prove(model, huge, sample, None)
    with pytest.raises(TfpruneError, match="converts and does not run: "):
        _prove(dense(5, 3, 1.0), huge, np.ones((4, 5), np.float32), None)


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    # The output is the small difference of two large numbers, which eight bits can not hold.
    inputs = keras.Input((2,))
    model = keras.Sequential(
        [inputs, keras.layers.Dense(2, use_bias=False), keras.layers.Dense(1, use_bias=False)]
    )
    model.set_weights([np.array([[1e4, 1e4], [0.0, 1.0]]), np.array([[-1.0], [1.0]])])
    data = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(TfpruneError, match="computes something else: its outputs differ by"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative_data=data)
    assert list(tmp_path.iterdir()) == []


def test_the_console_stays_quiet(
    stripped: keras.Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_tflite(stripped, tmp_path / "m.tflite", quantize="int8", representative_data=DATA)
    assert capfd.readouterr() == ("", "")


def test_wrong_arguments_say_what_is_possible(stripped: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with pytest.raises(UsageError, match=r"float16, dynamic, int8, qat. Received: 'int4'"):
        export_tflite(stripped, path, quantize="int4")
    for quantize in ("dynamic", "int8"):
        with pytest.raises(UsageError, match="converts and then does not run"):
            export_tflite(stripped, path, quantize=quantize, representative_data=DATA, sparse=True)
    with pytest.raises(UsageError, match=r"representative_data.*Received: None"):
        export_tflite(stripped, path, quantize="int8")
    inputs = [keras.Input((2,)), keras.Input((2,))]
    two = keras.Model(inputs, keras.layers.Add()(inputs))
    with pytest.raises(UsageError, match="Received: 2 inputs and 1 outputs"):
        export_tflite(two, path)
    assert list(tmp_path.iterdir()) == []


def test_files_and_inputs_that_do_not_fit(stripped: keras.Model, tmp_path: Path) -> None:
    path = export_tflite(stripped, tmp_path / "m.tflite")
    with pytest.raises(TfpruneError, match="does not run"):
        run_tflite(path, np.zeros((2, 5, 5, 2), np.float32))
    with pytest.raises(TfpruneError, match="no TFLite file"):
        run_tflite(tmp_path / "missing.tflite", DATA)
    (tmp_path / "broken.tflite").write_bytes(b"broken")
    with pytest.raises(TfpruneError, match="can not be loaded"):
        run_tflite(tmp_path / "broken.tflite", DATA)
    with pytest.raises(UsageError, match="batch_size=0"):
        run_tflite(path, DATA, batch_size=0)
    with pytest.raises(UsageError, match="Received: 0 inputs"):
        run_tflite(path, DATA[:0])
    with pytest.raises(UsageError, match="rounds=0"):
        latencies_ms({"a": path}, DATA, rounds=0)
    with pytest.raises(UsageError, match="21 inputs, 21 outputs, 3 labels"):
        measure_export(path, DATA, DATA, np.zeros(3))


def test_measures_of_an_export(stripped: keras.Model, tmp_path: Path) -> None:
    path = export_tflite(stripped, tmp_path / "m.tflite")
    outputs = np.asarray(stripped(DATA, training=False))
    labels = np.argmax(outputs, axis=-1)
    labels[:7] = (labels[:7] + 1) % 4  # 14 of 21 are right
    measured = measure_export(path, outputs, DATA, labels[:, None])
    assert measured["accuracy"] == pytest.approx(2 / 3)
    assert measured["bytes"] == path.stat().st_size > measured["zipped_bytes"] > 0
    assert 0 <= measured["max_abs_difference"] < 1e-5
    assert measured["latency_ms"] > 0
    assert measured["zeros"] == sum(
        int(np.sum(w == 0)) for w in stripped.get_weights() if w.ndim > 1
    )
    both = latencies_ms({"a": path, "b": path}, DATA, rounds=3)
    assert set(both) == {"a", "b"} and min(both.values()) > 0


def test_inputs_made_on_demand_are_made_once_for_all_timed_runs(
    stripped: keras.Model, tmp_path: Path
) -> None:
    made = []

    class OnDemand:
        def __len__(self) -> int:
            return len(DATA)

        def __getitem__(self, part: slice, /) -> np.ndarray:
            made.append(part)
            return DATA[part]

    path = export_tflite(stripped, tmp_path / "m.tflite")
    latencies_ms({"a": path, "b": path}, OnDemand(), rounds=3)
    assert made == [slice(1)]
    outputs = run_tflite(path, OnDemand(), batch_size=16)
    np.testing.assert_array_equal(outputs, run_tflite(path, DATA, batch_size=16))
