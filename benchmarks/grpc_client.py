"""The client that sends a closed loop over gRPC (`http_load.py`): `python -m benchmarks.grpc_client`.

Each connection is a channel of its own with one unary `ModelInfer` under way. Requests are written beforehand and
answers stay bytes; every answer must end with what the server answered to the same request alone (the raw contents are
the last field of an answer). It takes much more of the cores than the HTTP client does, so the server's CPU for an
answer can be compared with HTTP's, and answers a second cannot.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

import grpc  # type: ignore[import-untyped]  # ships no types

from benchmarks.http_load import DONE, READY, Load, Seen

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_WARM_S = 0.5
_ANSWER_S = 30.0

Call = Callable[[bytes], Awaitable[bytes]]


class Asked(NamedTuple):
    """One connection, what it asks, and the end of the right answer."""

    call: Call
    request: bytes
    output: bytes


async def closed_loop(asked: Sequence[Asked], seconds: float) -> tuple[list[float], float]:
    """Each connection sends its next request when it has an answer.

    Returns:
        The latencies in milliseconds, and the seconds to the last answer.

    Raises:
        RuntimeError: a wrong answer.
    """
    latencies_ms: list[float] = []
    begin = time.monotonic()
    end = begin + seconds

    async def ask(one: Asked) -> None:
        since = begin
        while since < end:
            answer = await one.call(one.request)
            if not answer.endswith(one.output):
                raise RuntimeError("a request was given another answer than when it was alone")
            now = time.monotonic()
            latencies_ms.append((now - since) * 1e3)
            since = now

    await asyncio.gather(*map(ask, asked))
    return latencies_ms, time.monotonic() - begin


async def _run(load: Load) -> Seen:
    # Channels to one address would share a connection.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{load.port}", options) for _ in range(load.connections)]
    requests = [bytes.fromhex(one) for one in load.requests]
    calls = [_call(channel) for channel in channels]
    outputs = [(await calls[0](request))[-load.tail_bytes :] for request in requests]
    asked = [
        Asked(call, requests[number % len(requests)], outputs[number % len(requests)])
        for number, call in enumerate(calls)
    ]
    gc.freeze()
    await closed_loop(asked, _WARM_S)
    sys.stdout.write(READY)
    sys.stdout.flush()
    sys.stdin.readline()  # the other side reads the server's CPU time first
    cpu = time.process_time()
    latencies_ms, elapsed_s = await closed_loop(asked, load.seconds)
    used = time.process_time() - cpu
    sys.stdout.write(DONE)
    sys.stdout.flush()
    for channel in channels:
        await channel.close()
    return Seen(latencies_ms, elapsed_s, [output.hex() for output in outputs], used)


def _call(channel: grpc.aio.Channel) -> Call:
    method = channel.unary_unary(METHOD)  # without serialisers it takes and gives bytes

    async def call(request: bytes) -> bytes:
        answer: bytes = await method(request, timeout=_ANSWER_S, wait_for_ready=True)
        return answer

    return call


def main() -> None:
    """Read a load, warm up, wait for the word to go, and write what was seen."""
    seen = asyncio.run(_run(Load(**json.loads(sys.stdin.readline()))))
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    main()
