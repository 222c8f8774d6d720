"""Kinds of values in `summary.json`: what each must hold, so that no reader looks again.

A kind is a test and the words for what passes it. Objects are tested key by key: those that
readers rely on must be there, others may be, and none may hold anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfprune.reporting.ledger import PARTS

Test = Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_fraction(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _or_null(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _list_of(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _mapping_of(test: Test) -> Test:
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


def _object(needed: Mapping[str, Test], optional: Mapping[str, Test] | None = None) -> Test:
    """Of an object's keys all `needed` are there, and these and `optional` ones pass."""
    tests = {**needed, **(optional or {})}
    return lambda value: (
        isinstance(value, dict)
        and needed.keys() <= value.keys()
        and all(test(value[key]) for key, test in tests.items() if key in value)
    )


_count, _number, _fraction = map(_or_null, (_is_count, is_number, _is_fraction))

#: Key of each row of a history -> its test. All but `epoch` may be null.
_EPOCH: dict[str, Test] = {
    "epoch": _is_count,
    "loss": _number,
    "train_accuracy": _fraction,
    "test_accuracy": _fraction,
    "learning_rate": _number,
    "seconds": _number,
}
#: The same of each row of `rounds`. The accuracies may be null.
_ROUND: dict[str, Test] = {
    "round": _is_count,
    "target_sparsity": _is_fraction,
    "group_sparsity": _is_fraction,
    "epochs": _is_count,
    "first_test_accuracy": _fraction,
    "first_epoch_accuracy": _fraction,
    "final_accuracy": _fraction,
    "validation_accuracy": _fraction,
}
#: The same of each row of `layers`. `threshold` is null where the layer has none.
_LAYER: dict[str, Test] = {
    "name": _is_text,
    "kind": _is_text,
    "shape": _list_of(_is_count),
    "size": _is_count,
    "kept": _is_count,
    "sparsity": _is_fraction,
    "threshold": _number,
    "pruned": _is_flag,
}
#: The same of each file in `exports`. Each may be null, or absent.
_EXPORT: dict[str, Test] = {
    "bytes": _count,
    "zipped_bytes": _count,
    "accuracy": _fraction,
    "max_abs_difference": _number,
    "latency_ms": _number,
    "zeros": _count,
}
_SHRUNK: dict[str, Test] = {
    "parameters": _is_pair,
    "macs": _or_null(_is_pair),
    "units": _mapping_of(_is_pair),
}
_PARTS: dict[str, Test] = dict.fromkeys(PARTS, _is_count)
_SIZES: dict[str, Test] = {
    # Everything is in proportion to it.
    "dense_bytes": lambda value: _is_count(value) and value > 0,
    "bytes": _is_count,
    "ratio": _number,
}
_LEDGER: dict[str, Test] = {
    **_SIZES,
    "parts": _object(_PARTS),
    "layers": _list_of(_object({"name": _is_text, **_SIZES, "dense_bytes": _is_count, **_PARTS})),
    "files": _mapping_of(
        _object(
            {"bytes": _count, "zipped_bytes": _count, "ratio": _number, "zipped_ratio": _number}
        )
    ),
}

#: Keys of each row of a history, of `rounds` and of `layers`.
HISTORY_KEYS, ROUND_KEYS, LAYER_KEYS = map(tuple, (_EPOCH, _ROUND, _LAYER))


class Kind(NamedTuple):
    """What a value must be, in words, and the test of it."""

    wanted: str
    test: Test


#: Name of a kind -> the kind.
KINDS = {
    "text": Kind("a text", _is_text),
    "count": Kind("a whole number from 0", _is_count),
    "number": Kind("a number", is_number),
    "fraction": Kind("a number in [0, 1]", _is_fraction),
    "flag": Kind("true or false", _is_flag),
    "texts": Kind("a list of texts", _list_of(_is_text)),
    "history": Kind(
        f"a list of objects with numbers {', '.join(HISTORY_KEYS)}",
        _list_of(_object(_EPOCH, {"validation_accuracy": _fraction})),
    ),
    "rounds": Kind(f"a list of objects with {', '.join(ROUND_KEYS)}", _list_of(_object(_ROUND))),
    "layers": Kind(f"a list of objects with {', '.join(LAYER_KEYS)}", _list_of(_object(_LAYER))),
    "ledger": Kind(
        "an object with dense_bytes from 1, bytes, ratio, parts, layers and files",
        _object(_LEDGER),
    ),
    "exports": Kind(
        f"an object of objects with, where known, {', '.join(_EXPORT)}",
        _mapping_of(_object({}, {**_EXPORT, "stages": _mapping_of(_count)})),
    ),
    "shrunk": Kind("an object with pairs parameters, macs and of units by layer", _object(_SHRUNK)),
    "mapping": Kind("an object", lambda value: isinstance(value, dict)),
}
