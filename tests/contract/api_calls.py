"""Calls of `acl` in several threads, each compared with what the model says, and what they are made with."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import acl
import numpy as np

from tests.contract.api_model import Block, Dataset
from tests.contract.api_model_data import ApiModel
from tests.contract.workers import Worker

THREADS = 3
D2H = 2
MADE_UP = (0, 1, 64, 0x7F00_1234_5678, (1 << 64) - 1)


class ApiCalls:
    """The model, the threads, and the choice of handles and addresses.

    Args:
        om_files: models with gears and without, and their weights.
    """

    def __init__(self, om_files: dict[str, Path]) -> None:
        weights = np.load(om_files["weights"])
        self.model = ApiModel((weights["w"], weights["b"]))
        self.paths = [
            str(om_files["gears"]),
            str(om_files["static"]),
            str(om_files["weights"].parent / "none"),
        ]
        self.workers = [Worker() for _ in range(THREADS)]
        self.sets: list[tuple[bool, int, int]] = []
        self.fitting: set[int] = set()

    # --- how calls are made

    def call(self, who: int, name: str, *arguments: Any) -> bool:
        """Make a call in a thread and compare it with the model; gives whether it succeeded."""
        answer = getattr(self.model, name.replace(".", "_"))(who, *arguments)
        function: Any = acl
        for part in name.split("."):
            function = getattr(function, part)
        result = self.workers[who].do(lambda: function(*arguments))
        known = {*self.model.things, *self.model.blocks}
        try:
            return bool(answer.settle(result, known))
        except AssertionError as error:
            raise AssertionError(f"acl.{name}{arguments} in thread {who} gave {result}") from error

    def made(self) -> int:
        """The handle or address that was made last."""
        return [*self.model.things][-1]

    def handle(self, kind: type, choice: tuple[int, int]) -> int:
        """A handle of a kind, or something that is none."""
        mode, index = choice
        alive = self.model.handles(kind)
        if index % 4:
            # Else datasets that a model can take would soon all be spoilt.
            alive = [handle for handle in alive if handle not in self.fitting] or alive
        others = [handle for handle in self.model.things if handle not in alive]
        dead = sorted(self.model.given - set(self.model.things))
        found = alive if mode < 12 else others if mode == 12 else dead if mode == 13 else MADE_UP
        return found[index % len(found)] if found else 0

    def block(self, choice: tuple[int, int]) -> Block | None:
        blocks = list(self.model.blocks.values())
        return blocks[choice[1] % len(blocks)] if blocks else None

    def address(self, choice: tuple[int, int], offset: int) -> int:
        """An address in a block, or one that is none."""
        block = self.block(choice)
        if choice[0] == 15 or block is None:
            return MADE_UP[choice[1] % len(MADE_UP)]
        return block.address + offset % len(block.content)

    def may_use(self, who: int, stream: int | None, *ranges: tuple[int, int]) -> bool:
        """Whether memory may be used now: not by two streams at once, not before it was read, not from elsewhere."""
        context = self.model.context(who)
        user = None
        if stream is not None and context is not None:
            user = self.model.things.get(stream) if stream else self.model.default[context]
        for address, size in ranges:
            block = self.model.block_with(address, size)
            if block is None:
                if stream is not None and address:
                    return False  # the queued work would fail, and with it all that waits for the stream
                continue
            if context is not None and block.device not in (None, context.device):
                return False
            if block.computed is not None or block.user not in (None, user):
                return False
        return True

    def model_id(self, choice: tuple[int, int]) -> int:
        alive = [*self.model.models]
        if choice[0] < 14 and alive:
            return alive[choice[1] % len(alive)]
        dead = sorted(self.model.models_given - set(alive))
        return dead[choice[1] % len(dead)] if dead and choice[0] == 14 else (0, 1 << 20)[choice[1] % 2]

    def datasets(self, model_id: int, choice: tuple[int, int]) -> tuple[int, int]:
        """Datasets of inputs and outputs: mostly ones that were made for the model."""
        model = self.model.models.get(model_id)
        fitting = [made[1:] for made in self.sets if model is not None and made[0] == model.gears]
        if choice[0] < 12 and fitting:
            return fitting[choice[1] % len(fitting)]
        if choice[0] < 14 and self.sets:
            return self.sets[choice[1] % len(self.sets)][1:]
        return self.handle(Dataset, choice), self.handle(Dataset, (choice[0], choice[1] + 1))

    def read_blocks(self, who: int) -> None:
        for block in self.model.blocks.values():
            self.compare(who, block)

    def compare(self, who: int, block: Block) -> None:
        """Read a block that nothing works on, if this thread may, and let the model know the rest of it."""
        context, size = self.model.context(who), len(block.content)
        if block.user is not None or context is None or block.device not in (None, context.device):
            return
        found = np.zeros(size, np.uint8)
        if block.device is None:
            found[:] = np.frombuffer(ctypes.string_at(block.address, size), np.uint8)
        else:
            arguments = found.ctypes.data, size, block.address, size, D2H
            assert self.workers[who].do(lambda: acl.rt.memcpy(*arguments)) == 0
        known = block.content >= 0
        assert (found[known] == block.content[known]).all(), "memory holds something else"
        if block.computed is not None:
            start, numbers = block.computed
            seen = found[start : start + numbers.nbytes].tobytes()
            np.testing.assert_allclose(np.frombuffer(seen, np.float32), numbers, rtol=1e-4, atol=1e-4)
        block.content[:] = found
        block.computed = None

    def write_numbers(self, who: int, address: int, count: int, seed: int) -> None:
        numbers = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
        size = numbers.nbytes
        block = self.model.block_with(address, size)
        assert block is not None
        assert self.workers[who].do(lambda: acl.rt.memcpy(address, size, numbers.ctypes.data, size, 1)) == 0
        start = address - block.address
        block.content[start : start + size] = np.frombuffer(numbers.tobytes(), np.uint8)
