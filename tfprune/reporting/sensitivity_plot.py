"""The picture of a sensitivity scan, after figure 6 of Han et al. 2015."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfprune.pruning.curves import Proposal, Sensitivity
from tfprune.reporting.canvas import COLORS, GREY, INK, MARKERS, WIDTH, new_figure, png

_LINES = ("-", "--", ":")


def sensitivity_plot(title: str, found: Sensitivity, proposed: Proposal | None = None) -> bytes:
    """Accuracy against the fraction of a layer's weights kept, one line a layer, as PNG bytes.

    The kept fraction is on a logarithmic scale, where what matters is not squeezed into a
    corner. With `proposed`, a ring on each line marks what the proposal keeps of the layer.
    """
    figure, style = new_figure(WIDTH, 4.6)
    with style:
        axes = figure.subplots()
        axes.axhline(
            100 * found.dense_accuracy, color=GREY, linestyle=":", linewidth=1.2, label="dense"
        )
        looks = itertools.cycle(_looks())
        for (name, curve), look in zip(found.curves.items(), looks, strict=False):
            kept = [100.0, *(100 * (1 - sparsity) for sparsity, _ in curve)]
            accuracies = [100 * found.dense_accuracy, *(100 * accuracy for _, accuracy in curve)]
            axes.plot(kept, accuracies, label=name, markersize=4, linewidth=1.5, **look)
            if proposed is not None:
                share = 100 * (1 - proposed.layer_sparsity[name])
                # On the line as it is drawn, which is straight in the logarithm.
                at = np.interp(np.log(share), np.log(kept[::-1]), accuracies[::-1])
                color = look["color"]
                axes.plot(share, at, "o", mfc="none", mec=color, mew=1.5, markersize=11)
        if proposed is not None:
            text = f"proposed: {100 * proposed.sparsity:.2f} % of all removed"
            axes.plot([], [], "o", mfc="none", mec=INK, markersize=9, label=text)
        axes.set_xscale("log")
        lowest = min(1 - curve[-1][0] for curve in found.curves.values())
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if t >= 99 * lowest]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("weights kept in this layer, the others dense (%)")
        axes.set_ylabel("accuracy, not retrained (%)")
        return png(figure, title, [axes])


def _looks() -> Iterator[dict[str, Any]]:
    """Colour, marker and line of the layers: 108 that differ, neighbours in all but the line."""
    for turn, line, (index, color) in itertools.product(
        range(len(MARKERS)), _LINES, enumerate(COLORS)
    ):
        marker = MARKERS[(index + turn) % len(MARKERS)]
        yield {"color": color, "marker": marker, "linestyle": line}
