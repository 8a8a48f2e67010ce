"""What the engine needs of a lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ascend_serve.batching.packing import Tensors
from ascend_serve.spec.timing import Stages


class Runner(Protocol):
    """One model on one lane."""

    def launch(
        self,
        slot: int,
        bucket: int,
        gear: int,
        pack: Callable[[Tensors], None],
        unpack: Callable[[Tensors], None],
        done: Callable[[BaseException | None, Stages | None], None],
    ) -> None:
        """Run one batch; return at once.

        On threads of the runner, in this order: `pack` with the slot's input arrays of that bucket, the run at
        `gear`, `unpack` with its output arrays, `done(None, stages)`; or `done(error, None)` as soon as one of them
        fails. `done` is called exactly once. `stages` is None for a batch that was not timed.
        """
        ...
