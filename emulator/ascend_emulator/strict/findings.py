"""What a finding is, and how it reads.

A finding is made once, in the process and thread of the misuse. What is stored, sent and printed is its `Record`,
a dict of plain JSON values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from ascend_emulator.strict.stacks import Frame, Stack, shown

KINDS = {
    "use-after-free": "free memory, and destroy handles, after the last call that uses them",
    "double-free": "free or destroy each thing once; forget its address or handle there",
    "wrong-free": "give an address back by the function that belongs to the one it came from",
    "out-of-bounds": "keep offset plus size within what was asked for; the slack behind a block is not yours",
    "unpinned-copy": "copy asynchronously from and to memory of acl.rt.malloc_host, or use acl.rt.memcpy",
    "device-read": "copy device memory to the host with acl.rt.memcpy before host code reads it",
    "model-on-two-streams": "keep a model on one stream, order its executions by events, or load it once per stream",
    "dataset-in-flight": "use a dataset per execution in flight, or wait for the former execution first",
    "unsynchronised-read": "wait for the stream or an event behind that work (or let the reading stream wait) first",
    "in-flight-write": "wait for the work that still uses the memory before it is written again",
    "free-in-flight": "wait for the queued work before what it uses is freed",
    "no-context": "call acl.rt.set_context (or set_device) in every thread that makes calls",
    "use-after-fork": "start processes with spawn, or fork before acl opens a device",
    "leak": "free or destroy it before acl.finalize",
}
"""Every kind of finding, with the way out."""


class Origin(TypedDict):
    """Where something that a finding speaks of came from."""

    what: str
    stack: list[Frame]


class Record(TypedDict):
    """A finding in plain values. Addresses are ints; `test` is the pytest test that was running, or empty."""

    kind: str
    text: str
    call: str
    thread: str
    process: int
    test: str
    address: int | None
    size: int | None
    stack: list[Frame]
    origins: list[Origin]
    way_out: str


@dataclass(frozen=True)
class Finding:
    """One misuse.

    Attributes:
        kind: a key of `KINDS`.
        text: what happened, in a sentence.
        call: the function that was called, such as `acl.rt.memcpy`.
        thread: name of the thread.
        stack: where the misuse happened.
        origins: what else has a place in the program ("allocated", "freed", "queued"), with its stack.
        address: of the memory in question, or the handle; None when there is none.
        size: its bytes.
    """

    kind: str
    text: str
    call: str
    thread: str
    stack: Stack
    origins: tuple[tuple[str, Stack], ...] = ()
    address: int | None = None
    size: int | None = None

    def record(self, process: int, test: str) -> Record:
        """The finding in plain values."""
        return {
            "kind": self.kind,
            "text": self.text,
            "call": self.call,
            "thread": self.thread,
            "process": process,
            "test": test,
            "address": self.address,
            "size": self.size,
            "stack": shown(self.stack),
            "origins": [{"what": what, "stack": shown(stack)} for what, stack in self.origins],
            "way_out": KINDS[self.kind],
        }


def summary(records: Sequence[Record]) -> str:
    """Number of findings by kind, in one line."""
    counts = Counter(record["kind"] for record in records)
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    noun = "finding" if len(records) == 1 else "findings"
    return f"ascend-emulator strict mode: {len(records)} {noun}" + (f" ({kinds})" if kinds else "")


def text_of(record: Record, frames: int = 6) -> str:
    """A finding as lines of text.

    Args:
        record: the finding.
        frames: how many frames of each stack are shown.
    """
    lines = [f"{record['kind']}: {record['text']}"]
    where = f"in {record['call']}, thread {record['thread']}, process {record['process']}"
    for what, stack in (
        (where, record["stack"]),
        *((one["what"], one["stack"]) for one in record["origins"]),
    ):
        lines.append(f"  {what}:")
        lines += [f"    {frame['file']}:{frame['line']} in {frame['function']}" for frame in stack[:frames]]
        if len(stack) > frames:
            lines.append(f"    ... {len(stack) - frames} more")
    lines.append(f"  way out: {record['way_out']}")
    return "\n".join(lines)
