"""A model in a file and back: every weight, every kind of layer, and nothing that runs code."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from golden_content import golden

from tfprune.backend import IS_TF_KERAS, keras
from tfprune.compression import context
from tfprune.compression.architecture import architecture_of, build_architecture
from tfprune.compression.artifact import load_compressed, save_compressed
from tfprune.compression.coders import CODERS
from tfprune.compression.container import pack, read
from tfprune.compression.plain import rounded
from tfprune.compression.sharing import share_weights
from tfprune.compression.tensor import SparseTensor
from tfprune.errors import TfpruneError, UsageError
from tfprune.export.stored import named_weights
from tfprune.pruning.pruner import prune, strip

layers = keras.layers
GOLDEN = Path(__file__).parent / "golden"
#: Where tf_keras keeps the layers of operations such as `x + y`.
OPERATIONS = "tf_keras.src.layers.core.tf_op_layer"


@keras.utils.register_keras_serializable(package="ours")
class Doubled(layers.Layer):
    """A layer that is not Keras's own."""

    def call(self, inputs):
        return inputs * 2


def rewrite(path, **changes):
    """Makes a file one of other content."""
    content, coder = read(path)
    codes = {
        name: coder.encode(SparseTensor.from_array(content.arrays[name])) for name in content.coded
    }
    path.write_bytes(pack(dataclasses.replace(content, **changes), coder, codes))


def branched():
    """Nested and shared layers, batch norms, a sum written as `+`, depthwise, dropout."""
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(8, 3, padding="same", kernel_regularizer="l2", name="conv1")(inputs)
    x = layers.BatchNormalization(name="bn1")(x)
    block_inputs = keras.Input((8, 8, 8), name="block_images")
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(block_inputs)
    y = layers.Conv2D(8, 1, activation="relu", use_bias=False, name="pointwise")(y)
    block = keras.Model(block_inputs, y, name="block")
    x = x + 0.5 * block(x)
    x = layers.Dropout(0.3, name="drop")(layers.Flatten(name="flat")(x))
    shared = layers.Dense(12, name="fc1")
    x = layers.Concatenate(name="both")([shared(x), shared(x)])
    return keras.Model(inputs, layers.Dense(5, activation="softmax", name="out")(x), name="odd")


@pytest.fixture(scope="module")
def pruned():
    keras.utils.set_random_seed(0)
    model = branched()
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.1, 1, w.shape) - (w.ndim > 1) / 2 for w in model.get_weights()]
    )
    return prune(model, 0.8)


@pytest.mark.parametrize("coder", ["context", "huffman"])
def test_every_weight_comes_back_to_the_bit(pruned, tmp_path, coder):
    path = tmp_path / "m.tfprune"
    report = save_compressed(pruned, path, coder=coder)
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_size == report.file_bytes
    loaded, plain = load_compressed(path), strip(pruned)
    before, after = named_weights(plain), named_weights(loaded)
    assert list(before) == list(after)
    for name, array in before.items():
        assert after[name].tobytes() == array.tobytes(), name
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    assert np.array_equal(loaded(images, training=False), plain(images, training=False))
    assert loaded.name == "odd" and type(loaded) is type(plain)
    # Loaded, it is an ordinary model: it can be saved and compressed again.
    again = tmp_path / "again.tfprune"
    save_compressed(loaded, again, coder=coder)
    assert read(again)[0].coded == read(path)[0].coded
    loaded.save(tmp_path / "m.keras")


def test_the_report_counts_the_stages_by_hand(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(50, name="fc1")(inputs), name="hand")
    kernel = np.zeros((4, 50), np.float32)
    kernel[0, [0, 3, 14]] = [0.5, 0.25, 0.5]
    kernel[2, 0] = 0.25  # position 100: 86 after 14, so two zeros of gap 32 come before it
    model.set_weights([kernel, np.zeros(50)])
    report = save_compressed(model, tmp_path / "m.tfprune")
    assert report.dense_bytes == 4 * 250
    assert report.sparse_bytes == 4 * 50 + -(-6 * (5 + 32) // 8)  # 6 entries of 5 + 32 bits
    assert report.shared_bytes == 4 * 50 + -(-(6 * (5 + 1) + 2 * 32) // 8)  # 2 centroids
    layer = report.layers[0]
    assert (layer.name, layer.size, layer.kept, layer.codebook) == ("fc1/kernel", 200, 4, 2)
    kernel[1:] = np.where(np.arange(150).reshape(3, 50) % 2, 0.5, 0.25)
    model.set_weights([kernel, np.zeros(50)])
    report = save_compressed(model, tmp_path / "m.tfprune", coder="huffman")
    # 3 + 150 weights and a zero of gap 32 between 14 and 50, as floats; or, dense, 200 indices
    # of 2 bits, since zero needs one beside the 2 centroids.
    assert report.sparse_bytes == 4 * 50 + -(-154 * (5 + 32) // 8)
    assert report.shared_bytes == 4 * 50 + (200 * 2 + 64) // 8
    assert report.file_bytes == report.huffman_bytes == (tmp_path / "m.tfprune").stat().st_size
    table = str(report)
    assert f"{report.dense_bytes:,}" in table and "+ weight sharing" in table and "fc1" in table


def test_a_kernel_that_is_not_pruned_is_counted_dense(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(50, use_bias=False, name="fc1")(inputs))
    kernel = np.where(np.arange(200).reshape(4, 50) % 2, 0.5, 0.25).astype(np.float32)
    model.set_weights([kernel])
    report = save_compressed(model, tmp_path / "m.tfprune")
    assert report.sparse_bytes == 4 * 200
    assert report.shared_bytes == 200 * 1 // 8 + 2 * 4  # 200 indices of 1 bit, 2 centroids


def test_shared_weights_are_stored_as_a_codebook(pruned, tmp_path):
    report = save_compressed(pruned, tmp_path / "m.tfprune", share_bits={"conv": 4, "fc": 3})
    expected = named_weights(share_weights(pruned, {"conv": 4, "fc": 3}))
    found = named_weights(load_compressed(tmp_path / "m.tfprune"))
    assert all(found[name].tobytes() == array.tobytes() for name, array in expected.items())
    codebooks = {layer.name: layer.codebook for layer in report.layers}
    assert 2 <= codebooks["fc1/kernel"] <= 8 and codebooks["block/depthwise/" + DEPTHWISE] == 0
    assert report.context_bytes < report.huffman_bytes < report.shared_bytes + 4000
    assert report.shared_bytes < report.sparse_bytes < report.dense_bytes


DEPTHWISE = "depthwise_kernel" if IS_TF_KERAS else "kernel"


def test_other_bits_round_all_but_the_kernels(pruned, tmp_path):
    expected = named_weights(pruned)
    sizes = []
    for bits in (32, 16, 8):
        path = tmp_path / f"{bits}.tfprune"
        sizes.append(save_compressed(pruned, path, other_bits=bits).file_bytes)
        found = named_weights(load_compressed(path))
        for name, array in expected.items():
            kept = name.endswith("kernel") or bits == 32
            assert np.array_equal(found[name], array if kept else rounded(name, array, bits))
        variance = expected["bn1/moving_variance"]
        np.testing.assert_allclose(found["bn1/moving_variance"], variance, rtol=5e-4)
    assert sizes == sorted(sizes, reverse=True)
    with pytest.raises(UsageError, match=r"other_bits must be one of 32, 16, 8. Received: 4"):
        save_compressed(pruned, tmp_path / "no.tfprune", other_bits=4)
    assert not (tmp_path / "no.tfprune").exists()


def test_a_zero_of_either_sign_is_a_removed_weight(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3, name="fc1")(inputs))
    kernel = np.array([[-0.0, 1, 2]] * 4, np.float32)
    model.set_weights([kernel, np.array([-0.0, 0, np.nan])])
    save_compressed(model, tmp_path / "m.tfprune")
    found, bias = load_compressed(tmp_path / "m.tfprune").get_weights()
    assert np.array_equal(found, kernel) and not np.signbit(found).any()
    assert np.signbit(bias[0]) and np.isnan(bias[2])


def test_models_of_other_kinds_come_back(tmp_path):
    path = tmp_path / "m.tfprune"
    sequential = keras.Sequential(
        [
            layers.Embedding(30, 6, name="words"),
            layers.Bidirectional(layers.LSTM(4), name="both"),
            layers.Dense(2, dtype="float16", name="half"),
        ]
    )
    sequential.build((None, 7))
    sequential.compile("adam", "mse")
    save_compressed(sequential, path)
    loaded = load_compressed(path)
    assert loaded.output_shape == (None, 2) and len(loaded.weights) == 9
    assert "both/kernel#2" in read(path)[0].arrays
    for old, new in zip(sequential.get_weights(), loaded.get_weights(), strict=True):
        assert old.dtype == new.dtype and np.array_equal(old, new)


def test_what_is_not_stock_keras_is_refused(tmp_path):
    def model_of(layer):
        inputs = keras.Input((4,))
        return keras.Model(inputs, layers.Dense(3)(layer(inputs)))

    path = tmp_path / "m.tfprune"
    for layer, name in ((Doubled(name="twice"), "Doubled"), (layers.Lambda(lambda x: x), "Lambda")):
        with pytest.raises(UsageError, match=f"stock Keras layers only.*{name}"):
            save_compressed(model_of(layer), path)
    with pytest.raises(UsageError, match="coder must be one of"):
        save_compressed(model_of(layers.ReLU()), path, coder="zip")
    with pytest.raises(UsageError, match="must be a Keras model"):
        save_compressed(3, path)
    assert not path.exists()


def hostile(**changes):
    """A stock configuration whose first layer is something else."""
    inputs = keras.Input((4,))
    config = architecture_of(keras.Model(inputs, layers.Dense(3, name="fc1")(inputs)))
    config["config"]["layers"][1] |= changes
    return config


@pytest.mark.parametrize(
    "changes",
    [
        {"class_name": "Lambda"},
        {"class_name": "Lambda", "config": {"name": "two\nlines"}},
        {"class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}},
        {"module": "os", "class_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "print"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "keras.models", "class_name": "load_model"},
        {"registered_name": "ours>Doubled"},
        {"class_name": "ours>Doubled"},
        {"class_name": "NoSuchLayer"},
        {"class_name": "NoSuchLayer", "registered_name": "Lambda"},
        {"class_name": "__lambda__", "module": None},
        {"class_name": "__lambda__"},
        {"class_name": "__typespec__", "spec_name": "Dense", "config": []},
        {"class_name": "__class__"},
        {"class_name": ["Dense"]},
        {"class_name": "Lambda", "config": [1]},
        {"class_name": "TorchModuleWrapper", "config": {"module": "gASVAAAA"}},
        # Keras follows the dots of a name, whatever its module.
        {"module": "keras", "class_name": "layers.Lambda"},
        {"module": "keras", "class_name": "layers.TFSMLayer", "config": {"filepath": "/tmp/x"}},
        {"module": "keras.src.layers.core.lambda_layer", "class_name": "backend.Lambda"},
        # What tf_keras knows without a public name: it ignores the module of a nested layer.
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": ""}},
        {"module": "tf_keras.src.engine.base_layer", "class_name": "TensorFlowOpLayer"},
        {"module": f"{'' if IS_TF_KERAS else 'tf_'}keras.src.ops.nn", "class_name": "ClassMethod"},
        {"module": OPERATIONS, "class_name": "ClassMethod", "config": {"cls_symbol": "Module"}},
        {"class_name": "VocabularyFileCategoricalColumn"},
        {"module": OPERATIONS, "class_name": "TFOpLambda", "config": None},
        {"module": OPERATIONS, "class_name": "TFOpLambda", "config": {"function": "io.write_file"}},
        {"module": "this", "class_name": "TFOpLambda", "config": {"function": "math.add"}},
    ],
)
def test_a_configuration_that_names_anything_else_is_refused_unread(changes):
    with pytest.raises(TfpruneError, match="not stock Keras, or runs code") as caught:
        build_architecture(hostile(**changes), 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_a_vocabulary_in_another_file_is_refused_unread(tmp_path, name):
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("7\n8\n")
    config = {"name": "lookup", "vocabulary": str(vocabulary)}
    with pytest.raises(TfpruneError, match=r"reads files: .*vocabulary\.txt"):
        build_architecture(hostile(class_name=name, config=config), 0)
    # One that the configuration holds itself is data as all the rest.
    words = keras.Input((1,), dtype="string")
    model = keras.Model(words, layers.StringLookup(vocabulary=["a", "b"])(words))
    built = build_architecture(architecture_of(model), 0)
    assert built.layers[1].get_vocabulary()[1:] == ["a", "b"]


def test_a_configuration_nested_beyond_what_python_follows_is_one_clear_error():
    config = {}
    for _ in range(10_000):
        config = {"config": config}
    with pytest.raises(TfpruneError, match="Keras cannot build the stored model"):
        build_architecture(config, 0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "cannot build|no built model"),
        (
            {"class_name": "Dense", "module": "keras.layers", "config": {"units": 2}},
            "no built model",
        ),
        (hostile(config={"units": -1}), "Keras cannot build"),
    ],
)
def test_a_configuration_that_is_no_model_is_one_clear_error(config, message):
    with pytest.raises(TfpruneError, match=message) as caught:
        build_architecture(config, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kernel", ["glorot_uniform", "zeros", "random_normal", "orthogonal"])
def test_a_configuration_of_a_larger_model_than_is_stored_takes_no_memory(tmp_path, kernel):
    model = keras.Sequential([layers.Dense(2, kernel_initializer=kernel)])
    model.build((None, 3))
    config = architecture_of(model)
    built = build_architecture(config, 8)
    assert sum(weight.shape.num_elements() for weight in built.weights) == 8
    path = tmp_path / "model.tfprune"
    save_compressed(model, path)
    config["config"]["layers"][-1]["config"]["units"] = 10**12  # terabytes
    rewrite(path, architecture=config)
    with pytest.raises(TfpruneError, match=r"larger than the weights beside it: [0-9]{13} values"):
        load_compressed(path)


def test_a_file_of_the_other_keras_names_cause_and_cure():
    path = GOLDEN / "context.tfprune"
    if IS_TF_KERAS:
        with pytest.raises(TfpruneError, match=r"of Keras 3 \(3.15.0\): unset TF_USE_LEGACY"):
            load_compressed(path)
    else:
        found = named_weights(load_compressed(path))
        for name, array in golden().arrays.items():
            assert found[name].tobytes() == array.tobytes()


def test_a_file_that_says_the_other_keras_is_not_built_by_this_one(pruned, tmp_path):
    path = tmp_path / "m.tfprune"
    save_compressed(pruned, path)
    # All but its header would do.
    line, wrote, cure = (3, "Keras 3", "unset") if IS_TF_KERAS else (2, "tf_keras", "set")
    rewrite(path, keras_line=line, keras_version="9.8.7")
    message = rf"m\.tfprune' holds a model of {wrote} \(9\.8\.7\): {cure} TF_USE_LEGACY_KERAS"
    with pytest.raises(TfpruneError, match=message):
        load_compressed(path)


def test_a_coder_that_loses_a_weight_is_found_out_and_leaves_no_file(pruned, tmp_path, monkeypatch):
    def forgetful(tensor):
        return context.encode(dataclasses.replace(tensor, values=tensor.values[::-1].copy()))

    broken = dataclasses.replace(CODERS["context"], encode=forgetful)
    monkeypatch.setitem(CODERS, "context", broken)
    with pytest.raises(RuntimeError, match="conv1/kernel did not come back as it was written"):
        save_compressed(pruned, tmp_path / "m.tfprune")
    assert list(tmp_path.iterdir()) == []


def test_variables_that_do_not_fit_the_architecture_are_refused(tmp_path, monkeypatch):
    inputs = keras.Input((4,))
    wide = keras.Model(inputs, layers.Dense(5, name="fc1")(inputs))
    narrow = keras.Model(inputs, layers.Dense(3, name="fc1")(inputs))
    other = architecture_of(narrow)
    monkeypatch.setattr("tfprune.compression.artifact.architecture_of", lambda model: other)
    save_compressed(wide, tmp_path / "m.tfprune")
    with pytest.raises(TfpruneError, match=r"'fc1/bias' is \(5,\) in the file and \(3,\)"):
        load_compressed(tmp_path / "m.tfprune")
