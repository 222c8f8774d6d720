"""The ledger as a picture: what of a network's bytes is left, by part and by kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfprune.reporting.canvas import COLORS, INK, MARKERS, WIDTH, new_figure, png
from tfprune.reporting.exports import file_label, with_ledger
from tfprune.reporting.ledger import PARTS
from tfprune.reporting.rows import ResultRow, Spread

#: Files drawn as marks, where a run has them; of the shrunk ones the same marks.
_MARKED = ("tflite", "tflite_dynamic", "tflite_int8", "tflite_qat", "tflite_sparse", "tfprune")


def bytes_plot(rows: Sequence[ResultRow]) -> bytes | None:
    """A bar a configuration: bytes by part, in percent of dense float32; marks are files.

    Of a run with a shrunk form the files of that are marked. `rows` are those of one network
    and data set. None when no finished row has a ledger.
    """
    known = with_ledger(rows)
    if not known:
        return None
    figure, style = new_figure(WIDTH, 1.9 + 0.34 * len(known))
    with style:
        axes = figure.subplots()
        places = range(len(known))
        left = [0.0] * len(known)
        shown = [part for part in PARTS if any(_part(row, part) for row in known)]
        for part, color in zip(shown, COLORS, strict=False):
            widths = [_part(row, part) for row in known]
            look: dict[str, Any] = {"color": color, "alpha": 0.75, "label": PARTS[part]}
            axes.barh(places, widths, 0.6, left=left, **look)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        for kind, marker in zip(_MARKED, MARKERS, strict=True):
            points = [
                (value, place)
                for place, row in zip(places, known, strict=True)
                if (value := _file(row, kind)) is not None
            ]
            if points:
                look = {"marker": marker, "linestyle": "none", "color": INK, "markersize": 5}
                look |= {"markerfacecolor": "white", "zorder": 4, "label": file_label(kind)}
                axes.plot(*zip(*points, strict=True), **look)
        axes.set_yticks(list(places), [row.name for row in known])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
        axes.set_xlabel("bytes, % of the float32 values of all variables of the dense network")
        title = f"{known[0].network} on {known[0].dataset or 'its data'}: bytes"
        return png(figure, title, [axes])


def _part(row: ResultRow, part: str) -> float:
    found = row.spread(lambda run: run["ledger"]["parts"][part] / run["ledger"]["dense_bytes"])
    return 100 * found.mean if found else 0.0


def _file(row: ResultRow, kind: str) -> float | None:
    def fraction(run: Any) -> float | None:
        files = run["ledger"]["files"]
        size = (files.get(f"shrunk_{kind}") or files.get(kind) or {}).get("bytes")
        return None if size is None else size / run["ledger"]["dense_bytes"]

    found: Spread | None = row.spread(fraction)
    return 100 * found.mean if found else None
