"""When what was sealed will be back: the three stages of a device, each busy with one batch at a time."""

from __future__ import annotations

from math import inf

from ascend_serve.batching.prices import StageSeconds


class Forecast:
    """Expects of each batch what the cost table says of its gear.

    A batch copies in while the one before it computes; so each stage begins when the stage before it and the batch
    before it are done. A device that is slower than its table makes the forecast too early, never wrong for good: it
    starts afresh whenever nothing runs.

    Attributes:
        compute_until: when the last batch that was sealed has been computed, in seconds; minus infinity if none runs.
    """

    __slots__ = ("_copy_in_until", "_copy_out_until", "compute_until")

    def __init__(self) -> None:
        self.nothing_runs()

    def nothing_runs(self) -> None:
        """Note that all that was sealed has come back."""
        self._copy_in_until = self.compute_until = self._copy_out_until = -inf

    def back_at(self, now: float, stages: StageSeconds) -> float:
        """When a batch with these stages would be back, if it were sealed at `now`."""
        copied_in = max(now, self._copy_in_until) + stages[0]
        computed = max(copied_in, self.compute_until) + stages[1]
        return max(computed, self._copy_out_until) + stages[2]

    def sealed(self, now: float, stages: StageSeconds) -> None:
        """Note that a batch with these stages was sealed."""
        self._copy_in_until = max(now, self._copy_in_until) + stages[0]
        self.compute_until = max(self._copy_in_until, self.compute_until) + stages[1]
        self._copy_out_until = max(self.compute_until, self._copy_out_until) + stages[2]
