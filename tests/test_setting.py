import pytest

from tfprune.backend import keras
from tfprune.config import Config
from tfprune.errors import TfpruneError, UsageError
from tfprune.rounds import rounds_of
from tfprune.setting import Setting


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
        ({"allocation": "explicit", "layer_sparsity": ("fc9=0.5",)}, "no layer called 'fc9'"),
        ({"retrain_batch_size": 1439}, "at most the 1438 training images; received 1439"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(flags, message):
    with pytest.raises(UsageError, match=message):
        setting(**flags)
