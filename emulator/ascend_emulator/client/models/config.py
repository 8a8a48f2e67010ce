"""Configurations of loads and executions (facts/pyacl.md §15.8; GE: api/acl/acl_model/model/model_config_om2.cpp)."""

from __future__ import annotations

from enum import IntEnum

from ascend_emulator.client import addresses, handles
from ascend_emulator.client.models import loading
from ascend_emulator.client.models.loading import OwnMemory
from ascend_emulator.codes import API_NOT_SUPPORT, INVALID_PARAM, Failure


class LoadAttr(IntEnum):
    """What can be set of a load: `aclmdlConfigAttr`."""

    PRIORITY = 0
    LOAD_TYPE = 1
    PATH = 2
    MODEL_ADDRESS = 3
    MODEL_BYTES = 4
    WEIGHT_ADDRESS = 5
    WEIGHT_BYTES = 6
    WORK_ADDRESS = 7
    WORK_BYTES = 8
    INPUT_QUEUES = 9
    INPUT_QUEUE_ADDRESS = 10
    OUTPUT_QUEUES = 11
    OUTPUT_QUEUE_ADDRESS = 12
    WORK_OPTIMISATION = 13
    WEIGHT_PATH = 14


class LoadType(IntEnum):
    """Where a model comes from, and whose memory it uses."""

    FILE = 1
    FILE_WITH_MEMORY = 2
    MEMORY = 3
    MEMORY_WITH_MEMORY = 4
    FILE_WITH_QUEUES = 5
    MEMORY_WITH_QUEUES = 6


_NEVER_NULL = {
    LoadAttr.PATH,
    LoadAttr.MODEL_ADDRESS,
    LoadAttr.INPUT_QUEUE_ADDRESS,
    LoadAttr.OUTPUT_QUEUE_ADDRESS,
    LoadAttr.WEIGHT_PATH,
}
_RANGES = {
    LoadAttr.PRIORITY: range(8),
    LoadAttr.LOAD_TYPE: range(1, 7),
    LoadAttr.WORK_OPTIMISATION: range(2),
}
_FROM_FILE = {LoadType.FILE, LoadType.FILE_WITH_MEMORY, LoadType.FILE_WITH_QUEUES}
_WITH_MEMORY = {LoadType.FILE_WITH_MEMORY, LoadType.MEMORY_WITH_MEMORY}
_WITH_QUEUES = {LoadType.FILE_WITH_QUEUES, LoadType.MEMORY_WITH_QUEUES}
_QUEUES = (
    LoadAttr.INPUT_QUEUE_ADDRESS,
    LoadAttr.INPUT_QUEUES,
    LoadAttr.OUTPUT_QUEUE_ADDRESS,
    LoadAttr.OUTPUT_QUEUES,
)

FOREVER_MS = -1


class LoadConfig:
    """What `create_config_handle` makes.

    Attributes:
        values: what was set; the path is a str, everything else an int.
    """

    def __init__(self) -> None:
        self.values: dict[LoadAttr, int | str] = {}

    def set(self, attr: int, value: int | str) -> None:
        """Set one attribute.

        Raises:
            Failure: 100000, no such attribute, or a value outside what it takes.
        """
        if attr not in LoadAttr.__members__.values():
            raise Failure(INVALID_PARAM, f"EH0001: attribute {attr} is invalid, it should be 0 to 14.")
        known = LoadAttr(attr)
        wanted = _RANGES.get(known)
        if wanted is not None and value not in wanted:
            text = f"EH0001: {known.name} {value} is invalid, it should be {wanted[0]} to {wanted[-1]}."
            raise Failure(INVALID_PARAM, text)
        if known in _NEVER_NULL and not value and not isinstance(value, str):
            raise Failure(INVALID_PARAM, f"EH0002: {known.name} must not be null.")
        self.values[known] = value

    def number(self, attr: LoadAttr) -> int:
        """An attribute's value; 0 where it was not set."""
        value = self.values.get(attr, 0)
        if isinstance(value, str):
            raise TypeError(f"{attr.name} is no number")
        return value


def load(handle: int) -> int:
    """Load as a configuration says.

    Returns:
        The model's id.

    Raises:
        Failure: 100000, no configuration, or one that does not say enough; 200001, with queues; and as
            `loading.load_file` and `loading.load_memory`.
    """
    config = handles.get(handle, LoadConfig)
    if LoadAttr.LOAD_TYPE not in config.values:
        raise Failure(INVALID_PARAM, "EH0001: the load type is not set in the configuration.")
    kind = LoadType(config.number(LoadAttr.LOAD_TYPE))
    _check_complete(config, kind)
    if kind in _WITH_QUEUES:
        refuse_queues(*(config.number(attr) for attr in _QUEUES))
    memory = OwnMemory()
    if kind in _WITH_MEMORY:
        memory = OwnMemory(
            config.number(LoadAttr.WORK_ADDRESS),
            config.number(LoadAttr.WORK_BYTES),
            config.number(LoadAttr.WEIGHT_ADDRESS),
            config.number(LoadAttr.WEIGHT_BYTES),
        )
    if kind in _FROM_FILE:
        return loading.load_file(str(config.values[LoadAttr.PATH]), memory)
    address, size = config.number(LoadAttr.MODEL_ADDRESS), config.number(LoadAttr.MODEL_BYTES)
    folder = addresses.text(config.number(LoadAttr.WEIGHT_PATH), code=INVALID_PARAM)
    return loading.load_memory(address, size, memory, folder)


def _check_complete(config: LoadConfig, kind: LoadType) -> None:
    if kind in _FROM_FILE:
        if LoadAttr.WEIGHT_PATH in config.values:
            raise Failure(INVALID_PARAM, "EH0001: a load from a file takes no path of the weights.")
        needed: tuple[LoadAttr, ...] = (LoadAttr.PATH,)
    else:
        needed = (LoadAttr.MODEL_ADDRESS, LoadAttr.MODEL_BYTES)
    if kind in _WITH_QUEUES:
        needed += _QUEUES
    missing = [attr.name for attr in needed if attr not in config.values]
    if missing:
        text = f"EH0001: {', '.join(missing)} must be set in the configuration of a load {kind.name}."
        raise Failure(INVALID_PARAM, text)


def refuse_queues(inputs: int, input_count: int, outputs: int, output_count: int) -> None:
    """What loading a model that is fed through queues ends with: such models are not emulated.

    Raises:
        Failure: 100000, null queues or none of them; 200001 else.
    """
    if not (inputs and input_count and outputs and output_count):
        raise Failure(
            INVALID_PARAM, "EH0001: input and output queues must not be null, and at least one each."
        )
    raise Failure(API_NOT_SUPPORT, "ascend-emulator: models that are fed through queues are not emulated.")


class ExecConfig:
    """What `create_exec_config_handle` makes.

    Attributes:
        stream_timeout_ms: how long an execution waits for its stream; -1 for ever.
        event_timeout_ms: how long it waits for events, of which there are none here.
    """

    def __init__(self) -> None:
        self.stream_timeout_ms = FOREVER_MS
        self.event_timeout_ms = FOREVER_MS

    def set(self, attr: int, value: int) -> None:
        """Set one attribute.

        Args:
            attr: 0 the time for the stream, 1 the time for events.
            value: milliseconds, as an unsigned number of 32 bits that stands for a signed one.

        Raises:
            Failure: 100000, no such attribute, or below -1.
        """
        time_ms = value - (1 << 32) if value >> 31 else value
        if attr not in (0, 1) or time_ms < FOREVER_MS:
            text = f"EH0001: attribute {attr} cannot be {time_ms}: attributes are 0 and 1, times are at least -1."
            raise Failure(INVALID_PARAM, text)
        if attr:
            self.event_timeout_ms = time_ms
        else:
            self.stream_timeout_ms = time_ms
