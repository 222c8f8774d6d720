import itertools
import json
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfprune.flags import parse
from tfprune.pruning.curves import Proposal, Sensitivity
from tfprune.pruning.masks import removed_count
from tfprune.reporting.sensitivity import (
    console_text,
    flags_of,
    from_record,
    proposal_row,
    to_record,
)
from tfprune.reporting.sensitivity_plot import _looks, sensitivity_plot

FOUND = Sensitivity(
    0.9,
    {"conv1": 150, "fc1": 30720},
    {"conv1": ((0.5, 0.8), (0.9, 0.1)), "fc1": ((0.5, 0.9), (0.9, 0.7))},
)


def test_a_scan_survives_json():
    assert from_record(json.loads(json.dumps(to_record(FOUND)))) == FOUND


@given(
    st.lists(st.integers(1, 10**8), min_size=1, max_size=4),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
@example(sizes=[4175876], shares=[0.99999] * 4)  # 1.0 when rounded to four digits
def test_the_flags_of_a_proposal_remove_exactly_its_counts(sizes, shares):
    named = {f"fc{i}": size for i, size in enumerate(sizes)}
    removed = {
        name: min(int(share * size), size - 1)
        for (name, size), share in zip(named.items(), shares, strict=False)
    }
    config = parse(flags_of(Proposal(removed, named, 0.0)).split())
    assert config.allocation == "explicit" and config.group == ",".join(named)
    assert removed_count(sum(sizes), config.sparsity) == sum(removed.values())
    given_sparsity = config.sparsity_by_layer()
    assert {name: removed_count(named[name], s) for name, s in given_sparsity.items()} == removed


def test_a_proposal_for_a_reader():
    proposed = FOUND.propose(accuracy_budget=0.1)
    # All of fc1's first half is free; 0.1 buys half of the step to 0.9: 6,144 weights.
    assert proposed.removed == {"conv1": 0, "fc1": 15360 + 6144}
    row = proposal_row(FOUND, proposed, {"accuracy_budget": 0.1}, 0.75)
    assert row["predicted_accuracy"] == pytest.approx(0.8)
    assert (row["accuracy_budget"], row["target_sparsity"]) == (0.1, None)
    assert row["layers"][1] == {"name": "fc1", "removed": 21504, "sparsity": 0.7}
    text = console_text(row, proposed)
    assert "an accuracy budget of 0.1: 69.66 % removed" in text
    assert "predicted 0.8000, measured 0.7500, not retrained" in text
    assert "--layer_sparsity=conv1=0.0,fc1=0.7 --sparsity=0.6966" in text


def test_the_picture_is_a_png_of_readme_width_the_same_each_time_with_and_without_rings():
    plain = sensitivity_plot("title", FOUND)
    assert plain == sensitivity_plot("title", FOUND)
    width, _ = struct.unpack(">II", plain[16:24])
    assert plain.startswith(b"\x89PNG") and width == 960
    assert sensitivity_plot("title", FOUND, FOUND.propose(sparsity=0.5)) != plain


def test_a_network_of_many_layers_has_a_look_for_each():
    looks = [tuple(look.values()) for look in _looks()]
    assert len(looks) == len(set(looks)) == 108
    assert all(a[:2] != b[:2] for a, b in itertools.pairwise(looks))
    names = [f"layer{i}" for i in range(20)]
    curves = dict.fromkeys(names, ((0.5, 0.8),))
    assert sensitivity_plot("title", Sensitivity(0.9, dict.fromkeys(names, 9), curves))
