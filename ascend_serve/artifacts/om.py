"""Reads a compiled model: what it takes and gives, at which gears, for which SoC, and who made it.

Pure: bytes in, values out. No CANN and no card are needed (facts: ATC §3.9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ascend_serve.artifacts.container import (
    FLOW_MODEL,
    INOUT_INFO,
    MODEL_DEF,
    WEIGHTS,
    read_container,
)
from ascend_serve.artifacts.graph import Attrs, inout_of, read_model_def
from ascend_serve.artifacts.inout import InOut, OmTensor, is_inout, read_inout
from ascend_serve.artifacts.wire import WireError
from ascend_serve.errors import ConfigError, NotAnOm
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import BATCH_AXIS, DataType, TensorSpec
from ascend_serve.spec.toolchain import CANN, Toolchain

HIDDEN_INPUT = "ascend_mbatch_shape_data"
"""The input that ATC adds to a model with gears; the runtime sets it, callers never see it."""

_OUTPUT_NAME = re.compile(r"^.+?:\d+:(?P<tensor>.+)$")
_SOC_OPTION = re.compile(r"--?soc_version[= ](\S+)")


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

    def model_spec(self, name: str, batched: bool | None = None) -> ModelSpec:
        """The signature under which the model is served.

        A model with batch gears is batched. A static one is batched at the one gear N when all its tensors
        begin with the same N, which `batched=False` prevents and `batched=True` demands.

        Args:
            name: name of the served model.
            batched: whether rows of several requests may share a run; None decides from the shapes.

        Raises:
            ConfigError: the model cannot be served so: gears of another kind, open shapes, an element type
            without
                a numpy counterpart, outputs that do not scale with the gear, or `batched` against the file.
        """
        tensors = (*self.inputs, *self.outputs)
        is_open = self.dynamic or (
            not self.gear_kind and any(BATCH_AXIS in tensor.dims for tensor in tensors)
        )
        if is_open or self.gear_kind in ("image", "dims"):
            what = "open shapes" if is_open else f"{self.gear_kind} gears"
            raise ConfigError(f"model '{name}' has {what}; only static models and batch gears are served")
        if self.gears:
            if batched is False:
                raise ConfigError(
                    f"model '{name}' has batch gears {list(self.gears)}; batched cannot be false"
                )
            return self._spec(name, [tensor.dims[:1] == (BATCH_AXIS,) for tensor in self.inputs], self.gears)
        leading = {tensor.dims[:1] for tensor in tensors}
        shared = len(leading) == 1 and leading != {()}
        if batched and not shared:
            raise ConfigError(
                f"model '{name}' cannot be batched: its tensors do not all begin with the same size, "
                + ", ".join(f"{tensor.name} {list(tensor.dims)}" for tensor in tensors)
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


def read_om(data: bytes | memoryview) -> Om:
    """Read a whole `.om`.

    Raises:
        NotAnOm: it is no offline model, or a damaged one; the message says which.
    """
    container = read_container(memoryview(data))
    root = container.sub_models[0]
    if MODEL_DEF not in root:
        raise NotAnOm("it holds no model definition (partition 0): it is a bundle, or part of a larger model")
    try:
        model = read_model_def(root[MODEL_DEF])
    except WireError as error:
        raise NotAnOm(f"its model definition is damaged: {error}") from error
    summaries = [root[kind] for kind in (INOUT_INFO, FLOW_MODEL) if kind in root and is_inout(root[kind])]
    told = read_inout(summaries[0]) if summaries else inout_of(model)
    attrs = model.attrs
    cmdline = _text(attrs, "atc_cmdline")
    option = _SOC_OPTION.search(cmdline)
    return Om(
        name=container.name,
        soc=_text(attrs, "soc_version") or (option.group(1) if option else ""),
        toolchain=_toolchain(container.vendor_note, _text(attrs, "atc_version")),
        atc_cmdline=cmdline,
        inputs=tuple(tensor for tensor in told.inputs if tensor.name != HIDDEN_INPUT),
        outputs=tuple(
            OmTensor(output_name(tensor.name), tensor.dtype, tensor.dims) for tensor in told.outputs
        ),
        gears=tuple(sorted(gear[0] for gear in told.gears)) if told.gear_kind == "batch" else (),
        gear_kind=told.gear_kind,
        scaling=_scaling(told),
        dynamic=container.dynamic,
        memory_size=_size(attrs, "memory_size"),
        weight_size=_size(attrs, "weight_size") or len(root.get(WEIGHTS, b"")),
    )


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
    dims = (BATCH_AXIS, *tensor.dims[1:]) if batched else tensor.dims
    try:
        return TensorSpec(tensor.name, DataType.from_acl(tensor.dtype), dims)
    except ConfigError as error:
        raise ConfigError(f"tensor '{tensor.name}': {error}") from error


def _text(attrs: Attrs, key: str) -> str:
    value = attrs.get(key)
    return value if isinstance(value, str) else ""


def _size(attrs: Attrs, key: str) -> int:
    value = attrs.get(key)
    return value if isinstance(value, int) and value > 0 else 0
