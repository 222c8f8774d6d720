"""Quantization-aware training keeps what pruning removed at zero, up to the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfprune.backend import IS_TF_KERAS, keras
from tfprune.errors import TfpruneError, UsageError
from tfprune.export.audit import audit
from tfprune.export.flatbuffer import read_kernels
from tfprune.export.qat import is_quantize_aware, quantize_aware
from tfprune.export.tflite import export_tflite, run_tflite
from tfprune.pruning.pruner import get_masks, prune, strip

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(64, 8, 8, 2)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 4, 64)


def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(6, 3, name="conv1"),
            layers.BatchNormalization(name="bn1"),
            layers.ReLU(name="relu1"),
            layers.Conv2D(6, 3, activation="relu", name="conv2"),
            layers.Flatten(name="flatten"),
            layers.Dense(4, name="out"),
        ]
    )


def test_keras_3_is_refused_with_the_cure() -> None:
    if IS_TF_KERAS:
        pytest.skip("this is tf_keras")
    with pytest.raises(UsageError, match="set TF_USE_LEGACY_KERAS=1"):
        quantize_aware(network())


@pytest.mark.skipif(not IS_TF_KERAS, reason="TFMOT knows tf_keras only")
class TestOfTfKeras:
    def test_zeros_stay_in_training_and_in_the_file(self, tmp_path: Path) -> None:
        pruned = prune(network(), 0.5, layers="conv", granularity="filter")
        masks, plain = get_masks(pruned), strip(pruned)
        assert any(not mask.all() for key, mask in masks.items() if key.endswith(("bias", "beta")))
        aware = quantize_aware(plain, masks)
        assert is_quantize_aware(aware) and not is_quantize_aware(plain)
        before = [weight.numpy() for weight in aware.trainable_weights]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        aware.compile(keras.optimizers.Adam(0.01), loss)
        aware.fit(IMAGES, LABELS, epochs=3, verbose=0)
        for weight, old in zip(aware.trainable_weights, before, strict=True):
            assert np.any(weight.numpy() != old)
        variables = {weight.name.split(":")[0]: weight.numpy() for weight in aware.weights}
        for name, mask in masks.items():
            removed = variables[name][~mask]
            assert not removed.any() and not np.signbit(removed).any()
        path = export_tflite(
            aware, tmp_path / "m.tflite", quantize="qat", representative_data=IMAGES
        )
        assert audit(path, masks).verdict == "ok"
        expected = aware.predict(IMAGES, verbose=0)
        assert np.abs(run_tflite(path, IMAGES) - expected).max() < 0.1 * np.abs(expected).max()
        # A dead filter has no range; its kernel stays float, unless it is shrunk before.
        assert read_kernels(path)[-1].values.dtype == np.int8

    def test_a_zero_that_came_back_before_is_found_after(self, tmp_path: Path) -> None:
        pruned = prune(network(), 0.5, layers="conv")
        masks, plain = get_masks(pruned), strip(pruned)
        kernel, bias = plain.get_layer("conv2").get_weights()
        kernel[tuple(np.argwhere(~masks["conv2/kernel"])[0])] = 0.25
        plain.get_layer("conv2").set_weights([kernel, bias])
        aware = quantize_aware(plain)
        aware(IMAGES, training=True)  # finds the ranges
        path = export_tflite(aware, tmp_path / "m.tflite", quantize="qat")
        report = audit(path, masks)
        assert {layer.name: layer.came_back for layer in report.layers if layer.came_back} == {
            "conv2/kernel": 1
        }

    def test_the_given_model_stays_as_it_is(self) -> None:
        model = network()
        before = model.get_weights()
        quantize_aware(model, {"conv1/kernel": np.zeros((3, 3, 2, 6), bool)})
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_a_layer_tfmot_does_not_know_is_named(self) -> None:
        model = keras.Sequential(
            [keras.Input((8, 2)), layers.Conv1D(3, 3, name="odd"), layers.Flatten()]
        )
        with pytest.raises(TfpruneError, match=r"can not quantize model.*odd") as caught:
            quantize_aware(model)
        assert "\n" not in str(caught.value)

    def test_a_mask_of_no_variable_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"conv1/kernel.*Received: conv9/kernel"):
            quantize_aware(network(), {"conv9/kernel": np.ones(3, bool)})

    def test_kind_and_model_belong_together(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"made, and the only one for it.*quantize='qat'"):
            export_tflite(network(), tmp_path / "m.tflite", quantize="qat")
        with pytest.raises(UsageError, match=r"Received: quantize='dynamic'"):
            export_tflite(quantize_aware(network()), tmp_path / "m.tflite", quantize="dynamic")
        assert list(tmp_path.iterdir()) == []
