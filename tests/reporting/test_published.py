import pytest

from tfprune.reporting.published import (
    published_layer_sparsities,
    published_layers,
    published_result,
    published_results,
)


def test_every_published_row_is_there():
    """7 configurations of LeNet-5, 5 of AlexNet, 5 of VGG-16; 12, 14 and 24 layers."""
    networks = [row.network for row in published_results()]
    assert [networks.count(name) for name in ("lenet5", "alexnet", "vgg16_bn")] == [7, 5, 5]
    layers = [row.network for row in published_layers()]
    assert [layers.count(name) for name in ("lenet5", "alexnet", "vgg16_bn")] == [12, 14, 24]


def test_look_up_gives_typed_values():
    row = published_result("lenet5", "conv", 0.9)
    assert row is not None
    assert row.dataset == "mnist"
    assert row.first_test_accuracy == 0.3572
    assert row.first_epoch_accuracy == 0.9678
    assert row.accuracy == 0.9884
    assert (row.epochs, row.learning_rate, row.batch_size) == (206, 0.001, 128)
    assert row.lr_decay == "0.1/50 epochs"


def test_blank_cells_are_none():
    row = published_result("vgg16_bn", "fc", 0.9)
    assert row is not None
    assert row.accuracy is row.epochs is row.learning_rate is None
    assert row.batch_size == 16
    assert row.remark == "never finished by its author"


@pytest.mark.parametrize(
    ("network", "group", "sparsity"),
    [("lenet5", "conv", 0.8), ("lenet5", "all", 0.9), ("resnet", "conv", 0.9)],
)
def test_what_is_not_published_is_none(network, group, sparsity):
    assert published_result(network, group, sparsity) is None
    assert published_layer_sparsities(network, group, sparsity) == {}


def test_look_up_forgives_rounding_of_the_target():
    assert published_result("lenet5", "conv", 0.1 + 0.2 + 0.4) is not None


def test_layer_sparsities_of_a_target_in_model_order():
    assert published_layer_sparsities("lenet5", "conv", 0.5) == {"conv1": 0.1467, "conv2": 0.5221}
    assert list(published_layer_sparsities("vgg16_bn", "conv", 0.9))[:2] == ["conv2", "conv3"]


@pytest.mark.parametrize("target", [0.5, 0.7, 0.9])
def test_lenet5_conv_layers_reach_the_group_target_together(target):
    """conv1 has 150 weights, conv2 2400: at 50 %, 22 + 1253 = 1275 of 2550."""
    layers = published_layer_sparsities("lenet5", "conv", target)
    removed = round(150 * layers["conv1"]) + round(2400 * layers["conv2"])
    assert removed == round(2550 * target)
