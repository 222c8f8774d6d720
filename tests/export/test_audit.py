"""One removed weight that comes back is found, in each kind of file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.compression.artifact import save_compressed
from tfprune.errors import TfpruneError, UsageError
from tfprune.export.audit import AuditReport, audit, require_ok
from tfprune.export.tflite import export_tflite
from tfprune.pruning.masks import save_masks
from tfprune.pruning.pruner import get_masks, prune

Masks = dict[str, np.ndarray]
BringBack = Callable[[str], keras.Model]
Write = Callable[[keras.Model, Path], Path]


def keras_file(model: keras.Model, folder: Path) -> Path:
    model.save(folder / "model.keras")
    return folder / "model.keras"


def weights_file(model: keras.Model, folder: Path) -> Path:
    model.save_weights(folder / "model.weights.h5")
    return folder / "model.weights.h5"


def saved_model(model: keras.Model, folder: Path) -> Path:
    if hasattr(model, "export"):
        model.export(str(folder / "saved"))
    else:
        tf.saved_model.save(model, str(folder / "saved"))
    return folder / "saved"


def checkpoint(model: keras.Model, folder: Path) -> Path:
    return Path(tf.train.Checkpoint(model=model).save(str(folder / "checkpoint")))


def trained_checkpoint(model: keras.Model, folder: Path) -> Path:
    """With the slots of an optimizer, which have the shapes and half the names of weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile(keras.optimizers.Adam(learning_rate=0.0), "mse")
    copy.fit(np.ones((2, 8, 8, 2)), np.ones((2, 4)), verbose=0)
    saved = tf.train.Checkpoint(optimizer=copy.optimizer, model=copy)
    return Path(saved.save(str(folder / "checkpoint")))


def tflite(quantize: str | None, *, sparse: bool = False) -> Write:
    def write(model: keras.Model, folder: Path) -> Path:
        data = np.random.default_rng(0).normal(size=(20, *model.inputs[0].shape[1:]))
        return export_tflite(
            model,
            folder / "model.tflite",
            quantize=quantize,
            representative_data=data,
            sparse=sparse,
        )

    return write


def coded(model: keras.Model, folder: Path) -> Path:
    save_compressed(model, folder / "model.tfprune")
    return folder / "model.tfprune"


KINDS: dict[str, Write] = {
    "model": lambda model, folder: model,
    "keras": keras_file,
    "weights": weights_file,
    "saved_model": saved_model,
    "checkpoint": checkpoint,
    "trained_checkpoint": trained_checkpoint,
    "coded": coded,
    "tflite": tflite(None),
    "tflite_float16": tflite("float16"),
    "tflite_dynamic": tflite("dynamic"),
    "tflite_int8": tflite("int8"),
    "tflite_sparse": tflite(None, sparse=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_model_is_ok_and_every_removed_weight_is_counted(
    kind: str, stripped: keras.Model, masks: Masks, tmp_path: Path
) -> None:
    report = audit(KINDS[kind](stripped, tmp_path), masks)
    assert report.verdict == "ok", str(report)
    assert [layer.name for layer in report.layers] == list(masks)
    for layer in report.layers:
        assert layer.size == masks[layer.name].size
        assert layer.removed == np.count_nonzero(~masks[layer.name])
        # Quantization may round more weights to zero, never fewer.
        assert layer.came_back == 0 and layer.zeros >= layer.removed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["conv_1/kernel", "block/conv_in/kernel", "fc2/kernel"])
def test_one_weight_that_came_back_is_found(
    kind: str, key: str, bring_back: BringBack, masks: Masks, tmp_path: Path
) -> None:
    report = audit(KINDS[kind](bring_back(key), tmp_path), masks)
    assert report.verdict == "failed"
    assert {layer.name: layer.came_back for layer in report.layers if layer.came_back} == {key: 1}


@pytest.mark.parametrize("kind", ["model", "weights", "checkpoint", "tflite"])
def test_a_layer_that_is_not_in_the_file_fails_the_audit(
    kind: str, stripped: keras.Model, masks: Masks, tmp_path: Path
) -> None:
    more = masks | {"fc9/kernel": np.zeros((5, 7), bool)}
    report = audit(KINDS[kind](stripped, tmp_path), more)
    assert report.verdict == "failed" and report.missing == ("fc9/kernel",)
    with pytest.raises(TfpruneError, match="the masks name fc9/kernel"):
        require_ok(report)


@pytest.mark.parametrize("kind", ["model", "keras", "saved_model", "tflite"])
def test_without_masks_nothing_is_ok(kind: str, stripped: keras.Model, tmp_path: Path) -> None:
    thing = KINDS[kind](stripped, tmp_path)
    for nothing in (None, {}):
        report = audit(thing, nothing)
        assert report.verdict == "unverified"
        assert {layer.size for layer in report.layers} == {36, 128 * 12, 144, 48}
        with pytest.raises(TfpruneError, match="unverified"):
            require_ok(report)


def test_a_wrapped_model_has_its_own_masks(wrapped: keras.Model, masks: Masks) -> None:
    report = audit(wrapped)
    assert require_ok(report) is report
    assert [layer.name for layer in report.layers] == list(masks)


@pytest.mark.parametrize("kind", KINDS)
def test_wrapped_models_with_batch_norms_and_dead_units(kind: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    conv, norm = keras.layers.Conv2D, keras.layers.BatchNormalization
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            conv(4, 3, name="conv1"),
            norm(name="bn1"),
            conv(4, 3, activation="relu", name="conv2"),
            norm(name="bn2"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(4, name="out"),
        ]
    )
    for name in ("conv1", "conv2"):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[..., 1] *= 1e-6
        model.get_layer(name).set_weights([kernel, bias + 1.0])
    pruned = prune(model, 0.5, layers="conv")
    masks = get_masks(pruned)
    assert not masks["conv1/bias"][1] and not masks["conv2/bias"][1]
    assert require_ok(audit(KINDS[kind](pruned, tmp_path), masks)).came_back == 0
    if kind.startswith(("tflite", "trained", "coded")):
        return  # stripping and training put the zero back themselves
    wrapper = pruned.get_layer("conv2")
    wrapper.layer.bias.assign([1.0, 0.5, 1.0, 1.0])
    (tmp_path / "again").mkdir()
    report = audit(KINDS[kind](pruned, tmp_path / "again"), masks)
    if kind in ("keras", "weights"):  # so does saving
        assert require_ok(report).came_back == 0
        return
    assert "conv2/bias" in [layer.name for layer in report.layers if layer.came_back]


def test_a_nan_in_a_removed_place_came_back(stripped: keras.Model, masks: Masks) -> None:
    copy = keras.models.clone_model(stripped)
    weights = stripped.get_weights()
    weights[0][tuple(np.argwhere(~masks["conv/kernel"])[0])] = np.nan
    copy.set_weights(weights)
    report = audit(copy, masks)
    assert report.came_back == 1
    with pytest.raises(TfpruneError, match="1 removed weights came back, 1 of them in conv/kernel"):
        require_ok(report)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("quantize", [None, "float16", "dynamic", "int8"])
def test_dead_units_are_followed_into_bias_and_batch_norm(
    activation: str | None, quantize: str | None, tmp_path: Path
) -> None:
    # Linear convolutions get their batch norm folded in, the others keep it as MUL and ADD.
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, activation=activation, name="conv1")(inputs)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(3, 3, name="conv2")(x)
    model = keras.Model(inputs, x)
    alive = np.array([True, False, True, True])
    rng = np.random.default_rng(0)
    dead = {"conv1": 2, "bn1": 2}
    for layer, count in dead.items():
        weights = [rng.uniform(0.5, 1.0, w.shape) for w in model.get_layer(layer).get_weights()]
        weights[:count] = [np.where(alive, w, 0.0) for w in weights[:count]]
        model.get_layer(layer).set_weights(weights)
    masks = {
        "conv1/kernel": np.broadcast_to(alive, (3, 3, 2, 4)).copy(),
        "conv1/bias": alive,
        "bn1/gamma": alive,
        "bn1/beta": alive,
    }
    report = audit(tflite(quantize)(model, tmp_path), masks)
    assert report.verdict == "ok", str(report)
    gamma, beta, mean, variance = model.get_layer("bn1").get_weights()
    beta[1] = 0.7
    model.get_layer("bn1").set_weights([gamma, beta, mean, variance])
    report = audit(tflite(quantize)(model, tmp_path), masks)
    assert report.verdict == "failed"
    assert "bn1/beta" in [layer.name for layer in report.layers if layer.came_back]


def test_kernels_of_every_layout_are_read_back_in_keras_order(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.SeparableConv2D(3, 3, depth_multiplier=2, name="separable"),
            layers.Conv2DTranspose(3, 3, name="transposed"),
            layers.Reshape((64, 3)),
            layers.Conv1D(3, 3, name="conv1d"),
            layers.EinsumDense("abc,cde->abde", (62, 3, 2), name="einsum"),
            layers.Flatten(),
            layers.Dense(5, use_bias=False, name="dense"),
        ]
    )
    pruned = prune(model, 0.5, layers=["separable", "transposed", "conv1d", "einsum", "dense"])
    report = audit(tflite(None)(pruned, tmp_path), get_masks(pruned))
    assert report.verdict == "ok" and len(report.layers) >= 5, str(report)


def test_the_report_is_readable(stripped: keras.Model, masks: Masks) -> None:
    report = audit(stripped, masks)
    assert isinstance(report, AuditReport)
    assert str(report).splitlines()[0] == "tangled: ok"
    assert "conv/kernel" in str(report)


def test_masks_may_be_a_path(stripped: keras.Model, masks: Masks, tmp_path: Path) -> None:
    save_masks(tmp_path / "masks.npz", masks)
    assert audit(stripped, tmp_path / "masks.npz").verdict == "ok"
    assert audit(str(keras_file(stripped, tmp_path)), str(tmp_path / "masks.npz")).verdict == "ok"


def test_what_can_not_be_audited_says_so(tmp_path: Path) -> None:
    masks = {"conv/kernel": np.ones((2, 2), bool)}
    broken = {}
    for name in ("a.keras", "a.weights.h5", "a.tflite", "a.bin"):
        broken[name] = tmp_path / name
        broken[name].write_bytes(b"nothing of use")
    for name, path in broken.items():
        with pytest.raises(TfpruneError, match=name.replace(".", r"\.")):
            audit(path, masks)
    (tmp_path / "b.tflite").write_bytes(b"\x10\x00\x00\x00TFL3" + b"\xff" * 40)
    for name in ("missing.keras", "missing.tflite", "missing", "b.tflite"):
        with pytest.raises(TfpruneError, match=name):
            audit(tmp_path / name, masks)
    with pytest.raises(UsageError, match="boolean NumPy arrays"):
        audit(tmp_path / "a.keras", {"conv/kernel": np.ones(3)})
    with pytest.raises(UsageError, match="layer/variable"):
        audit(tmp_path / "a.keras", {"kernel": np.ones(3, bool)})
