"""How the load's gRPC client asks and counts, without a channel."""

import asyncio

import pytest

from benchmarks.grpc_client import Asked, closed_loop

pytestmark = pytest.mark.unit


async def test_each_connection_has_one_request_under_way() -> None:
    under_way: dict[bytes, int] = {b"a": 0, b"b": 0}
    asked: list[bytes] = []

    async def call(request: bytes) -> bytes:
        assert not under_way[request]
        under_way[request] += 1
        asked.append(request)
        await asyncio.sleep(0)
        under_way[request] -= 1
        return b"named " + request

    latencies_ms, elapsed_s = await closed_loop([Asked(call, b"a", b"a"), Asked(call, b"b", b"b")], 0.01)
    assert asked[:2] == [b"a", b"b"]
    assert len(latencies_ms) == len(asked)
    assert min(latencies_ms) > 0
    assert elapsed_s >= 0.01


async def test_another_answer_than_alone_ends_it() -> None:
    async def call(request: bytes) -> bytes:
        return b"mine"

    with pytest.raises(RuntimeError, match="another answer"):
        await closed_loop([Asked(call, b"x", b"yours")], 1.0)
