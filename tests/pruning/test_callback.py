import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pruned import assert_masked, data

import tfprune
from tfprune.backend import IS_TF_KERAS, keras
from tfprune.errors import UsageError
from tfprune.pruning.pruner import get_masks
from tfprune.pruning.schedule import PolynomialSchedule


def network():
    """A group of 60 weights (4 x 10 and 10 x 2); 10 of the output layer stay dense."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(10, activation="relu", name="fc1"),
            layers.Dense(2, activation="relu", name="fc2"),
            layers.Dense(5, name="out"),
        ]
    )


def compiled(**options):
    model = tfprune.prune(network(), 0.0)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError(), **options)
    return model


class Watch(keras.callbacks.Callback):
    """The masks after each batch, and the weights beside them."""

    def __init__(self):
        super().__init__()
        self.masks = []

    def on_train_batch_end(self, batch, logs=None):
        self.masks.append(get_masks(self.model))
        assert_masked(self.model, self.masks[-1])

    @property
    def removed(self):
        return [60 - sum(int(m.sum()) for k, m in x.items() if "kernel" in k) for x in self.masks]


def fit(model, callback, epochs=2, **options):
    """Five steps an epoch."""
    inputs, outputs = data(model, 10)
    watch = Watch()
    history = model.fit(
        *(inputs, outputs), batch_size=2, epochs=epochs, callbacks=[callback, watch], verbose=0,
        **options,
    )  # fmt: skip
    return watch, history.history


def test_weights_go_at_the_steps_of_the_schedule_and_stay_away():
    """At steps 0, 3, 6 and 7 of 60 weights 0, floor(60 s + 0.5) with s = 0.8 (1 - (1 - t/7)^3)."""
    watch, logs = fit(compiled(), tfprune.PruningCallback(PolynomialSchedule(0.8, 7, frequency=3)))
    at = {t: int(60 * 0.8 * (1 - (1 - t / 7) ** 3) + 0.5) for t in (0, 3, 6, 7)}
    assert at == {0: 0, 3: 39, 6: 48, 7: 48}
    assert watch.removed == [0, 0, 39, 39, 39, 48, 48, 48, 48, 48]
    for before, after in zip(watch.masks, watch.masks[1:], strict=False):
        assert all(not (after[key] & ~before[key]).any() for key in before)
    assert logs["group_sparsity"] == pytest.approx([39 / 60, 0.8])


def test_the_count_goes_on_over_calls_of_fit_and_options_are_those_of_prune():
    model = compiled()
    callback = tfprune.PruningCallback(
        lambda step: (step in (2, 7), 0.5 if step < 5 else 0.7), layers="fc1", allocation="uniform"
    )
    first, _ = fit(model, callback, epochs=1)
    second, logs = fit(model, callback, epochs=1)
    assert first.removed == [0, 20, 20, 20, 20] and second.removed == [20, 28, 28, 28, 28]
    assert get_masks(model)["fc2/kernel"].all() and logs["group_sparsity"] == [0.7]


def test_a_sparsity_that_is_reached_already_changes_nothing():
    watch, _ = fit(compiled(), tfprune.PruningCallback(lambda step: (True, 0.8 - step / 100)))
    assert watch.removed == [48] * 10  # 0.8 at step 0, less from then on


def test_with_several_steps_a_call_the_newest_update_that_is_due_is_made():
    callback = tfprune.PruningCallback(lambda step: (True, step / 20))
    watch, _ = fit(compiled(steps_per_execution=5), callback)
    assert watch.removed == [15, 30]


@pytest.mark.parametrize("granularity", ["filter", (10, 1)])
def test_with_filters_or_blocks_the_sparsity_is_of_those(granularity):
    """Of 12 columns 1 goes at step 0, the 10 weights of one of fc2's, and 2 go at step 3.

    Two columns of 12 are as many weights as the first one alone: of 60 again 10.
    """
    model = compiled()
    fc2 = model.get_layer("fc2").layer
    fc2.kernel.assign(fc2.kernel * np.array([1e-3, 1.0], np.float32))
    callback = tfprune.PruningCallback(
        lambda step: (step in (0, 3), 1 / 12 if step < 3 else 2 / 12), granularity=granularity
    )
    watch, logs = fit(model, callback)
    dead = [
        sum(int((~mask.any(axis=0)).sum()) for key, mask in masks.items() if "kernel" in key)
        for masks in watch.masks
    ]
    assert dead == [1, 1, *[2] * 8] and watch.removed == [10, 10, *[14] * 8]
    assert logs["group_sparsity"] == pytest.approx([14 / 60] * 2)
    again, _ = fit(model, tfprune.PruningCallback(lambda step: (True, 0.1), **callback.options))
    assert again.removed == [14] * 10  # a sparsity below the one that is reached


def test_a_saved_model_goes_on_where_it_stood(tmp_path):
    ramp = PolynomialSchedule(0.8, 9, frequency=2)
    whole, _ = fit(compiled(), tfprune.PruningCallback(ramp))
    model = compiled()
    fit(model, tfprune.PruningCallback(ramp), epochs=1)
    model.save(tmp_path / "half.keras")
    loaded = tfprune.load_model(tmp_path / "half.keras")
    rest, _ = fit(loaded, tfprune.PruningCallback(ramp), epochs=1)
    assert rest.removed == whole.removed[5:]


@pytest.mark.skipif(not IS_TF_KERAS, reason="TFMOT imports tf_keras")
def test_schedules_of_tfmot_are_followed_to_the_exact_count():
    """Of 60 weights 0.75 (1 - (1 - t/8)^3): 0 at step 0, 39 at 4 (s = 0.65625), 45 at 8."""
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_schedule

    decay = pruning_schedule.PolynomialDecay(0.0, 0.75, 0, 8, frequency=4)
    watch, _ = fit(compiled(), tfprune.PruningCallback(decay))
    assert int(60 * 0.75 * (1 - (1 - 4 / 8) ** 3) + 0.5) == 39
    assert watch.removed == [0, 0, 0, 39, 39, 39, 39, 45, 45, 45]
    constant = pruning_schedule.ConstantSparsity(0.9, 3, frequency=2)
    watch, _ = fit(compiled(), tfprune.PruningCallback(constant))
    assert watch.removed == [0, 0, *[54] * 8]


def test_layers_with_targets_of_their_own_have_a_callback_each():
    model = compiled()
    early = tfprune.PruningCallback(PolynomialSchedule(0.9, 3), layers="fc1")
    late = tfprune.PruningCallback(PolynomialSchedule(0.25, 8, frequency=2), layers="fc2")
    inputs, outputs = data(model, 10)
    history = model.fit(inputs, outputs, batch_size=2, epochs=2, callbacks=[early, late], verbose=0)
    assert tfprune.layer_sparsities(model) == {"fc1": 0.9, "fc2": 0.25}
    assert history.history["group_sparsity"][-1] == pytest.approx(0.25)  # of the last callback


def test_a_model_that_is_not_wrapped_is_refused_before_the_first_step():
    model = network()
    model.compile("sgd", "mse")
    with pytest.raises(UsageError, match=r"model = prune\(model, 0.0\)"):
        fit(model, tfprune.PruningCallback(PolynomialSchedule(0.5, 3)))


@pytest.mark.parametrize("schedule", [0.9, None, {"final_sparsity": 0.9}])
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(UsageError, match="schedule must be a PolynomialSchedule"):
        tfprune.PruningCallback(schedule)


@pytest.mark.parametrize(
    ("option", "value"),
    [("sparsity", 0.5), ("in_place", True), ("layer_sparsity", {}), ("quality", 1)],
)
def test_options_that_the_schedule_decides_are_refused(option, value):
    with pytest.raises(UsageError, match=f"the schedule decides how much goes.* {option}"):
        tfprune.PruningCallback(PolynomialSchedule(0.5, 3), **{option: value})


def test_a_schedule_that_gives_nonsense_is_refused():
    with pytest.raises(UsageError, match="a schedule maps a step to"):
        fit(compiled(), tfprune.PruningCallback(lambda step: step))


def test_mirrored_replicas_share_the_masks():
    """Of two devices each has the masks and weights that the other has, 12 of 60 left."""
    script = Path(__file__).with_name("two_devices.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["removed"] == [0, 0, 39, 39, 39, 48, 48, 48, 48, 48]
    assert found["masks_equal"] == found["kernels_equal"] == [True, True]
    assert found["kept"] == found["nonzero"] == [12, 12]
