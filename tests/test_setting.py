import dataclasses

import pytest

from tfprune.backend import keras
from tfprune.config import Config
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning_flags import ramp_of
from tfprune.rounds import rounds_of
from tfprune.setting import Setting
from tfprune.training.inputs import Augmentation
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.plan import Plan
from tfprune.training.resizing import Resizing


def setting(**flags):
    return Setting(Config(dry_run=True, **flags))


def test_runs_that_differ_in_pruning_share_the_dense_model_and_the_control():
    one = marks(setting(group="fc", sparsity=0.9))
    other = marks(setting(group="conv", sparsity=0.5))
    assert [s for s in one if one[s] == other[s]] == ["dense", "control"]


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        ({"name": "x", "threads": 1, "progress": False}, []),
        ({"retrain_epochs": 3}, ["control", "retrain"]),
        ({"criterion": "random"}, ["prune", "retrain"]),
        ({"distill": 0.5}, ["retrain"]),
        ({"epochs": 3}, ["dense", "control", "prune", "retrain"]),
        ({"seed": 1}, ["dense", "control", "prune", "retrain"]),
        ({"precision": "bfloat16"}, ["dense", "control", "prune", "retrain"]),
        ({"augment_shift": 1}, ["dense", "control", "prune", "retrain"]),
        ({"image_size": 20}, ["dense", "control", "prune", "retrain"]),
        ({"validation_fraction": 0.1}, ["dense", "control", "prune", "retrain"]),
    ],
)
def test_a_flag_marks_its_stage_and_those_after_it(flags, changed):
    before, after = setting(), setting(**flags)
    stages = ("dense", "control", "prune", "retrain")
    assert [s for s in stages if marks(before)[s] != marks(after)[s]] == changed


def marks(setting):
    last = rounds_of(setting)[-1]
    return {
        "dense": setting.dense_mark,
        "control": last.control_mark,
        "prune": last.prune_mark,
        "retrain": last.retrain_mark,
    }


def test_what_retraining_leaves_open_is_as_in_dense_training():
    plan = setting(batch_size=16, learning_rate=0.5).retrain_plan()
    assert (plan.batch_size, plan.rate.first) == (16, 0.5)
    plan = setting(retrain_batch_size=8, retrain_learning_rate=0.25).retrain_plan()
    assert (plan.batch_size, plan.rate.first) == (8, 0.25)
    assert setting(model="alexnet", dropout=0.2).retrain_flags["retrain_dropout"] == 0.2
    flags = setting(model="alexnet", dropout=0.2, retrain_dropout=0.1).retrain_flags
    assert flags["retrain_dropout"] == 0.1


#: Of each stage that trains, all flags but those of `FLAGS_LEFT_OUT`, off their defaults.
EVERY_FLAG = {
    "seed": 7,
    "precision": "bfloat16",
    "optimizer": "sgd",
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    **{"augment_shift": 3, "augment_flip": True, "augment_cutout": 5},
    **{"epochs": 11, "batch_size": 12, "resize": ("17:2", "20:3")},
    **{"learning_rate": 0.013, "lr_decay_rate": 0.14, "lr_boundaries": (1, 5)},
    "lr_warmup_epochs": 1.6,
    **{"schedule": "iterative", "rounds": 3, "round_epochs": 4},
    **{"retrain_epochs": 21, "retrain_batch_size": 22, "retrain_resize": ("18:4",)},
    **{"retrain_learning_rate": 0.023, "retrain_lr_decay_rate": 0.24},
    **{"retrain_lr_decay_epochs": 25, "retrain_lr_warmup_epochs": 2.6},
    **{"share_bits": ("5",), "share_initialisation": "density", "share_rate": 0.5},
    **{"share_epochs": 31, "share_learning_rate": 0.033, "share_lr_boundaries": (3, 9)},
    **{"quantize": ("qat",), "qat_epochs": 41, "qat_learning_rate": 0.043},
}
#: They exclude others above, or are of the network.
FLAGS_LEFT_OUT = {
    *("lr_decay_epochs", "retrain_lr_boundaries", "rewind", "rewind_epoch"),
    *("dropout", "retrain_dropout", "share_bytes"),
}


@pytest.fixture
def any_side(tmp_path):
    """A user's network that takes images of any side from 3 on."""
    image = keras.Input((28, 28, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name="conv")(image))
    path = tmp_path / "any_side.keras"
    keras.Model(image, keras.layers.Dense(10)(pooled)).save(path)
    return str(path)


def test_every_flag_reaches_its_plan(monkeypatch, any_side):
    monkeypatch.setattr("tfprune.setting.has_bfloat16", lambda: True)
    monkeypatch.setattr("tfprune.setting.require_tf_keras", lambda: None)  # plans need it not
    stages = ("dense", "retrain", "share", "qat")
    shaping = {f.name for f in dataclasses.fields(Config) if f.metadata["shapes"] in stages}
    assert shaping <= EVERY_FLAG.keys() | FLAGS_LEFT_OUT
    assert not {k for k, v in EVERY_FLAG.items() if getattr(Config(), k) == v}
    here = setting(model=any_side, group="conv", sparsity=0.5, **EVERY_FLAG)
    common = {
        "optimizer": "sgd",
        "weight_decay": 0.01,
        "label_smoothing": 0.1,
        "augmentation": Augmentation(shift=3, flip=True, cutout=5, fill=(78,)),
        "seed": 7,
        "precision": "bfloat16",
    }
    assert here.dense_plan() == Plan(
        stage="dense",
        draws="dense",
        epochs=11,
        batch_size=12,
        rate=PiecewiseConstant(0.013, 0.14, 0, (1, 5), 1.6),
        resizing=Resizing(((17, 2), (20, 3))),
        **common,
    )
    retrain = Plan(
        stage="retrain",
        draws="retrain",
        epochs=21,
        batch_size=22,
        rate=PiecewiseConstant(0.023, 0.24, 25, (), 2.6),
        resizing=Resizing(((18, 4),)),
        **common,
    )
    assert here.retrain_plan() == retrain
    second = dataclasses.replace(retrain, draws="retrain-round2", epochs=4)
    assert here.retrain_plan(2, last=False) == second
    assert here.share_plan() == Plan(
        stage="share",
        draws="share",
        epochs=31,
        batch_size=22,
        rate=PiecewiseConstant(0.033, 0.24, 0, (3, 9), 0.0),
        **common | {"weight_decay": 0.0},
    )
    assert here.qat_plan() == Plan(
        stage="qat",
        draws="qat",
        epochs=41,
        batch_size=22,
        rate=PiecewiseConstant(0.043, 1.0, 0, (), 0.0),
        **common | {"weight_decay": 0.0, "precision": "float32"},
    )


def test_the_flags_that_exclude_those_reach_their_plans_too():
    here = setting(
        **{"learning_rate": 0.013, "lr_decay_rate": 0.14, "lr_decay_epochs": 15},
        **{"retrain_learning_rate": 0.023, "retrain_lr_decay_rate": 0.24},
        retrain_lr_boundaries=(2, 6),
    )
    assert here.dense_plan().rate == PiecewiseConstant(0.013, 0.14, 15, (), 0.0)
    assert here.retrain_plan().rate == PiecewiseConstant(0.023, 0.24, 0, (2, 6), 0.0)
    flags = {"learning_rate": 0.013, "lr_boundaries": (1, 5), "lr_warmup_epochs": 1.6}
    here = setting(rewind="rate", rewind_epoch=4, **flags)
    assert here.dense_plan().rate == PiecewiseConstant(0.013, 0.1, 0, (1, 5), 1.6)
    assert here.retrain_plan().rate == PiecewiseConstant(0.013, 0.1, 0, (1, 5), 1.6, begin=4)


def test_dense_training_and_each_round_of_retraining_draw_other_batches():
    here = setting()
    assert here.dense_plan().draws != here.retrain_plan().draws
    assert here.retrain_plan(2).draws != here.retrain_plan(1).draws


@pytest.mark.parametrize("there", [True, False])
def test_all_but_quantization_aware_training_is_in_the_precision_asked_for(
    monkeypatch, caplog, there
):
    monkeypatch.setattr("tfprune.setting.has_bfloat16", lambda: there)
    here = setting(precision="bfloat16")
    plans = (here.dense_plan(), here.retrain_plan(), here.share_plan())
    assert {plan.precision for plan in plans} == {"bfloat16" if there else "float32"}
    assert here.qat_plan().precision == setting().dense_plan().precision == "float32"
    said = [record.message for record in caplog.records if "bfloat16" in record.message]
    assert len(said) == (0 if there else 1)


def test_when_tuning_the_held_out_images_judge():
    tuning = setting(validation_fraction=0.25)
    assert tuning.judged_by == "validation_accuracy"
    assert tuning.judging_split is tuning.dataset.validation
    result = tuning.evaluator(tuning.new_model())()
    assert result["test_accuracy"] is None and 0 <= result["validation_accuracy"] <= 1


def test_the_same_seed_gives_the_same_fresh_weights():
    one, two, other = setting().new_model(), setting().new_model(), setting(seed=1).new_model()
    assert all((a == b).all() for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    assert (one.get_weights()[0] != other.get_weights()[0]).any()


def test_a_users_model_is_marked_by_its_bytes_and_must_fit(tmp_path):
    path = tmp_path / "mine.keras"
    image = keras.Input((28, 28, 1))
    body = keras.layers.Flatten()(image)
    keras.Model(image, keras.layers.Dense(10)(body)).save(path)
    first = setting(sparsity=0, model=str(path)).dense_mark
    assert setting(sparsity=0, model=str(path)).dense_mark == first
    keras.Model(image, keras.layers.Dense(10)(body)).save(path)
    assert setting(sparsity=0, model=str(path)).dense_mark != first
    again = setting(sparsity=0, model=str(path), epochs=3).dense_mark
    assert again == setting(sparsity=0, model=str(path)).dense_mark
    keras.Model(image, keras.layers.Dense(9)(body)).save(path)
    with pytest.raises(TfpruneError, match="10 classes"):
        setting(sparsity=0, model=str(path))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"group": "conv7"}, "no layer called 'conv7'"),
        (
            {"allocation": "explicit", "layer_sparsity": ("fc9=0.5",)},
            "names no layer of the group: fc9. The group is: fc1, fc2",
        ),
        (
            {"allocation": "explicit", "layer_sparsity": ("fc1=0.9",)},
            "lacks layers of the group: fc2. The group is: fc1, fc2",
        ),
        (
            {"allocation": "explicit", "layer_sparsity": ("conv1=0.5", "fc*=0.9")},
            "names no layer of the group: conv1. The group is: fc1, fc2",
        ),
        (
            {"granularity": "filter", "sparsity": 0.999},
            r"a group of 204 weights \(units\) in 2 layers can lose at most 202: each layer keeps",
        ),
        ({"target_bytes": 9, "allocation": "erk"}, "target_bytes cannot be met: the smallest"),
        ({"target_macs": 9, "granularity": "filter"}, "target_macs cannot be met: the smallest"),
        (
            {"schedule": "gradual", "retrain_epochs": 2, "gradual_epochs": 1.96},
            "must end before step 22, and an epoch has 11; received 1.96, which is step 22",
        ),
        ({"retrain_batch_size": 1439}, "at most the 1438 training images; received 1439"),
        ({"augment_shift": 28}, "less than the sides of the images, 28 x 28 pixels; received 28"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(flags, message):
    with pytest.raises(UsageError, match=message):
        setting(**flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"granularity": "2:4"}, "which embeddings and depthwise .*: layer 'depth'"),
        ({"granularity": "2:4", "exclude_layers": ("depth",)}, "no layer is left to prune"),
        ({"criterion": "synflow"}, "synflow is defined for .*'norm' of type LayerNormalization"),
    ],
)
def test_layers_of_a_users_model_that_cannot_be_pruned_so_are_refused_at_the_start(
    tmp_path, flags, message
):
    path = tmp_path / "mine.keras"
    first = [keras.layers.DepthwiseConv2D(3, name="depth"), keras.layers.Flatten()]
    last = [keras.layers.LayerNormalization(name="norm"), keras.layers.Dense(10)]
    keras.Sequential([keras.Input((28, 28, 1)), *first, *last]).save(path)
    setting(model=str(path), group="depth", sparsity=0.5)
    with pytest.raises(UsageError, match=message):
        setting(model=str(path), group="depth", sparsity=0.5, **flags)


def test_the_last_step_at_which_a_ramp_may_end():
    flags = {"schedule": "gradual", "retrain_epochs": 2, "batch_size": 128}
    assert ramp_of(setting(gradual_epochs=1.95, **flags)).end_step == 21  # of 0 to 21
