import importlib
import zipfile

import numpy as np
import pytest
from pruned import assert_masked, data, dead_unit_masks, fit

from tfprune.backend import IS_TF_KERAS, keras
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.pruner import get_masks, load_model, prune, set_masks, strip

layers = keras.layers

FORMATS = [".keras", ".h5", ""] if IS_TF_KERAS else [".keras", ".h5"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_saved_model_keeps_masks_and_goes_on_training(lenet, tmp_path, suffix):
    pruned = prune(lenet, 0.7, layers="conv")
    set_masks(pruned, dead_unit_masks(pruned))
    fit(pruned, steps=1)
    path = str(tmp_path / f"model{suffix}")
    pruned.save(path)
    loaded = load_model(path)
    masks = get_masks(pruned)
    assert list(get_masks(loaded)) == list(masks)
    for key, mask in get_masks(loaded).items():
        np.testing.assert_array_equal(mask, masks[key])
    images, _ = data(pruned)
    np.testing.assert_allclose(loaded(images), pruned(images), rtol=1e-6)
    assert_masked(loaded, masks)
    assert_masked(fit(loaded), masks)


def test_weights_files_hold_the_masks(branched, tmp_path):
    pruned = prune(branched, 0.6)
    pruned.save_weights(str(tmp_path / "model.weights.h5"))
    copy = prune(branched, 0.0)
    copy.load_weights(str(tmp_path / "model.weights.h5"))
    for key, mask in get_masks(copy).items():
        np.testing.assert_array_equal(mask, get_masks(pruned)[key])
    assert_masked(fit(copy, steps=2), get_masks(pruned))


def test_files_that_cannot_be_loaded(mlp, tmp_path):
    with pytest.raises(TfpruneError, match=r"no model at '.*none\.keras'"):
        load_model(tmp_path / "none.keras")
    good = tmp_path / "good.keras"
    mlp.save(good)
    cut = tmp_path / "cut.keras"
    cut.write_bytes(good.read_bytes()[:3000])
    text = tmp_path / "text.keras"
    text.write_text("hello")
    foreign = tmp_path / "foreign.keras"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("hello.txt", "hello")
    (tmp_path / "folder").mkdir()
    for path in (cut, text, foreign, tmp_path / "folder"):
        with pytest.raises(TfpruneError, match=path.name) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


def other_keras():
    return importlib.import_module("keras" if IS_TF_KERAS else "tf_keras")


def test_a_model_or_file_of_the_other_keras_is_refused_with_the_cure(tmp_path):
    other = other_keras()
    model = other.Sequential([other.layers.InputLayer((4,)), other.layers.Dense(2)])
    with pytest.raises(UsageError, match=r"made by .*set TF_USE_LEGACY_KERAS.*before TensorFlow"):
        prune(model, 0.5)
    path = tmp_path / "other.keras"
    model.save(path)
    with pytest.raises(TfpruneError, match=r"was written by .*set TF_USE_LEGACY_KERAS"):
        load_model(path)


class Subclassed(keras.Model):
    """A model whose layers tfprune cannot replace."""

    def __init__(self):
        super().__init__()
        self.fc1 = layers.Dense(2)

    def call(self, inputs):
        return self.fc1(inputs)


def test_models_that_cannot_be_pruned():
    for function in (lambda m: prune(m, 0.5), strip):
        with pytest.raises(UsageError, match=r"must be a Keras model. Received: builtins\.str"):
            function("mlp")
        with pytest.raises(UsageError, match=r"not built yet .*model\.build\(input_shape\)"):
            function(keras.Sequential([layers.Dense(2)]))
        subclassed = Subclassed()
        subclassed(np.ones((1, 3), np.float32))
        with pytest.raises(UsageError, match=r"subclassed model .*keras\.Sequential or"):
            function(subclassed)


@pytest.mark.skipif(not IS_TF_KERAS, reason="Keras 3 writes no SavedModel")
def test_the_masks_of_a_layer_of_layers_come_back_out_of_a_saved_model(tmp_path):
    inputs = keras.Input((6, 4))
    attended = layers.MultiHeadAttention(2, 2, name="attention")(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(2, name="out")(attended))
    pruned = prune(model, 0.5)
    masks = get_masks(pruned)
    pruned.save(tmp_path / "saved", save_format="tf")
    loaded = load_model(tmp_path / "saved", compile=False)
    assert len(loaded.weights) == len(pruned.weights)  # no second set of masks
    found = get_masks(loaded)
    assert list(found) == list(masks)
    assert all((found[key] == masks[key]).all() for key in masks)
    assert not all(mask.all() for mask in found.values())
