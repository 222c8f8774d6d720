"""The axes of the test matrix, and what one case does.

A case is (kind of model, kinds of layers, feature of the training). As a script it runs the
cases that need two devices, which have to be asked for before TensorFlow starts:

    python tests/pruning/matrix.py MODEL-LAYERS-mirrored ...
"""

import contextlib
import functools
import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.export.audit import audit
from tfprune.pruning.masks import removed_count
from tfprune.pruning.prunable import prunables
from tfprune.pruning.pruner import apply_masks, get_masks, load_model, prune, set_masks, strip

layers = keras.layers
register = keras.utils.register_keras_serializable(package="matrix")

MODELS = ("sequential", "functional", "nested", "subclassed")
#: "clone" is `fit` of a clone; "averages" are weight decay and moving averages of the weights.
FEATURES = (
    *("loop", "mixed_float16", "clone", "averages"),
    *("steps_per_execution", "jit_compile", "mirrored"),
)
#: Of the loop around the layers, or slow: by default each meets every kind of model only.
OF_THE_LOOP = ("jit_compile", "steps_per_execution", "mirrored")
STEPS = 5


@register
class Mixer(layers.Layer):
    """A custom layer that declares two kernels."""

    prunable_weights = ("first", "second")

    def build(self, input_shape):
        self.first = self.add_weight(name="first", shape=(4, 4), initializer="glorot_uniform")
        self.second = self.add_weight(name="second", shape=(4, 4), initializer="glorot_uniform")
        self.built = True

    def call(self, inputs):
        return tf.matmul(tf.matmul(inputs, tf.cast(self.first, inputs.dtype)), self.second)


@register
class Block(layers.Layer):
    """A custom layer made of layers, which are built when it is called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.steps = [layers.Dense(5, activation="relu"), layers.Dense(4)]
        self.drop = layers.Dropout(0.5)

    def call(self, inputs, training=False):
        outputs = inputs
        for step in self.steps:
            outputs = step(outputs)
        return inputs + self.drop(outputs, training=training)


@register
class SelfAttention(layers.Layer):
    """An attention with one input, for models that are a chain."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 2)

    def call(self, inputs):
        return self.attention(inputs, inputs)


#: Kinds of layers -> the chain of them, on sequences of 6 vectors of 4 (words: of 6 numbers).
LAYERS = {
    "dense": lambda: [
        layers.Dense(5, activation="relu", name="dense"),
        layers.EinsumDense("abc,cd->abd", (6, 3), bias_axes="d", name="einsum"),
    ],
    "conv": lambda: [
        layers.Conv1D(4, 2, padding="same", name="conv1d"),
        layers.Reshape((3, 4, 2)),
        layers.Conv2D(3, 2, padding="same", name="conv2d"),
        layers.Reshape((3, 2, 2, 3)),
        layers.Conv3D(2, 2, padding="same", name="conv3d"),
    ],
    "transposed": lambda: [
        layers.Conv1DTranspose(3, 2, padding="same", name="conv1d"),
        layers.Reshape((3, 2, 3)),
        layers.Conv2DTranspose(2, 2, padding="same", name="conv2d"),
        layers.Reshape((3, 2, 1, 2)),
        layers.Conv3DTranspose(2, 2, padding="same", name="conv3d"),
    ],
    "separable": lambda: [
        layers.SeparableConv1D(4, 2, padding="same", name="separable1d"),
        layers.Reshape((3, 4, 2)),
        layers.SeparableConv2D(3, 2, padding="same", name="separable2d"),
        layers.DepthwiseConv2D(2, padding="same", name="depthwise"),
    ],
    "embedding": lambda: [layers.Embedding(9, 4, name="words"), layers.Dense(4, name="dense")],
    "recurrent": lambda: [
        layers.LSTM(3, return_sequences=True, name="lstm"),
        layers.GRU(3, return_sequences=True, name="gru"),
    ],
    "wrapped": lambda: [
        layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True), name="both"),
        layers.TimeDistributed(layers.Dense(3), name="each"),
        layers.RNN([layers.LSTMCell(2)], return_sequences=True, name="cells"),
    ],
    "attention": lambda: [layers.MultiHeadAttention(2, 2, name="attention"), layers.Dense(3)],
    "custom": lambda: [Mixer(name="mixer"), Block(name="block")],
}


def chained(kind, in_one_line=False):
    """The chain; where it has to be one line, an attention stands in a layer of one input."""
    made = LAYERS[kind]()
    if in_one_line and kind == "attention":
        made[0] = SelfAttention(name="attention")
    return made


def applied(chain, x):
    for layer in chain:
        x = layer(x, x) if isinstance(layer, layers.MultiHeadAttention) else layer(x)
    return x


@register
class Subclassed(keras.Model):
    """A chain and its output in a model whose graph nobody knows."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.chain = chained(kind)
        self.flat = layers.Flatten()
        self.out = layers.Dense(2, dtype="float32")

    def call(self, inputs):
        return self.out(self.flat(applied(self.chain, inputs)))

    def get_config(self):
        return {"kind": self.kind}


def given(kind):
    """(shape, dtype) of the input."""
    return ((6,), "int32") if kind == "embedding" else ((6, 4), "float32")


def build(model_kind, kind):
    """The model, built."""
    shape, dtype = given(kind)
    ends = [layers.Flatten(name="flat"), layers.Dense(2, dtype="float32", name="out")]
    if model_kind == "subclassed":
        model = Subclassed(kind)
        model(np.zeros((1, *shape), dtype))
        return model
    inputs = keras.Input(shape, dtype=dtype)
    if model_kind == "sequential":
        return keras.Sequential([inputs, *chained(kind, in_one_line=True), *ends])
    if model_kind == "nested":
        inner = keras.Model(inputs, applied(chained(kind), inputs), name="inner")
        outer = keras.Input(shape, dtype=dtype)
        return keras.Model(outer, applied([inner, *ends], outer))
    # Two inputs into one chain, whose layers are shared; two outputs.
    other, chain = keras.Input(shape, dtype=dtype), chained(kind)
    both = layers.Add(name="sum")([applied(chain, inputs), applied(chain, other)])
    flat = ends[0](both)
    second = layers.Dense(1, dtype="float32", name="out_too")(flat)
    return keras.Model([inputs, other], [ends[1](flat), second])


def data(model_kind, kind, samples=2 * STEPS):
    rng = np.random.default_rng(0)
    shape, dtype = given(kind)

    def some():
        return (rng.random((samples, *shape)) * 9).astype(dtype)

    if model_kind != "functional":
        return some(), rng.random((samples, 2)).astype("float32")
    return [some(), some()], [rng.random((samples, n)).astype("float32") for n in (2, 1)]


def kernels(model):
    return {p.key: tf.convert_to_tensor(p.variable).numpy() for p in prunables(model)}


def assert_holds(model, masks, count):
    """The group has exactly `count` zeros, all +0.0, and where the masks say; so have biases."""
    held, zeros = kernels(model), 0
    for key in set(held) & set(masks):
        assert not held[key][~masks[key]].tobytes().strip(b"\0"), f"{key} came back"
        zeros += int((held[key] == 0).sum())
    assert zeros == count
    assert audit(model, masks).verdict == "ok"


class EachStep(keras.callbacks.Callback):
    """Looks at the zeros after every step, or every execution of several."""

    def __init__(self, model, masks, count):
        super().__init__()
        self.pruned, self.masks, self.count, self.steps = model, masks, count, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        assert_holds(self.pruned, self.masks, self.count)


def optimizer_of(feature):
    if feature == "averages":
        return keras.optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True, ema_momentum=0.5)
    if feature == "mixed_float16":  # from a scale at which no step is skipped
        inner = keras.optimizers.Adam(0.01)
        return keras.mixed_precision.LossScaleOptimizer(inner, initial_scale=8.0)
    return keras.optimizers.Adam(0.01)


def train(model, case, masks, count):
    """Five steps, the zeros looked at after each."""
    model_kind, kind, feature = case
    inputs, targets = data(model_kind, kind)
    if feature == "loop":
        return train_in_a_loop(model, inputs, targets, lambda: assert_holds(model, masks, count))
    options = {"steps_per_execution": STEPS} if feature == "steps_per_execution" else {}
    options["jit_compile"] = feature == "jit_compile"
    model.compile(optimizer_of(feature), "mse", **options)
    watch = EachStep(model, masks, count)
    model.fit(inputs, targets, batch_size=2, shuffle=False, verbose=0, callbacks=[watch])
    assert watch.steps == (1 if feature == "steps_per_execution" else STEPS)
    return None


def train_in_a_loop(model, inputs, targets, check):
    optimizer = optimizer_of("loop")
    for step in range(STEPS):
        batch = [tf.constant(a[2 * step : 2 * step + 2]) for a in tf.nest.flatten(inputs)]
        wanted = [a[2 * step : 2 * step + 2] for a in tf.nest.flatten(targets)]
        with tf.GradientTape() as tape:
            found = tf.nest.flatten(model(batch if isinstance(inputs, list) else batch[0]))
            pairs = zip(wanted, found, strict=True)
            loss = tf.add_n([tf.reduce_mean((one - other) ** 2) for one, other in pairs])
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        check()


def cloned(pruned, masks):
    """Keras's own clone, its weights given; a subclassed one gets its masks anew."""
    clone = keras.models.clone_model(pruned)
    if isinstance(pruned, Subclassed):
        clone(np.zeros((1, *given(pruned.kind)[0]), given(pruned.kind)[1]))
        clone.set_weights(pruned.get_weights())
        set_masks(prune(clone, 0.0, layers=group_of(clone), in_place=True), masks)
    else:
        clone.set_weights(pruned.get_weights())
    return clone


def group_of(model):
    return [p.name for p in prunables(model) if not p.path.startswith("out")]


def reloaded(model, masks, folder):
    """Saved and loaded; the masks of a subclassed model are not in its file."""
    path = str(Path(folder) / "model.keras")
    model.save(path)
    loaded = load_model(path, compile=False)
    if isinstance(model, Subclassed):
        set_masks(prune(loaded, 0.0, layers=group_of(loaded), in_place=True), masks)
    assert list(get_masks(loaded)) == list(masks)
    return loaded


@functools.cache
def two_replicas():
    """The one strategy of a process: a second one's collective operations meet the first's."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@contextlib.contextmanager
def setting_of(feature):
    if feature == "mixed_float16":
        keras.mixed_precision.set_global_policy("mixed_float16")
    scope = contextlib.nullcontext()
    if feature == "mirrored":
        scope = two_replicas().scope()
    try:
        with scope:
            yield
    finally:
        keras.mixed_precision.set_global_policy("float32")


def run(case, folder):
    """Prunes, trains, saves, loads and strips; raises where one weight is not as it should be."""
    keras.backend.clear_session()
    with setting_of(case[2]):
        _run(case, folder)


def _run(case, folder):
    model_kind, kind, feature = case
    in_place = model_kind == "subclassed"
    keras.utils.set_random_seed(0)
    model = build(model_kind, kind)
    source = [weight.copy() for weight in model.get_weights()]
    group = group_of(model)
    sizes = [int(np.prod(p.variable.shape)) for p in prunables(model) if p.name in group]
    count = removed_count(sum(sizes), 0.5)
    pruned = prune(model, 0.5, layers=group, in_place=in_place)
    masks = get_masks(pruned)
    assert_holds(pruned, masks, count)
    if feature == "clone":
        pruned = cloned(pruned, masks)
        assert_holds(pruned, masks, count)
    before = kernels(pruned)
    train(pruned, case, masks, count)
    if feature == "averages" and in_place:
        apply_masks(pruned)
    loaded = reloaded(pruned, masks, folder)  # saving masks averages that were put in
    after = kernels(pruned)
    assert all((after[key] != before[key]).any() for key in before)
    assert_holds(pruned, masks, count)
    assert_holds(loaded, masks, count)
    inputs, _ = data(model_kind, kind, 2)
    outputs, again = (tf.nest.flatten(each(inputs)) for each in (pruned, loaded))
    for one, other in zip(outputs, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    plain = strip(loaded, in_place=in_place)
    assert not get_masks(plain)
    assert_holds(plain, masks, count)
    if not in_place:
        for one, other in zip(source, model.get_weights(), strict=True):
            assert one.tobytes() == other.tobytes()


def every_case():
    return list(itertools.product(MODELS, LAYERS, FEATURES))


def pairwise_cases(tf_keras=IS_TF_KERAS):
    """Cases in which any two values meet, but features of the loop only every kind of model.

    The two Kerases share out the cases: every value meets each of them.
    XLA meets the kinds of layers that come first: recurrent ones take it half a minute a case.
    """
    others = [feature for feature in FEATURES if feature not in OF_THE_LOOP]
    chosen = [
        (model, kind, feature)
        for model, kind, feature in all_pairs([list(MODELS), list(LAYERS), others])
        if (MODELS.index(model) + list(LAYERS).index(kind)) % 2 == tf_keras
    ]
    kinds = itertools.cycle(LAYERS)
    return chosen + [(model, next(kinds), feature) for feature in OF_THE_LOOP for model in MODELS]


def all_pairs(axes):
    """A small set of combinations that holds every pair of values of two axes. Deterministic.

    Greedy: of all combinations the first that holds most pairs not yet held.
    """

    def pairs(combination):
        return set(itertools.combinations(enumerate(combination), 2))

    combinations = list(itertools.product(*axes))
    missing = set().union(*map(pairs, combinations))
    chosen = []
    while missing:
        best = max(combinations, key=lambda c: len(pairs(c) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return chosen


def name_of(case):
    return "-".join(case)


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    results = {}
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                run(tuple(name.split("-")), folder)
                results[name] = "passed"
            except Exception as error:
                results[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(results))
