import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.constraint import (
    MaskConstraint,
    apply_mask,
    attach_mask,
    detach_mask,
    mask_of,
    select_kept,
)
from tfprune.pruning.units import set_layer_masks
from tfprune.pruning.wrapper import PrunableLayer

layers = keras.layers


def build(layer, shape, **kwargs):
    """The layer in its wrapper, built."""
    wrapper = PrunableLayer(layer, **kwargs)
    wrapper(np.zeros((1, *shape), np.float32))
    return wrapper


def test_masks_select_and_do_not_multiply():
    kept = select_kept(np.array([True, False, False, False]), [-1.5, -2.0, np.nan, np.inf]).numpy()
    np.testing.assert_array_equal(kept, [-1.5, 0, 0, 0])
    np.testing.assert_array_equal(np.signbit(kept), [True, False, False, False])


def test_the_constraint_of_the_user_comes_first():
    mask = tf.Variable([True, False, True])
    constraint = MaskConstraint(keras.constraints.NonNeg(), mask)
    np.testing.assert_array_equal(constraint(tf.constant([-1.0, 2.0, 3.0])), [0, 0, 3])
    np.testing.assert_array_equal(MaskConstraint(None, mask)(tf.constant([-1.0, 2, 3])), [-1, 0, 3])


def test_a_mask_comes_and_goes_and_the_constraint_of_the_user_stays():
    layer = layers.Dense(2, kernel_constraint="non_neg")
    layer.build((None, 1))
    user, mask = layer.kernel.constraint, tf.Variable([[False, True]])
    assert mask_of(layer.kernel) is None and mask_of(None) is None
    attach_mask(layer.kernel, mask)
    assert mask_of(layer.kernel) is mask and layer.kernel.constraint.user is user
    layer.kernel.assign([[-1.0, -2.0]])
    apply_mask(layer.kernel)
    kernel = layer.kernel.numpy()
    np.testing.assert_array_equal(kernel, [[0, -2]])
    assert not np.signbit(kernel[0, 0])
    detach_mask(layer.kernel)
    assert mask_of(layer.kernel) is None and layer.kernel.constraint is user


def test_a_wrapped_layer_computes_what_the_layer_does():
    plain, inner = (layers.Conv2D(4, 3, name="conv1", strides=2) for _ in range(2))
    wrapper = build(inner, (8, 8, 2))
    plain.build((None, 8, 8, 2))
    plain.set_weights(inner.get_weights())
    images = np.random.default_rng(0).random((2, 8, 8, 2), np.float32)
    np.testing.assert_array_equal(wrapper(images), plain(images))
    assert wrapper.name == "conv1"
    assert tuple(wrapper.compute_output_shape((None, 8, 8, 2))) == (None, 3, 3, 4)
    assert [w.shape for w in wrapper.trainable_weights] == [(3, 3, 2, 4), (4,)]
    assert sorted(wrapper.masks) == ["bias", "kernel"]
    assert all(tf.as_dtype(m.dtype) == tf.bool for m in wrapper.masks.values())


def test_masks_zero_the_weights_and_the_bias_of_a_dead_unit():
    wrapper = build(layers.Dense(3, bias_initializer="ones"), (2,))
    set_layer_masks(
        wrapper.layer, {"kernel": np.array([[True, False, False], [True, False, True]])}
    )
    kernel, bias = wrapper.layer.get_weights()
    np.testing.assert_array_equal(kernel != 0, [[True, False, False], [True, False, True]])
    np.testing.assert_array_equal(bias, [1, 0, 1])
    np.testing.assert_array_equal(wrapper.masks["bias"], [True, False, True])
    wrapper.layer.set_weights([np.full((2, 3), np.nan), np.ones(3)])
    wrapper.apply_masks()
    np.testing.assert_array_equal(np.isnan(wrapper.layer.get_weights()[0]), kernel != 0)


def test_a_mask_given_for_a_bias_is_kept():
    wrapper = build(layers.Dense(3), (2,))
    set_layer_masks(
        wrapper.layer, {"kernel": np.ones((2, 3), bool), "bias": np.array([True, False, True])}
    )
    np.testing.assert_array_equal(wrapper.masks["bias"], [True, False, True])


def test_a_layer_without_bias_has_one_mask():
    assert list(build(layers.Dense(3, use_bias=False), (2,)).masks) == ["kernel"]


def test_training_flag_reaches_the_layer_inside():
    wrapper = build(layers.BatchNormalization(), (3,))
    data = np.random.default_rng(0).random((8, 3), np.float32) * 9
    np.testing.assert_allclose(wrapper(data, training=False), data, rtol=1e-3)
    assert abs(np.mean(wrapper(data, training=True))) < 1e-3
    assert sorted(wrapper.masks) == ["beta", "gamma"]


def test_sequence_masks_pass_through():
    inputs = keras.Input((5,), dtype="int32")
    words = PrunableLayer(layers.Embedding(10, 4, mask_zero=True, name="words"))(inputs)
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(words))
    embedding = model.get_layer("words").layer.get_weights()[0]
    outputs = model(np.array([[3, 7, 0, 0, 0]], np.int32))
    np.testing.assert_allclose(outputs[0], (embedding[3] + embedding[7]) / 2, rtol=1e-5)


def test_regularizers_count_once():
    wrapper = build(layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5)), (2,))
    expected = 0.5 * np.sum(wrapper.layer.get_weights()[0] ** 2)
    assert float(sum(wrapper.losses)) == pytest.approx(expected, rel=1e-5)


def test_trainable_is_forwarded_both_ways():
    assert PrunableLayer(layers.Dense(3, trainable=False)).trainable is False
    wrapper = build(layers.Dense(3), (2,))
    wrapper.trainable = False
    assert wrapper.trainable_weights == [] and wrapper.layer.trainable is False


def test_mixed_precision_computes_in_half_and_keeps_weights_in_float32():
    wrapper = build(layers.Dense(3, dtype="mixed_float16"), (2,))
    assert wrapper.dtype_policy.name == "mixed_float16"
    assert tf.as_dtype(wrapper(np.ones((1, 2), np.float32)).dtype) == tf.float16
    assert tf.as_dtype(wrapper.layer.kernel.dtype).is_compatible_with(tf.float32)
    set_layer_masks(wrapper.layer, {"kernel": np.zeros((2, 3), bool)})
    np.testing.assert_array_equal(wrapper(np.ones((1, 2), np.float32)), np.zeros((1, 3)))


def test_config_holds_the_constraint_of_the_user_and_nothing_of_ours():
    inner = layers.Conv2D(3, 2, kernel_constraint="non_neg", activation="relu", name="conv1")
    wrapper = build(inner, (4, 4, 1), trainable=False)
    config = wrapper.get_config()
    assert "MaskConstraint" not in str(config)
    again = PrunableLayer.from_config(config)
    assert (again.name, again.trainable) == ("conv1", False)
    assert isinstance(again.layer.kernel_constraint, keras.constraints.NonNeg)
    assert again.layer.bias_constraint is None
    again(np.zeros((1, 4, 4, 1), np.float32))
    assert isinstance(again.layer.kernel.constraint.user, keras.constraints.NonNeg)
    assert again.layer.bias.constraint.user is None


def test_a_layer_that_is_built_gets_its_masks_at_once():
    layer = layers.Dense(3, name="fc1")
    layer.build((None, 2))
    wrapper = PrunableLayer(layer)
    assert sorted(wrapper.masks) == ["bias", "kernel"]
    before = layer.kernel.numpy()
    np.testing.assert_array_equal(wrapper(np.eye(2, dtype=np.float32)), before)


def test_a_layer_without_weights_is_refused():
    with pytest.raises(UsageError, match=r"prunable weights.*Received: 'pool' of type MaxPool"):
        build(layers.MaxPooling2D(name="pool"), (4, 4, 1))


def test_several_inputs_and_options_reach_the_layer_inside():
    inputs, others = (np.random.default_rng(i).random((2, 3, 4), np.float32) for i in (0, 1))
    plain, inner = (layers.MultiHeadAttention(2, 3, name="mha") for _ in range(2))
    wrapper = PrunableLayer(inner)
    mask = np.tril(np.ones((2, 3, 3), bool))
    options = {"attention_mask": mask, "return_attention_scores": True}
    for layer in (plain, wrapper):
        layer(inputs, others, **options)
    plain.set_weights(inner.get_weights())
    expected = plain(inputs, others, **options)
    for one, other in zip(wrapper(inputs, others, **options), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(wrapper.masks) == sorted(
        f"{name}_dense/{variable}"
        for name in ("query", "key", "value", "output")
        for variable in ("kernel", "bias")
    )


class Forgetful(layers.Layer):
    """A custom layer that takes no constraints."""

    prunable_weights = ("kernel",)

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(2, 2))

    def call(self, inputs):
        return inputs @ self.kernel


def test_a_custom_layer_need_know_nothing_of_constraints():
    assert list(build(Forgetful(name="mine"), (2,)).masks) == ["kernel"]
