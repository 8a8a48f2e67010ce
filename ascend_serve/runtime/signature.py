"""A model's signature as the device tells it, made into a `ModelSpec` or compared with one.

The rules are those of the file's own reader: a gear model's tensors carry -1 at axis 0; a static model counts
rows when all its tensors begin with the same number; anything else takes one request per run.
"""

from __future__ import annotations

import re
from pathlib import Path

from ascend_serve.errors import ArtifactError
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.model import DeviceTensor, OmModel
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import BATCH_AXIS, DataType, TensorSpec

_OUTPUT_NAME = re.compile(r".*?:\d+:(?P<tensor>.+)")
"""`node:index:tensor`, as ATC names outputs (facts: pyACL §9.2)."""


def describe(device: Device, om_path: Path, name: str, *, batched: bool | None = None) -> ModelSpec:
    """The spec of a ready-made `.om`, from the device's own description; the model is unloaded again.

    Args:
        device: where to load it.
        om_path: the file.
        name: what the model is to be called.
        batched: whether axis 0 of a static model counts rows; None decides by its shapes.

    Raises:
        ArtifactError: the file cannot be loaded, or is of a kind that is not served.
        ConfigError: its tensors make no `ModelSpec`, such as a datatype without a numpy counterpart.
    """
    with device.load(om_path) as model:
        return spec_of(model, name, batched=batched)


def spec_of(model: OmModel, name: str, *, batched: bool | None = None) -> ModelSpec:
    """The spec of a loaded model; arguments and errors as `describe`."""
    inputs = [tensor for index, tensor in enumerate(model.inputs) if index != model.gear_input]
    for tensor in inputs:
        dynamic = [axis for axis, dim in enumerate(tensor.dims) if dim < 0]
        if dynamic and (not model.gears or dynamic != [0]):
            raise ArtifactError(
                f"{model.path}: input '{tensor.name}' has dims {list(tensor.dims)}; only static models and "
                "models with batch gears (--dynamic_batch_size) are served"
            )
    tensors = [*inputs, *model.outputs]
    if model.gears:
        gears = Gears.of(model.gears)
        rows: int | None = gears.largest
        if batched is False:
            raise ArtifactError(
                f"{model.path} has batch gears {list(gears)}, so it cannot be served unbatched"
            )
    else:
        rows = _common_rows(tensors) if batched is not False else None
        if batched and rows is None:
            raise ArtifactError(
                f"{model.path} cannot be batched: axis 0 is not the same number on all inputs and outputs"
            )
        gears = Gears((rows or 1,))
    return ModelSpec(
        name=name,
        inputs=tuple(_tensor_spec(tensor, tensor.name, rows) for tensor in inputs),
        outputs=tuple(_tensor_spec(tensor, output_name(tensor.name), rows) for tensor in model.outputs),
        gears=gears,
    )


def output_name(name: str) -> str:
    """The tensor's own name out of `node:index:tensor`; other forms stay as they are."""
    match = _OUTPUT_NAME.fullmatch(name)
    return match["tensor"] if match else name


def _common_rows(tensors: list[DeviceTensor]) -> int | None:
    rows = {tensor.dims[0] if tensor.dims else None for tensor in tensors}
    return rows.pop() if len(rows) == 1 else None


def _tensor_spec(tensor: DeviceTensor, name: str, rows: int | None) -> TensorSpec:
    shape = tensor.dims
    if rows is not None and shape[:1] in ((rows,), (BATCH_AXIS,)):
        shape = (BATCH_AXIS, *shape[1:])
    return TensorSpec(name, DataType.from_acl(tensor.dtype), shape)


def check(model: OmModel, spec: ModelSpec) -> None:
    """Make sure that the device sees the model as the spec does, and that its buffers hold the largest gear.

    Raises:
        ArtifactError: a tensor's place, name, datatype, dims or size, or the gears, disagree.
    """
    seen = spec_of(model, spec.name, batched=spec.batched)
    if seen.gears != spec.gears:
        raise ArtifactError(
            f"{model.path}: the device tells gears {list(seen.gears)}, the spec {list(spec.gears)}"
        )
    for side, told, wanted in (
        ("input", seen.inputs, spec.inputs),
        ("output", seen.outputs, spec.outputs),
    ):
        if len(told) != len(wanted):
            raise ArtifactError(f"{model.path}: the device tells {len(told)} {side}s, the spec {len(wanted)}")
        for index, (ours, theirs) in enumerate(zip(wanted, told, strict=True)):
            if ours != theirs:
                raise ArtifactError(
                    f"{model.path}: {side} {index} is {_words(theirs)} on the device, "
                    f"{_words(ours)} in the spec"
                )
    for tensors, sizes in (
        (spec.inputs, [t.size for index, t in enumerate(model.inputs) if index != model.gear_input]),
        (spec.outputs, [t.size for t in model.outputs]),
    ):
        for tensor, size in zip(tensors, sizes, strict=True):
            if size < tensor.row_bytes * spec.gears.largest:
                raise ArtifactError(
                    f"{model.path}: the device keeps {size} bytes for '{tensor.name}', whose largest gear "
                    f"takes {tensor.row_bytes * spec.gears.largest}"
                )


def _words(tensor: TensorSpec) -> str:
    return f"'{tensor.name}' {tensor.dtype.name} {list(tensor.shape)}"
