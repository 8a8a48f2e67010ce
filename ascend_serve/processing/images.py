"""Images in, labels out: the processor of image classifiers.

    processor: ascend_serve.processing.images:ImageClassifier
    processor_args: {resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}

A body is one JPEG or PNG, or a form with several (`multipart/form-data`). Needs Pillow (the extra `images`).

What reaches the model is, for float inputs, `(pixel / 255 - mean) / std` in the input's own dtype, computed in float32
as torchvision's `ToTensor` and `Normalize` do. An input of uint8 gets the pixels themselves: such a model normalises on
the device (AIPP). Whether channels come first is read off the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from ascend_serve.errors import (
    AscendServeError,
    ConfigError,
    MalformedRequest,
    RequestError,
    UnsupportedMedia,
)
from ascend_serve.processing.geometry import Geometry, Size
from ascend_serve.processing.multipart import parts_of
from ascend_serve.processing.processor import (
    Answered,
    Array,
    Decoded,
    Payload,
    Processor,
    ProcessorDoor,
    ProcessorSettings,
    Tensors,
)
from ascend_serve.processing.ranking import Scores, best, scored
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.text import nearest

_FORM = "multipart/form-data"
_NOT_OURS = ("image/", "video/", "audio/")
_OURS = ("image/jpeg", "image/jpg", "image/pjpeg", "image/png", "image/x-png", "image/*")


class ImageSettings(ProcessorSettings):
    """How pictures become tensors, and outputs labels.

    Attributes:
        resize: pixels of the shorter side, the other in proportion; or `[height, width]`.
        crop: pixels of the square kept around the middle, or `[height, width]`; left out, all is kept.
        resample: the filter of the resize.
        mean: subtracted from pixels of 0..1, one for each channel or one for all.
        std: what they are divided by then.
        channels: order of the colours that the model takes; a model with one channel gets grey.
        input: the model's input; default its only one.
        output: its output with a number for each class; default its only one.
        labels: names of the classes in their order, or a text file with one a line; default their numbers.
        top: how many labels an answer has.
        scores: what makes scores of outputs: `softmax`, `sigmoid`, or `raw` for none.
        max_pixels: most pixels of a picture as sent; three bytes each while it is decoded.
        max_images: most pictures of one form.
        upright: whether the EXIF orientation is heeded.
    """

    resize: int | Size
    crop: int | Size | None = None
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Literal["rgb", "bgr"] = "rgb"
    input: str | None = None
    output: str | None = None
    labels: tuple[str, ...] | None = None
    top: int = Field(default=5, ge=1)
    scores: Scores = "softmax"
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_images: int = Field(default=32, ge=1)
    upright: bool = True

    @field_validator("resize", "crop")
    @classmethod
    def _sides_are_pixels(cls, sides: int | Size | None, info: ValidationInfo) -> int | Size | None:
        if sides is not None and min((sides,) if isinstance(sides, int) else sides) < 1:
            raise ValueError(f"{info.field_name} is {sides}; a side has at least one pixel")
        return sides

    @field_validator("std")
    @classmethod
    def _std_divides(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if 0.0 in std:
            raise ValueError("std has a 0, by which nothing is divided")
        return std

    @field_validator("labels", mode="before")
    @classmethod
    def _read_labels(cls, labels: object) -> object:
        """Names out of a file, so that they and not its path travel to the replicas."""
        if not isinstance(labels, str | Path):
            return labels
        return tuple(cls.content_of(labels, "labels").splitlines())

    @model_validator(mode="after")
    def _sizes_agree(self) -> ImageSettings:
        self.geometry()
        return self

    def geometry(self) -> Geometry:
        """Sizes of what comes out.

        Raises:
            ConfigError: `resize` and `crop` do not go together.
        """
        crop = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop
        return Geometry(self.resize, crop)


class _Layout(NamedTuple):
    """How the model wants a picture.

    Attributes:
        planes: channels; 0 for a tensor without an axis of them.
        first: whether that axis comes first.
        leading: axes of 1 before it, beside the batch axis.
    """

    planes: int
    first: bool
    leading: int


class ImageClassifier(Processor[ImageSettings]):
    """JPEG and PNG bytes in, the best labels out, at `/v2/models/{model}/classify`.

    Raises:
        ConfigError: Pillow is missing, or the settings do not fit the model.
    """

    Settings: ClassVar[type[ProcessorSettings]] = ImageSettings
    doors: ClassVar[tuple[ProcessorDoor, ...]] = (ProcessorDoor(verb="classify"),)
    # Decoding takes milliseconds, so a thread takes one at a time; telling labels costs mostly what a call costs.
    encode_together: ClassVar[int] = 16

    def __init__(self, settings: ImageSettings, spec: ModelSpec) -> None:
        try:
            from ascend_serve.processing import pictures
        except ImportError as error:
            raise ConfigError(
                f"pictures need Pillow, which is not installed ({error}): pip install 'ascend-serve[images]'"
            ) from error
        self._read = pictures.read_pixels
        self._settings = settings
        self._geometry = settings.geometry()
        self._model = spec.name
        self._batched = spec.batched
        self._input = _chosen("input", spec.inputs, settings.input)
        self._output = _chosen("output", spec.outputs, settings.output)
        if len(spec.inputs) > 1:
            names = ", ".join(tensor.name for tensor in spec.inputs)
            raise ConfigError(f"'{spec.name}' has the inputs {names}: a picture makes one alone")
        self._layout = _layout(spec, self._input, self._geometry.size)
        self._levels = _levels(settings, self._input, self._layout.planes or 1)
        classes = _classes(spec, self._output)
        if settings.labels is not None and len(settings.labels) != classes:
            raise ConfigError(
                f"labels has {len(settings.labels)} names, but output '{self._output.name}' of '{spec.name}' has "
                f"{classes} classes"
            )
        self._labels = settings.labels or tuple(map(str, range(classes)))

    def decode(self, payload: Payload) -> Decoded:
        """Make tensors of a picture, or of each picture of a form.

        Raises:
            UnsupportedMedia: neither JPEG nor PNG, or a content type that says so.
            MalformedRequest: truncated or broken bytes, an animation, no form.
            RequestTooLarge: too many pixels or pictures.
        """
        kind = payload.content_type
        if kind == _FORM:
            parts = parts_of(payload.body, payload.parameters.get("boundary", ""), self._settings.max_images)
            if not parts:
                raise MalformedRequest("the form has no picture in it")
            names = [part.name for part in parts]
            rows = []
            for number, part in enumerate(parts, 1):
                try:
                    rows.append(self.tensor(part.content))
                except RequestError as error:
                    raise type(error)(f"picture {number} of the form: {error}") from None
            return Decoded(self._requests(rows), names)
        if kind.startswith(_NOT_OURS) and kind not in _OURS:
            raise UnsupportedMedia(f"content type '{kind}' is not taken: send a JPEG or PNG")
        return Decoded(self._requests([self.tensor(payload.body)]))

    def tensor(self, body: bytes) -> Array:
        """One row of the model's input, of one picture; raises as `decode`."""
        settings = self._settings
        pixels = self._read(
            body,
            self._geometry,
            grey=self._layout.planes < 3,
            resample=settings.resample,
            upright=settings.upright,
            max_pixels=settings.max_pixels,
        )
        planes = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if settings.channels == "bgr":
            planes = planes[::-1]
        row: Array
        if self._levels is None:
            row = planes
        else:
            row = np.stack([level[plane] for level, plane in zip(self._levels, planes, strict=True)])
        if not self._layout.planes:
            row = row[0]
        elif not self._layout.first:
            row = row.transpose(1, 2, 0)
        return np.ascontiguousarray(row[(np.newaxis,) * self._layout.leading])

    def encode(self, decoded: Decoded, outputs: Sequence[Tensors]) -> Any:
        """The best labels of each picture.

        Returns:
            `{"model", "labels": [{"label", "index", "score"}, ...]}`, the best first; for a form `{"model", "images":
            [{"name", "labels"}, ...]}` in its order.

        Raises:
            UnusableOutput: an output that is no finite number.
        """
        return self._told(decoded, self._ranked(self._rows(outputs)))

    def encode_many(self, answered: Sequence[Answered]) -> Sequence[Any]:
        """As `encode`, the classes of all ranked in one go."""
        rows = [self._rows(outputs) for _, outputs in answered]
        try:
            ranked = self._ranked(np.concatenate(rows))
        except AscendServeError:
            return super().encode_many(answered)  # which of them it is
        found, at = [], 0
        for (decoded, _), own in zip(answered, rows, strict=True):
            found.append(self._told(decoded, ranked[at : at + len(own)]))
            at += len(own)
        return found

    def _requests(self, rows: Sequence[Array]) -> list[Tensors]:
        name = self._input.name
        return [{name: np.stack(rows)}] if self._batched else [{name: row} for row in rows]

    def _rows(self, outputs: Sequence[Tensors]) -> Array:
        of_each = [tensors[self._output.name] for tensors in outputs]
        if not self._batched:
            return np.stack([array.reshape(-1) for array in of_each])
        (array,) = of_each
        return array.reshape(len(array), -1)

    def _ranked(self, rows: Array) -> list[list[dict[str, Any]]]:
        scores = scored(rows, self._settings.scores)
        order = best(scores, self._settings.top)
        values = np.take_along_axis(scores, order, axis=1).tolist()
        return [
            [
                {"label": self._labels[index], "index": index, "score": score}
                for index, score in zip(indices, own, strict=True)
            ]
            for indices, own in zip(order.tolist(), values, strict=True)
        ]

    def _told(self, decoded: Decoded, ranked: Sequence[Any]) -> dict[str, Any]:
        if decoded.context is None:
            return {"model": self._model, "labels": ranked[0]}
        images = [
            {"name": name, "labels": labels} for name, labels in zip(decoded.context, ranked, strict=True)
        ]
        return {"model": self._model, "images": images}


def _chosen(side: str, tensors: Sequence[TensorSpec], name: str | None) -> TensorSpec:
    names = [tensor.name for tensor in tensors]
    if name is None:
        if len(tensors) > 1:
            raise ConfigError(f"the model has the {side}s {', '.join(names)}: say which by `{side}`")
        return tensors[0]
    for tensor in tensors:
        if tensor.name == name:
            return tensor
    raise ConfigError(f"{side}: the model has no {side} '{name}'{nearest(name, names)}")


def _layout(spec: ModelSpec, tensor: TensorSpec, size: Size) -> _Layout:
    """How a picture of that height and width lies in the input."""
    found = []
    for bucket in spec.buckets:
        shape = bucket.shapes[tensor.name]
        found.append(shape)
        leading = 0
        while len(shape) > 3 and shape[0] == 1:
            shape, leading = shape[1:], leading + 1
        if shape == size:
            return _Layout(0, True, leading)
        if len(shape) == 3 and shape[1:] == size and shape[0] in (1, 3):
            return _Layout(shape[0], True, leading)
        if len(shape) == 3 and shape[:2] == size and shape[2] in (1, 3):
            return _Layout(shape[2], False, leading)
    taken = " or ".join(str(list(shape)) for shape in found)
    raise ConfigError(
        f"resize and crop make {size[0]} x {size[1]} (height x width), but a row of input '{tensor.name}' of "
        f"'{spec.name}' is {taken}: make them agree (1 or 3 channels, first or last)"
    )


def _levels(settings: ImageSettings, tensor: TensorSpec, planes: int) -> list[Array] | None:
    """What each of the 256 levels of a pixel becomes, for each channel; None where pixels stay as they are."""
    if tensor.dtype is DataType.UINT8:
        for key in ("mean", "std"):
            if key in settings.model_fields_set:
                raise ConfigError(
                    f"{key} is for float inputs; '{tensor.name}' is uint8, so the model normalises by itself "
                    "(the recipe's `aipp`): leave it out"
                )
        return None
    if tensor.dtype not in (DataType.FP32, DataType.FP16):
        raise ConfigError(
            f"input '{tensor.name}' is {tensor.dtype.name}; pictures are made FP32, FP16 or UINT8"
        )
    for key, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) not in (1, planes):
            raise ConfigError(f"{key} has {len(values)} numbers; one, or one for each of {planes} channels")
    units = np.arange(256, dtype=np.uint8).astype(np.float32) / np.float32(255)
    mean, std = (np.resize(np.array(values, np.float32), planes) for values in (settings.mean, settings.std))
    levels = [(units - mean[plane]) / std[plane] for plane in range(planes)]
    return [level.astype(tensor.dtype.numpy) for level in levels]


def _classes(spec: ModelSpec, tensor: TensorSpec) -> int:
    shape = tensor.row_shape
    long = [axis for axis in shape if axis != 1]
    if len(long) > 1 or -1 in long:
        raise ConfigError(
            f"output '{tensor.name}' of '{spec.name}' has rows of {list(shape)}; a classifier gives one number for "
            "each class"
        )
    return long[0] if long else 1
