import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.masks import keep_largest, load_masks, removed_count, save_masks, unit_mask


@pytest.mark.parametrize(
    ("size", "sparsity", "removed"),
    [
        # LeNet-5's convolutions, 150 + 2400 weights (published: 50%, 70%, 90%).
        (2550, 0.5, 1275),
        (2550, 0.7, 1785),
        (2550, 0.9, 2295),
        (5, 0.5, 3),  # halves round up
        (10, 0.04, 0),
        (10, 0.96, 10),
        (10, 0, 0),
        (0, 0.5, 0),
        (10, np.float32(0.5), 5),
    ],
)
def test_removed_count(size, sparsity, removed):
    assert removed_count(size, sparsity) == removed


@pytest.mark.parametrize("sparsity", [1, 1.0, -0.1, float("nan"), "0.5", None, True])
def test_removed_count_refuses_what_is_no_fraction(sparsity):
    with pytest.raises(UsageError, match=r"\[0, 1\).*Received: "):
        removed_count(10, sparsity)


def test_keep_largest_removes_the_lowest_index_of_equals():
    scores = np.array([[2.0, 1.0, 2.0], [0.5, 2.0, 3.0]])
    expected = np.array([[False, False, True], [False, True, True]])
    np.testing.assert_array_equal(keep_largest(scores, 3), expected)


def test_keep_largest_removes_minus_infinity_first():
    scores = np.array([0.0, -np.inf, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(keep_largest(scores, 3), [False, False, True, False])


@given(
    arrays(np.float32, array_shapes(max_dims=4, max_side=5), elements=st.integers(0, 4)),
    st.data(),
)
def test_keep_largest_agrees_with_a_stable_sort(scores, data):
    remove = data.draw(st.integers(0, scores.size))
    expected = np.ones(scores.size, bool)
    expected[np.argsort(scores, axis=None, kind="stable")[:remove]] = False
    np.testing.assert_array_equal(keep_largest(scores, remove), expected.reshape(scores.shape))


def test_keep_largest_errors():
    with pytest.raises(TfpruneError, match="1 of 2 scores are NaN"):
        keep_largest(np.array([1.0, np.nan]), 1)
    for remove in (-1, 3):
        with pytest.raises(UsageError, match=rf"\[0, 2\]. Received: {remove}"):
            keep_largest(np.ones(2), remove)


def test_unit_mask_finds_the_units_without_weights():
    mask = np.ones((2, 2, 3), bool)
    mask[..., 1] = False
    np.testing.assert_array_equal(unit_mask(mask, -1), [True, False, True])
    mask[:, 0] = False
    np.testing.assert_array_equal(unit_mask(mask, -2), [False, True])
    alive = unit_mask(mask, (2, 1))  # (units of axis 2, units of axis 1)
    np.testing.assert_array_equal(alive, [[False, True], [False, False], [False, True]])


@settings(max_examples=20)
@given(
    st.dictionaries(
        st.sampled_from(["conv1/kernel", "block/conv1/kernel", "fc/bias", "bits:shape"]),
        arrays(bool, array_shapes(max_dims=4, max_side=6, min_side=0)),
    )
)
def test_masks_survive_a_file(tmp_path_factory, masks):
    path = tmp_path_factory.mktemp("masks") / "masks.npz"
    save_masks(path, masks)
    loaded = load_masks(path)
    assert list(loaded) == list(masks)
    for key, mask in masks.items():
        assert loaded[key].dtype == bool
        np.testing.assert_array_equal(loaded[key], mask)
    assert [p.name for p in path.parent.iterdir()] == ["masks.npz"]


def test_packed_masks_take_at_most_a_bit_a_weight(tmp_path):
    mask = np.random.default_rng(0).random((256, 256)) < 0.5
    save_masks(tmp_path / "masks.npz", {"fc/kernel": mask})
    assert (tmp_path / "masks.npz").stat().st_size < mask.size / 8 + 1000


def test_missing_file_of_masks(tmp_path):
    with pytest.raises(TfpruneError, match="no file of masks"):
        load_masks(tmp_path / "none.npz")


def test_damaged_and_foreign_files_of_masks(tmp_path):
    whole = tmp_path / "whole.npz"
    save_masks(whole, {"fc/kernel": np.random.default_rng(0).random((64, 64)) < 0.5})
    content = bytearray(whole.read_bytes())
    damaged = {"cut": content[: len(content) // 2], "text": b"masks", "empty": b""}
    content[200] ^= 0xFF
    damaged["flipped"] = content
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
    np.savez(tmp_path / "foreign.npz", weights=np.ones(3))
    np.savez(tmp_path / "half.npz", **{"fc/kernel:bits": np.ones(3, np.uint8)})
    np.savez(tmp_path / "pickled.npz", **{"a:bits": np.array([{}]), "a:shape": np.array([3])})
    np.save(tmp_path / "array.npy", np.ones(3))
    for name in (*damaged, "foreign.npz", "half.npz", "pickled.npz", "array.npy"):
        with pytest.raises(TfpruneError, match="not a whole file of masks"):
            load_masks(tmp_path / name)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TfpruneError, match="cannot write"):
        save_masks(tmp_path / "file" / "masks.npz", {"a": np.ones(3, bool)})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@given(
    scores=st.lists(st.sampled_from([-np.inf, 0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=30),
    remove=st.integers(0, 30),
    cut=st.one_of(st.none(), st.sampled_from([-np.inf, 0.0, 0.5, 0.75, 1.0, 2.0, np.inf])),
)
def test_a_guess_of_the_cut_changes_nothing(scores, remove, cut):
    scores = np.array(scores, np.float32)
    remove = min(remove, scores.size)
    order = np.argsort(scores, kind="stable")  # ties: the lowest index goes first
    expected = np.ones(scores.size, bool)
    expected[order[:remove]] = False
    np.testing.assert_array_equal(keep_largest(scores, remove, cut), expected)
