"""Hooks off the event loop: batched, bounded, each request ending once and by itself."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from ascend_serve.errors import AscendServeError, DeadlineExpired, Draining, MalformedRequest, QueueFull
from ascend_serve.processing.processor import Decoded, Payload, Processor, ProcessorSettings, Tensors
from ascend_serve.processing.workers import Workers
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

LIMIT_S = 60.0
SPEC = ModelSpec(
    "m", (TensorSpec("x", DataType.FP32, (-1, 2)),), (TensorSpec("y", DataType.FP32, (-1, 2)),), Gears((1,))
)


class Slow(Processor[ProcessorSettings]):
    """Turns a body into its length, when it is let; notes what came together and on which thread."""

    decode_together: ClassVar[int] = 4
    encode_together: ClassVar[int] = 4

    def __init__(self, settings: ProcessorSettings, spec: ModelSpec) -> None:
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.calls: list[tuple[str, int]] = []
        self.threads: set[str] = set()

    def decode(self, payload: Payload) -> Decoded:
        if payload.body == b"bad":
            raise MalformedRequest("bad")
        if payload.body == b"bug":
            raise ZeroDivisionError("bug")
        return Decoded([{"x": np.full((1, 2), len(payload.body), np.float32)}], payload.body)

    def encode(self, decoded: Decoded, outputs: Sequence[Tensors]) -> Any:
        if decoded.context == b"unsaid":
            return b'{"as": "it is"}'
        return {"sum": outputs[0]["x"].sum(), "rows": outputs[0]["x"]}

    def decode_many(self, payloads: Sequence[Payload]) -> Sequence[Decoded | AscendServeError]:
        self._note("decode", len(payloads))
        return super().decode_many(payloads)

    def encode_many(self, answered: Sequence[Any]) -> Sequence[Any]:
        self._note("encode", len(answered))
        return super().encode_many(answered)

    def _note(self, hook: str, count: int) -> None:
        self.entered.release()
        assert self.gate.wait(LIMIT_S)
        self.calls.append((hook, count))
        self.threads.add(threading.current_thread().name)


Make = Callable[..., tuple[Slow, Workers]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Slow, Workers]] = []

    def of(threads: int = 1, *, let: bool = True, **options: Any) -> tuple[Slow, Workers]:
        processor = Slow(ProcessorSettings(), SPEC)
        if let:
            processor.gate.set()
        made.append((processor, Workers(processor, threads, **options)))
        return made[-1]

    yield of
    for processor, workers in made:
        processor.gate.set()
        workers.close()
        for thread in workers._threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive()


async def entered(processor: Slow) -> None:
    assert await asyncio.to_thread(processor.entered.acquire, timeout=LIMIT_S)


def bodies(count: int) -> list[Payload]:
    return [Payload(b"x" * size) for size in range(1, count + 1)]


async def test_a_body_goes_in_and_json_comes_out_off_the_loop(make: Make) -> None:
    processor, workers = make()
    decoded = await workers.decode(Payload(b"abc"))
    np.testing.assert_array_equal(decoded.requests[0]["x"], [[3, 3]])
    answer = await workers.encode(decoded, decoded.requests)
    assert json.loads(answer) == {"sum": 6.0, "rows": [[3.0, 3.0]]}
    assert await workers.encode(Decoded((), b"unsaid"), ()) == b'{"as": "it is"}'
    assert processor.threads == {"ascend-processor-0"}


async def test_what_waits_is_taken_together_and_everyone_gets_his_own(make: Make) -> None:
    processor, workers = make(let=False)
    payloads = bodies(10)
    waiting = [asyncio.ensure_future(workers.decode(payload)) for payload in payloads]
    await entered(processor)
    processor.gate.set()
    found = await asyncio.gather(*waiting)
    assert [decoded.context for decoded in found] == [payload.body for payload in payloads]
    counts = [count for _, count in processor.calls]
    assert sum(counts) == 10
    assert counts[-2:] in ([4, 1], [4, 4], [4, 2], [4, 3]), counts
    assert max(counts) == 4


async def test_several_threads_share_what_waits(make: Make) -> None:
    processor, workers = make(2, let=False)
    waiting = [asyncio.ensure_future(workers.decode(payload)) for payload in bodies(6)]
    await entered(processor)
    await entered(processor)
    processor.gate.set()
    await asyncio.gather(*waiting)
    assert len(processor.threads) == 2
    assert max(count for _, count in processor.calls) <= 3


async def test_what_the_device_has_done_is_told_before_anything_new_is_decoded(make: Make) -> None:
    processor, workers = make(let=False)
    first = asyncio.ensure_future(workers.decode(Payload(b"first")))
    await entered(processor)
    later = [asyncio.ensure_future(workers.decode(payload)) for payload in bodies(2)]
    told = asyncio.ensure_future(workers.encode(Decoded((), b"unsaid"), ()))
    await asyncio.sleep(0)
    processor.gate.set()
    await asyncio.gather(first, told, *later)
    assert processor.calls == [("decode", 1), ("encode", 1), ("decode", 2)]


async def test_one_bad_body_harms_itself_alone(make: Make) -> None:
    processor, workers = make(let=False)
    busy = asyncio.ensure_future(workers.decode(Payload(b"busy")))
    await entered(processor)
    waiting = [
        asyncio.ensure_future(workers.decode(Payload(body))) for body in (b"good", b"bad", b"bug", b"fine")
    ]
    await asyncio.sleep(0)
    processor.gate.set()
    await busy
    good, bad, bug, fine = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(bad, MalformedRequest)
    assert isinstance(bug, ZeroDivisionError)
    assert isinstance(good, Decoded)
    assert isinstance(fine, Decoded)
    assert (good.context, fine.context) == (b"good", b"fine")


async def test_a_hook_that_answers_too_few_is_found_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    processor, workers = make()
    monkeypatch.setattr(processor, "decode_many", lambda payloads: [])
    with pytest.raises(TypeError, match="0 results for 1"):
        await workers.decode(Payload(b"a"))


async def test_more_than_the_bound_are_refused(make: Make) -> None:
    processor, workers = make(let=False, most_waiting=2)
    first = asyncio.ensure_future(workers.decode(Payload(b"a")))
    await entered(processor)
    waiting = [asyncio.ensure_future(workers.decode(payload)) for payload in bodies(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="2 bodies wait"):
        await workers.decode(Payload(b"b"))
    processor.gate.set()
    await asyncio.gather(first, *waiting)


async def test_more_bytes_than_the_bound_are_refused(make: Make) -> None:
    processor, workers = make(let=False, most_waiting_bytes=10)
    first = asyncio.ensure_future(workers.decode(Payload(b"a" * 9)))
    await entered(processor)
    whole = asyncio.ensure_future(workers.decode(Payload(b"b" * 20)))
    await asyncio.sleep(0)
    assert not whole.done(), "what is larger than the bound may wait alone, or it never could"
    with pytest.raises(QueueFull, match="bodies of 20 bytes wait to be decoded, and this one has 1: 10 may"):
        await workers.decode(Payload(b"c"))
    whole.cancel()
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(workers.decode(Payload(b"d" * 5))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="bodies of 10 bytes wait"):
        await workers.decode(Payload(b"e"))
    processor.gate.set()
    await asyncio.gather(first, *waiting)
    assert (await workers.decode(Payload(b"f" * 10))).context == b"f" * 10


async def test_what_expired_or_has_nobody_left_is_not_decoded(make: Make) -> None:
    now = [100.0]
    processor, workers = make(let=False, clock=lambda: now[0])
    first = asyncio.ensure_future(workers.decode(Payload(b"a")))
    await entered(processor)
    late = asyncio.ensure_future(workers.decode(Payload(b"late"), deadline=1000.0))
    left = asyncio.ensure_future(workers.decode(Payload(b"left")))
    await asyncio.sleep(0)
    left.cancel()
    now[0] = 2000.0
    with pytest.raises(DeadlineExpired, match="before the body was decoded"):
        await workers.decode(Payload(b"too late"), deadline=1000.0)
    processor.gate.set()
    assert (await first).context == b"a"
    with pytest.raises(DeadlineExpired, match=r"before the body was decoded, 1900000\.0 ms after it came"):
        await late
    assert processor.calls == [("decode", 1)]


Ask = Callable[[Workers, float | None], Coroutine[Any, Any, Any]]

either_line = pytest.mark.parametrize(
    "ask",
    [
        lambda workers, deadline: workers.decode(Payload(b"late"), deadline=deadline),
        lambda workers, deadline: workers.encode(Decoded((), b"unsaid"), (), deadline=deadline),
    ],
    ids=["decode", "encode"],
)


@either_line
async def test_what_waits_ends_at_its_deadline_however_busy_the_threads_are(make: Make, ask: Ask) -> None:
    processor, workers = make(let=False, most_waiting=1)
    first = asyncio.ensure_future(workers.decode(Payload(b"a")))
    await entered(processor)
    for _ in range(3):  # each leaves the line, so that the next one may wait
        with pytest.raises(DeadlineExpired):
            await asyncio.wait_for(ask(workers, time.monotonic() + 0.001), LIMIT_S)
    assert not first.done()
    processor.gate.set()
    await first
    await ask(workers, time.monotonic() + LIMIT_S)
    assert len(processor.calls) == 2, "what expired was never begun"


@either_line
async def test_what_was_begun_ends_at_its_deadline_too(make: Make, ask: Ask) -> None:
    processor, workers = make(let=False)
    for patience_s in (0.05, 0.5, 5.0, 30.0):  # a thread of a busy machine may be late to begin it
        with pytest.raises(DeadlineExpired):
            await asyncio.wait_for(ask(workers, time.monotonic() + patience_s), LIMIT_S)
        if begun := processor.entered.acquire(blocking=False):
            break
    assert begun
    assert processor.calls == []
    processor.gate.set()
    assert (await workers.decode(Payload(b"next"))).context == b"next"


@either_line
async def test_what_its_caller_left_waits_no_more(make: Make, ask: Ask) -> None:
    processor, workers = make(let=False, most_waiting=1)
    first = asyncio.ensure_future(workers.decode(Payload(b"a")))
    await entered(processor)
    for _ in range(3):
        left = asyncio.ensure_future(ask(workers, None))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
    processor.gate.set()
    await first
    assert len(processor.calls) == 1


async def test_closing_refuses_what_waits_and_what_comes(make: Make) -> None:
    processor, workers = make(let=False)
    first = asyncio.ensure_future(workers.decode(Payload(b"a")))
    await entered(processor)
    waiting = asyncio.ensure_future(workers.decode(Payload(b"b")))
    await asyncio.sleep(0)
    workers.close()
    workers.close()
    with pytest.raises(Draining):
        await waiting
    with pytest.raises(Draining):
        await workers.decode(Payload(b"c"))
    processor.gate.set()
    assert (await first).context == b"a", "what was begun is told"


async def test_the_loop_goes_on_while_a_hook_computes(make: Make) -> None:
    processor, workers = make(let=False)
    waiting = asyncio.ensure_future(workers.decode(Payload(b"a")))
    await entered(processor)
    began, turns = time.monotonic(), 0
    while turns < 100:
        await asyncio.sleep(0)
        turns += 1
    assert not waiting.done()
    assert time.monotonic() - began < LIMIT_S
    processor.gate.set()
    await waiting
