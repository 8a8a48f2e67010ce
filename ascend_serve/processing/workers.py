"""The threads on which a processor's hooks run.

The event loop only puts work down and picks results up. A thread that wakes takes what waits, as many at a time as
the processor wants together, and tells the loop of what is done at most every `HOLD_S`: where hooks are short, a burst
of requests costs one wake-up in each direction and not one for each. Encoding goes before decoding, since the device's
work for it is done already.

One bad body harms itself alone: when a call with several fails as a whole, each is tried by itself.

Whoever waits is answered at his deadline, by a timer of the event loop and so however busy the threads are. What no
thread has begun leaves its line then, as it does when its caller leaves; what one has begun is finished for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ascend_serve.errors import AscendServeError, DeadlineExpired, Draining, QueueFull
from ascend_serve.processing.processor import Answered, Decoded, Payload, Processor, Tensors

_log = logging.getLogger(__name__)

HOLD_S = 0.0005
"""Seconds that a finished result may wait for others before the event loop is told."""

MOST_WAITING = 1024
"""Bodies that may wait to be decoded; past it they are refused."""

MOST_WAITING_BYTES = 256 * 2**20
"""Bytes that those bodies may have together: what a few of the largest have, and very many pictures."""


class _Job:
    __slots__ = ("came", "deadline", "future", "octets", "subject")

    def __init__(
        self, subject: Any, future: asyncio.Future[Any], came: float, deadline: float | None, octets: int
    ) -> None:
        self.subject = subject
        self.future = future
        self.came = came
        self.deadline = deadline
        self.octets = octets


class Workers:
    """Runs the hooks of one processor. Made and used on one running event loop; `close` ends its threads.

    Args:
        processor: whose hooks they are.
        threads: how many there are.
        name: of the threads.
        most_waiting: bodies that may wait to be decoded.
        most_waiting_bytes: bytes that they may have together; one body alone may have more.
        clock: monotonic seconds; deadlines are times of this clock.
    """

    def __init__(
        self,
        processor: Processor[Any],
        threads: int,
        *,
        name: str = "ascend-processor",
        most_waiting: int = MOST_WAITING,
        most_waiting_bytes: int = MOST_WAITING_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processor = processor
        self._most_waiting = most_waiting
        self._most_waiting_bytes = most_waiting_bytes
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._to_decode: deque[_Job] = deque()
        self._to_encode: deque[_Job] = deque()
        self._waiting_bytes = 0
        self._wake = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    # --- on the event loop ----------------------------------------------------------------------

    async def decode(self, payload: Payload, *, deadline: float | None = None) -> Decoded:
        """What the processor makes of a body.

        Args:
            payload: the body.
            deadline: when the answer is of no use any more, in seconds of the clock.

        Raises:
            QueueFull: too many bodies wait, or too many bytes of them.
            DeadlineExpired: the deadline passed before it was decoded; raised at that moment.
            Draining: the workers are closed.
            AscendServeError: what the hook raises; any other exception of it comes as it is.
        """
        octets = len(payload.body)
        if len(self._to_decode) >= self._most_waiting:
            raise QueueFull(f"{self._most_waiting} bodies wait to be decoded; that is as many as may")
        if self._waiting_bytes and self._waiting_bytes + octets > self._most_waiting_bytes:
            raise QueueFull(
                f"bodies of {self._waiting_bytes} bytes wait to be decoded, and this one has {octets}: "
                f"{self._most_waiting_bytes} may"
            )
        decoded: Decoded = await self._done(self._to_decode, payload, deadline, octets)
        return decoded

    async def encode(
        self, decoded: Decoded, outputs: Sequence[Tensors], *, deadline: float | None = None
    ) -> bytes:
        """The JSON that the processor makes of outputs.

        Args:
            decoded: what was asked.
            outputs: of each of its requests.
            deadline: as for `decode`.

        Raises:
            DeadlineExpired: the deadline passed before it was encoded; raised at that moment.
            Draining: the workers are closed.
            AscendServeError: what the hook raises; any other exception of it comes as it is.
        """
        encoded: bytes = await self._done(self._to_encode, (decoded, outputs), deadline)
        return encoded

    def close(self) -> None:
        """End the threads; what still waits is refused. May be called again."""
        with self._wake:
            self._closed = True
            left = [*self._to_decode, *self._to_encode]
            self._to_decode.clear()
            self._to_encode.clear()
            self._waiting_bytes = 0
            self._wake.notify_all()
        _settle([(job, Draining("the processor is closed")) for job in left])

    async def _done(self, line: deque[_Job], subject: Any, deadline: float | None, octets: int = 0) -> Any:
        now = self._clock()
        job = _Job(subject, self._loop.create_future(), now, deadline, octets)
        if deadline is not None and deadline <= now:
            raise self._expiry(line, job)
        with self._wake:
            if self._closed:
                raise Draining("the processor is closed")
            line.append(job)
            self._waiting_bytes += octets
            self._wake.notify()
        timer = None if deadline is None else self._loop.call_later(deadline - now, self._expire, line, job)
        try:
            return await job.future
        finally:
            if timer is not None:
                timer.cancel()
            if job.future.cancelled():
                self._leave(line, job)

    def _expire(self, line: deque[_Job], job: _Job) -> None:
        self._leave(line, job)
        _settle([(job, self._expiry(line, job))])

    def _leave(self, line: deque[_Job], job: _Job) -> None:
        """Take a job out of its line, unless a thread has it."""
        with self._wake:
            try:
                line.remove(job)
            except ValueError:
                return
            self._waiting_bytes -= job.octets

    def _expiry(self, line: deque[_Job], job: _Job) -> DeadlineExpired:
        waited_ms = (self._clock() - job.came) * 1e3
        if line is self._to_encode:
            return DeadlineExpired(
                f"the deadline passed before the answer was encoded, {waited_ms:.1f} ms after the outputs came"
            )
        return DeadlineExpired(
            f"the deadline passed before the body was decoded, {waited_ms:.1f} ms after it came"
        )

    # --- on the threads -------------------------------------------------------------------------

    def _run(self) -> None:
        done: list[tuple[_Job, Any]] = []
        first_at = 0.0
        while True:
            line, jobs = self._next(wait=not done)
            if jobs:
                if not done:
                    first_at = self._clock()
                done.extend(zip(jobs, self._results(line, jobs), strict=True))
            if done and (not jobs or self._clock() - first_at >= HOLD_S):
                if not self._tell(done):
                    return
                done = []
            elif not jobs:
                return  # closed, and nothing left to tell

    def _next(self, *, wait: bool) -> tuple[deque[_Job], list[_Job]]:
        """The jobs of one call, and the line that they stood in; none when nothing waits or all is closed."""
        with self._wake:
            while wait and not (self._to_encode or self._to_decode or self._closed):
                self._wake.wait()
            line = self._to_encode or self._to_decode
            most = (
                self._processor.encode_together
                if line is self._to_encode
                else self._processor.decode_together
            )
            # What waits is shared out, so that no thread idles while another has many.
            share = -(-len(line) // len(self._threads))
            jobs = [line.popleft() for _ in range(min(most, share))]
            self._waiting_bytes -= sum(job.octets for job in jobs)
            return line, jobs

    def _results(self, line: deque[_Job], jobs: Sequence[_Job]) -> list[Any]:
        """What each job came to: a value, or the exception that it ends with."""
        now = self._clock()
        results: list[Any] = [None] * len(jobs)
        wanted = []
        for place, job in enumerate(jobs):
            if job.deadline is not None and now > job.deadline:
                results[place] = self._expiry(line, job)  # the event loop has not come to its timer yet
            elif not job.future.cancelled():
                wanted.append(place)
        work = self._encoded if line is self._to_encode else self._decoded
        found = _of_each(work, [jobs[place].subject for place in wanted])
        for place, result in zip(wanted, found, strict=True):
            results[place] = result
        return results

    def _decoded(self, payloads: Sequence[Payload]) -> Sequence[Decoded | AscendServeError]:
        return self._processor.decode_many(payloads)

    def _encoded(self, answered: Sequence[Answered]) -> Sequence[bytes | AscendServeError]:
        return [
            answer if isinstance(answer, bytes | AscendServeError) else _json(answer)
            for answer in self._processor.encode_many(answered)
        ]

    def _tell(self, done: list[tuple[_Job, Any]]) -> bool:
        """Hand results to the event loop; False when there is none any more."""
        try:
            self._loop.call_soon_threadsafe(_settle, done)
        except RuntimeError:
            return False  # the loop is closed, and with it whoever waited
        return True


def _of_each(work: Callable[[Sequence[Any]], Sequence[Any]], subjects: Sequence[Any]) -> Sequence[Any]:
    """What `work` makes of the subjects, or of each by itself when it fails for all."""
    if not subjects:
        return ()
    try:
        found = work(subjects)
        if len(found) != len(subjects):
            raise TypeError(f"the processor gave {len(found)} results for {len(subjects)}")
    except Exception as error:  # noqa: BLE001 - it is this request's end, raised where it is awaited
        if len(subjects) == 1:
            return [error]
        return [_of_each(work, [subject])[0] for subject in subjects]
    return found


def _json(answer: Any) -> bytes:
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _settle(done: Sequence[tuple[_Job, Any]]) -> None:
    for job, result in done:
        if job.future.done():
            continue  # its caller left
        if isinstance(result, BaseException):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
