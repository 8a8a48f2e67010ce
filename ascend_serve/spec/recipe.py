"""Recipes: what to compile, said once for all SoCs.

A recipe is closed (unknown keys are errors) and frozen. Each field names the ATC option it sets, so that its
effect can be looked up in the vendor's manual (facts: ATC §1.3–1.9). What excludes what is checked here, before
anything runs; what only the model or the chip can tell is checked by `compiling.preflight`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, PrivateAttr, StrictInt, field_validator, model_validator

from ascend_serve.errors import ConfigError
from ascend_serve.spec.aipp import Aipp
from ascend_serve.spec.atc_options import AtcOptions
from ascend_serve.spec.closed import parse_closed
from ascend_serve.spec.gears import MOST_GEARS, Gears
from ascend_serve.spec.recipe_rules import check_recipe
from ascend_serve.spec.shapes import OPEN, Shape, fill
from ascend_serve.spec.soc import resolve_soc
from ascend_serve.spec.tuning import Tune
from ascend_serve.spec.verification import Tolerance

_EXTRA = re.compile(r"--(?P<name>[A-Za-z][A-Za-z0-9_-]*)=.*", re.DOTALL)
_FIELD_OF = {
    "mode": "mode",
    "framework": "framework",
    "model": "source",
    "weight": "weight",
    "output": "output",
    "soc_version": "targets",
    "input_shape": "inputs",
    "dynamic_batch_size": "gears",
    "dynamic_image_size": "image_gears",
    "dynamic_dims": "dims_gears",
}
"""Field by option, where the names differ."""
_FOREIGN = {
    "om": "it belongs to modes that compile nothing: see `ascend-serve inspect`",
    "json": "it belongs to modes that compile nothing: see `ascend-serve inspect`",
    "dump_mode": "it belongs to modes that compile nothing: see `ascend-serve inspect`",
    "auto_tune_mode": "ATC has it no more; the field `tune` makes a knowledge bank with AOE",
    "singleop": "a recipe compiles a model; compile single operators with atc itself",
}
"""Options that no recipe has, and why; `extra_args` may not name them either."""

GearKind = Literal["", "batch", "image", "dims"]
Framework = Literal["caffe", "mindspore", "tensorflow", "onnx"]
_FRAMEWORKS: dict[str, Framework] = {
    ".prototxt": "caffe",
    ".air": "mindspore",
    ".pb": "tensorflow",
    ".onnx": "onnx",
}


class CompileRecipe(AtcOptions):
    """What to compile: a network, its input shapes, its gears, and how.

    A recipe with `gears` is *batched*: axis 0 counts rows, and rows are independent, so that requests may share a
    run. One without any gears is compiled at exactly the shapes given and serves one request per run. For the other
    kinds of gears `batched` says it.

    Raises:
        ConfigError: through `parse`; the constructor raises pydantic's `ValidationError`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Name of the model: letters, digits, `_` and `-`. It is written into the `.om` (`--output`)."""

    source: str = Field(min_length=1)
    """The model, relative to the recipe's folder (`--model`): an ONNX file (`.onnx`, its external data beside it), a
    frozen TensorFlow graph (`.pb`), a TensorFlow SavedModel (a folder), Caffe (`.prototxt`), MindSpore (`.air`)."""

    framework: Framework | None = None
    """What `source` is (`--framework`); left out, its suffix tells."""

    weight: str | None = None
    """Caffe's weights (`--weight`), relative to the recipe's folder."""

    mode: Literal[0] | None = None
    """What ATC does (`--mode`): 0, an `.om`, which it does anyway. The others make no `.om`."""

    saved_model: Literal["freeze", "onnx"] = "freeze"
    """How a SavedModel reaches ATC: as a frozen graph, or as ONNX made by tf2onnx. Both need the extra
    `ascend-serve[tensorflow]`."""

    signature: str = "serving_default"
    """The signature of a SavedModel that is compiled."""

    output: str | None = None
    """Where each `.om` is also copied to (`--output`), without `.om`, relative to the recipe's folder; with several
    targets `_<SoC>` is added."""

    targets: tuple[str, ...] = ()
    """SoCs to compile for (`--soc_version`), such as `Ascend310P3`. Empty: those of the cluster."""

    inputs: dict[str, Shape] = Field(default_factory=dict)
    """Shape of each input (`--input_shape`): -1 where gears decide, and without gears where the caller does; `1~4`
    for a range, without gears. Empty: as the model says."""

    gears: tuple[StrictInt, ...] = ()
    """Batch sizes to compile for (`--dynamic_batch_size`); they need -1 at axis 0. A single one is compiled as a
    static shape, since ATC wants at least two."""

    image_gears: tuple[tuple[StrictInt, StrictInt], ...] = ()
    """Heights and widths to compile for (`--dynamic_image_size`): `[[224, 224], [256, 320]]`; they need -1 at exactly
    these two axes of `input_format` NCHW or NHWC."""

    dims_gears: tuple[tuple[StrictInt, ...], ...] = ()
    """Sizes of any axes to compile for (`--dynamic_dims`): in each gear one number for each -1 of `inputs`, in the
    order they stand there."""

    batched: bool | None = None
    """Whether axis 0 counts independent rows, so that requests may share a run. Left out, it does with `gears`, and
    with `image_gears` or `dims_gears` where every input and output begins with the same size at each gear. Write
    `false` where that size is no batch, as the time steps of one sequence: each request then runs by itself."""

    precision: Literal["fp16", "fp32", "mixed"] | None = None
    """What the network computes in, short for `precision_mode_v2`. `fp16` (`fp16`), which ATC does when nothing is
    said: every operator that has a half-precision kernel uses it. `fp32` (`origin`): the types of the model's own
    graph. `mixed` (`mixed_float16`): half precision where ATC's lists hold it to be harmless. Inputs and outputs
    keep their types in all three: `output_type: FP16` casts outputs and makes nothing faster."""

    aipp: tuple[Aipp, ...] = ()
    """Preprocessing of images on the card, written into the file of `--insert_op_conf`; clients then send uint8."""

    extra_args: tuple[str, ...] = ()
    """Further ATC options, each as `--option=value`. Part of the key, with the content of files they name."""

    as_written: dict[str, str] = Field(default_factory=dict)
    """How an imported command spelt options, by name, where the fields spell them otherwise: blanks, a separator at the
    end, nothing at all. It counts only where it says what the field says."""

    tune: Tune | None = None
    """Tune with AOE before building; runs where a card of the target is."""

    verify: Tolerance | None = None
    """Compare with the source before publishing; runs where a card of the target is."""

    timeout_s: float = Field(default=3600.0, gt=0)
    """Seconds after which a build is stopped."""

    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs that one build asks Ray for; ATC is told to use as many compile workers (`TE_PARALLEL_COMPILER`)."""

    memory_bytes: int | None = Field(default=None, ge=0)
    """Memory that one build asks Ray for; default 1 GiB and four times the model. Ray schedules by it and does not
    enforce it."""

    resources: dict[str, float] = Field(default_factory=dict)
    """Custom resources that one build asks Ray for, such as `{cann_8_5: 1}` on nodes that hold that CANN."""

    node_labels: dict[str, str] = Field(default_factory=dict)
    """Labels a node must have for a build, such as `{cann: "8.5"}`."""

    _order: tuple[str, ...] = PrivateAttr(default=())

    @property
    def counts_rows(self) -> bool | None:
        """Whether axis 0 counts rows: what `batched` says or the gears imply; None where the compiled shapes tell."""
        if self.batched is not None or self.gear_kind in ("image", "dims"):
            return self.batched
        return bool(self.gears)

    @property
    def gear_kind(self) -> GearKind:
        """Which gears the recipe has; empty when it has none."""
        return "batch" if self.gears else "image" if self.image_gears else "dims" if self.dims_gears else ""

    @property
    def gear_sizes(self) -> tuple[tuple[int, ...], ...]:
        """The gears of whichever kind, each as its sizes, in the recipe's order."""
        return tuple((size,) for size in self.gears) or self.image_gears or self.dims_gears

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs in the recipe's order; empty when it leaves them to the model."""
        return tuple(self.inputs)

    @property
    def needs_card(self) -> bool:
        """Whether building asks for a card of the target."""
        return self.tune is not None or self.verify is not None

    @property
    def said(self) -> tuple[str, ...]:
        """The fields that were given, in the order they were given in; all fields when that is not known."""
        return self._order or tuple(type(self).model_fields)

    def framework_of(self) -> Framework | Literal["saved_model"]:
        """What `source` is, by `framework` or its suffix; a path without suffix is a SavedModel's folder.

        Raises:
            ConfigError: neither tells.
        """
        if self.framework is not None:
            return self.framework
        name = self.source.rstrip("/").rpartition("/")[2]
        stem, dot, suffix = name.rpartition(".")
        if not (stem and dot):
            return "saved_model"
        if (told := _FRAMEWORKS.get(f".{suffix.lower()}")) is None:
            raise ConfigError(
                f"recipe '{self.name}': source {name} has a suffix that tells no framework "
                f"({', '.join(_FRAMEWORKS)}, or a SavedModel's folder): rename it, or give `framework` in the recipe"
            )
        return told

    def gear_shapes(self) -> Iterator[dict[str, tuple[int, ...]]]:
        """The shapes of all inputs at each gear, in the recipe's order; once, as they are, without gears.

        Only for recipes that give `inputs` and no open shapes.
        """
        if not self.gear_kind:
            yield fill(self.inputs, ())
            return
        for sizes in self.gear_sizes:
            holes = sum(dim == OPEN for shape in self.inputs.values() for dim in shape)
            # Batch and image sizes hold for every input that is open; dims are given for each -1 by itself.
            each = sizes if self.gear_kind == "dims" else sizes * (holes // len(sizes))
            yield fill(self.inputs, each)

    @classmethod
    def parse(cls, settings: object, where: str = "recipe") -> CompileRecipe:
        """Make a recipe from plain values, as read from YAML.

        Args:
            settings: a mapping of field names to values; their order is kept for the command line.
            where: what to call the recipe in messages, such as its file's name.

        Raises:
            ConfigError: a key or value is wrong; the message names all of them, the rule and the nearest key.
        """
        if not isinstance(settings, Mapping):
            raise ConfigError(
                f"{where}: a recipe is a mapping of keys to values, not {type(settings).__name__}"
            )
        recipe = parse_closed(cls, settings, where)
        recipe._order = tuple(map(str, settings))
        return recipe

    def __eq__(self, other: object) -> bool:
        # The order of keys decides where an option stands, which changes nothing.
        return isinstance(other, CompileRecipe) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # it holds dicts

    @field_validator("gears")
    @classmethod
    def _check_gears(cls, gears: tuple[int, ...]) -> tuple[int, ...]:
        if gears:
            Gears(gears)
        return gears

    @field_validator("image_gears", "dims_gears")
    @classmethod
    def _check_sizes(cls, gears: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if bad := [size for gear in gears for size in gear if size < 1]:
            raise ValueError(f"{bad[0]} is not a size of at least 1")
        if len(set(gears)) != len(gears):
            raise ValueError(f"{[list(gear) for gear in gears]}: each gear may stand once")
        if len(gears) > MOST_GEARS:
            raise ValueError(f"{len(gears)} gears: ATC takes at most {MOST_GEARS}")
        return gears

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        resolved = [resolve_soc(target).name for target in targets]
        return tuple(
            target for position, target in enumerate(targets) if resolved[position] not in resolved[:position]
        )

    @field_validator("extra_args")
    @classmethod
    def _check_extra_args(cls, extra_args: tuple[str, ...]) -> tuple[str, ...]:
        for argument in extra_args:
            match = _EXTRA.fullmatch(argument)
            if match is None:
                raise ValueError(f"{argument!r} is not of the form --option=value")
            # ATC reads dashes in a name as underscores and takes any unambiguous prefix of a name.
            name = match["name"].replace("-", "_")
            known = all_options()
            option = name if name in known else next(iter(sorted(o for o in known if o.startswith(name))), "")
            if option in _FOREIGN:
                raise ValueError(f"{argument!r}: {_FOREIGN[option]}")
            if option:
                raise ValueError(f"{argument!r} would set --{option}: use the field `{field_of(option)}`")
        return extra_args

    @model_validator(mode="after")
    def _check_whole(self) -> CompileRecipe:
        check_recipe(self)
        return self


def field_of(option: str) -> str:
    """The recipe's field for one of ATC's options."""
    return _FIELD_OF.get(option, option)


def all_options() -> tuple[str, ...]:
    """ATC's options that a field sets, and those that no recipe has."""
    return (*AtcOptions.model_fields, *_FIELD_OF, *_FOREIGN)
