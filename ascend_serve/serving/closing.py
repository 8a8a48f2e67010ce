"""A replica's way out: callers are answered, what was learnt is kept, and the device is given back whatever happens.

Serve kills a replica that takes longer than its `graceful_shutdown_timeout_s`, 20 s by default. The bounds here add up
to less, so that neither a full disk nor one that hangs comes between the device and the next replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress

from ascend_serve.errors import LaneStalled
from ascend_serve.runtime.lane import Lane
from ascend_serve.serving.log import logger
from ascend_serve.serving.served_model import ServedModel

DRAIN_TIMEOUT_S = 5.0
FILE_TIMEOUT_S = 3.0
LANE_TIMEOUT_S = 5.0


async def give_back(lane: Lane, models: Sequence[ServedModel]) -> None:
    """End the models, keep their times and journals, and close the lane, each within its bound.

    Args:
        lane: closed in any case.
        models: those of the replica, as far as it came.

    Raises:
        BaseException: what ending a model or closing the lane raised; a lane that does not end in time is logged.
    """
    try:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_all(model.drain() for model in models), DRAIN_TIMEOUT_S)
        await _on_disk("what the gears take", _all(asyncio.to_thread(model.keep_times) for model in models))
        await _on_disk("the journal", _all(model.close_journal() for model in models))
    finally:
        try:
            await asyncio.to_thread(lane.close, LANE_TIMEOUT_S)
        except LaneStalled:
            logger.exception(
                "the device did not come back in time; its memory is reclaimed when this process ends"
            )


async def _all(ways: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*ways)


async def _on_disk(what: str, writing: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(writing, FILE_TIMEOUT_S)
    except asyncio.TimeoutError:
        logger.error(f"{what} could not be written within {FILE_TIMEOUT_S:g} s and may be incomplete")
