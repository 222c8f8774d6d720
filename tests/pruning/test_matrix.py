"""Kind of model x kinds of layers x feature of the training: the zeros hold, or it is refused.

By default a set of cases in which every pair of values meets, shared out to the two Kerases; all
of them, under the Keras at work, with

    FULL_MATRIX=1 pytest tests/pruning/test_matrix.py
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import matrix
import pytest


def pytest_generate_tests(metafunc):
    if "case" not in metafunc.fixturenames:
        return
    cases = matrix.every_case() if os.environ.get("FULL_MATRIX") else matrix.pairwise_cases()
    metafunc.parametrize("case", cases, ids=matrix.name_of)


@pytest.fixture(scope="module")
def on_two_devices(request):
    """Case -> how it went, of all mirrored cases that were selected, run in one process."""
    items = [item for item in request.session.items if "case" in getattr(item, "fixturenames", ())]
    cases = [item.callspec.params["case"] for item in items]
    names = [matrix.name_of(case) for case in cases if case[2] == "mirrored"]
    command = [sys.executable, str(Path(matrix.__file__)), *names]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_zeros_hold(case, tmp_path, request):
    if case[2] == "mirrored":
        assert request.getfixturevalue("on_two_devices")[matrix.name_of(case)] == "passed"
    else:
        matrix.run(case, tmp_path)


def test_every_pair_of_values_meets():
    axes = [list("abcd"), list(range(5)), list("xyz")]
    cases = matrix.all_pairs(axes)
    held = {pair for case in cases for pair in itertools.combinations(enumerate(case), 2)}
    assert len(held) == 4 * 5 + 4 * 3 + 5 * 3 and len(cases) < 30


def test_every_value_meets_each_keras_and_no_pair_is_lost():
    one, other = (set(matrix.pairwise_cases(tf_keras)) for tf_keras in (False, True))
    for cases in (one, other):
        assert [set(values) for values in zip(*cases, strict=True)] == [
            set(matrix.MODELS),
            set(matrix.LAYERS),
            set(matrix.FEATURES),
        ]
    pairs = {pair for case in one | other for pair in itertools.combinations(case, 2)}
    others = set(matrix.FEATURES) - set(matrix.OF_THE_LOOP)
    assert pairs >= set(itertools.product(matrix.MODELS, matrix.LAYERS))
    assert pairs >= set(itertools.product(matrix.MODELS, matrix.FEATURES))
    assert pairs >= set(itertools.product(matrix.LAYERS, others))
