"""Data sets: digits, TFDS, the cache and the hold-out split.

TFDS is exercised with small data sets that the tests prepare themselves, so that they
need neither a network nor prepared data; MNIST and CIFAR-10 are checked where prepared.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune import data
from tfprune.errors import TfpruneError, UsageError

PREPARED = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
GREY = (6, 6, 1)


def ramp(index: int, shape: tuple[int, int, int] = GREY) -> np.ndarray:
    """An image that tells its index: 10 * index + column."""
    return np.broadcast_to(10 * index + np.arange(shape[1])[:, None], shape).astype(np.uint8)


def prepare(
    data_dir: Path,
    *,
    version: str = "1.0.0",
    features: dict | None = None,
    splits: dict[str, int] | None = None,
    example=lambda i: {"image": ramp(i), "label": i % 3},
) -> None:
    """Prepares the TFDS data set `ramps`; `splits` gives the number of examples of each."""
    features = features or {
        "image": tfds.features.Image(shape=GREY),
        "label": tfds.features.ClassLabel(num_classes=3),
    }
    splits = {"train": 9, "test": 4} if splits is None else splits

    class Ramps(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(n) for split, n in splits.items()}

        def _generate_examples(self, n):
            for i in range(n):
                yield i, example(i)

    tfds.disable_progress_bar()
    Ramps(data_dir=data_dir).download_and_prepare()


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """A data directory with `ramps:1.0.0`: 9 training and 4 test images of 6 x 6 x 1."""
    data_dir = tmp_path_factory.mktemp("tfds")
    prepare(data_dir)
    return data_dir


def assert_same(a: data.Split, b: data.Split) -> None:
    assert a.images.dtype == b.images.dtype == np.uint8
    assert a.labels.dtype == b.labels.dtype == np.int32
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)


def refused(error_type: type[TfpruneError], *arguments, **options) -> str:
    """The message of the error that `load` raises: one line of that very type."""
    with pytest.raises(TfpruneError) as caught:
        data.load(*arguments, **options)
    message = str(caught.value)
    assert type(caught.value) is error_type, message
    assert "\n" not in message
    assert "Received: " in message
    return message


class TestDigits:
    def test_shapes_types_and_counts_of_each_class(self):
        digits = data.load("digits")
        assert (digits.name, digits.classes, digits.image_shape) == ("digits", 10, (28, 28, 1))
        assert digits.train.images.shape == (1438, 28, 28, 1)
        assert digits.test.images.shape == (359, 28, 28, 1)
        assert digits.train.images.dtype == np.uint8
        assert digits.train.labels.dtype == np.int32
        assert digits.validation is None
        # scikit-learn's class counts: 178 182 177 183 181 182 181 179 174 180; a fifth of
        # each, rounded, is 35.6 36.4 35.4 36.6 36.2 36.4 36.2 35.8 34.8 36.0.
        test_counts = [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
        train_counts = [142, 146, 142, 146, 145, 146, 145, 143, 139, 144]
        assert np.bincount(digits.test.labels).tolist() == test_counts
        assert np.bincount(digits.train.labels).tolist() == train_counts

    def test_content_is_the_same_bytes_everywhere(self):
        digits = data.load("digits")
        content = hashlib.sha256()
        for split in (digits.train, digits.test):
            content.update(split.images.tobytes())
            content.update(split.labels.astype("<i4").tobytes())
        assert content.hexdigest() == (
            "1ba82ff9336bf25bd2278b3aa1dbdda3945943195eaf41829803d7ab2dcaa59f"
        )

    def test_splits_are_disjoint_and_complete(self):
        from sklearn.datasets import load_digits

        digits = data.load("digits", image_size=8)  # 8 pixels: v -> round(255 v / 16)
        bundled = np.floor(load_digits().images * 255 / 16 + 0.5).astype(np.uint8)
        together = np.concatenate([digits.train.images, digits.test.images])[..., 0]
        rows = sorted(image.tobytes() for image in together)
        assert rows == sorted(image.tobytes() for image in bundled)

    def test_upscaling_interpolates_between_pixel_centres(self):
        # 8 -> 16 pixels: output centres lie at -1/4, 1/4, 3/4, ... of the source, so that
        # a single bright row 0 (16) gives rows 16, 12, 4, 0 (edges repeat), times 255/16.
        image = np.zeros((1, 8, 8), np.int64)
        image[0, 0] = 16
        rows = data._upscale(image, 16)[0, :, 5]
        assert rows.tolist() == [255, 191, 64] + [0] * 13

    @settings(max_examples=20, deadline=None)
    @given(side=st.integers(8, 40), value=st.integers(0, 16))
    def test_upscaling_keeps_a_constant(self, side, value):
        image = np.full((1, 8, 8), value, np.int64)
        expected = (2 * 255 * value + 16) // 32
        assert (data._upscale(image, side) == expected).all()

    def test_image_size(self):
        assert data.load("digits", image_size=16).image_shape == (16, 16, 1)

    def test_smaller_than_the_original_is_refused(self):
        assert "at least that. Received: 7" in refused(UsageError, "digits", image_size=7)

    def test_nothing_slow_is_imported(self):
        assert imported_by("data.load('digits')") == []


class TestHoldOut:
    @settings(max_examples=10, deadline=None)
    @given(fraction=st.floats(0.001, 0.999))
    def test_holds_out_that_share_of_the_training_set_and_loses_nothing(self, fraction):
        whole = data.load("digits", image_size=8)
        parts = data.load("digits", image_size=8, validation_fraction=fraction)
        assert len(parts.validation) == int(np.floor(fraction * 1438 + 0.5))
        together = np.concatenate([parts.train.images, parts.validation.images])
        assert sorted(i.tobytes() for i in together) == sorted(
            i.tobytes() for i in whole.train.images
        )
        assert_same(parts.test, whole.test)

    def test_does_not_depend_on_the_global_seed(self):
        np.random.seed(1)
        first = data.load("digits", validation_fraction=0.1)
        np.random.seed(2)
        assert_same(first.validation, data.load("digits", validation_fraction=0.1).validation)

    def test_labels_stay_with_their_images(self, ramps):
        parts = data.load("ramps", data_dir=ramps, validation_fraction=1 / 3)
        assert (len(parts.train), len(parts.validation)) == (6, 3)
        for split in (parts.train, parts.validation):
            np.testing.assert_array_equal(split.labels, split.images[:, 0, 0, 0] // 10 % 3)

    @pytest.mark.parametrize("fraction", [-0.1, 1.0, 2, float("nan")])
    def test_out_of_range(self, fraction):
        message = refused(UsageError, "digits", validation_fraction=fraction)
        assert f"[0, 1). Received: {fraction}" in message

    @pytest.mark.parametrize("fraction", [1e-5, 0.99999])
    def test_an_empty_side_is_refused(self, fraction):
        message = refused(UsageError, "digits", validation_fraction=fraction)
        assert "both sides of 1438" in message


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

    @pytest.mark.parametrize("name", ["", "a b", "../mnist", "mnist:3", "mnist:*"])
    def test_malformed_name(self, name):
        assert "name/config or name:1.2.3" in refused(UsageError, name)

    @pytest.mark.parametrize("name", ["mnist:9.9.9", "cifar10_corrupted/nope"])
    def test_version_or_configuration_that_does_not_exist(self, tmp_path, name):
        assert "refuses this name" in refused(UsageError, name, data_dir=tmp_path)

    def test_image_size_out_of_range(self):
        assert "at least 1 pixel. Received: 0" in refused(UsageError, "mnist", image_size=0)

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
        printed = capfd.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) <= 1


class TestCache:
    def test_second_load_maps_the_same_arrays(self, ramps, tmp_path):
        first = data.load("ramps", data_dir=ramps, cache_dir=tmp_path)
        second = data.load("ramps", data_dir=ramps, cache_dir=tmp_path)
        assert isinstance(second.train.images, np.memmap)
        assert not second.train.images.flags.writeable
        assert_same(first.train, second.train)
        assert_same(first.test, second.test)
        assert (second.classes, second.version) == (first.classes, first.version)

    def test_hit_imports_neither_tfds_nor_tensorflow(self, ramps, tmp_path):
        data.load("ramps", data_dir=ramps, cache_dir=tmp_path)
        call = f"data.load('ramps', data_dir={str(ramps)!r}, cache_dir={str(tmp_path)!r})"
        assert imported_by(call) == []

    def test_works_where_only_the_cache_was_copied_to(self, ramps, tmp_path):
        first = data.load("ramps", data_dir=ramps, cache_dir=tmp_path / "cache")
        second = data.load("ramps", data_dir=tmp_path / "none", cache_dir=tmp_path / "cache")
        assert_same(first.train, second.train)

    def test_a_newer_prepared_version_is_seen_and_an_old_one_can_be_asked_for(self, tmp_path):
        prepare(tmp_path, version="1.9.0")
        cache = tmp_path / "cache"
        assert data.load("ramps", data_dir=tmp_path, cache_dir=cache).version == "1.9.0"
        prepare(tmp_path, version="1.10.0", splits={"train": 5, "test": 4})
        newer = data.load("ramps", data_dir=tmp_path, cache_dir=cache)
        assert (newer.version, len(newer.train)) == ("1.10.0", 5)
        older = data.load("ramps:1.9.0", data_dir=tmp_path, cache_dir=cache)
        assert (older.name, older.version, len(older.train)) == ("ramps:1.9.0", "1.9.0", 9)

    def test_image_sizes_are_kept_apart(self, ramps, tmp_path):
        for image_size, side in ((None, 6), (4, 4), (None, 6), (4, 4)):
            loaded = data.load("ramps", data_dir=ramps, cache_dir=tmp_path, image_size=image_size)
            assert loaded.image_shape == (side, side, 1)
        assert {folder.name for folder in tmp_path.iterdir()} == {
            "ramps-1.0.0-native",
            "ramps-1.0.0-4",
        }

    @pytest.mark.parametrize(
        ("file", "damage"),
        [
            ("train_images.npy", lambda old: old[:-1]),
            ("train_images.npy", lambda old: old[:-1] + bytes([old[-1] ^ 1])),
            ("test_labels.npy", lambda old: b""),
            ("test_images.npy", lambda old: b"no array"),
            ("meta.json", lambda old: old[: len(old) // 2]),
            ("meta.json", lambda old: b'{"format": 1}'),
            ("meta.json", lambda old: b"[]"),
            ("meta.json", lambda old: old.replace(b'"format": 1', b'"format": 0')),
        ],
    )
    def test_damage_is_repaired(self, ramps, tmp_path, file, damage):
        first = data.load("ramps", data_dir=ramps, cache_dir=tmp_path)
        damaged = tmp_path / "ramps-1.0.0-native" / file
        whole = damaged.read_bytes()
        damaged.write_bytes(damage(whole))
        assert_same(data.load("ramps", data_dir=ramps, cache_dir=tmp_path).train, first.train)
        assert damaged.read_bytes() == whole

    def test_missing_array_is_repaired_and_nothing_else_is_left(self, ramps, tmp_path):
        data.load("ramps", data_dir=ramps, cache_dir=tmp_path)
        folder = tmp_path / "ramps-1.0.0-native"
        (folder / "test_images.npy").unlink()
        data.load("ramps", data_dir=ramps, cache_dir=tmp_path)
        assert sorted(path.name for path in folder.iterdir()) == [
            "meta.json",
            "test_images.npy",
            "test_labels.npy",
            "train_images.npy",
            "train_labels.npy",
        ]
        assert set(json.loads((folder / "meta.json").read_text())) == {
            "format",
            "version",
            "classes",
            "crc32",
        }

    def test_cache_that_cannot_be_written(self, ramps, tmp_path):
        in_the_way = tmp_path / "file"
        in_the_way.write_text("")
        message = refused(TfpruneError, "ramps", data_dir=ramps, cache_dir=in_the_way)
        assert f"Received: cache_dir={in_the_way}" in message

    def test_interrupted_write_leaves_nothing(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), data._renamed_into(tmp_path / "x.npy") as file:
            file.write(b"half")
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not (PREPARED / "mnist").is_dir(), reason="MNIST is not prepared")
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


@pytest.mark.skipif(not (PREPARED / "cifar10").is_dir(), reason="CIFAR-10 is not prepared")
def test_cifar10():
    cifar10 = data.load("cifar10")
    assert (cifar10.classes, cifar10.image_shape) == (10, (32, 32, 3))
    assert np.bincount(cifar10.train.labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test.labels).tolist() == [1000] * 10
    # The training set's channel means, as everybody normalises with.
    means = cifar10.train.images.mean(axis=(0, 1, 2)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=6e-5)


def imported_by(call: str) -> list[str]:
    """Which of TensorFlow and TFDS a fresh process has imported after `call`."""
    code = (
        f"import sys; from tfprune import data; {call}; "
        "print(*{'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()
