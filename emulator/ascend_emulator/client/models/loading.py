"""Loading and unloading models and bundles (facts/pyacl.md §9.1)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ascend_emulator.client import process
from ascend_emulator.client.models import content, registry
from ascend_emulator.client.models.registry import Model
from ascend_emulator.codes import (
    GE_FAILURE,
    GE_LOAD_MODEL,
    GE_PARAM_INVALID,
    INVALID_BUNDLE_ID,
    INVALID_PARAM,
    Failure,
)
from ascend_emulator.soc import find_soc
from ascend_emulator.wire import LOAD, NOWHERE, ONE, Op

if TYPE_CHECKING:
    from ascend_emulator.client.process import Device
    from ascend_emulator.om import OmFile

_bundles: dict[int, list[int]] = {}


@dataclass(frozen=True)
class OwnMemory:
    """Memory of the program for a model to use; address 0 where the system finds it.

    Attributes:
        work: address of the working memory.
        work_bytes: its size.
        weights: address of the weights' memory.
        weight_bytes: its size.
    """

    work: int = 0
    work_bytes: int = 0
    weights: int = 0
    weight_bytes: int = 0


_NONE = OwnMemory()


def load_file(path: str, memory: OwnMemory = _NONE) -> int:
    """Load an .om.

    Returns:
        The model's id.

    Raises:
        Failure: 145001 (no init), 145002 (path), and as `load`.
    """
    registry.check_ready()
    data = content.of_file(path)
    return load(data, memory, str(Path(path).resolve().parent / "weight"))


def load_memory(address: int, size: int, memory: OwnMemory = _NONE, weights_folder: str | None = None) -> int:
    """Load an .om that lies in memory, which may go right after.

    Args:
        address: where it begins.
        size: its bytes.
        memory: the program's own for the model.
        weights_folder: as for `load`.

    Returns:
        The model's id.

    Raises:
        Failure: 100000 (null, empty, too short), and as `load`.
    """
    return load(content.of_memory(address, size), memory, weights_folder)


def load(data: bytes, memory: OwnMemory = _NONE, weights_folder: str | None = None) -> int:
    """Load the content of an .om.

    Args:
        data: the whole file.
        memory: the program's own for the model; it must stay until the model is unloaded.
        weights_folder: where the files of its external weights are; where it is not known, they are looked for
            in the working directory, as GE does (file_constant_utils.cc, GetExternalWeightDir).

    Returns:
        The model's id.

    Raises:
        Failure: 145001 (no init), 107002 (no context), 145006 (no whole .om), 545001 (not made by the
            emulator's atc, or broken), 145000 (another architecture, or the program's memory is too small or
            not the device's), 500002 (compiled for another host, or a file of weights is missing or too
            short), 245000 (no room).
    """
    registry.check_ready()
    device = process.current().device
    om = content.parse(data)
    if not om.toolchain:
        text = "ascend-emulator: CANN compiled this model for hardware; the emulator runs what its own atc compiled."
        raise Failure(GE_LOAD_MODEL, text)
    _check_arch(om)
    _check_host(om)
    weights = _weights(om, weights_folder)
    model_id = registry.new_id()
    body = LOAD.pack(model_id, *_ranges(device, om, memory), len(data))
    fd = os.memfd_create("ascend-emulator-model")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.writelines((data, *weights))
        os.lseek(fd, 0, os.SEEK_SET)
        device.link.call(Op.LOAD, body, fd=fd)
    finally:
        os.close(fd)
    registry.add(model_id, Model(device, replace(om, network=b"")))
    return model_id


def unload(model_id: int) -> None:
    """Unload a model.

    Raises:
        Failure: 100000, it belongs to a bundle; 145003, no such model.
    """
    if any(model_id in models for models in _bundles.values()):
        text = f"EH0001: model {model_id} belongs to a bundle: unload that with bundle_unload."
        raise Failure(INVALID_PARAM, text)
    _unload(model_id)


def load_bundle(data: bytes) -> int:
    """Load all models of a bundle.

    Returns:
        The bundle's id.

    Raises:
        Failure: 100000, no bundle; and as `load`.
    """
    from ascend_emulator.om_bundle import read_bundle  # few processes load one
    from ascend_emulator.om_container import OmError

    try:
        models = read_bundle(data)
    except OmError as error:
        raise Failure(INVALID_PARAM, f"EH0001: the data is no bundle of models: {error}") from error
    bundle_id = registry.new_id()
    loaded: list[int] = []
    try:
        for model in models:
            loaded.append(load(model))
    except Failure:
        for model_id in loaded:
            _unload(model_id)
        raise
    _bundles[bundle_id] = loaded
    return bundle_id


def models_of_bundle(bundle_id: int) -> list[int]:
    """The ids of a bundle's models, in its order.

    Raises:
        Failure: 148053, no such bundle.
    """
    models = _bundles.get(bundle_id)
    if models is None:
        raise Failure(INVALID_BUNDLE_ID, f"EH0001: no bundle with id {bundle_id} is loaded.")
    return models


def unload_bundle(bundle_id: int) -> None:
    """Unload a bundle and its models.

    Raises:
        Failure: 148053, no such bundle.
    """
    for model_id in models_of_bundle(bundle_id):
        _unload(model_id)
    del _bundles[bundle_id]


def _unload(model_id: int) -> None:
    model = registry.remove(model_id)
    # After reset_device the card has forgotten the model; programs unload it all the same.
    if not model.device.link.closed:
        model.device.link.call(Op.UNLOAD, ONE.pack(model_id))


def _ranges(device: Device, om: OmFile, memory: OwnMemory) -> tuple[int, int, int, int]:
    """The program's memory as the card calls it, checked for size as GE does (InitWeightMem, InitFeatureMapMem)."""
    found: list[int] = []
    for what, address, size, needed in (
        ("work", memory.work, memory.work_bytes, om.memory_size),
        ("weight", memory.weights, memory.weight_bytes, om.weight_size),
    ):
        # Of a dynamic model GE takes the weights' memory only: the executor finds its working memory itself.
        if not address or (om.dynamic and what == "work"):
            found += [NOWHERE, 0]
            continue
        if size < needed:
            text = f"E13025: the {what} size of model {om.name} is {needed}, but the input size set by user is {size}."
            raise Failure(GE_PARAM_INVALID, text)
        found += [device.link.address_on_wire(address), max(size, 1)]
    return found[0], found[1], found[2], found[3]


def _weights(om: OmFile, folder: str | None) -> list[bytes]:
    """The bytes of the model's external weights, in its order (GE: CopyOneWeightFromFile).

    GE takes a file that is too short without a word, and the weight's end is what was in the memory before.
    """
    found = []
    for constant in om.file_constants:
        path = Path(constant.file) if folder is None else Path(folder) / constant.file.rpartition("/")[2]
        start, end = constant.offset, constant.offset + constant.length
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not 0 <= start <= end <= size:
                    text = f"E19999: weight {constant.name} is bytes {start} to {end}, the file {path} has {size}."
                    raise Failure(GE_FAILURE, text)
                file.seek(start)
                found.append(file.read(constant.length))
        except (
            OSError,
            ValueError,
        ) as error:  # ValueError: a damaged model can name a file as no file can be
            text = f"E13001: Failed to open file {path!s}. Reason: {error}."
            raise Failure(GE_FAILURE, text) from error
    return found


def _check_arch(om: OmFile) -> None:
    soc = process.settings().soc
    try:
        arch = find_soc(om.soc_version).arch if om.soc_version else soc.arch
    except KeyError:  # a SoC that is newer than the table runs on none of it
        arch = 0
    if arch != soc.arch:
        text = (
            f"E10001: Value {om.soc_version} for parameter soc_version is invalid. Reason: "
            f"Model soc version is not support in this device. (The device is {soc.name}.)"
        )
        raise Failure(GE_PARAM_INVALID, text)


def _check_host(om: OmFile) -> None:
    here = f"{os.uname().sysname.lower()}_{os.uname().machine}"
    if om.host and om.host != here:
        text = f"E19999: the dynamic model was compiled for the host {om.host}, this one is {here}."
        raise Failure(GE_FAILURE, text)
