"""Runs the parts of failed batches again, one at a time, until all who share a batch have a result or the blame.

Each part runs in the slot that its batch owns, when no other batch of the model is on the device. Nothing new of the
model starts meanwhile: a task that fails ends whatever is on the device beside it. So the parts of several models take
turns as well (`Share.trial`): run together, the guilty one would make the innocent ones fail again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ascend_serve.batching.packing import Part
from ascend_serve.batching.planner import Batch, Ticket
from ascend_serve.batching.sharing import Share
from ascend_serve.engine.isolating import Group, Isolation, blame
from ascend_serve.engine.request import Request, copy_of, named
from ascend_serve.errors import AclDeviceFault, AclTaskFault, AscendServeError, LaneStalled, PoisonRequest
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages

Back = Callable[[BaseException | None, Stages | None], None]
"""Told that rows are back from the device: what failed, and what they took."""


class Trials:
    """The trials of one engine; on its event loop.

    Args:
        gears: of each bucket.
        requests: those that have not ended.
        share: of the device.
        post: has the lane run parts at a gear in a batch's slot.
        blame: ends the request that makes the device fail, with an error.
        settled: ends batches of which no part is left.
        fail: ends everything: the device is lost.
        resume: called when new batches may start again.

    Attributes:
        going_on: whether there are parts to be run, and nothing else may start.
    """

    def __init__(
        self,
        gears: Sequence[Gears],
        requests: Mapping[Ticket, Request],
        share: Share,
        *,
        post: Callable[[Batch, int, Sequence[Part], Back], None],
        blame: Callable[[Ticket, AscendServeError], None],
        settled: Callable[[Sequence[Batch]], None],
        fail: Callable[[AscendServeError], None],
        resume: Callable[[], None],
    ) -> None:
        self.going_on = False
        self._gears = gears
        self._requests = requests
        self._share = share
        self._post = post
        self._blame = blame
        self._settled = settled
        self._fail = fail
        self._resume = resume
        self._isolation = Isolation()
        self._has_part = False  # one that runs, or waits for its turn

    def add(self, batch: Batch) -> None:
        """Take a batch that has failed; `go_on` is to follow."""
        self.going_on = True
        self._isolation.add(batch)

    def go_on(self, running_batches: int) -> None:
        """Run the next part, unless a batch is left that could fail in its stead.

        Args:
            running_batches: batches that own a slot, the failed ones among them.
        """
        if not self._has_part and running_batches <= self._isolation.batches:
            self._next()

    def give_up(self) -> list[Batch]:
        """Forget everything; the batches that were not settled."""
        self.going_on = False
        return self._isolation.give_up()

    def _next(self) -> None:
        group = self._isolation.next(self._requests.__contains__)
        if group is None:
            self.going_on = False
            self._settled(self._isolation.settled())
            self._resume()
            return
        self._has_part = True
        self._share.trial(partial(self._start, group))

    def _start(self, group: Group) -> None:
        """Run a part, whose turn it is."""
        # Some may have left while other models had theirs.
        group.pieces = tuple(piece for piece in group.pieces if piece.ticket in self._requests)
        alone = not self._share.running_batches
        if not (self.going_on and group.pieces):
            self._tried(group, alone, None, None)
            return
        parts = []
        at = 0
        for ticket, start, rows, _ in group.pieces:
            request = self._requests[ticket]
            parts.append(Part(request.inputs, request.outputs, start, rows, at))
            at += rows
        gear = self._gears[group.batch.bucket].cover(at)
        self._post(group.batch, gear, parts, partial(self._tried, group, alone))

    def _tried(self, group: Group, alone: bool, error: BaseException | None, _: Stages | None) -> None:
        """Take back a part."""
        self._has_part = False
        self._share.tried()
        if not self.going_on:
            return  # the device was given up meanwhile
        if error is not None:
            failure = named(error, group.batch)
            if isinstance(failure, AclDeviceFault | LaneStalled) and not isinstance(failure, AclTaskFault):
                self._fail(failure)
                self._resume()
                return
            alone = alone and not self._share.running_batches
            if (piece := self._isolation.failed(group, alone=alone)) is not None:
                poisoned = isinstance(failure, AclTaskFault)
                told = PoisonRequest(blame(piece, failure)) if poisoned else copy_of(failure)
                self._blame(piece.ticket, told)
        self._settled(self._isolation.settled())
        self._next()
