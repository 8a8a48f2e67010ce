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
        self._not_before = float("-inf")

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
        if self._book.drifted and not self._is_solving() and self._loop.time() >= self._not_before:
            self._again = self._loop.create_task(self._solve_again())

    def _is_solving(self) -> bool:
        return any(task is not None and not task.done() for task in (self._first, self._again))

    async def _solve(self) -> None:
        tables = self._book.tables()
        policy = await self._loop.run_in_executor(None, self._policy.prepared, tables)
        self._adopt(tables, policy)

    async def _solve_again(self) -> None:
        try:
            await self._solve()
        except Exception:  # noqa: BLE001  # logged whole; what was solved before serves on
            _log.exception("the policy cannot be solved for the new costs; the old decisions stay")
        finally:
            self._not_before = self._loop.time() + PAUSE_S
