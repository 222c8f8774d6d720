import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from tfprune.backend import keras, tf
from tfprune.pruning.prunable import describe
from tfprune.pruning.pruner import prune
from tfprune.training.tensorboard import TensorBoard

RECORD = {"epoch": 1, "loss": 0.1, "learning_rate": 0.01, "seconds": 1.0, "test_accuracy": 0.9}


def summaries(folder):
    """Tag -> (plugin, array) of the file of the first epoch."""
    events = EventFileLoader(str(folder / "events.out.tfevents.00001")).Load()
    return {
        value.tag: (value.metadata.plugin_data.plugin_name, make_ndarray(value.tensor))
        for event in events
        for value in event.summary.value
    }


def board_of(kernel, sparsity, folder):
    """What the board writes of a network with one prunable layer, `fc1`."""
    model = keras.Sequential(
        [
            keras.Input(kernel.shape[:1]),
            keras.layers.Dense(kernel.shape[1], use_bias=False, name="fc1"),
        ]
    )
    model.set_weights([kernel])
    TensorBoard(folder, prune(model, sparsity, layers="fc1"), {}).epoch(RECORD, 100)
    return summaries(folder)


def test_the_histogram_of_kept_weights_counts_them_and_no_zeros(tmp_path):
    # Of -30 .. 30 without 0 the 12 nearest to it go, |w| <= 6. Thirty buckets, two wide.
    kernel = np.concatenate([np.arange(-30, 0), np.arange(1, 31)]).astype(np.float32)
    plugin, buckets = board_of(kernel.reshape(6, 10), 0.2, tmp_path)["kept_weights/fc1"]
    assert plugin == "histograms"
    assert buckets[:, 0] == pytest.approx(np.arange(-30, 30, 2))
    assert buckets[:, 1] == pytest.approx(np.arange(-28, 31, 2))
    # -30 .. -7 fill twelve; [6, 8) has 7 alone; the last, [28, 30], has three.
    expected = [2] * 12 + [0] * 6 + [1] + [2] * 10 + [3]
    assert buckets[:, 2].tolist() == expected and buckets[:, 2].sum() == 48


def test_the_histogram_is_that_of_tensorflow(tmp_path):
    kernel = np.random.default_rng(0).normal(size=(40, 25)).astype(np.float32)
    ours = board_of(kernel, 0.0, tmp_path / "ours")["kept_weights/fc1"]
    writer = tf.summary.create_file_writer(str(tmp_path / "theirs"))
    with writer.as_default(step=1):
        tf.summary.histogram("kept_weights/fc1", kernel)
    writer.close()
    (written,) = (tmp_path / "theirs").iterdir()
    written.rename(written.with_name("events.out.tfevents.00001"))
    theirs = summaries(tmp_path / "theirs")["kept_weights/fc1"]
    assert ours[0] == theirs[0]
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-12)


def test_a_layer_whose_weights_are_all_equal_has_one_full_bucket(tmp_path):
    buckets = board_of(np.full((3, 4), 0.5, np.float32), 0.0, tmp_path)["kept_weights/fc1"][1]
    assert sorted(buckets[:, 2]) == [0] * 29 + [12]
    ((left, right),) = buckets[buckets[:, 2] == 12, :2]
    assert left <= 0.5 <= right


class Halves(keras.layers.Layer):
    """A custom layer with two kernels."""

    prunable_weights = ("left", "right")

    def build(self, input_shape):
        for name in self.prunable_weights:
            setattr(self, name, self.add_weight(name=name, shape=(input_shape[-1], 2)))

    def call(self, inputs):
        return tf.concat([inputs @ self.left, inputs @ self.right], axis=-1)


def test_kernels_of_any_name_and_several_in_a_layer_have_their_histogram(tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(9, 4, name="words"),
            layers.SeparableConv1D(4, 2, name="separable"),
            layers.DepthwiseConv1D(2, name="depth"),
            layers.LSTM(3, name="lstm"),
            Halves(name="halves"),
            layers.Dense(2, name="out"),
        ]
    )
    pruned = prune(model, 0.5, layers=["all", "embedding", "depthwise"])
    TensorBoard(tmp_path, pruned, {}).epoch(RECORD, 100)
    found = summaries(tmp_path)
    kept = {f"kept_weights/{row.name}": row.kept for row in describe(pruned) if row.pruned}
    assert list(kept) == [
        f"kept_weights/{name}"
        for name in (
            *("words", "separable/depthwise_kernel", "separable/pointwise_kernel", "depth"),
            *("lstm/cell/kernel", "lstm/cell/recurrent_kernel", "halves/left", "halves/right"),
        )
    ]
    assert {tag: found[tag][1][:, 2].sum() for tag in kept} == kept


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_diverged_do_not_end_the_epoch(tmp_path, wrong):
    kernel = np.array([[1.0, 2.0], [4.0, wrong]], np.float32)
    layer = keras.layers.Dense(2, use_bias=False, name="fc1")
    model = keras.Sequential([keras.Input((2,)), layer])
    pruned = prune(model, 0.0, layers="fc1")
    pruned.set_weights([kernel if w.dtype != bool else w for w in pruned.get_weights()])
    TensorBoard(tmp_path, pruned, {}).epoch(RECORD, 100)
    assert summaries(tmp_path)["kept_weights/fc1"][1][:, 2].sum() == 3
