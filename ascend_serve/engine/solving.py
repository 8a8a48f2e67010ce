"""Keeps a policy solved for what the gears cost by now, off the request path."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import Policy
from ascend_serve.batching.refining import CostBook

_log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""Seconds after a solve for drift in which no other starts: costs that swing would keep a core busy with solving."""

HOST_PAUSE_S = 5.0
"""Likewise after a solve for which the host's part alone had drifted, which holds up no solve for gears that drift. It
swings more than they do: with a quarter of a second, solving cost `optimal` a third of what it gains over `pad_up`."""


class Solver:
    """Has the policy solved on another thread: once when asked, then whenever a gear has drifted, never twice at once.

    Args:
        policy: as it was given, unsolved.
        book: the live costs.
        adopt: takes cost tables and the policy solved for them; called on the event loop.
    """

    def __init__(
        self, policy: Policy, book: CostBook, adopt: Callable[[Sequence[CostTable], Policy], None]
    ) -> None:
        self._policy = policy
        self._book = book
        self._adopt = adopt
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Task[None] | None = None
        self._again: asyncio.Task[None] | None = None
        self._not_before = self._host_not_before = float("-inf")

    async def first(self) -> None:
        """Return when the policy was solved once; the first caller starts that.

        Raises:
            Whatever the policy's own `prepared` raises.
        """
        if self._first is None:
            self._first = self._loop.create_task(self._solve())
        await asyncio.shield(self._first)

    def look(self) -> None:
        """Solve again if the costs in the book have drifted."""
        if not self._book.drifted or self._is_solving():
            return
        paces_drifted = self._book.paces_drifted
        if self._loop.time() >= (self._not_before if paces_drifted else self._host_not_before):
            self._again = self._loop.create_task(self._solve_again(paces_drifted))

    def _is_solving(self) -> bool:
        return any(task is not None and not task.done() for task in (self._first, self._again))

    async def change(self, policy: Policy) -> None:
        """Have another policy solved, and return when it decides; until then the old one does.

        Raises:
            Whatever the policy's own `prepared` raises; the old policy stays then.
        """
        if policy != self._policy:
            self._again = self._loop.create_task(self._change(policy))
            await asyncio.shield(self._again)

    async def _change(self, policy: Policy) -> None:
        tables = self._book.tables()
        solved = await self._loop.run_in_executor(None, policy.prepared, tables)
        self._adopt(tables, solved)
        self._policy = policy

    async def _solve(self) -> None:
        policy = self._policy
        tables = self._book.tables()
        solved = await self._loop.run_in_executor(None, policy.prepared, tables)
        if policy is self._policy:  # else another was chosen meanwhile
            self._adopt(tables, solved)

    async def _solve_again(self, paces_drifted: bool) -> None:
        try:
            await self._solve()
        except Exception:  # noqa: BLE001  # logged whole; what was solved before serves on
            _log.exception("the policy cannot be solved for the new costs; the old decisions stay")
        finally:
            now = self._loop.time()
            self._host_not_before = now + HOST_PAUSE_S
            if paces_drifted:
                self._not_before = now + PAUSE_S
