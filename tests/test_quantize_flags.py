"""`--quantize`: which kinds of TFLite file are written, and which are refused with the reason."""

import pytest

from tfprune.combinations import TFLITE_KINDS
from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.flags import parse


def test_every_kind_that_is_named_is_taken():
    assert parse([f"--quantize={','.join(TFLITE_KINDS)}"]).quantize == TFLITE_KINDS
    assert parse([]).quantize == ()


@pytest.mark.parametrize("kind", ["sparse+dynamic", "sparse+int8", "int8+sparse", "sparse+qat"])
def test_what_converts_and_does_not_run_is_refused_with_the_reason(kind):
    with pytest.raises(UsageError, match=r"converts and does not run.*XNNPACK"):
        Config(quantize=(kind,))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quantize=int4"], "takes float16, dynamic, int8, qat, sparse, .*received 'int4'"),
        (["--quantize=int8,int8"], "each kind once; received int8,int8"),
        (["--quantize=int8", "--noexport"], "needs --export; received int8 --noexport"),
        (["--quantize=qat", "--strategy=mirrored"], "trains on one device; received --strategy="),
        (["--qat_epochs=3"], "--qat_epochs needs --quantize=qat"),
        (["--qat_learning_rate=0.1", "--quantize=int8"], "received --quantize=int8"),
        (["--quantize=qat", "--qat_epochs=0"], "--qat_epochs must be in"),
    ],
)
def test_flags_that_do_not_go_together(flags, message):
    with pytest.raises(UsageError, match=message):
        parse(flags)


def test_only_training_for_int8_leaves_a_mark_on_a_stage():
    config = Config(quantize=("qat", "int8"), qat_epochs=3)
    stages = ("data", "dense", "prune", "retrain")
    assert config.shaping(*stages) == {} and config.shaping("qat") == {"qat_epochs": 3}
