"""Pictures of the results of one network: PNG bytes, the same for the same rows.

Series differ in colour and in marker, hatch or line style. Rows that did not go to their end
are not drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from tfprune.reporting.canvas import COLORS, GREY, INK, MARKERS, WIDTH, new_figure, png
from tfprune.reporting.published import PublishedResult
from tfprune.reporting.rows import (
    ResultRow,
    Spread,
    Summary,
    final_accuracy,
    layer_rows,
    schedule_of,
)
from tfprune.reporting.summary import COMPLETE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS_A_LINE = 3

_PUBLISHED = "#d55e00"


def series_of(row: ResultRow) -> str:
    """The line of the plots that a row belongs to: what it varies beside its target."""
    if row.has_published_settings:
        return "ours, published settings"
    run = row.runs[0]
    usual = {"allocation": "global", "criterion": "magnitude"}
    varied = [run[key] for key, common in usual.items() if run[key] not in (common, None)]
    varied += [schedule for schedule in [schedule_of(run)] if schedule != "one shot"]
    return ", ".join(["ours", *varied])


def accuracy_plot(rows: Sequence[ResultRow]) -> bytes | None:
    """Accuracy against the sparsity of the group, a column of panels for each group.

    Above: final accuracy with the smallest and largest seed as bars, the control, and the
    published points; below: the first test, where there is one. `rows` are those of one
    network and data set. None when no pruned row has a final accuracy.
    """
    pruned = [row for row in _finished(rows) if row.spread(final_accuracy)]
    if not pruned:
        return None
    groups = _groups(pruned)
    figure, style = new_figure(WIDTH if len(groups) > 1 else 0.7 * WIDTH, 6.2)
    with style:
        axes = figure.subplots(2, len(groups), squeeze=False, sharex="col", sharey="row")
        for column, group in enumerate(groups):
            here = [row for row in rows if row.group == group]
            members = [row for row in pruned if row.group == group]
            top, bottom = axes[0][column], axes[1][column]
            _dense_line(top, rows)
            _control_line(top, members)
            _draw_series(top, members, pruned, final_accuracy)
            _published_points(top, here, attrgetter("accuracy"))
            _draw_series(bottom, members, pruned, itemgetter("first_test_accuracy"))
            _published_points(bottom, here, attrgetter("first_test_accuracy"))
            top.set_title(f"{group} layers pruned")
            bottom.set_xlabel("sparsity of the group (%)")
            ticks = sorted({100 * row.target for row in here})
            if all(second - first >= 5 for first, second in itertools.pairwise(ticks)):
                bottom.set_xticks(ticks)
        axes[0][0].set_ylabel("final test accuracy (%)")
        axes[1][0].set_ylabel("first test, not retrained (%)")
        return png(figure, _title(rows, "accuracy and sparsity"), list(axes.ravel()))


def layers_plot(rows: Sequence[ResultRow]) -> bytes | None:
    """Sparsity of each layer, a panel for each group and target, published bars beside ours.

    None when no finished row has layers.
    """
    finished = [row for row in _finished(rows) if any(layer.sparsity for layer in layer_rows(row))]
    if not finished:
        return None
    places = list(dict.fromkeys((row.group, row.target) for row in finished))
    columns = min(_PANELS_A_LINE, len(places))
    lines = -(-len(places) // columns)
    figure, style = new_figure(WIDTH, 1.0 + 2.3 * lines)
    with style:
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for panel, (group, target) in zip(axes, places, strict=False):
            members = [row for row in finished if (row.group, row.target) == (group, target)]
            _draw_layers(panel, members, finished)
            _level_line(panel, target, "target")
            panel.set_title(f"{group} {100 * target:g} %")
            panel.set_ylim(0, 100)
        for panel in axes[len(places) :]:
            panel.remove()
        for panel in axes[: len(places) : columns]:
            panel.set_ylabel("sparsity of the layer (%)")
        return png(figure, _title(rows, "sparsity by layer"), list(axes[: len(places)]))


def retraining_plot(rows: Sequence[ResultRow]) -> bytes | None:
    """Test accuracy by epoch of retraining, a panel for each group, controls dashed.

    A band spans the smallest and the largest seed. None when no finished row was retrained.
    """
    finished = [row for row in _finished(rows) if _curve(row, "history")]
    if not finished:
        return None
    groups = _groups(finished)
    longest = max(len([row for row in finished if row.group == group]) for group in groups)
    figure, style = new_figure(WIDTH, 3.4 + 0.16 * longest)
    with style:
        axes = figure.subplots(1, len(groups), squeeze=False, sharey=True).ravel()
        for panel, group in zip(axes, groups, strict=True):
            members = [row for row in finished if row.group == group]
            for row, color in zip(members, itertools.cycle(COLORS), strict=False):
                _draw_curve(panel, _curve(row, "history"), color, "-", row.name)
                if control := _curve(row, "control_history"):
                    _draw_curve(panel, control, color, "--", "")
            panel.plot([], [], color=GREY, linestyle="--", label="its control (not pruned)")
            panel.set_title(f"{group} layers pruned")
            panel.set_xlabel("epoch of retraining")
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))
            panel.xaxis.get_major_locator().set_params(integer=True)
        axes[0].set_ylabel("test accuracy (%)")
        return png(figure, _title(rows, "retraining"), ())


def _finished(rows: Sequence[ResultRow]) -> list[ResultRow]:
    return [row for row in rows if row.status == COMPLETE and row.group != "dense"]


def _groups(rows: Sequence[ResultRow]) -> list[str]:
    return list(dict.fromkeys(row.group for row in rows))


def _title(rows: Sequence[ResultRow], what: str) -> str:
    return f"{rows[0].network} on {rows[0].dataset or 'its data'}: {what}"


def _look(series: str, rows: Sequence[ResultRow]) -> tuple[str, str]:
    """Colour and marker of a series, the same in every panel of a figure."""
    index = list(dict.fromkeys(map(series_of, rows))).index(series)
    return COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]


def _draw_series(
    axes: Axes,
    members: list[ResultRow],
    rows: list[ResultRow],
    stage: Callable[[Summary], float | None],
) -> None:
    for series in dict.fromkeys(map(series_of, members)):
        points = [
            (row, spread)
            for row in members
            if series_of(row) == series and (spread := row.spread(stage))
        ]
        color, marker = _look(series, rows)
        means, bars = _means_and_bars([spread for _, spread in points])
        # Several rows at one target are variants, which no line should join.
        line = "-" if len({row.target for row, _ in points}) == len(points) else "none"
        look: dict[str, Any] = {"color": color, "marker": marker, "linestyle": line}
        look |= {"markersize": 5, "linewidth": 1.5, "capsize": 3, "zorder": 3}
        sparsities = [100 * _reached(row) for row, _ in points]
        axes.errorbar(sparsities, means, yerr=bars, label=series, **look)


def _reached(row: ResultRow) -> float:
    """The mean sparsity of the group; its target where the runs do not say.

    Sparsities given layer by layer, as published, need not meet the target of their row.
    """
    reached = row.spread(itemgetter("group_sparsity"))
    return reached.mean if reached else row.target


def _means_and_bars(spreads: Sequence[Spread]) -> tuple[list[float], list[list[float]]]:
    """Means in percent, and the lengths of their error bars down and up."""
    down = [100 * (spread.mean - spread.low) for spread in spreads]
    up = [100 * (spread.high - spread.mean) for spread in spreads]
    return [100 * spread.mean for spread in spreads], [down, up]


def _published_points(
    axes: Axes,
    rows: Sequence[ResultRow],
    value: Callable[[PublishedResult], float | None],
) -> None:
    known = {row.target: value(row.published) for row in rows if row.published}
    points = [(100 * target, 100 * found) for target, found in known.items() if found is not None]
    if points:
        look: dict[str, Any] = {"color": _PUBLISHED, "marker": "D", "markersize": 6, "zorder": 4}
        look |= {"markerfacecolor": "white", "markeredgewidth": 1.5, "linestyle": "none"}
        axes.plot(*zip(*points, strict=True), label="published", **look)


def _dense_line(axes: Axes, rows: Sequence[ResultRow]) -> None:
    """One line for our own baseline; runs of the published settings have another."""
    done = [row for row in rows if row.status == COMPLETE]
    own = [row for row in done if not row.has_published_settings] or done
    values = [run["dense_accuracy"] for row in own for run in row.runs]
    dense = Spread.of(values)
    if dense:
        _level_line(axes, dense.mean, "dense baseline")


def _level_line(axes: Axes, fraction: float, label: str) -> None:
    axes.axhline(100 * fraction, color=GREY, linestyle=":", linewidth=1.2, label=label)


def _control_line(axes: Axes, members: Sequence[ResultRow]) -> None:
    by_target: dict[float, list[float | None]] = {}
    for row in members:
        values = [run["control_accuracy"] for run in row.runs]
        by_target.setdefault(100 * row.target, []).extend(values)
    spreads = {target: Spread.of(values) for target, values in sorted(by_target.items())}
    points = [(target, 100 * spread.mean) for target, spread in spreads.items() if spread]
    if points:
        look: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1.2}
        look |= {"marker": "_", "markersize": 10, "label": "control (not pruned, same epochs)"}
        axes.plot(*zip(*points, strict=True), **look)


def _draw_layers(axes: Axes, members: Sequence[ResultRow], rows: Sequence[ResultRow]) -> None:
    known: dict[str, float] = {}
    bars: list[tuple[str, dict[str, Spread]]] = []
    for row in members:
        layers = layer_rows(row)
        known |= {layer.name: layer.published for layer in layers if layer.published is not None}
        ours = {layer.name: layer.sparsity for layer in layers if layer.sparsity}
        bars.append((series_of(row), ours))
    names = list(dict.fromkeys([name for _, found in bars for name in found] + list(known)))
    width = 0.8 / (len(bars) + bool(known))
    for index, (series, found) in enumerate(bars):
        places = [names.index(name) - 0.4 + (index + 0.5) * width for name in found]
        spreads = list(found.values())
        means, errors = _means_and_bars(spreads)
        look: dict[str, Any] = {"color": _look(series, rows)[0], "label": series}
        if any(spread.low < spread.high for spread in spreads):
            look |= {"yerr": errors, "error_kw": {"linewidth": 1, "ecolor": INK}}
        axes.bar(places, means, width, **look)
    if known:
        places = [names.index(name) + 0.4 - 0.5 * width for name in known]
        heights = [100 * sparsity for sparsity in known.values()]
        hatched: dict[str, Any] = {"color": "white", "edgecolor": _PUBLISHED, "hatch": "////"}
        axes.bar(places, heights, width, linewidth=1, label="published", **hatched)
    axes.set_xticks(range(len(names)), names)
    if len(names) > 6:
        axes.tick_params(axis="x", rotation=60, labelsize=7)
    axes.grid(visible=False, axis="x")


def _curve(row: ResultRow, history: str) -> dict[int, Spread]:
    """Epoch -> the spread of the test accuracy after it, for each that every seed has."""
    curves = [
        [epoch["test_accuracy"] for epoch in run[history]] for run in row.runs if run[history]
    ]
    spreads = map(Spread.of, zip(*curves, strict=False))
    return {epoch: spread for epoch, spread in enumerate(spreads, 1) if spread}


def _draw_curve(axes: Axes, curve: dict[int, Spread], color: str, line: str, label: str) -> None:
    epochs, spreads = list(curve), list(curve.values())
    means = [100 * spread.mean for spread in spreads]
    look: dict[str, Any] = {"color": color, "linestyle": line, "label": label or None}
    look |= {"linewidth": 1.5 if label else 1.0, "marker": "o" if len(curve) == 1 else ""}
    axes.plot(epochs, means, **look)
    if label and any(spread.low < spread.high for spread in spreads):
        low = [100 * spread.low for spread in spreads]
        high = [100 * spread.high for spread in spreads]
        axes.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)
