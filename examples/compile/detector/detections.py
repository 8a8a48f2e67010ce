"""From the detector's outputs to boxes, and a picture to try it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

STRIDES = (4, 8)
"""Pixels of a cell in each of the two grids, in the order in which the detector lists them."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""


@dataclass(frozen=True)
class Detection:
    """A thing that was found; `score` is 0..1."""

    box: Box
    score: float


def centres(height: int, width: int) -> npt.NDArray[np.float32]:
    """Centres of all cells, `[cells, 2]` as x and y in pixels, in the order of the detector's outputs."""
    grids = []
    for stride in STRIDES:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride]
        grids.append(np.stack([x, y], axis=-1).reshape(-1, 2) * stride + stride / 2)
    return np.concatenate(grids).astype(np.float32)


def overlap(one: Box, other: Box) -> float:
    """Common area of two boxes by the area of both together, 0..1."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, wide) * max(0.0, tall)
    whole = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return common / whole if whole else 0.0


def detect(
    outputs: dict[str, npt.NDArray[Any]], height: int, width: int, *, least_score: float = 0.6
) -> list[Detection]:
    """Find the things in a picture, the surest first, each once (non-maximum suppression).

    Args:
        outputs: of the detector for that picture: `distances` `[1, 4, cells]` and `scores` `[1, 1, cells]`.
        height: of the picture.
        width: of the picture.
        least_score: below it a cell tells of nothing.
    """
    distances, scores = outputs["distances"][0].astype(np.float32), outputs["scores"][0, 0]
    x, y = centres(height, width).T
    left, top, right, bottom = distances
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1)
    found: list[Detection] = []
    for cell in np.argsort(-scores, kind="stable"):
        if scores[cell] < least_score:
            break
        edges = [float(edge) for edge in boxes[cell]]
        box = (edges[0], edges[1], edges[2], edges[3])
        if all(overlap(box, other.box) < 0.5 for other in found):
            found.append(Detection(box, float(scores[cell])))
    return found


def in_line(one: Box, other: Box) -> bool:
    """Whether one box stands above, below or beside the other, by less than a cell."""
    return any(
        one[low] < other[high] + STRIDES[0] and other[low] < one[high] + STRIDES[0]
        for low, high in ((0, 2), (1, 3))
    )


def draw_scene(height: int, width: int, count: int, seed: int) -> tuple[npt.NDArray[np.float32], list[Box]]:
    """Draw bright ellipses on a dark and noisy ground, 24 to 76 pixels wide and about as tall, none beside another.

    Args:
        height: of the picture.
        width: of the picture.
        count: ellipses; fewer when there is no room.
        seed: of the random numbers.

    Returns:
        The picture, float32 `[1, 3, height, width]`, 0..1, and the box of each ellipse.
    """
    random = np.random.default_rng(seed)
    image = random.uniform(0.0, 0.2, (1, 3, height, width)).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    boxes: list[Box] = []
    for _ in range(100):
        if len(boxes) == count:
            break
        wide = round(random.uniform(24, 76))
        tall = round(wide * random.uniform(0.8, 1.25))
        left, top = random.integers(0, width - wide), random.integers(0, height - tall)
        box = (float(left), float(top), float(left + wide), float(top + tall))
        # The hand-set heads add up all that is bright to the sides: nothing else may stand there.
        if any(in_line(box, other) for other in boxes):
            continue
        inside = ((x - left - wide / 2) / (wide / 2)) ** 2 + ((y - top - tall / 2) / (tall / 2)) ** 2 <= 1
        image[:, :, inside] = random.uniform(0.8, 1.0, (1, 3, int(inside.sum())))
        boxes.append(box)
    return image, boxes
