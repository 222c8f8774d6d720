import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.flags import help_text, parse

FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def test_defaults_are_those_of_the_fields():
    assert parse([]) == Config()


def test_every_kind_of_flag_is_parsed():
    config = parse(
        ["--seed=3", "--learning_rate=0.01", "--nocontrol", "--name=x", "--lr_boundaries=2,5"]
    )
    assert (config.seed, config.learning_rate, config.control) == (3, 0.01, False)
    assert (config.name, config.lr_boundaries) == ("x", (2, 5))


@given(
    seed=st.integers(0, 2**31),
    rate=st.floats(0, 10, allow_nan=False),
    boundaries=st.lists(st.integers(1, 500), unique=True, max_size=4),
    flip=st.booleans(),
    exclude=st.lists(st.sampled_from(["conv1", "fc*", "a/b"]), max_size=3),
)
@settings(deadline=None)
def test_the_saved_flagfile_gives_the_same_config(
    tmp_path_factory, seed, rate, boundaries, flip, exclude
):
    config = Config(
        seed=seed,
        learning_rate=rate,
        lr_boundaries=tuple(sorted(boundaries)),
        augment_flip=flip,
        exclude_layers=tuple(exclude),
    )
    path = tmp_path_factory.mktemp("flags") / "flags.cfg"
    path.write_text(config.to_flagfile())
    assert parse([f"--flagfile={path}"]) == config


def test_help_names_every_flag_with_its_help():
    text = help_text()
    for name, field in FIELDS.items():
        assert f"--{name} " in text
        assert field.metadata["help"].split()[0] in text


BAD = {
    "--sparsity=1": r"--sparsity must be in \[0, 1\); received 1.0",
    "--sparsity=-0.1": r"--sparsity must be in \[0, 1\)",
    "--sparsity=nan": r"--sparsity must be in \[0, 1\); received nan",
    "--sparsity=half": "sparsity",
    "--sparsty=0.5": "Did you mean: sparsity",
    "--model=lenet6": "--model must be one of lenet5, .*alexnet.* received 'lenet6'",
    "--allocation=best": "--allocation must be one of uniform, erk, .*, lamp, sensitivity",
    "--criterion=taste": "--criterion must be one of magnitude, rate, random, snip, synflow",
    "--optimizer=lion": "--optimizer must be one of adam, sgd",
    "--precision=half": "--precision must be one of float32, bfloat16; received 'half'",
    "--normalization=batch": "--normalization must be one of unit, standardize, none",
    "--batch_size=0": r"--batch_size must be in \[1, inf\]; received 0",
    "--lr_boundaries=5,2": "--lr_boundaries must ascend; received 5,2",
    "--lr_boundaries=5,x": "--lr_boundaries takes whole numbers; received '5,x'",
    "--lr_boundaries=5 --lr_decay_epochs=2": "exclude each other; received 5 and 2",
    "--retrain_lr_boundaries=3,3": "--retrain_lr_boundaries must ascend",
    "--allocation=explicit": "--layer_sparsity and --allocation=explicit belong together",
    "--layer_sparsity=fc1=0.5": "--layer_sparsity and --allocation=explicit belong together",
    "--allocation=explicit --layer_sparsity=fc1": "received 'fc1'",
    "--resize=16": "--resize takes SIDE:EPOCHS,... .* received .16.",
    "--retrain_resize=16:0": "--retrain_resize takes .* received .16:0.",
    "--allocation=explicit --layer_sparsity=fc1=1": "received 'fc1=1'",
    "--allocation=explicit --layer_sparsity==0.5": "received '=0.5'",
    "--stddev_quality=1": "--stddev_quality needs --allocation=stddev",
    "--accuracy_budget=0.01": "--accuracy_budget needs --allocation=sensitivity; received .*global",
    "--allocation=sensitivity --dry_run": "--dry_run trains nothing",
    "--allocation=sensitivity --sparsity=0.999": "must not exceed the last of",
    "--sensitivity_sparsities=": "--sensitivity_sparsities: .* must ascend",
    "--sensitivity_sparsities=0.5,x": "takes numbers; received '0.5,x'",
    "--allocation=explicit --layer_sparsity=conv*=2": r"received 'conv\*=2'",
    "--target_bytes=-1": r"--target_bytes must be in \[0, inf\]",
    "--target_bytes=9 --target_macs=9": "finds the sparsity .*--target_bytes=9 --target_macs=9",
    "--target_macs=9 --sparsity=0": "--sparsity=0 prunes nothing; received --target_macs",
    "--target_bytes=9 --allocation=explicit --layer_sparsity=fc1=0.5": "takes one; .*=explicit",
    "--target_bytes=9 --allocation=sensitivity": "takes one; received --allocation=sensitivity",
    "--target_macs=9 --allocation=stddev --stddev_quality=1": "--target_macs=9 --stddev_quality=1",
    "--target_bytes=9 --schedule=iterative": "leads up to one --sparsity .* --target_bytes",
    "--granularity=row": "--granularity must be one of weight, filter, blockRxC .* 'row'",
    "--granularity=4:4": "--granularity must be one of .* 0 < N < M. Received: '4:4'",
    "--granularity=2:4 --allocation=erk": "--granularity=2:4 .* --allocation .* received erk",
    "--granularity=2:4 --criterion_rounds=5": "--criterion_rounds does not go with it; received 5",
    "--granularity=2:4 --schedule=gradual": "removes its share at once; .*--schedule=gradual",
    "--granularity=filter --allocation=sensitivity": "removes single weights by .*=filter",
    "--criterion=snip --allocation=sensitivity": "criterion without gradients; .*=snip",
    "--criterion_images=9": "needs a criterion of the loss: snip; received --criterion=magnitude",
    "--criterion_images=0 --criterion=snip": r"--criterion_images must be in \[1, inf\]",
    "--share_bits=x": "--share_bits must be a number such as 6, .* Received: 'x'",
    "--share_bits=conv=8,5": "--share_bits must be a number .* Received: 'conv=8,5'",
    "--share_bits=fc=13": "--share_bits must be whole numbers from 1 to 12. Received: 'fc=13'",
    "--share_epochs=3": "--share_epochs needs --share_bits; received 3",
    "--share_rate=0.1": "--share_rate needs --share_bits; received 0.1",
    "--share_bytes=9 --code": "--share_bytes needs --share_bits; received 9",
    "--share_bits=5 --share_bytes=9": "--share_bytes needs --code; received 9",
    "--share_bits=5 --share_bytes=9 --share_rate=1 --code": "exclude each other; received 9 and 1",
    "--share_bits=5 --share_rate=-1": r"--share_rate must be in \[0, inf\]",
    "--share_bits=5 --share_lr_boundaries=3,2": "--share_lr_boundaries must ascend; received 3,2",
    "--share_bits=5 --share_initialisation=best": "one of linear, density, random",
    "--coder=zip --code": "--coder must be one of context, huffman; received 'zip'",
    "--coder=huffman": "--coder needs --code; received huffman",
    "--other_bits=12 --code": "--other_bits must be one of 32, 16, 8; received 12",
    "--other_bits=8": "--other_bits needs --code; received 8",
    "--distill=2": r"--distill must be in \[0, 1\]; received 2.0",
    "--distill=1 --strategy=mirrored": "--distill needs --strategy=none: .*--strategy=mirrored",
    "--distill_temperature=4": "--distill_temperature needs --distill; received 4",
    "--distill=1 --distill_temperature=0.5": r"--distill_temperature must be in \[1, inf\]",
    "--dropout=0.2": "--dropout does not go with --model=lenet5",
    "--conv1_stride=2": "--conv1_stride does not go with --model=lenet5",
    "--schedule=slowly": "--schedule must be one of one_shot, iterative, gradual",
    "--rounds=3": "--rounds needs --schedule=iterative; received --rounds=3 --schedule=one_shot",
    "--rounds=0 --schedule=iterative": r"--rounds must be in \[1, inf\]; received 0",
    "--round_epochs=3 --schedule=gradual": "--round_epochs needs --schedule=iterative",
    "--gradual_epochs=3": "--gradual_epochs needs --schedule=gradual",
    "--gradual_interval=3 --schedule=iterative": "--gradual_interval needs --schedule=gradual",
    "--schedule=gradual --gradual_epochs=4 --retrain_epochs=4": "must be less than .* 4 and 4",
    "--schedule=gradual --retrain_epochs=0": "must be less than .* received 0 and 0",
    "--schedule=gradual --rewind=weights": "--rewind=weights needs masks that stand before",
    "--schedule=iterative --allocation=explicit --layer_sparsity=fc1=0.5": (
        "leads up to one --sparsity for the group, .* --layer_sparsity .* received fc1=0.5"
    ),
    "--schedule=gradual --allocation=stddev --stddev_quality=1": (
        "leads up to one --sparsity for the group, .* --stddev_quality .* received 1"
    ),
    "--schedule=iterative --allocation=sensitivity": "allocates anew whenever it removes",
    "--rewind=time": "--rewind must be one of none, rate, weights",
    "--rewind_epoch=2": "--rewind_epoch needs --rewind=rate or weights",
    "--rewind=rate --rewind_epoch=21": "--rewind_epoch must be at most --epochs=20; received 21",
    "--rewind=weights --model=mine.keras": "goes back in the dense training, .*=mine.keras",
    "--rewind=rate --retrain_learning_rate=0.1": (
        "--rewind=rate takes the learning rates of dense training, .* --retrain_learning_rate "
    ),
    "--rewind=weights --retrain_lr_boundaries=2,3": "--retrain_lr_boundaries .* received 2,3",
    "--validation_fraction=1": r"--validation_fraction must be in \[0, 1\)",
    "surplus": "only --flags are understood; received 'surplus'",
}


@pytest.mark.parametrize(("arguments", "message"), BAD.items())
def test_what_cannot_be_used_is_refused_in_one_line(arguments, message):
    with pytest.raises(UsageError, match=message) as error:
        parse(arguments.split())
    assert "\n" not in str(error.value)


@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=12))
def test_any_value_of_any_flag_gives_a_config_or_a_usage_error(name, value):
    try:
        assert isinstance(parse([f"--{name}={value}"]), Config)
    except UsageError as error:
        assert "\n" not in str(error)


def test_run_folder_and_name_follow_from_the_flags():
    assert str(Config(name="a", seed=2).run_path) == "runs/a-seed2"
    assert str(Config(run_dir="/x/y", name="a").run_path) == "/x/y"
    assert Config(group="conv", sparsity=0.5).run_name == "lenet5_conv50"
    assert Config(sparsity=0).run_name == "lenet5_dense"
    assert Config(model="nets/mine.keras").run_name == "mine_fc90"
    assert Config(target_bytes=9000, group="all").run_name == "lenet5_all9000bytes"
    assert Config(target_macs=9, granularity="filter").run_name == "lenet5_fc9macs_filter"
    assert Config(granularity="2:4").run_name == "lenet5_fc_2of4"


def test_tables_call_the_allocation_by_what_is_unusual_about_it():
    assert Config().allocation_label == "global"
    assert Config(allocation="erk", granularity="block1x4").allocation_label == "erk, block1x4"
    assert Config(target_macs=9).allocation_label == "global, target_macs=9"


def test_only_flags_off_their_defaults_shape_a_stage():
    assert Config().shaping("run", "data", "dense", "prune", "retrain") == {}
    config = Config(seed=2, epochs=3, sparsity=0.5, threads=1, lr_decay_rate=0.1)
    assert config.shaping("data", "dense") == {"seed": 2, "epochs": 3}
    assert config.shaping("prune", "retrain") == {"sparsity": 0.5}


def test_sides_of_images_are_read_in_their_order():
    config = Config(resize=("16:10", "24:5"), retrain_resize=("20:1",))
    assert config.sides("resize") == ((16, 10), (24, 5))
    assert config.sides("retrain_resize") == ((20, 1),)
    assert Config().sides("resize") == ()


def test_flags_of_the_run_alone_are_these():
    """They leave no mark: a flag that shapes a result would find here an old one of another."""
    assert {name for name, field in FIELDS.items() if field.metadata["shapes"] == "run"} == {
        *("name", "run_dir", "runs_dir", "data_dir", "threads"),
        *("dry_run", "progress", "tensorboard"),
        *("control", "export", "quantize", "code"),  # stages of their own, with their own marks
    }


def test_every_flag_shapes_a_stage_that_is_known():
    stages = {field.metadata["shapes"] for field in FIELDS.values()}
    assert stages == {
        "run",
        "data",
        "dense",
        "prune",
        "retrain",
        "distill",
        *("share", "qat", "code"),
    }
