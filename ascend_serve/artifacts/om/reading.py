"""Reads a compiled model: what it takes and gives, at which gears, for which SoC, and who made it.

Pure: bytes in, values out. No CANN and no card are needed (facts: ATC §3.9).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ascend_serve.artifacts.om import container as om_container
from ascend_serve.artifacts.om.aipp import Aipp, aipps_of
from ascend_serve.artifacts.om.attributes import Attrs, int_of, text_of
from ascend_serve.artifacts.om.cmdline import option, options, precision_of
from ascend_serve.artifacts.om.container import Container, read_container
from ascend_serve.artifacts.om.description import layout_of, origin_of, resources_of
from ascend_serve.artifacts.om.facts import (
    MODEL_TYPES,
    GearShapes,
    Layout,
    Library,
    Origin,
    Precision,
    Resources,
    SubModel,
)
from ascend_serve.artifacts.om.gears import gear_shapes
from ascend_serve.artifacts.om.generation0 import read_generation0
from ascend_serve.artifacts.om.graph import (
    ModelDef,
    Operators,
    constant_files,
    inout_of,
    input_nodes,
    read_model_def,
)
from ascend_serve.artifacts.om.inout import InOut, OmTensor, is_inout, read_inout
from ascend_serve.artifacts.om.parts import bundle_models, flow_models, libraries
from ascend_serve.artifacts.om.wire import WireError
from ascend_serve.errors import ConfigError, NotAnOm
from ascend_serve.spec.geared import GearedTensor, geared_spec
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import BATCH_AXIS, DataType, TensorSpec
from ascend_serve.spec.toolchain import CANN, Toolchain

HIDDEN_INPUT = "ascend_mbatch_shape_data"
"""The input that ATC adds to a model with gears; the runtime sets it, callers never see it."""

_OUTPUT_NAME = re.compile(r"^.+?:\d+:(?P<tensor>.+)$")
_DEEPEST = 2
"""A flow model may hold a bundle; nothing nests deeper, and a damaged file must not make it."""


@dataclass(frozen=True, slots=True)
class Om:
    """What an `.om` says about itself.

    Attributes:
        name: the output stem it was compiled to, cut at 31 characters.
        soc: SoC it was compiled for; empty when the file does not tell (before CANN 5).
        toolchain: who made it, and which version.
        atc_cmdline: ATC's command line as recorded, or empty.
        inputs: inputs a caller feeds; -1 stands at axes that gears set.
        outputs: outputs by their tensor names, at the largest gear.
        gears: batch sizes in ascending order; empty for a model without batch gears.
        gear_kind: `batch`, `image` or `dims`, or empty for a static model.
        scaling: per output, whether its axis 0 is the gear at every gear.
        dynamic: whether shapes are open at run time.
        memory_size: bytes of device memory for activations, as ATC planned them.
        weight_size: bytes of weights.
        layout: the file around the model.
        origin: versions, framework and host.
        gear_groups: the sizes of each gear of any kind, in the file's order.
        gear_shapes: shapes at each of them.
        input_order: input names in the order in which gears of any dims count; empty when the file does not tell.
        resources: what it asks for on the device, besides memory and weights.
        precision: in what it was told to compute.
        aipps: image preprocessing of its inputs.
        external_weights: files that hold weights and must be beside it.
        libraries: shared libraries inside it.
        operators: counts of all operators; None unless asked for.
        contained: the models of a bundle, or of a flow model, as far as they are whole `.om` files.
    """

    name: str
    soc: str
    toolchain: Toolchain
    atc_cmdline: str
    inputs: tuple[OmTensor, ...]
    outputs: tuple[OmTensor, ...]
    gears: tuple[int, ...]
    gear_kind: str
    scaling: tuple[bool, ...]
    dynamic: bool
    memory_size: int
    weight_size: int
    layout: Layout
    origin: Origin
    gear_groups: tuple[tuple[int, ...], ...]
    gear_shapes: tuple[GearShapes, ...]
    input_order: tuple[str, ...]
    resources: Resources
    precision: Precision
    aipps: tuple[Aipp, ...]
    external_weights: tuple[str, ...]
    libraries: tuple[Library, ...]
    operators: Operators | None = None
    contained: tuple[Om, ...] = ()

    def model_spec(self, name: str, batched: bool | None = None) -> ModelSpec:
        """The signature under which the model is served.

        A model with batch gears is batched. A static one is batched at the one gear N when all its tensors
        begin with the same N, which `batched=False` prevents and `batched=True` demands. With gears of image sizes,
        or of any dims, the same goes for each gear (`spec.geared`).

        Args:
            name: name of the served model.
            batched: whether rows of several requests may share a run; None decides from the shapes.

        Raises:
            ConfigError: the model cannot be served so: a bundle or another model that ATC does not write, open
                shapes, AIPP that is set for each run, gears whose output shapes the file does not tell, an element
                type without a numpy counterpart, outputs that do not scale with the batch gear, or `batched` against
                the file.
        """
        if self.layout.generation == 0 or self.layout.model_type != MODEL_TYPES[om_container.IR_TYPE]:
            what = self.layout.model_type if self.layout.generation else "model of DDK 1.x"
            raise ConfigError(
                f"model '{name}' is a {what}; only models that ATC writes since 2020 are served"
            )
        tensors = (*self.inputs, *self.outputs)
        is_open = self.dynamic or (
            not self.gear_kind and any(BATCH_AXIS in tensor.sent_dims for tensor in tensors)
        )
        if is_open:
            raise ConfigError(
                f"model '{name}' has open shapes; static models and models with gears are served: compile it with "
                "`gears`, `image_gears` or `dims_gears`"
            )
        if dynamic := [aipp.input for aipp in self.aipps if aipp.mode == "dynamic"]:
            raise ConfigError(
                f"model '{name}' has AIPP that is set for each run ({', '.join(dynamic)}); compile it with static AIPP"
            )
        if self.gear_kind in ("image", "dims"):
            inputs = [
                _geared(name, tensor, [shapes.inputs[place] for shapes in self.gear_shapes])
                for place, tensor in enumerate(self.inputs)
            ]
            outputs = [
                _geared(name, tensor, [shapes.outputs[place] for shapes in self.gear_shapes])
                for place, tensor in enumerate(self.outputs)
            ]
            return geared_spec(name, inputs, outputs, batched)
        if self.gears:
            if batched is False:
                raise ConfigError(
                    f"model '{name}' has batch gears {list(self.gears)}; batched cannot be false"
                )
            return self._spec(
                name, [tensor.sent_dims[:1] == (BATCH_AXIS,) for tensor in self.inputs], self.gears
            )
        leading = {tensor.sent_dims[:1] for tensor in tensors}
        shared = len(leading) == 1 and leading != {()}
        if batched and not shared:
            raise ConfigError(
                f"model '{name}' cannot be batched: its tensors do not all begin with the same size, "
                + ", ".join(f"{tensor.name} {list(tensor.sent_dims)}" for tensor in tensors)
            )
        if not shared or batched is False:
            return self._spec(name, [False] * len(self.inputs), (1,))
        return self._spec(name, [True] * len(self.inputs), next(iter(leading)))

    def _spec(self, name: str, batched_inputs: list[bool], gears: tuple[int, ...]) -> ModelSpec:
        whole = all(batched_inputs)
        batched_outputs = self.scaling if self.gears else (whole,) * len(self.outputs)
        return ModelSpec(
            name,
            tuple(_tensor_spec(*pair) for pair in zip(self.inputs, batched_inputs, strict=True)),
            tuple(_tensor_spec(*pair) for pair in zip(self.outputs, batched_outputs, strict=True)),
            Gears.of(gears),
        )


def read_om(data: bytes | memoryview, *, deep: bool = False) -> Om:
    """Read a whole `.om`.

    Args:
        data: the file; weights and kernels are not touched, so that a mapped file is cheap however large it is.
        deep: whether to count all operators, which takes about a second for 60 MB of graph.

    Raises:
        NotAnOm: it is no offline model, or a damaged one; the message says which.
    """
    return _read(memoryview(data), deep, 0)


def _read(data: memoryview, deep: bool, depth: int) -> Om:
    container = read_container(data)
    try:
        if container.table == "none":
            return _om(container, *read_generation0(container.raw))
        if container.model_type == om_container.BUNDLE_TYPE:
            return _bundle(container, deep, depth)
        definition = container.first(om_container.MODEL_DEF)
        if definition is None:
            return _without_definition(container)
        model = read_model_def(definition, deep=deep)
        om = _om(container, model, _told(container) or inout_of(model))
        return _with_flow(om, container, deep, depth)
    except WireError as error:
        raise NotAnOm(f"its model definition is damaged: {error}") from error


def _told(container: Container) -> InOut | None:
    """The summary, under the number of its time; None where there is none."""
    for kind in (om_container.INOUT_INFO, om_container.FLOW_MODEL):
        partition = container.first(kind)
        if partition is not None and is_inout(partition):
            return read_inout(partition)
    return None


def _om(container: Container, model: ModelDef, told: InOut) -> Om:
    attrs = model.attrs
    cmdline = text_of(attrs, "atc_cmdline")
    given = options(cmdline)
    inputs = tuple(tensor for tensor in told.inputs if tensor.name != HIDDEN_INPUT)
    batch = told.gear_kind == "batch"
    return Om(
        name=container.name or model.name,
        soc=text_of(attrs, "soc_version") or option(given, "soc_version") or "",
        toolchain=_toolchain(container.vendor_note, text_of(attrs, "atc_version")),
        atc_cmdline=cmdline,
        inputs=inputs,
        outputs=tuple(replace(tensor, name=output_name(tensor.name)) for tensor in told.outputs),
        gears=tuple(sorted(gear[0] for gear in told.gears)) if batch else (),
        gear_kind=told.gear_kind,
        scaling=_scaling(told),
        dynamic=container.dynamic,
        memory_size=max(int_of(attrs, "memory_size"), 0),
        weight_size=_weight_size(container, attrs),
        layout=layout_of(container, int_of(attrs, "om_compress_version") == 1),
        origin=origin_of(container, attrs),
        gear_groups=told.gears,
        gear_shapes=gear_shapes(told, inputs),
        input_order=told.input_order,
        resources=resources_of(attrs),
        precision=precision_of(cmdline),
        aipps=aipps_of(input_nodes(model)),
        external_weights=constant_files(model),
        libraries=libraries(container.first(om_container.SO_BINS)),
        operators=model.operators,
    )


def _weight_size(container: Container, attrs: Attrs) -> int:
    """As the model tells; the sum of the weights where it does not, or tells of the root's alone."""
    told = attrs.get("weight_size")
    if isinstance(told, int) and (told > 0 or len(container.sub_models) == 1):
        return max(told, 0)
    return sum(len(part.data) for part in container.all(om_container.WEIGHTS))


def _with_flow(om: Om, container: Container, deep: bool, depth: int) -> Om:
    """The same, with the sub-models of a flow model."""
    if container.model_type != om_container.FLOW_TYPE:
        return om
    parts = flow_models(container.sub_models[0])
    listed = tuple(SubModel(f"flow sub-model '{part.name}' ({part.kind})", ()) for part in parts)
    whole = [part.data for part in parts if len(part.data)] if depth < _DEEPEST else []
    contained = tuple(_read(data, deep, depth + 1) for data in whole)
    layout = replace(om.layout, sub_models=(*om.layout.sub_models, *listed))
    return replace(om, layout=layout, contained=contained)


def _bundle(container: Container, deep: bool, depth: int) -> Om:
    """What a bundle's models have in common, and the models."""
    if depth >= _DEEPEST:
        raise NotAnOm("bundles nested in bundles, as no tool writes them: the file is damaged")
    contained = tuple(_read(data, deep, depth + 1) for data in bundle_models(container.sub_models[0]))
    if not contained:
        raise NotAnOm("a bundle without a model: the file is damaged")
    socs = {om.soc for om in contained}
    return replace(
        _bare(container),
        soc=socs.pop() if len(socs) == 1 else "",
        toolchain=contained[0].toolchain
        if len({om.toolchain for om in contained}) == 1
        else Toolchain(CANN, ""),
        memory_size=sum(om.memory_size for om in contained),
        weight_size=sum(om.weight_size for om in contained),
        dynamic=any(om.dynamic for om in contained),
        contained=contained,
    )


def _without_definition(container: Container) -> Om:
    """A model for nano chips, whose graph was compiled away; the summary is what there is to read."""
    told = _told(container)
    if told is None or container.first(om_container.NANO_MODEL) is None:
        raise NotAnOm("it holds no model definition (partition 0): it is part of a larger model")
    return _om(container, ModelDef("", {}, ()), told)


def _bare(container: Container) -> Om:
    return _om(container, ModelDef("", {}, ()), InOut((), (), (), "", {}))


def output_name(told: str) -> str:
    """The tensor's own name out of `node:index:tensor`; `node:index` stays as it is."""
    match = _OUTPUT_NAME.match(told)
    return match["tensor"] if match else told


def _toolchain(vendor_note: str, atc_version: str) -> Toolchain:
    if not vendor_note:
        return Toolchain(CANN, atc_version)
    vendor, _, version = vendor_note.partition(" ")
    return Toolchain(vendor, version)


def _scaling(told: InOut) -> tuple[bool, ...]:
    """Whether axis 0 of each output is the gear: at every one the file tells of, else at the largest."""
    if told.gear_kind != "batch":
        return (False,) * len(told.outputs)
    sizes = [gear[0] for gear in told.gears]
    answers = []
    for position, tensor in enumerate(told.outputs):
        known = [told.output_dims.get((gear, position)) for gear in range(len(sizes))]
        if any(dims is not None for dims in known):
            answers.append(all(dims and dims[0] == size for dims, size in zip(known, sizes, strict=True)))
        else:
            answers.append(
                (-1, position) not in told.output_dims and tensor.dims[:1] in ((max(sizes),), (BATCH_AXIS,))
            )
    return tuple(answers)


def _tensor_spec(tensor: OmTensor, batched: bool) -> TensorSpec:
    dims = (BATCH_AXIS, *tensor.sent_dims[1:]) if batched else tensor.sent_dims
    return TensorSpec(tensor.name, _datatype(tensor), dims)


def _datatype(tensor: OmTensor) -> DataType:
    try:
        return DataType.from_acl(tensor.dtype)
    except ConfigError as error:
        raise ConfigError(f"tensor '{tensor.name}': {error}") from error


def _geared(name: str, tensor: OmTensor, shapes: Sequence[tuple[int, ...] | None]) -> GearedTensor:
    """The tensor with its shape at each gear, if the file tells them all."""
    if tensor.memory_dims:
        # NV12 has half as many rows again: the gear's height is not that of what is sent.
        raise ConfigError(
            f"model '{name}': images for '{tensor.name}' lie in memory as {list(tensor.memory_dims)}, whose sizes at a "
            "gear the file does not tell, so it cannot be served; compile it with the input_format RGB888_U8"
        )
    told = tuple(dims for dims in shapes if dims is not None and all(size >= 1 for size in dims))
    if len(told) != len(shapes):
        raise ConfigError(
            f"model '{name}': the file does not tell the shape of '{tensor.name}' at each of its gears, so it "
            "cannot be served; compile it with a newer ATC"
        )
    return GearedTensor(tensor.name, _datatype(tensor), told)
