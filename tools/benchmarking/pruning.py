"""One global threshold over many weights: search, masks, memory; PyTorch and TFMOT beside."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarking.floors import PROBE, rates
from benchmarking.measurement import Found, Options
from benchmarking.peak import Peak
from benchmarking.record import Line, Side, compared, side
from benchmarking.rounds import Contender, Turn, alternate

_SPARSITY = 0.9


def a_model(
    name: str | None = None,
    shape: tuple[int, int, int] = (32, 32, 3),
    widths: Sequence[int] = (),
    input_size: int = 0,
) -> Any:
    """A network of the registry, or dense layers of the given widths and a small last one."""
    from tfprune.backend import keras

    if name is not None:
        from benchmarking.steps import network

        return network(name, shape)
    keras.utils.set_random_seed(0)
    # Cheap to draw, and normal enough for a threshold.
    layers = [
        keras.layers.Dense(width, kernel_initializer="random_normal", name=f"fc{i}")
        for i, width in enumerate((*widths, 2))
    ]
    return keras.Sequential([keras.Input((input_size,)), *layers])


def shapes(**source: Any) -> list[tuple[int, int]]:
    """Shapes of the hidden dense layers of `a_model`."""
    # AlexNet's conv1 has stride 2: 2 x 2 x 256 features are left of 32 x 32 pixels.
    sizes = (1024, 4096, 4096) if source.get("name") else (source["input_size"], *source["widths"])
    return list(itertools.pairwise(sizes))


def prune(turn: Turn, in_place: bool = True, **source: Any) -> None:
    """`tfprune.prune` over the hidden dense layers; notes the extra memory it took, in bytes."""
    import tfprune

    plain = a_model(**source)
    model = tfprune.prune(plain, 0.0, layers="fc") if in_place else plain
    weights = [array.copy() for array in model.get_weights()] if in_place else None
    if in_place:
        del plain
    notes: dict[str, float] = {}
    while True:
        if weights is not None:  # dense again
            model.set_weights(weights)
        gc.collect()
        turn(**notes)
        with Peak() as peak:
            result = tfprune.prune(model, _SPARSITY, layers="fc", in_place=in_place)
        turn.stop()
        notes = {"extra_bytes": peak.extra_bytes}
        del result


def _scores(shapes: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"fc{i}": np.abs(rng.standard_normal(shape, np.float32)) for i, shape in enumerate(shapes)
    }


def search(turn: Turn, shapes: Sequence[Sequence[int]]) -> None:
    """Our search for the threshold: `allocate("global", ...)` over scores by layer."""
    from tfprune.pruning.allocation import Target, allocate

    scores = _scores(shapes)
    while True:
        turn()
        allocate("global", scores, scores, Target(sparsity=_SPARSITY))


def partition(turn: Turn, shapes: Sequence[Sequence[int]]) -> None:
    """`np.partition` at the same rank of the same scores in one array."""
    flat = np.concatenate([array.ravel() for array in _scores(shapes).values()])
    rank = int(_SPARSITY * flat.size)
    while True:
        turn()
        np.partition(flat, rank)


def measure(label: str, source: dict[str, Any], slow_rounds: int, options: Options) -> Found:
    """Lines of one model.

    Args:
        label: what the table calls it.
        source: arguments of `a_model`.
        slow_rounds: rounds of the peers.
        options: of the run.
    """
    sizes = shapes(**source)
    count = int(sum(np.prod(shape) for shape in sizes))
    dense = {"only_dense": True, **source}
    few = min(slow_rounds, options.rounds)
    timings = alternate(
        [
            PROBE,
            Contender("partition", "pruning:partition", {"shapes": sizes}),
            Contender("search", "pruning:search", {"shapes": sizes}),
            Contender("prune", "pruning:prune", source),
            Contender("copy", "pruning:prune", {"in_place": False, **source}),
            Contender("torch", "peers:torch_prune", {"shapes": sizes}, rounds=few, warm_up=False),
            Contender("tfmot", "peers:tfmot_update", dense, rounds=few, warm_up=False),
        ],
        options.rounds,
        log=options.log,
    )
    rate = rates(timings)["bytes_per_second"]
    lines = [
        compared(
            f"threshold search, {label}",
            "time",
            ("tfprune", timings["search"]),
            ("np.partition", timings["partition"]),
            at_most=2.5,
            floor=4 * count / rate,
            floor_of="each score read once",
        )
    ]
    # Read weights; write them and their masks (a byte each).
    floor = (4 + 4 + 1) * count / rate
    for name, peer in (("torch global_unstructured", "torch"), ("TFMOT mask update", "tfmot")):
        if peer in timings:
            lines.append(
                compared(
                    f"prune, masks included, {label}",
                    "speed",
                    ("tfprune, in place", timings["prune"]),
                    (name, timings[peer]),
                    at_least=10,
                    floor=floor,
                    floor_of="weights read and written once, masks written",
                )
            )
    lines.append(
        Line(
            f"prune, masks included, {label}",
            "seconds",
            timings["copy"].seconds,
            options.rounds,
            side("tfprune, into a new model", timings["copy"]),
            floor=(4 + 4 + 4 + 1) * count / rate,
            floor_of="weights read and written twice, masks written",
        )
    )
    extra = timings["prune"].note("extra_bytes")
    lines.append(
        Line(
            f"memory peak of prune, {label}",
            "memory",
            (4 * count + extra) / (4 * count),
            options.rounds,
            Side("tfprune, in place"),
            Side("the weights"),
            at_most=3,
            note="resident memory, the model's own weights included",
        )
    )
    skipped = [name for name in ("torch", "tfmot") if name not in timings]
    return Found(lines, skipped, rates(timings))


def alexnet(options: Options) -> Found:
    """AlexNet's fc1 and fc2."""
    return measure("AlexNet's 21 million", {"name": "alexnet"}, 5, options)


def hundred_million(options: Options) -> Found:
    """Six dense layers of 4096 x 4096."""
    side_ = 256 if options.quick else 4096
    source = {"widths": [side_] * 6, "input_size": side_}
    return measure("100 million weights", source, 3, options)
