"""Buckets: the row shapes a model was compiled for, and the batch sizes it runs at with each.

A model with batch gears alone has one bucket. Gears of image size make a bucket of each height and width; gears of
any axes make one of each set of sizes beside the batch (facts: ATC §1.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ascend_serve.spec.gears import Gears


@dataclass(frozen=True, slots=True)
class Bucket:
    """One set of row shapes.

    Attributes:
        gears: batch sizes that the model runs at with these shapes.
        shapes: row shape of each input and output by name, without the batch axis; the whole shapes when the model is
            not batched.
    """

    gears: Gears
    # A mapping has no hash, and models are told apart by the rest.
    shapes: Mapping[str, tuple[int, ...]] = field(hash=False)
