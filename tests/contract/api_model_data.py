"""The other half of the second opinion on `acl`: memory, datasets and models (facts/pyacl.md §8 to §12)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.contract.api_model import (
    ANY,
    COLUMNS,
    FLOAT,
    FRESH,
    GE_BATCH,
    GE_LENGTH,
    GE_MODEL,
    GE_NOT_INIT,
    GE_PARAM,
    GE_PATH,
    GEARS,
    INPUT_SLACK,
    INVALID_PARAM,
    MODEL_CONTEXT,
    NOT_SUPPORTED,
    REFUSED,
    RT_PARAM,
    UNKNOWN,
    Answer,
    Block,
    Buffer,
    Dataset,
    Desc,
    LoadedModel,
    RuntimeModel,
    Stream,
    bare,
    either,
    pair,
    ret,
)


class ApiModel(RuntimeModel):
    """The state of one process.

    Args:
        weights: w [8, 4] and b [4] of both models, which compute relu(x @ w) + b.
    """

    def __init__(self, weights: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
        super().__init__()
        self.weights = weights

    # --- memory (§8)

    def rt_malloc(self, thread: int, size: int, policy: int) -> Answer:
        context = self.context(thread)
        faults = self.no_context(thread) + ([] if size else [INVALID_PARAM])
        if size > 1 << 40:
            faults += [207001, 207018, INVALID_PARAM]
        return pair(faults, FRESH, self._new_block(size, context.device if context else None))

    def rt_malloc_host(self, thread: int, size: int) -> Answer:
        faults = self.no_context(thread) + ([] if size else [INVALID_PARAM])
        if size > 1 << 45:
            faults += [207001, INVALID_PARAM]
        return pair(faults, FRESH, self._new_block(size, None))

    def _new_block(self, size: int, device: int | None) -> Callable[[int], None]:
        def add(address: int) -> None:
            assert address % 64 == 0, hex(address)
            for block in self.blocks.values():
                apart = address + size <= block.address or block.address + len(block.content) <= address
                assert apart, (hex(address), hex(block.address))
            self.blocks[address] = Block(address, device, np.full(size, UNKNOWN, np.int16))

        return add

    def rt_free(self, thread: int, address: int) -> Answer:
        block = self.blocks.get(address)
        if block is None or block.device is None:
            return ret(
                [INVALID_PARAM] if not address else [0, REFUSED] if address in self.given else [REFUSED]
            )
        return ret([], lambda _: self.blocks.pop(address))

    def rt_free_host(self, thread: int, address: int) -> Answer:
        block = self.blocks.get(address)
        if block is None or block.device is not None:
            return ret([REFUSED] if address else [INVALID_PARAM])
        return ret([], lambda _: self.blocks.pop(address))

    def _range(self, address: int, size: int) -> tuple[Block | None, list[int]]:
        """The block that a range begins in; blocks have some slack behind them that may be used, or not (§8.2)."""
        block = self.block_with(address, 1) if address else None
        if block is None:
            return None, [REFUSED] if address else [INVALID_PARAM]
        return block, [] if self.block_with(address, size) else [0, REFUSED]

    def rt_memset(self, thread: int, address: int, room: int, value: int, size: int) -> Answer:
        if not size:
            return ret([])
        faults = self.no_context(thread) + ([] if size <= room else [REFUSED])
        return self._set(address, value, size, faults, None)

    def rt_memset_async(
        self, thread: int, address: int, room: int, value: int, size: int, handle: int
    ) -> Answer:
        if not size:
            return ret([])
        stream, faults = self.queue_of(thread, handle)
        return self._set(address, value, size, faults + ([] if size <= room else [RT_PARAM]), stream)

    def _set(self, address: int, value: int, size: int, faults: list[int], user: Stream | None) -> Answer:
        block, missing = self._range(address, size)

        def store(_: object) -> None:
            assert block is not None
            start = address - block.address
            block.content[start : start + size] = value & 0xFF
            block.user = user

        return ret(either(faults, missing), store)

    def rt_memcpy(self, thread: int, target: int, room: int, source: int, size: int, kind: int) -> Answer:
        if not size:
            return ret([])
        return self._copy(target, room, source, size, kind, self.no_context(thread), None)

    def rt_memcpy_async(
        self, thread: int, target: int, room: int, source: int, size: int, kind: int, handle: int
    ) -> Answer:
        if not size:
            return ret([])
        stream, faults = self.queue_of(thread, handle)
        blocks = self.block_with(target, size), self.block_with(source, size)
        if all(block is not None and block.device is None for block in blocks):
            faults = [*faults, NOT_SUPPORTED]
        return self._copy(target, room, source, size, kind, faults, stream)

    def _copy(
        self,
        target: int,
        room: int,
        source: int,
        size: int,
        kind: int,
        faults: list[int],
        user: Stream | None,
    ) -> Answer:
        to, no_target = self._range(target, size)
        start, no_source = self._range(source, size)
        faults = list(faults)
        if not 0 <= kind <= 5:
            faults.append(INVALID_PARAM)
        if size > room:
            faults.append(RT_PARAM)

        def move(_: object) -> None:
            assert to is not None
            assert start is not None
            first, second = target - to.address, source - start.address
            moved = start.content[second : second + size].copy()
            to.content[first : first + size] = UNKNOWN
            to.content[first : first + len(moved)] = moved[: len(to.content) - first]
            to.user = start.user = user

        return ret(either(either(faults, no_target), no_source), move)

    # --- data buffers and datasets (§10)

    def create_data_buffer(self, thread: int, address: int, size: int) -> Answer:
        return bare(FRESH, self.adding(Buffer(address, size)))

    def get_data_buffer_addr(self, thread: int, handle: int) -> Answer:
        buffer = self.thing(handle, Buffer)
        return bare(buffer.address if buffer else 0)

    def get_data_buffer_size_v2(self, thread: int, handle: int) -> Answer:
        buffer = self.thing(handle, Buffer)
        return bare(buffer.size if buffer else 0)

    def update_data_buffer(self, thread: int, handle: int, address: int, size: int) -> Answer:
        buffer = self.thing(handle, Buffer)

        def update(_: object) -> None:
            buffer.address, buffer.size = address, size

        return ret([] if buffer else [INVALID_PARAM], update)

    def destroy_data_buffer(self, thread: int, handle: int) -> Answer:
        known = self.thing(handle, Buffer) is not None
        return ret([] if known else [INVALID_PARAM], lambda _: self.things.pop(handle))

    def mdl_create_dataset(self, thread: int) -> Answer:
        return bare(FRESH, self.adding(Dataset()))

    def mdl_add_dataset_buffer(self, thread: int, handle: int, buffer: int) -> Answer:
        dataset = self.thing(handle, Dataset)
        known = dataset is not None and self.thing(buffer, Buffer) is not None
        return pair([] if known else [INVALID_PARAM], handle, lambda _: dataset.buffers.append(buffer))

    def mdl_get_dataset_num_buffers(self, thread: int, handle: int) -> Answer:
        dataset = self.thing(handle, Dataset)
        return bare(len(dataset.buffers) if dataset else 0)

    def mdl_get_dataset_buffer(self, thread: int, handle: int, index: int) -> Answer:
        dataset = self.thing(handle, Dataset)
        return bare(dataset.buffers[index] if dataset and 0 <= index < len(dataset.buffers) else 0)

    def mdl_destroy_dataset(self, thread: int, handle: int) -> Answer:
        known = self.thing(handle, Dataset) is not None
        return ret([] if known else [INVALID_PARAM], lambda _: self.things.pop(handle))

    # --- models (§9, §11, §12)

    def mdl_load_from_file(self, thread: int, path: str) -> Answer:
        context = self.context(thread)
        faults = self.no_context(thread)
        if not self.references:
            faults.append(GE_NOT_INIT)
        if not path.endswith(".om"):
            faults.append(GE_PATH)

        def load(model_id: int) -> None:
            assert context is not None
            assert model_id > max(self.models_given, default=0), "ids increase"
            self.models_given.add(model_id)
            self.models[model_id] = LoadedModel(context.device, path.endswith("gears.om"))

        return pair(faults, ANY, load)

    def mdl_unload(self, thread: int, model_id: int) -> Answer:
        if model_id not in self.models:
            return ret([0, GE_MODEL] if model_id in self.models_given else [GE_MODEL])
        return ret([], lambda _: self.models.pop(model_id))

    def mdl_create_desc(self, thread: int) -> Answer:
        return bare(FRESH, self.adding(Desc()))

    def mdl_get_desc(self, thread: int, handle: int, model_id: int) -> Answer:
        desc, model = self.thing(handle, Desc), self.models.get(model_id)
        faults = [] if desc else [INVALID_PARAM]
        if desc is not None:
            desc.gears = None  # whatever becomes of it (hicann/ge, aclmdlGetDescImpl)
        if model is None:
            # Of a model whose device was reset nothing says whether its description is still known.
            faults = either(faults, [GE_MODEL, *([0] if model_id in self.models_given else [])])

        def fill(_: object) -> None:
            desc.gears = model.gears if model else None

        return ret(faults, fill)

    def mdl_get_num_inputs(self, thread: int, handle: int) -> Answer:
        desc = self.thing(handle, Desc)
        return bare(0 if desc is None else ANY if desc.gears is None else 2 if desc.gears else 1)

    def mdl_get_input_size_by_index(self, thread: int, handle: int, index: int) -> Answer:
        desc = self.thing(handle, Desc)
        if desc is None or desc.gears is None:
            return bare(0 if desc is None else ANY)
        sizes = [max(GEARS) * COLUMNS * FLOAT, 4] if desc.gears else [4 * COLUMNS * FLOAT]
        return bare(sizes[index] if index < len(sizes) else 0)

    def mdl_destroy_desc(self, thread: int, handle: int) -> Answer:
        known = self.thing(handle, Desc) is not None
        return ret([] if known else [INVALID_PARAM], lambda _: self.things.pop(handle))

    def mdl_set_dynamic_batch_size(
        self, thread: int, model_id: int, handle: int, index: int, batch: int
    ) -> Answer:
        model, dataset = self.models.get(model_id), self.thing(handle, Dataset)
        faults = [] if batch else [INVALID_PARAM]
        if model is None:
            faults += [GE_MODEL, *([GE_BATCH, 0] if model_id in self.models_given else [])]
        elif not model.gears or batch not in GEARS:
            faults.append(GE_BATCH)
        buffer = None
        if dataset is not None and 0 <= index < len(dataset.buffers):
            buffer = self.thing(dataset.buffers[index], Buffer)
        if buffer is None or not buffer.address:
            faults.append(INVALID_PARAM)
        elif buffer.size < 4:
            faults.append(GE_LENGTH)
        block = self.block_with(buffer.address, min(buffer.size, 8)) if buffer else None
        if buffer is not None and buffer.address and (block is None or block.device is None):
            # On hardware the copy of the gear fails, or overwrites something.
            faults = either(faults, [0, REFUSED])

        def write(_: object) -> None:
            assert buffer is not None
            reached = self.block_with(buffer.address, 1)
            if reached is not None:
                gear = np.frombuffer(batch.to_bytes(8 if buffer.size >= 8 else 4, "little"), np.uint8)
                held = reached.content[buffer.address - reached.address :][: len(gear)]
                held[:] = gear[: len(held)]

        return ret(faults, write)

    def mdl_execute(self, thread: int, model_id: int, inputs: int, outputs: int) -> Answer:
        return self._execute(thread, model_id, inputs, outputs, self.no_context(thread), None)

    def mdl_execute_async(self, thread: int, model_id: int, inputs: int, outputs: int, handle: int) -> Answer:
        stream, faults = self.queue_of(thread, handle)
        return self._execute(thread, model_id, inputs, outputs, faults, stream)

    def _execute(
        self, thread: int, model_id: int, inputs: int, outputs: int, faults: list[int], user: Stream | None
    ) -> Answer:
        model, context = self.models.get(model_id), self.context(thread)
        sources, targets = self.buffers_of(inputs), self.buffers_of(outputs)
        if sources is None or targets is None:
            faults = [*faults, REFUSED]
        if model is None:
            faults = [*faults, GE_MODEL, *([MODEL_CONTEXT] if model_id in self.models_given else [])]
        elif context is not None and model.device != context.device:
            faults = [*faults, MODEL_CONTEXT]
        if model is None or sources is None or targets is None:
            return ret(faults)
        if len(sources) != 1 + model.gears or len(targets) != 1:
            faults = [*faults, GE_PARAM]
        elif not model.gears and sources[0].size + INPUT_SLACK < 4 * COLUMNS * FLOAT:
            faults = [*faults, GE_PARAM, 545000]
        if not all(buffer.address for buffer in (*sources, *targets)):
            faults = [*faults, INVALID_PARAM]
        return ret(faults, lambda _: self._compute(model, sources, targets[0], user))

    def buffers_of(self, handle: int) -> list[Buffer] | None:
        """The buffers of a dataset; None if it or one of them is gone."""
        dataset = self.thing(handle, Dataset)
        if dataset is None:
            return None
        found = [self.thing(buffer, Buffer) for buffer in dataset.buffers]
        return None if None in found else found

    def _bytes(self, buffer: Buffer, size: int, user: Stream | None) -> bytes | None:
        """What a buffer holds; None if a byte of it is unknown."""
        block = self.block_with(buffer.address, size)
        assert block is not None
        block.user = user
        start = buffer.address - block.address
        held = block.content[start : start + size]
        return None if (held == UNKNOWN).any() else held.astype(np.uint8).tobytes()

    def _compute(
        self, model: LoadedModel, sources: list[Buffer], target: Buffer, user: Stream | None
    ) -> None:
        rows: int | None = 4
        if model.gears:
            gear = self._bytes(sources[1], min(sources[1].size, 8), user)
            rows = None if gear is None else int.from_bytes(gear, "little")
            rows = rows if rows in GEARS else None
        data = self._bytes(sources[0], (rows or max(GEARS)) * COLUMNS * FLOAT, user)
        block = self.block_with(target.address, target.size)
        assert block is not None
        block.user, block.computed = user, None
        start = target.address - block.address
        block.content[start : start + target.size] = UNKNOWN
        if rows is not None and data is not None:
            x = np.frombuffer(data, np.float32).reshape(rows, COLUMNS)
            if np.isfinite(x).all() and np.abs(x).max() < 1e6:
                w, b = self.weights
                block.computed = start, (np.maximum(x @ w, 0) + b).reshape(-1)[: target.size // FLOAT]
