"""The cache: hits, versions, damage and interrupted writes."""

import json

import numpy as np
import pytest
from checks import assert_same, imported_by, refused
from ramps import prepare

from tfprune import data
from tfprune.errors import TfpruneError


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
