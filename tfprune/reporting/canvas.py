"""What every picture of the reports is drawn on: style, colours, PNG bytes.

The same content gives the same bytes. Colours are those of Okabe and Ito, which
colour-blind readers tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
WIDTH = 8.0  # inches: 960 pixels, a README's width

INK = "#333333"
GREY = "#8a8a8a"
#: Okabe and Ito's palette without the vermilion of the published points.
COLORS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "v", "P", "X")

_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
}


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """An empty figure and the style to draw it in, whatever the user's matplotlibrc says."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    settings.pop("backend")
    style = matplotlib.rc_context(settings)
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    return figure, style


def png(figure: Figure, title: str, axes: Sequence[Axes]) -> bytes:
    """Gives the figure its title and one legend for all `axes`, and draws it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    labels: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            labels.setdefault(label, handle)
    if labels:
        names = sorted(labels, key=lambda label: not label.startswith("ours"))
        handles = [labels[name] for name in names]
        columns = min(4 if figure.get_figwidth() == WIDTH else 2, len(names))
        figure.legend(handles, names, loc="outside lower center", ncols=columns)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # A palette makes the file a third of its size; no date and no version goes into it.
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, dpi=(_DPI, _DPI))
    return buffer.getvalue()
