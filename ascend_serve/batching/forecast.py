"""When what was sealed will be back: the three stages of a device, each busy with one batch at a time."""

from __future__ import annotations

from math import inf

from ascend_serve.batching.prices import StageSeconds

TIMER_LATE_S = 0.001
"""How late an event loop's timer may ring. A batch that was held back on purpose starts so much before it must, lest a
deadline passes."""

EARLY_S = 0.0003
"""How much earlier than needed the next batch is chosen while one runs. Less than `TIMER_LATE_S`: to choose late only
leaves the device idle for a moment, while to choose early keeps out all who come in that time, each time."""


class Forecast:
    """Expects of each batch what the cost table says of its gear.

    A batch copies in while the one before it computes; so each stage begins when the stage before it and the batch
    before it are done. A batch that comes back later or sooner than expected moves those behind it by as much, so that
    a device which is slower or quicker than its table is never far from the forecast.

    Attributes:
        host_s: seconds of the host around each batch.
        compute_until: when the last batch that was sealed has been computed, in seconds; minus infinity if none runs.
        back_until: when it is back.
        free_until: when the device could compute what comes after all that was sealed: one of the two before.
        oldest_back_at: when the batch that was sealed first is back; infinite if none runs.
        changes: how often any of this has changed.
    """

    __slots__ = (
        "_backs_at",
        "_copy_in_until",
        "_overlap",
        "back_until",
        "changes",
        "compute_until",
        "free_until",
        "host_s",
        "oldest_back_at",
    )

    def __init__(self) -> None:
        self.changes = 0
        self._copy_in_until = self.compute_until = self.back_until = -inf
        self.tune(host_s=0.0, overlap=True)
        self._backs_at: dict[int, float] = {}
        self.oldest_back_at = inf

    def tune(self, *, host_s: float, overlap: bool) -> None:
        """Reckon with so many seconds of the host around each batch, and with stages that overlap or do not."""
        self.changes += 1
        self.host_s = host_s
        self._overlap = overlap
        self.free_until = self.compute_until if overlap else self.back_until

    def back_at(self, now: float, stages: StageSeconds) -> float:
        """When a batch with these stages would be back, if it were sealed at `now`."""
        copied_in = max(now + self.host_s, self._copy_in_until) + stages[0]
        computed = max(copied_in, self.compute_until) + stages[1]
        return max(computed, self.back_until) + stages[2]

    def catch_up(self, now: float) -> None:
        """Move everything to where it can be at the earliest, if the oldest batch is overdue."""
        if now > self.oldest_back_at:
            self._move(now - self.oldest_back_at)

    def overdue(self, now: float) -> bool:
        """Whether a batch should have been back by now, with another behind it."""
        return len(self._backs_at) > 1 and self.oldest_back_at <= now

    def latest_start(self, stages: StageSeconds) -> float:
        """Until when a batch with these stages can be sealed and be back as early as if it were sealed at once.

        Until then it may grow for nothing; after that a stage of the device would wait for it. Minus infinity if
        nothing runs.
        """
        copy_in_s, compute_s, _ = stages
        start = max(
            self._copy_in_until,
            self.compute_until - copy_in_s,
            self.back_until - compute_s - copy_in_s,
        )
        return start - self.host_s

    def sealed(self, slot: int, now: float, stages: StageSeconds) -> None:
        """Note that a batch with these stages was sealed in a slot that is free."""
        self.changes += 1
        copy_in_s, compute_s, copy_out_s = stages
        copied_in = max(now + self.host_s, self._copy_in_until) + copy_in_s
        computed = max(copied_in, self.compute_until) + compute_s
        back_at = max(computed, self.back_until) + copy_out_s
        self._copy_in_until, self.compute_until, self.back_until = copied_in, computed, back_at
        self.free_until = computed if self._overlap else back_at
        if not self._backs_at:
            self.oldest_back_at = back_at
        self._backs_at[slot] = back_at

    def landed(self, slot: int, now: float) -> None:
        """Note that the batch in a slot came back at `now`."""
        late_s = now - self._backs_at[slot]
        self.gone(slot)
        if self._backs_at:
            self._move(late_s)

    def gone(self, slot: int) -> None:
        """Note that a batch has failed, which says nothing of the time that the others take."""
        self.changes += 1
        del self._backs_at[slot]
        if self._backs_at:
            self.oldest_back_at = next(iter(self._backs_at.values()))
        else:
            self.oldest_back_at = inf
            self._copy_in_until = self.compute_until = self.back_until = self.free_until = -inf

    def _move(self, late_s: float) -> None:
        self.changes += 1
        for slot in self._backs_at:
            self._backs_at[slot] += late_s
        self.oldest_back_at += late_s
        self._copy_in_until += late_s
        self.compute_until += late_s
        self.back_until += late_s
        self.free_until += late_s
