"""Which forms of a result there are, and what shrinking says of itself."""

from __future__ import annotations

import numpy as np
from shrinking import chain

from tfprune.backend import keras
from tfprune.export.audit import audit
from tfprune.export.form import forms_of, shrink_figures
from tfprune.pruning.pruner import get_masks, prune

layers = keras.layers


def network() -> keras.Model:
    return chain(
        layers.Conv2D(4, 3, name="conv"),
        layers.Flatten(name="flatten"),
        layers.Dense(6, activation="relu", name="fc"),
        layers.Dense(2, name="out"),
        shape=(6, 6, 1),
    )


def test_with_dead_units_there_are_two_and_each_has_its_masks() -> None:
    pruned = prune(network(), 0.5, granularity="filter", allocation="uniform")
    (whole, small), shrunk = forms_of(pruned, get_masks(pruned))
    assert (whole.name, small.name) == ("pruned", "shrunk")
    assert (whole.kind("tflite"), small.kind("tflite")) == ("tflite", "shrunk_tflite")
    assert small.model.get_layer("conv").filters == 2 and small.model.get_layer("fc").units == 3
    assert (
        audit(whole.model, whole.masks).verdict == audit(small.model, small.masks).verdict == "ok"
    )
    # Before: 36 + 4, 64 x 6 + 6, 12 + 2; after: 18 + 2, 32 x 3 + 3, 6 + 2.
    assert shrink_figures(shrunk) == {
        "parameters": [444, 127],
        "macs": [16 * 36 + 384 + 12, 16 * 18 + 96 + 6],
        "units": {"conv": [4, 2], "fc": [6, 3]},
    }


def test_one_weight_that_comes_back_in_the_shrunk_form_is_found() -> None:
    pruned = prune(network(), 0.5, granularity="filter", allocation="uniform")
    masks = get_masks(pruned)
    alive = np.flatnonzero(masks["fc/kernel"].any(axis=0))
    masks["fc/kernel"][0, alive[0]] = False  # and one weight of a unit that lives
    model = keras.models.clone_model(forms_of(pruned, masks)[0][0].model)
    model.set_weights(forms_of(pruned, masks)[0][0].model.get_weights())
    (_, small), _ = forms_of(model, masks)
    report = audit(small.model, small.masks)
    kept_inputs = masks["conv/kernel"].any(axis=(0, 1, 2))
    assert report.came_back == int(kept_inputs[0])


def test_without_dead_units_there_is_one() -> None:
    pruned = prune(network(), 0.1, layers="fc")
    forms, shrunk = forms_of(pruned, get_masks(pruned))
    assert [form.name for form in forms] == ["pruned"]
    assert shrink_figures(shrunk) is None


def test_what_was_not_pruned_is_not_shrunk() -> None:
    model = network()
    model.get_layer("fc").set_weights([np.zeros((64, 6)), np.zeros(6)])
    forms, shrunk = forms_of(model, None)
    assert [form.name for form in forms] == ["pruned"] and forms[0].masks is None
    assert shrunk is None
