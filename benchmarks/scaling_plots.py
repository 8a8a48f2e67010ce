"""Late rows against NPU-hours, a picture for each load. Needs matplotlib (extra `bench`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.scaling import GRID, OURS, Tried, best, front


def fronts(path: Path, tried: Mapping[str, Sequence[Tried]]) -> None:
    """Every setting as a point, and the Pareto front of each side.

    Args:
        path: the PNG to write.
        tried: what came of all settings, by load.
    """
    figure = Figure(figsize=(3.6 * len(tried), 3.6))
    for axes, (name, points) in zip(
        figure.subplots(1, len(tried), squeeze=False)[0], tried.items(), strict=True
    ):
        for side, colour in ((GRID, "#3d85c6"), (OURS, "#c4281b")):
            own = [one for one in points if one.side == side]
            edge = front(own)
            axes.scatter(
                [one.npu_hours for one in own],
                [100 * one.late_share for one in own],
                s=14,
                alpha=0.45,
                color=colour,
            )
            axes.plot(
                [one.npu_hours for one in edge],
                [100 * one.late_share for one in edge],
                color=colour,
                label=side,
                marker="o",
                markersize=3,
            )
        chosen = best([one for one in points if one.side == GRID])
        axes.scatter(
            [chosen.npu_hours], [100 * chosen.late_share], s=90, facecolors="none", edgecolors="black"
        )
        axes.set(title=name, xlabel="NPU-hours")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("late or refused rows, %")
    figure.axes[0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
