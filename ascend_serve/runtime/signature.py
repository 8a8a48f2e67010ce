"""A model's signature as the device tells it, made into a `ModelSpec` or compared with one.

The rules are those of the file's own reader: the tensors of a model with batch gears carry -1 at axis 0; gears of
image sizes and of any axes make buckets (`spec/geared.py`); a static model counts rows when all its tensors begin
with the same number; anything else takes one request per run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.gears import OPEN, Key, Shape, gears_of, input_shapes
from ascend_serve.runtime.model import DeviceTensor, Gear, OmModel
from ascend_serve.spec.geared import GearedTensor, geared_spec
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import BATCH_AXIS, DataType, TensorSpec

OutputDims = Mapping[Gear, Sequence[Shape]]
"""Dims of each output at each gear of the device; empty for a model without gears."""

_OUTPUT_NAME = re.compile(r".*?:\d+:(?P<tensor>.+)")
"""`node:index:tensor`, as ATC names outputs (facts: pyACL §9.2)."""

_ANY_SIZE = 64
"""Bytes of a buffer that only holds a place in a data set: of all inputs, only the gear input is written."""


def describe(
    device: Device, om_path: Path, name: str, *, batched: bool | None = None, order: Sequence[str] = ()
) -> ModelSpec:
    """The spec of a ready-made `.om`, from the device's own description; the model is unloaded again.

    Args:
        device: where to load it.
        om_path: the file.
        name: what the model is to be called.
        batched: whether axis 0 counts rows; None decides by the shapes.
        order: names of the inputs in the order of `--input_shape`, in which gears of any axes count; the model's own
            order when empty.

    Raises:
        ArtifactError: the file cannot be loaded, or is of a kind that is not served.
        ConfigError: its tensors make no `ModelSpec`, such as a datatype without a numpy counterpart.
    """
    with device.load(om_path) as model:
        return spec_of(model, name, ask_output_dims(device, model), batched=batched, order=order)


def ask_output_dims(device: Device, model: OmModel) -> dict[Gear, tuple[Shape, ...]]:
    """Dims of each output at each gear; nothing may run on the model meanwhile.

    Each gear is set on a data set made for this alone, and `get_cur_output_dims` is asked (facts: pyACL §12.4).

    Raises:
        AclError: a gear could not be set.
    """
    if model.gear_input is None:
        return {}
    told = {}
    with ExitStack() as stack:
        place = stack.enter_context(device.device_buffer(_ANY_SIZE))
        buffers = [place] * len(model.inputs)
        buffers[model.gear_input] = stack.enter_context(
            device.device_buffer(model.inputs[model.gear_input].size)
        )
        inputs = stack.enter_context(device.dataset(buffers))
        for gear in model.gears:
            model.set_gear(inputs, gear)
            told[gear] = model.current_output_dims()
    return told


def spec_of(
    model: OmModel,
    name: str,
    output_dims: OutputDims,
    *,
    batched: bool | None = None,
    order: Sequence[str] = (),
) -> ModelSpec:
    """The spec of a loaded model; `output_dims` from `ask_output_dims`, other arguments and errors as `describe`."""
    opened = [tensor for tensor in model.visible_inputs if OPEN in tensor.dims]
    strange = [
        t for t in opened if not model.gear_kind or (model.gear_kind == "batch" and t.dims.index(OPEN))
    ]
    if strange:
        raise ArtifactError(
            f"{model.path}: input '{strange[0].name}' has dims {list(strange[0].dims)} and the model no gears for "
            "them; only static models and models with gears (--dynamic_batch_size, --dynamic_image_size, "
            "--dynamic_dims) are served"
        )
    if model.gear_kind in ("image", "dims"):
        return _free_spec(model, name, output_dims, batched, order)
    return _plain_spec(model, name, output_dims, batched)


def _free_spec(
    model: OmModel, name: str, output_dims: OutputDims, batched: bool | None, order: Sequence[str]
) -> ModelSpec:
    shapes = input_shapes(model, order)
    inputs = [
        GearedTensor(
            tensor.name,
            DataType.from_acl(tensor.dtype),
            tuple(shapes[gear][tensor.name] for gear in model.gears),
        )
        for tensor in model.visible_inputs
    ]
    outputs = [
        GearedTensor(
            output_name(tensor.name),
            DataType.from_acl(tensor.dtype),
            tuple(tuple(output_dims[gear][index]) for gear in model.gears),
        )
        for index, tensor in enumerate(model.outputs)
    ]
    try:
        return geared_spec(name, inputs, outputs, batched)
    except ConfigError as error:
        raise ArtifactError(f"{model.path} cannot be served so: {error}") from error


def _plain_spec(model: OmModel, name: str, output_dims: OutputDims, batched: bool | None) -> ModelSpec:
    inputs = model.visible_inputs
    tensors = [*inputs, *model.outputs]
    if model.gear_kind:
        gears = Gears.of(gear[0] for gear in model.gears)
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
    spec = ModelSpec(
        name=name,
        inputs=tuple(_tensor_spec(tensor, tensor.name, rows) for tensor in inputs),
        outputs=tuple(_tensor_spec(tensor, output_name(tensor.name), rows) for tensor in model.outputs),
        gears=gears,
    )
    for gear, told in output_dims.items():
        for tensor, dims in zip(spec.outputs, told, strict=True):
            if tuple(dims) != tensor.at(gear[0]):
                raise ArtifactError(
                    f"{model.path}: at gear {gear[0]} the device gives '{tensor.name}' {list(dims)}, where its largest "
                    f"gear makes it {list(tensor.at(gear[0]))}: rows of its output cannot be told apart"
                )
    return spec


def output_name(name: str) -> str:
    """The tensor's own name out of `node:index:tensor`; other forms stay as they are."""
    match = _OUTPUT_NAME.fullmatch(name)
    return match["tensor"] if match else name


def _common_rows(tensors: Sequence[DeviceTensor]) -> int | None:
    rows = {tensor.dims[0] if tensor.dims else None for tensor in tensors}
    return rows.pop() if len(rows) == 1 else None


def _tensor_spec(tensor: DeviceTensor, name: str, rows: int | None) -> TensorSpec:
    shape = tensor.dims
    if rows is not None and shape[:1] in ((rows,), (BATCH_AXIS,)):
        shape = (BATCH_AXIS, *shape[1:])
    return TensorSpec(name, DataType.from_acl(tensor.dtype), shape)


def check(
    model: OmModel, spec: ModelSpec, output_dims: OutputDims, order: Sequence[str] = ()
) -> dict[Key, Gear | None]:
    """Make sure that the device sees the model as the spec does, and that its buffers hold every gear.

    Args:
        model: a loaded model.
        spec: what its file says of it.
        output_dims: from `ask_output_dims`.
        order: names of the inputs in the order of `--input_shape`; found by the shapes when empty.

    Returns:
        What to set on the device for each gear of each bucket; None for a model without gears.

    Raises:
        ArtifactError: a tensor's place, name, datatype, shapes or size, or the gears, disagree.
    """
    _check_tensors(model, spec)
    gears = gears_of(model, spec, order)
    _check_shapes(model, spec, gears, output_dims)
    _check_sizes(model, spec)
    return gears


def _check_tensors(model: OmModel, spec: ModelSpec) -> None:
    for side, told, wanted in (
        ("input", [(tensor, tensor.name) for tensor in model.visible_inputs], spec.inputs),
        ("output", [(tensor, output_name(tensor.name)) for tensor in model.outputs], spec.outputs),
    ):
        if len(told) != len(wanted):
            raise ArtifactError(f"{model.path}: the device tells {len(told)} {side}s, the spec {len(wanted)}")
        for index, (ours, (theirs, name)) in enumerate(zip(wanted, told, strict=True)):
            dtype = DataType.from_acl(theirs.dtype)
            if (ours.name, ours.dtype) != (name, dtype) or not _may_be(ours.shape, theirs.dims):
                raise ArtifactError(
                    f"{model.path}: {side} {index} is '{name}' {dtype.name} {list(theirs.dims)} on the device, "
                    f"'{ours.name}' {ours.dtype.name} {list(ours.shape)} in the spec"
                )


def _may_be(shape: Shape, dims: Shape) -> bool:
    """Whether a spec's shape, with -1 for any size, can be the device's, with -1 where a gear decides."""
    return len(shape) == len(dims) and all(
        OPEN in (size, dim) or size == dim for size, dim in zip(shape, dims, strict=True)
    )


def _check_shapes(
    model: OmModel, spec: ModelSpec, gears: Mapping[Key, Gear | None], output_dims: OutputDims
) -> None:
    """Compare the shapes of outputs at every gear, and of inputs where there are no gears to tell them."""
    for (bucket, rows), gear in gears.items():
        told = [tensor.dims for tensor in model.outputs] if gear is None else output_dims[gear]
        pairs = list(zip(spec.outputs, told, strict=True))
        if gear is None:
            pairs += zip(spec.inputs, [tensor.dims for tensor in model.visible_inputs], strict=True)
        for tensor, dims in pairs:
            wanted = spec.shape_at(tensor.name, bucket, rows)
            if tuple(dims) != wanted:
                raise ArtifactError(
                    f"{model.path}: '{tensor.name}' is {list(dims)} on the device and {list(wanted)} in the spec"
                    + ("" if gear is None else f", at gear {list(gear)}")
                )


def _check_sizes(model: OmModel, spec: ModelSpec) -> None:
    for tensors, kept in ((spec.inputs, model.visible_inputs), (spec.outputs, model.outputs)):
        for tensor, theirs in zip(tensors, kept, strict=True):
            most = largest_bytes(spec, tensor.name)
            if theirs.size < most:
                raise ArtifactError(
                    f"{model.path}: the device keeps {theirs.size} bytes for '{tensor.name}', whose largest gear "
                    f"takes {most}"
                )


def largest_bytes(spec: ModelSpec, name: str) -> int:
    """Bytes of an input or output at the gear of whichever bucket takes most."""
    return max(spec.bytes_at(name, index, bucket.gears.largest) for index, bucket in enumerate(spec.buckets))
