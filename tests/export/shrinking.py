"""What the tests of shrinking share: models with dead units, and the check of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.export.shrink import Shrunk, shrink_with_report


def images(model: keras.Model, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    dtypes = [tf.as_dtype(i.dtype).as_numpy_dtype for i in model.inputs]
    shapes = [(count, *i.shape[1:]) for i in model.inputs]
    return [rng.normal(size=s).astype(d) for s, d in zip(shapes, dtypes, strict=True)]


def outputs(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    given = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(y) for y in (given if isinstance(given, (list, tuple)) else [given])]


def checked(model: keras.Model) -> Shrunk:
    """Shrinks a model, and finds outputs that are the same and nothing left to take out."""
    before = model.get_weights()
    shrunk = shrink_with_report(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    inputs = images(model)
    for old, new in zip(outputs(model, inputs), outputs(shrunk.model, inputs), strict=True):
        bound = 1e-10 if old.dtype == np.float64 else 1e-5 * max(1.0, np.abs(old).max())
        assert np.abs(old - new).max() <= bound
    assert not shrink_with_report(shrunk.model).indices
    return shrunk


def drawn(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives all weights values that are not zero; batch norm variances need positive ones."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 1.0, w.shape) for w in model.get_weights()])
    return model


def edit(model: keras.Model, name: str, **changes: Callable[[np.ndarray], Any]) -> None:
    """Changes variables of a layer in place: edit(model, "fc", bias=set_to_zero)."""
    layer = model.get_layer(name)
    for attribute, change in changes.items():
        values = np.array(getattr(layer, attribute))
        change(values)
        getattr(layer, attribute).assign(values)


def zero(*index: Any) -> Callable[[np.ndarray], None]:
    return lambda values: values.__setitem__((..., *index), 0.0)


def dead(model: keras.Model, name: str, units: Iterable[int], bias: float = 0.0) -> None:
    """Takes all weights of some units of a layer, and leaves them a bias."""
    edit(model, name, kernel=zero(list(units)))
    if model.get_layer(name).bias is not None:
        edit(model, name, bias=lambda values: values.__setitem__(list(units), bias))


def units(shrunk: Shrunk) -> dict[str, int | None]:
    return {layer.name: layer.units[1] for layer in shrunk.layers}


def chain(*inner: Any, shape: tuple[int | None, ...] = (4,)) -> keras.Model:
    return drawn(keras.Sequential([keras.Input(shape), *inner], name="chain"))
