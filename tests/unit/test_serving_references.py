"""References inside a mapping of tensors."""

import asyncio
from typing import Any

import pytest

from ascend_serve.errors import DeadlineExpired
from ascend_serve.serving.doors.references import fetched, has_references

pytestmark = pytest.mark.unit


async def value(of: Any) -> Any:
    await asyncio.sleep(0)
    return of


async def test_references_are_fetched_side_by_side_and_the_rest_stays() -> None:
    meeting = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None

    async def met(of: Any) -> Any:
        if meeting is not None:
            await meeting.wait()
        return of

    given = {"a": met(1), "b": 2, "c": met(3)}
    assert has_references(given)
    assert await fetched(given, None) == ({"a": 1, "b": 2, "c": 3}, None)


def test_plain_tensors_have_none() -> None:
    assert not has_references({"a": 1})
    assert not has_references([1])


async def test_fetching_counts_against_the_deadline() -> None:
    tensors, left = await fetched({"a": value(1)}, 60.0)
    assert tensors == {"a": 1}
    assert left is not None
    assert 0 < left < 60


async def test_what_comes_too_late_is_no_longer_waited_for() -> None:
    never = asyncio.Event()
    waiting = asyncio.ensure_future(never.wait())
    with pytest.raises(DeadlineExpired, match="while waiting for a, b"):
        await fetched({"a": waiting, "b": value(1)}, 0.01)
    assert waiting.cancelled()


async def test_the_error_behind_a_reference_is_the_callers() -> None:
    async def failing() -> None:
        raise ZeroDivisionError("upstream")

    with pytest.raises(ZeroDivisionError, match="upstream"):
        await fetched({"a": failing()}, None)
