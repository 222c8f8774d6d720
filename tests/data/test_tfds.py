"""TFDS, exercised with small data sets that the tests prepare themselves.

So they need neither a network nor prepared data; MNIST and CIFAR-10 are checked where
prepared.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from checks import assert_same, refused
from ramps import GREY, prepare, ramp
from tensorflow_datasets.core.download import downloader

from tfprune import data
from tfprune.errors import TfpruneError, UsageError

FOLDER = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def prepared(name):
    """Whether a data set is there; a download that failed leaves an empty folder."""
    return any((FOLDER / name).glob("*/dataset_info.json"))


class TestTfds:
    def test_images_and_labels_as_prepared(self, ramps):
        ramped = data.load("ramps", data_dir=ramps)
        assert (ramped.name, ramped.classes, ramped.version) == ("ramps", 3, "1.0.0")
        assert ramped.image_shape == GREY
        for split, n in ((ramped.train, 9), (ramped.test, 4)):
            # TFDS shuffles when it writes: sort by the index that each image tells.
            index = split.images[:, 0, 0, 0] // 10
            assert sorted(index) == list(range(n))
            np.testing.assert_array_equal(split.images, [ramp(i) for i in index])
            np.testing.assert_array_equal(split.labels, index % 3)
            assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)

    def test_order_is_always_the_same(self, ramps):
        first, second = data.load("ramps", data_dir=ramps), data.load("ramps", data_dir=ramps)
        assert_same(first.train, second.train)

    def test_resizing_averages(self, ramps):
        # 6 -> 3 pixels with antialiasing: the triangle filter is 4 pixels wide, weights
        # 1 3 3 1 (cut and renormalised at the edges: 3 3 1). Columns 0..5 become
        # (0*3 + 1*3 + 2)/7 = 0.71, (1 + 2*3 + 3*3 + 4)/8 = 2.5, 4.29; an image adds 10 i
        # and 2.5 may go either way.
        small = data.load("ramps", data_dir=ramps, image_size=3)
        assert small.image_shape == (3, 3, 1)
        for image in small.test.images:
            start = image[0, 0, 0] - 1
            assert start % 10 == 0
            assert image[1, :, 0].tolist() in (
                [start + 1, start + 2, start + 4],
                [start + 1, start + 3, start + 4],
            )

    def test_validation_serves_as_test(self, tmp_path):
        prepare(tmp_path, splits={"train": 3, "validation": 2})
        assert len(data.load("ramps", data_dir=tmp_path).test) == 2

    def test_without_test_split(self, tmp_path):
        prepare(tmp_path, splits={"train": 3, "extra": 2})
        message = refused(UsageError, "ramps", data_dir=tmp_path)
        assert "ramps has extra, train. Received: dataset='ramps'" in message

    def test_images_that_differ_in_size(self, tmp_path):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
        prepare(
            tmp_path,
            features=features,
            example=lambda i: {"image": ramp(i, (4 + i, 5, 3)), "label": 0},
        )
        message = refused(UsageError, "ramps", data_dir=tmp_path)
        assert "differ in size; choose one for all with image_size" in message
        assert data.load("ramps", data_dir=tmp_path, image_size=8).image_shape == (8, 8, 3)

    @pytest.mark.parametrize(
        "features",
        [
            {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=3)},
            {"image": tfds.features.Image(shape=GREY), "label": tfds.features.Text()},
            {
                "image": tfds.features.Image(shape=GREY, dtype=np.uint16),
                "label": tfds.features.ClassLabel(num_classes=3),
            },
        ],
        ids=["no image", "no class label", "16 bits"],
    )
    def test_no_image_classification_set(self, tmp_path, features):
        values = {"text": "a", "label": "a"} if "text" in features else {"label": "a"}
        if isinstance(features["label"], tfds.features.ClassLabel):
            values["label"] = 0
        if "image" in features:
            values["image"] = np.zeros(GREY, features["image"].np_dtype)
        prepare(tmp_path, features=features, example=lambda i: values)
        message = refused(UsageError, "ramps", data_dir=tmp_path)
        assert f"features of ramps are {', '.join(sorted(features))}." in message

    def test_unlabelled_test_images_are_refused(self, tmp_path):
        prepare(tmp_path, example=lambda i: {"image": ramp(i), "label": -1})
        message = refused(TfpruneError, "ramps", data_dir=tmp_path)
        assert "labels 0 to 2. Received: 9 images, labels [-1]" in message

    def test_damaged_data(self, tmp_path):
        prepare(tmp_path)
        (record,) = tmp_path.glob("ramps/1.0.0/*train.tfrecord*")
        record.write_bytes(record.read_bytes()[:-20])
        message = refused(TfpruneError, "ramps", data_dir=tmp_path)
        assert "train split of ramps cannot be read" in message

    def test_unknown_name_lists_close_matches(self, tmp_path):
        message = refused(UsageError, "mnits", data_dir=tmp_path)
        assert "one of digits, mnist, cifar10 or" in message
        assert "did you mean mnist" in message
        assert message.endswith("Received: 'mnits'")
        assert "did you mean" not in refused(UsageError, "qqqqqq", data_dir=tmp_path)

    @pytest.mark.parametrize("name", ["mnist:9.9.9", "cifar10_corrupted/nope"])
    def test_version_or_configuration_that_does_not_exist(self, tmp_path, name):
        assert "refuses this name" in refused(UsageError, name, data_dir=tmp_path)

    def test_no_network_is_one_line_and_quick(self, tmp_path, capfd):
        # `.invalid` never resolves (RFC 2606), whether there is a network or not.
        class UnreachableImages(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=GREY),
                    "label": tfds.features.ClassLabel(num_classes=3),
                }
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {"train": dl_manager.download("http://data.invalid/images.zip")}

            def _generate_examples(self):
                yield from ()

        message = refused(TfpruneError, "unreachable_images", data_dir=tmp_path)
        assert "unreachable_images/1.0.0 and could not be prepared" in message
        assert "data.invalid" in message
        assert "TFDS_DATA_DIR or --data_dir" in message
        assert "--dataset=digits" in message
        assert downloader.MAX_RETRIES == 2  # TFDS tries ten times
        printed = capfd.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) <= 1


@pytest.mark.skipif(not prepared("mnist"), reason="MNIST is not prepared")
def test_mnist():
    mnist = data.load("mnist")
    assert (mnist.classes, mnist.image_shape) == (10, (28, 28, 1))
    # LeCun's counts of the digits 0 to 9.
    assert np.bincount(mnist.train.labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    assert np.bincount(mnist.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    # Mean 0.1307 of the training pixels, as everybody normalises with.
    assert mnist.train.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@pytest.mark.skipif(not prepared("cifar10"), reason="CIFAR-10 is not prepared")
def test_cifar10():
    cifar10 = data.load("cifar10")
    assert (cifar10.classes, cifar10.image_shape) == (10, (32, 32, 3))
    assert np.bincount(cifar10.train.labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test.labels).tolist() == [1000] * 10
    # The training set's channel means, as everybody normalises with.
    means = cifar10.train.images.mean(axis=(0, 1, 2)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=6e-5)
