"""Recipes: what to compile, said once for all SoCs.

A recipe is closed (unknown keys are errors) and frozen. Each field names the ATC option it sets, so that its
effect can be looked up in the vendor's manual (facts: ATC §1.3–1.9).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.soc import resolve_soc
from ascend_serve.spec.tensors import BATCH_AXIS
from ascend_serve.spec.text import nearest

_GIB = 1 << 30
_EXTRA = re.compile(r"--(?P<name>[A-Za-z][A-Za-z0-9_-]*)=.*", re.DOTALL)
_OWNED_OPTIONS = frozenset(
    [
        "mode",
        "framework",
        "model",
        "weight",
        "output",
        "soc_version",
        "input_format",
        "input_shape",
        "input_shape_range",
        "dynamic_batch_size",
        "dynamic_image_size",
        "dynamic_dims",
        "precision_mode",
        "precision_mode_v2",
        "output_type",
        "input_fp16_nodes",
        "log",
    ]
)
"""Options that fields set, or that would change what the fields mean; `extra_args` may not name them."""


class CompileRecipe(BaseModel):
    """What to compile: a network, its input shapes, its gears, and how.

    A recipe with gears is *batched*: axis 0 of every input is -1, and rows are independent, so that requests
    may share a run. One without gears is compiled at exactly the shapes given and serves one request per run.

    Raises:
        ConfigError: through `parse`; the constructor raises pydantic's `ValidationError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Name of the model: letters, digits, `_` and `-`. It is written into the `.om` (`--output`)."""

    source: str = Field(min_length=1)
    """Path of the ONNX file (`--model`), relative to the recipe's folder."""

    inputs: dict[str, tuple[StrictInt, ...]] = Field(default_factory=dict)
    """Shape of each input (`--input_shape`), -1 at axis 0 where gears set it. Empty: as the ONNX says."""

    gears: tuple[StrictInt, ...] = ()
    """Batch sizes to compile for (`--dynamic_batch_size`); needed if, and only if, axis 0 is -1. A single one
    is compiled as a static shape, since ATC wants at least two."""

    precision: Literal["fp16", "origin", "mixed"] = "fp16"
    """What the network computes in (`--precision_mode_v2`). `fp16`, ATC's own default: every operator that
    has a half-precision kernel uses it. `origin`: the types of the ONNX graph. `mixed` (`mixed_float16`):
    half precision where ATC's lists hold it to be harmless. Inputs and outputs keep their types in all
    three."""

    targets: tuple[str, ...] = ()
    """SoCs to compile for (`--soc_version`), such as `Ascend310P3`. Empty: those of the cluster."""

    input_format: Literal["ND", "NCHW", "NCDHW"] = "ND"
    """Layout of the inputs (`--input_format`): NCHW for images, ND where axes have no such meaning."""

    output_type: Literal["FP32", "FP16", "UINT8", "INT8"] | None = None
    """Type that all outputs are cast to (`--output_type`); what the network computes in stays as it is."""

    input_fp16_nodes: tuple[str, ...] = ()
    """Inputs that callers will send as half precision (`--input_fp16_nodes`)."""

    log: Literal["debug", "info", "warning", "error", "null"] = "error"
    """How much ATC logs (`--log`); not part of an artifact's key."""

    extra_args: tuple[str, ...] = ()
    """Further ATC options, each as `--option=value`. Part of the key, with the content of files they name."""

    timeout_s: float = Field(default=3600.0, gt=0)
    """Seconds after which a build is stopped."""

    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs that one build asks Ray for."""

    memory_bytes: int = Field(default=_GIB, ge=0)
    """Memory that one build asks Ray for. Ray schedules by it and does not enforce it."""

    @property
    def batched(self) -> bool:
        """Whether rows of several requests may share a run."""
        return bool(self.gears)

    @classmethod
    def parse(cls, settings: object, where: str = "recipe") -> CompileRecipe:
        """Make a recipe from plain values, as read from YAML.

        Args:
            settings: a mapping of field names to values.
            where: what to call the recipe in messages, such as its file's name.

        Raises:
            ConfigError: a key or value is wrong; the message names all of them, the rule and the nearest key.
        """
        if not isinstance(settings, Mapping):
            raise ConfigError(
                f"{where}: a recipe is a mapping of keys to values, not {type(settings).__name__}"
            )
        try:
            return cls(**{str(key): value for key, value in settings.items()})
        except ValidationError as error:
            raise ConfigError(f"{where}: " + "; ".join(_explain(fault) for fault in error.errors())) from None

    @field_validator("gears")
    @classmethod
    def _sort_gears(cls, gears: tuple[int, ...]) -> tuple[int, ...]:
        return Gears(gears).sizes if gears else gears

    @field_validator("targets")
    @classmethod
    def _resolve_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(resolve_soc(target).name for target in targets))

    @field_validator("extra_args")
    @classmethod
    def _check_extra_args(cls, extra_args: tuple[str, ...]) -> tuple[str, ...]:
        for argument in extra_args:
            match = _EXTRA.fullmatch(argument)
            if match is None:
                raise ValueError(f"{argument!r} is not of the form --option=value")
            # ATC reads dashes in a name as underscores and takes any unambiguous prefix of a name.
            name = match["name"].replace("-", "_")
            owned = sorted(option for option in _OWNED_OPTIONS if option.startswith(name))
            if owned:
                raise ValueError(f"{argument!r} would set --{owned[0]}, which the recipe's own fields set")
        return extra_args

    @model_validator(mode="after")
    def _check_shapes(self) -> CompileRecipe:
        for name, shape in self.inputs.items():
            if not name or ";" in name:
                raise ValueError(f"input {name!r}: ATC separates inputs by ';', so a name may not hold one")
            if BATCH_AXIS in shape[1:]:
                raise ValueError(f"input '{name}' has shape {list(shape)}: only axis 0 (the batch) may be -1")
            if any(dim < 1 and dim != BATCH_AXIS for dim in shape):
                raise ValueError(f"input '{name}' has shape {list(shape)}: dims are -1 or at least 1")
        open_inputs = [name for name, shape in self.inputs.items() if shape[:1] == (BATCH_AXIS,)]
        if self.gears and len(open_inputs) != len(self.inputs):
            fixed = [name for name in self.inputs if name not in open_inputs]
            raise ValueError(f"with gears, axis 0 of every input is -1; it is not for: {', '.join(fixed)}")
        if self.gears and not self.inputs:
            raise ValueError("gears need the inputs' shapes, such as inputs: {image: [-1, 3, 224, 224]}")
        if open_inputs and not self.gears:
            raise ValueError(f"input '{open_inputs[0]}' has -1 at axis 0: give gears, such as [1, 4, 8]")
        if self.inputs and (unknown := [name for name in self.input_fp16_nodes if name not in self.inputs]):
            raise ValueError(
                f"input_fp16_nodes: '{unknown[0]}' is no input{nearest(unknown[0], self.inputs)}"
            )
        return self


def _explain(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where}'{nearest(where, CompileRecipe.model_fields)}"
    if fault["type"] == "missing":
        return f"key '{where}' is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not where:
        return message
    return message if fault["type"] == "value_error" else f"{where}: {message}, not {fault['input']!r}"
