"""The bytes of models: from files and from memory, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ascend_emulator.client import addresses
from ascend_emulator.client.models import registry
from ascend_emulator.codes import (
    GE_MODEL_DATA_INVALID,
    GE_MODEL_PATH_INVALID,
    GE_PARAM_INVALID,
    INVALID_PARAM,
    Failure,
)

if TYPE_CHECKING:
    from ascend_emulator.om import OmFile

_HEADER_BYTES = 256


def of_file(path: str) -> bytes:
    """What a file holds.

    Raises:
        Failure: 145002, it cannot be read, or is no file that has a size (a device, an empty one).
    """
    file = Path(path)
    try:
        if not file.stat().st_size:
            raise Failure(GE_MODEL_PATH_INVALID, f"E13015: the model file {path!r} has a size of 0.")
        return file.read_bytes()
    except OSError as error:
        text = f"E13026: the model file {path!r} cannot be read: {error.strerror}."
        raise Failure(GE_MODEL_PATH_INVALID, text) from error


def of_memory(address: int, size: int) -> bytes:
    """What memory of the host, or device memory on a board, holds.

    Raises:
        Failure: 100000, null, empty, shorter than the header of a model, or no memory of this process.
    """
    if not address or not size:
        raise Failure(INVALID_PARAM, "EH0002: the model's memory must not be null or empty.")
    if size < _HEADER_BYTES:
        text = f"EH0001: {size} bytes are no model: its header alone has {_HEADER_BYTES}."
        raise Failure(INVALID_PARAM, text)
    return addresses.read(address, size, code=INVALID_PARAM)


def parse(content: bytes, *, code: int = GE_MODEL_DATA_INVALID) -> OmFile:
    """What a model says of itself.

    Args:
        content: the whole file.
        code: what data that is no model fails with.

    Raises:
        Failure: with `code`.
    """
    # Imported late: Ray's processes import acl to count devices, and few load a model.
    from ascend_emulator.om import OmError, read_om

    try:
        return read_om(content)
    except OmError as error:
        raise Failure(code, f"E19999: the data is no offline model: {error}") from error


def sizes(content: bytes) -> tuple[int, int]:
    """Bytes of working memory and of weights that a model asks for; a dynamic model tells no working memory.

    Raises:
        Failure: 145001 (no init), 145000 (no model).
    """
    registry.check_ready()
    om = parse(content, code=GE_PARAM_INVALID)
    return 0 if om.dynamic else om.memory_size, om.weight_size
