"""Calls that give, take, share and look at memory (facts/pyacl.md §8, §13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ascend_emulator.strict.blocks import Memory
from ascend_emulator.strict.meaning import Meaning, check_end
from ascend_emulator.strict.state import Call, State


@dataclass(frozen=True)
class Allocates(Meaning):
    """A call that gives `(address, ret)` of a new block; `size` is the argument with its bytes."""

    memory: Memory
    freed_by: str
    size: int = 0

    def check(self, state: State, call: Call) -> None:
        """Nothing to judge."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Enter the block."""
        if not code and result[0]:
            state.allocated(call, result[0], call.arguments[self.size], self.memory, self.freed_by)


class Frees(Meaning):
    """A call that gives back the block whose address is its first argument."""

    def check(self, state: State, call: Call) -> None:
        """Judge the address."""
        state.end_block(call, call.arguments[0])

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Cross the block off."""
        block = state.blocks.at(call.arguments[0])
        if block is not None and not code:
            state.blocks.free(block, call.stack)


class Imports(Meaning):
    """`ipc_mem_import_by_key(key, flags)`: memory of another process takes addresses of this one."""

    def check(self, state: State, call: Call) -> None:
        """Nothing to judge."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Enter the memory, under its key, unless it is known: imported already, or this process's own."""
        if not code and state.blocks.at(result[0]) is None:
            address = result[0]
            size = state.insight.bytes_at(address)
            state.imported[call.arguments[0]] = address
            state.allocated(call, address, size, Memory.IMPORTED, "acl.rt.ipc_mem_close")


class Closes(Meaning):
    """`ipc_mem_close(key)`, which ends an import or an export."""

    def check(self, state: State, call: Call) -> None:
        """Judge the import."""
        address = state.imported.get(call.arguments[0])
        if address is not None:
            state.end_block(call, address)

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Cross the import off."""
        address = state.imported.pop(call.arguments[0], None) if not code else None
        block = state.blocks.at(address) if address is not None else None
        if block is not None:
            state.blocks.free(block, call.stack)


class Shares(Meaning):
    """`ipc_mem_get_export_key(address, size, ...)`: what frees the memory is seen by other processes."""

    def check(self, state: State, call: Call) -> None:
        """Judge the range."""
        state.use_unordered(call, *call.arguments[:2])

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Note that the block is shared."""
        block = state.blocks.around(call.arguments[0])
        if block is not None and not code:
            block.holders.add(("key", 0))


class Inspects(Meaning):
    """A question about the address that is the first argument."""

    def check(self, state: State, call: Call) -> None:
        """Freed memory must look free, and asking is no misuse."""
        freed = state.blocks.freed_around(call.arguments[0])
        if freed is not None:
            call.misused += (freed,)


class Names(Meaning):
    """`(address, size)` of memory that is neither read nor written."""

    def check(self, state: State, call: Call) -> None:
        """Judge the range."""
        state.use_unordered(call, *call.arguments[:2])


class Registers(Meaning):
    """`host_register(address, size, type)`."""

    def check(self, state: State, call: Call) -> None:
        """Nothing to judge."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Enter the range."""
        if not code:
            address, size = call.arguments[:2]
            state.registered[address] = size
            state.things.add("registered host memory", address, call.stack)


class Unregisters(Meaning):
    """`host_unregister(address)`."""

    def check(self, state: State, call: Call) -> None:
        """Judge the address."""
        check_end(state, call, "registered host memory", call.arguments[0])

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Cross the range off."""
        if not code:
            state.registered.pop(call.arguments[0], None)
            state.things.end("registered host memory", call.arguments[0], call.stack)


class Reads(Meaning):
    """`(address, size)`: host code reads memory."""

    def check(self, state: State, call: Call) -> None:
        """Judge the range."""
        address, size = call.arguments[:2]
        state.use_on_host(call, address, size)


class Views(Meaning):
    """`ptr_to_numpy(address, shape, NumPy's type number)`."""

    def check(self, state: State, call: Call) -> None:
        """Judge the range; arguments that make no array are left to the call itself."""
        import numpy as np

        address, shape, number = call.arguments
        sizes = {np.dtype(code).num: np.dtype(code).itemsize for code in np.typecodes["All"]}
        if (
            number in sizes
            and isinstance(shape, tuple)
            and all(type(dim) is int and dim > 0 for dim in shape)
        ):
            size = sizes[number]
            for dim in shape:
                size *= dim
            state.use_on_host(call, address, size)
