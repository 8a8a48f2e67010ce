"""Pictures of results: throughput against load, latencies, and the device's time. Needs matplotlib (extra `bench`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.figures import Spread
from benchmarks.timeline import COMPUTE, COPY_IN, COPY_OUT, Spans

OURS = "ours"
_OUR_COLOURS = ("#c4281b", "#e8743b", "#f0a35e", "#b05c8a", "#8a2f5a", "#d98fb3")
_THEIR_COLOURS = ("#1f4e79", "#3d85c6", "#6aa84f", "#38761d", "#7f7f7f", "#8e7cc3", "#45818e", "#b7b7b7")
_ENGINE_COLOURS = {COPY_IN: "#3d85c6", COMPUTE: "#c4281b", COPY_OUT: "#6aa84f"}
_DPI = 110


def _colours(names: Sequence[str]) -> dict[str, str]:
    ours = [name for name in names if name.startswith(OURS)]
    theirs = [name for name in names if not name.startswith(OURS)]
    return {
        **{name: _OUR_COLOURS[i % len(_OUR_COLOURS)] for i, name in enumerate(ours)},
        **{name: _THEIR_COLOURS[i % len(_THEIR_COLOURS)] for i, name in enumerate(theirs)},
    }


def throughput(
    path: Path, title: str, points: Mapping[str, Mapping[int, Spread]], limit_per_s: float
) -> None:
    """Answers a second against the number of connections.

    Args:
        path: the PNG to write.
        title: what was measured.
        points: side -> connections -> answers a second over the rounds.
        limit_per_s: the most that the device can do.
    """
    figure = Figure(figsize=(8, 4.6))
    axes = figure.subplots()
    colours = _colours(list(points))
    axes.axhline(limit_per_s, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        "the device's limit", (1, limit_per_s), xytext=(2, 3), textcoords="offset points", fontsize=8
    )
    for name, by_load in points.items():
        loads = sorted(by_load)
        medians = [by_load[load].median for load in loads]
        below = [by_load[load].median - by_load[load].least for load in loads]
        above = [by_load[load].most - by_load[load].median for load in loads]
        axes.errorbar(
            loads,
            medians,
            yerr=[below, above],
            label=name,
            color=colours[name],
            linewidth=2.2 if name.startswith(OURS) else 1.2,
            marker="o",
            markersize=4,
            capsize=2,
            elinewidth=0.8,
        )
    axes.set_xscale("log", base=2)
    ticks = sorted({load for by_load in points.values() for load in by_load})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(0, limit_per_s * 1.1)
    axes.set(xlabel="connections, each with one request under way", ylabel="answers / s", title=title)
    _finish(figure, axes, path)


def latency(path: Path, title: str, quantiles: Mapping[str, Sequence[float]], most_ms: float) -> None:
    """The share of requests answered within a time.

    Args:
        path: the PNG to write.
        title: what was measured.
        quantiles: side -> its latencies in ms at evenly spaced shares from 0 to 1; infinite: never answered.
        most_ms: where the picture ends.
    """
    figure = Figure(figsize=(8, 4.6))
    axes = figure.subplots()
    colours = _colours(list(quantiles))
    for name, values in quantiles.items():
        shares = [number / (len(values) - 1) for number in range(len(values))]
        axes.step(
            values,
            shares,
            where="post",
            label=name,
            color=colours[name],
            linewidth=2.2 if name.startswith(OURS) else 1.2,
        )
    axes.set_xscale("log")
    axes.set_xlim(1, most_ms)
    axes.set_ylim(0, 1.01)
    axes.axhline(0.99, color="black", linewidth=0.6, linestyle=":")
    axes.set(xlabel="latency, ms", ylabel="share of requests", title=title)
    _finish(figure, axes, path)


def timeline(path: Path, title: str, lanes: Mapping[str, Spans]) -> None:
    """What the device's engines did and when, one group of rows for each way to drive it.

    Args:
        path: the PNG to write.
        title: what was measured.
        lanes: way -> what each engine did.
    """
    figure = Figure(figsize=(9, 0.9 + 0.95 * len(lanes)))
    axes = figure.subplots()
    places: list[float] = []
    for group, engines in enumerate(reversed(list(lanes.values()))):
        for row, (engine, colour) in enumerate(reversed(_ENGINE_COLOURS.items())):
            # Neighbours differ in shade, so that a batch can be told from the next; the edge shows the shortest ones.
            shades = [colour, to_rgba(colour, 0.6)]
            axes.broken_barh(
                list(engines[engine]),
                (group * 4 + row, 0.9),
                facecolors=shades,
                edgecolor=shades,
                linewidth=0.5,
            )
        places.append(group * 4 + 1.45)
    axes.set_yticks(places, list(reversed(list(lanes))))
    axes.set(xlabel="ms", title=title)
    handles = [Patch(color=colour, label=engine) for engine, colour in _ENGINE_COLOURS.items()]
    axes.legend(
        handles=handles, fontsize=8, ncols=3, loc="upper right", bbox_to_anchor=(1.0, -0.18), frameon=False
    )
    _save(figure, path)


def _finish(figure: Figure, axes: Axes, path: Path) -> None:
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")
