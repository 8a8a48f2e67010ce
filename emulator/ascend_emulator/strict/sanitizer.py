"""The watcher that makes strict mode: judges every call, keeps the books, and delays the freeing of memory.

It takes part in the calls of all threads. Its own bookkeeping is done under a lock that is never held while a call is
made. A call that comes from inside the bookkeeping of the same thread (a `__del__`, a signal handler) goes through
unjudged, and what it did is noted afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from ascend_emulator.client.calling import Arguments, Function
from ascend_emulator.codes import RT_CONTEXT_NULL, RT_DEVICE_SETUP
from ascend_emulator.strict import stacks
from ascend_emulator.strict.blocks import Block, Memory
from ascend_emulator.strict.findings import Finding
from ascend_emulator.strict.insight import Insight
from ascend_emulator.strict.meaning import Meaning
from ascend_emulator.strict.memory_calls import Allocates, Frees
from ascend_emulator.strict.quarantine import BYTES, Quarantine, Release
from ascend_emulator.strict.stacks import Stack
from ascend_emulator.strict.state import Call, State
from ascend_emulator.strict.table import MEANINGS, NOTHING, PROBES

_FORKED_CODES = (RT_CONTEXT_NULL, RT_DEVICE_SETUP)


class Sanitizer:
    """Strict mode in one process.

    Args:
        insight: what the client knows.
        report: takes every finding.
    """

    def __init__(self, insight: Insight, report: Callable[[Finding], None]) -> None:
        self._insight = insight
        self._report = report
        self._lock = threading.RLock()
        self._inside = False
        self._late: list[tuple[Meaning, Call, Any, int]] = []
        self._fork: Stack | None = None
        self._forked: Stack | None = None
        self._start()

    def around(self, function: Function, proceed: Callable[[Arguments], Any], arguments: Arguments) -> Any:
        """See `Watcher`: make one call, with judgement before it and a note after it."""
        meaning = MEANINGS.get(function.path, NOTHING)
        call = Call(function.path, arguments)
        if not self._enter():
            result = proceed(arguments)
            call.take_stack()
            self._late.append((meaning, call, result, function.code_of(result) or 0))
            return result
        try:
            due, done = self._before(meaning, call, function)
        finally:
            self._leave()
        for release in due:
            release()
        if done:
            return 0
        result = proceed(call.arguments)
        code = function.code_of(result)
        if self._enter():
            try:
                self._after(meaning, call, result, code)
            finally:
                self._leave()
        else:
            call.take_stack()
            self._late.append((meaning, call, result, code or 0))
        return result

    def release_all(self) -> None:
        """Free all memory in quarantine for real."""
        with self._lock:
            due = self._quarantine.take_all()
        for release in due:
            release()

    def before_fork(self) -> None:
        """Note where the process forks, if a device is open."""
        self._fork = stacks.capture() if self._insight.open_devices() else None

    def after_fork(self) -> None:
        """In the child: whatever the parent had open is not this process's to use."""
        self._lock = threading.RLock()
        self._inside = False
        self._late.clear()
        self._quarantine.take_all()
        if self._forked is None:
            self._forked = self._fork
        if self._forked is None:
            self._start()

    def _start(self) -> None:
        self._state = State(self._insight, self._report)
        self._quarantine = Quarantine()

    def _enter(self) -> bool:
        self._lock.acquire()
        if self._inside:
            self._lock.release()
            return False
        self._inside = True
        return True

    def _leave(self) -> None:
        try:
            while self._late:
                meaning, call, result, code = self._late.pop(0)
                meaning.apply(self._state, call, result, code)
        finally:
            self._inside = False
            self._lock.release()

    def _before(self, meaning: Meaning, call: Call, function: Function) -> tuple[list[Release], bool]:
        """What is to be freed for real before the call, and whether that was all: the call is a free that waits."""
        if self._forked is not None:
            self._check_inherited(call)
            return [], False
        meaning.check(self._state, call)
        due: list[Release] = []
        # What a misuse does to a freed block is what it would do without quarantine.
        for freed in call.misused:
            due += self._quarantine.take(freed.start)
        if meaning.releases or (
            isinstance(meaning, Allocates) and self._is_short(call.arguments[meaning.size])
        ):
            due += self._quarantine.take_all()
        if isinstance(meaning, Frees):
            block = self._state.blocks.at(call.arguments[0])
            if block is not None and self._can_wait(block, call):
                meaning.apply(self._state, call, 0, 0)
                return due + self._quarantine.add(block, partial(function.run, call.arguments)), True
        return due, False

    def _after(self, meaning: Meaning, call: Call, result: Any, code: int | None) -> None:
        if self._forked is not None:
            if code in _FORKED_CODES and call.path not in PROBES:
                self._find_forked(call, f"{call.path} fails with {code}")
            return
        if code == RT_CONTEXT_NULL and call.path not in PROBES:
            text = f"{call.path} fails with {code}: this thread has no context"
            self._state.find("no-context", text, call)
        meaning.apply(self._state, call, result, code or 0)

    def _is_short(self, size: int) -> bool:
        """Whether quarantined memory might be what an allocation lacks."""
        return bool(self._quarantine.device_bytes()) and self._insight.free_bytes() < size + 2 * BYTES

    def _can_wait(self, block: Block, call: Call) -> bool:
        # Where queued work uses the block, and where the call fails, the program must see what hardware does.
        if call.path != block.freed_by or block.uses or block.holders:
            return False
        return block.memory is not Memory.RESERVED and self._insight.is_alive(block.device)

    def _check_inherited(self, call: Call) -> None:
        state = self._state
        for argument in call.arguments:
            if type(argument) is int and argument:
                known: Any = state.blocks.around(argument) or state.things.live_handle(argument)
                if known is not None:
                    origins = (("made", known.stack),)
                    text = f"{call.path} is given {argument:#x}, which belongs to the process that forked this one"
                    self._find_forked(call, text, origins)
                    return

    def _find_forked(self, call: Call, text: str, origins: tuple[tuple[str, Stack], ...] = ()) -> None:
        text += "; acl had opened a device before the fork"
        self._state.find("use-after-fork", text, call, (("forked", self._forked), *origins))
