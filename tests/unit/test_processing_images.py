"""Pictures in, labels out: geometry and values beside an independent reference, odd files, labels and forms."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ascend_serve.errors import (
    ConfigError,
    MalformedRequest,
    RequestError,
    RequestTooLarge,
    UnsupportedMedia,
    UnusableOutput,
)
from ascend_serve.processing.images import ImageClassifier, ImageSettings
from ascend_serve.processing.loading import make_processor
from ascend_serve.processing.multipart import parts_of
from ascend_serve.processing.processor import Decoded, Payload
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

Array = np.ndarray[Any, np.dtype[Any]]
ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "examples/digits/images").glob("*.png"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES = "ascend_serve.processing.images:ImageClassifier"


def model(
    shape: tuple[int, ...] = (-1, 3, 28, 28),
    dtype: DataType = DataType.FP32,
    classes: tuple[int, ...] = (-1, 10),
) -> ModelSpec:
    gears = Gears((1, 4)) if shape[0] == -1 else Gears((1,))
    return ModelSpec(
        "pictures",
        (TensorSpec("image", dtype, shape),),
        (TensorSpec("logits", DataType.FP32, classes),),
        gears,
    )


def classifier(spec: ModelSpec | None = None, **args: Any) -> ImageClassifier:
    made = make_processor(IMAGES, {"resize": 32, "crop": 28, **args}, spec or model())
    assert isinstance(made, ImageClassifier)
    return made


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    body = io.BytesIO()
    picture.save(body, kind, **options)
    return body.getvalue()


def png(pixels: Array) -> bytes:
    return encoded(Image.fromarray(pixels))


# --- geometry and values, by a second implementation --------------------------------------------------


def bilinear(lines: Array, size: int) -> Array:
    """Resize axis 0 with the triangle filter, widened to the scale when shrinking; 8 bits out."""
    scale = len(lines) / size
    width = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs((np.arange(len(lines)) + 0.5)[None] - centres[:, None]) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(np.floor(np.tensordot(weights, lines.astype(np.float64), 1) + 0.5 + 1e-9), 0, 255)


def standard(pixels: Array, resize: int, crop: int) -> Array:
    """`Resize`, `CenterCrop`, `ToTensor` and `Normalize` as torchvision documents them, in float64."""
    height, width = pixels.shape[:2]
    short, long = min(height, width), max(height, width)
    other = int(resize * long / short)
    height, width = (resize, other) if height <= width else (other, resize)
    across = bilinear(pixels.swapaxes(0, 1), width).swapaxes(0, 1)
    small = bilinear(across, height)
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    cut = small[top : top + crop, left : left + crop]
    return ((cut / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)


@given(height=st.integers(5, 120), width=st.integers(5, 120), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_tensors_are_those_of_the_fields_standard_preprocessing(height: int, width: int, seed: int) -> None:
    pixels = noise(height, width, seed=seed)
    (request,) = classifier(mean=list(MEAN), std=list(STD)).decode(Payload(png(pixels), "image/png")).requests
    ours, theirs = request["image"], standard(pixels, 32, 28)
    assert (ours.shape, ours.dtype, ours.flags.c_contiguous) == ((1, 3, 28, 28), np.float32, True)
    # Pillow rounds between its two passes, whose order it chooses; one pixel's shift would be 80 levels in the mean.
    levels = np.abs(ours[0] - theirs) * 255 * np.array(STD)[:, None, None]
    assert levels.max() < 2.01
    assert levels.mean() < 0.5


def test_without_a_resize_to_do_the_values_are_exact() -> None:
    pixels = noise(28, 28)
    made = classifier(resize=[28, 28], crop=None, mean=list(MEAN), std=list(STD))
    expected = pixels.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        expected[channel] = (expected[channel] - np.float32(mean)) / np.float32(std)
    np.testing.assert_array_equal(made.tensor(png(pixels)), expected)


def test_pictures_of_digits_become_what_the_model_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = model((-1, 1, 32, 32))
    made = classifier(spec, resize=[32, 32], crop=None)
    assert len(PICTURES) == 30
    for path in PICTURES:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
        expected = np.divide(grey[np.newaxis], 255, dtype=np.float32)
        np.testing.assert_array_equal(made.tensor(path.read_bytes()), expected)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((-1, 3, 28, 28), DataType.FP16),
        ((-1, 28, 28, 3), DataType.FP32),
        ((-1, 28, 28, 3), DataType.UINT8),
        ((-1, 3, 28, 28), DataType.UINT8),
        ((-1, 28, 28), DataType.FP32),
        ((-1, 28, 28, 1), DataType.FP32),
        ((1, 3, 28, 28), DataType.FP32),
        ((3, 28, 28), DataType.FP32),
    ],
)
def test_the_models_layout_and_datatype_are_followed(shape: tuple[int, ...], dtype: DataType) -> None:
    classes = (-1, 10) if shape[0] == -1 else (1, 10)
    made = classifier(model(shape, dtype, classes), resize=[28, 28], crop=None)
    grey = 3 not in shape
    pixels = noise(28, 28, 1 if grey else 3)
    (request,) = made.decode(Payload(png(pixels))).requests
    tensor = request["image"]
    assert tensor.dtype == dtype.numpy
    assert tensor.shape == (1, *shape[1:]) if shape[0] == -1 else tensor.shape == shape
    values = tensor.astype(np.float64) * (1 if dtype is DataType.UINT8 else 255)
    rows = values.reshape([size for size in tensor.shape if size != 1])
    if not grey and rows.shape[0] == 3:
        rows = rows.transpose(1, 2, 0)
    np.testing.assert_allclose(rows, pixels, atol=0.2)


def test_bgr_is_rgb_backwards() -> None:
    pixels = noise(40, 33)
    np.testing.assert_array_equal(
        classifier(channels="bgr").tensor(png(pixels)), classifier().tensor(png(pixels))[::-1]
    )


# --- odd files ----------------------------------------------------------------------------------------


def seen(picture: Image.Image, kind: str = "PNG", **options: Any) -> Array:
    """The levels that reach a model of 28 x 28."""
    made = classifier(resize=[28, 28], crop=None)
    return np.rint(made.tensor(encoded(picture, kind, **options)) * 255).astype(int).transpose(1, 2, 0)


def test_every_kind_of_pixel_is_taken_as_its_colours() -> None:
    rgb = Image.fromarray(noise(28, 28))
    expected = np.asarray(rgb).astype(int)
    np.testing.assert_array_equal(seen(rgb), expected)
    transparent = rgb.copy()
    transparent.putalpha(Image.fromarray(noise(28, 28, 1, seed=1)))
    np.testing.assert_array_equal(seen(transparent), expected)
    grey = rgb.convert("L")
    for like_grey in (grey, grey.convert("LA")):
        np.testing.assert_array_equal(seen(like_grey), np.asarray(grey.convert("RGB")))
    bits = grey.convert("1")
    np.testing.assert_array_equal(seen(bits), np.asarray(bits.convert("RGB")))
    palette = rgb.quantize(16)
    np.testing.assert_array_equal(seen(palette), np.asarray(palette.convert("RGB")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Transparency of each palette entry: straight to RGB, Pillow would warn.
        clear = seen(palette, transparency=bytes(range(0, 160, 10)))
    np.testing.assert_array_equal(clear, np.asarray(palette.convert("RGB")))


def test_sixteen_bits_become_the_nearest_of_eight() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (28, 28)).astype(np.uint16)
    levels = seen(Image.fromarray(deep))
    np.testing.assert_array_equal(levels[..., 0], np.rint(deep / 257.0))


def test_a_cmyk_jpeg_is_converted() -> None:
    inks = Image.new("CMYK", (28, 28), (0, 255, 255, 0))  # no cyan: red
    levels = seen(inks, "JPEG", quality=95)
    assert levels[..., 0].min() > 240
    assert levels[..., 1:].max() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_exif_orientation_is_heeded_unless_told_otherwise(kind: str, orientation: int) -> None:
    picture = Image.fromarray(noise(50, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(picture, kind, exif=exif)
    with Image.open(io.BytesIO(body)) as stored:
        upright = encoded(ImageOps.exif_transpose(stored))
        as_stored = encoded(Image.fromarray(np.asarray(stored)))
    np.testing.assert_array_equal(classifier().tensor(body), classifier().tensor(upright))
    np.testing.assert_array_equal(classifier(upright=False).tensor(body), classifier().tensor(as_stored))


def test_of_a_jpeg_with_several_pictures_the_first_is_taken_and_an_animation_refused() -> None:
    first, second = (Image.fromarray(noise(40, 40, seed=seed)) for seed in (1, 2))
    both = encoded(first, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(classifier().tensor(both), classifier().tensor(encoded(first, "JPEG")))
    moving = encoded(first, "PNG", save_all=True, append_images=[second])
    with pytest.raises(MalformedRequest, match="animation"):
        classifier().tensor(moving)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", MalformedRequest, "body is empty"),
        (b"GIF89a" + b"\0" * 40, UnsupportedMedia, "neither JPEG nor PNG"),
        (b'{"inputs": []}', UnsupportedMedia, "neither JPEG nor PNG"),
        (b"\x89PNG\r\n\x1a\n", MalformedRequest, "PNG cannot be read"),
        (b"\xff\xd8\xff\xe0", MalformedRequest, "JPEG cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(body: bytes, error: type[RequestError], words: str) -> None:
    with pytest.raises(error, match=words):
        classifier().tensor(body)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_picture_is_refused_wherever_it_ends(kind: str) -> None:
    made, body = classifier(), encoded(Image.fromarray(noise(40, 40)), kind)
    # The last 32 bytes are checksums and end marks: without them all pixels are there.
    for end in range(8, len(body) - 32, max(1, len(body) // 40)):
        with pytest.raises(MalformedRequest):
            made.tensor(body[:end])


@given(
    kind=st.sampled_from(["JPEG", "PNG"]),
    changes=st.lists(st.tuples(st.integers(8, 1500), st.binary(min_size=1, max_size=4)), max_size=6),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_bytes_give_a_tensor_or_a_refusal_and_nothing_else(
    kind: str, changes: list[tuple[int, bytes]]
) -> None:
    body = bytearray(encoded(Image.fromarray(noise(20, 20)), kind))
    for at, new in changes:
        body[at : at + len(new)] = new
    try:
        tensor = classifier(max_pixels=10_000).tensor(bytes(body))
    except RequestError:
        return
    assert tensor.shape == (3, 28, 28)


def claiming(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and has hardly any data."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("size", [(101, 100), (10_000, 10_000), (60_000, 60_000)])
def test_more_pixels_than_the_bound_are_refused_before_they_are_read(size: tuple[int, int]) -> None:
    with pytest.raises(RequestTooLarge, match="pixels"):
        classifier(max_pixels=10_000).tensor(claiming(*size))


def test_a_thin_picture_is_refused_before_the_resize_makes_it_huge() -> None:
    with pytest.raises(RequestTooLarge, match="resize would make 320000 x 32"):
        classifier(max_pixels=10_000).tensor(png(noise(1, 10_000)))


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("", True),
        ("application/octet-stream", True),
        ("application/x-www-form-urlencoded", True),
        ("image/jpeg", True),
        ("image/webp", False),
        ("video/mp4", False),
    ],
)
def test_a_content_type_counts_only_when_it_names_another_medium(content_type: str, taken: bool) -> None:
    payload = Payload(png(noise(28, 28)), content_type)
    if taken:
        assert len(classifier().decode(payload).requests) == 1
    else:
        with pytest.raises(UnsupportedMedia, match=content_type):
            classifier().decode(payload)


# --- labels -------------------------------------------------------------------------------------------


def logits(*rows: list[float]) -> list[dict[str, Array]]:
    return [{"logits": np.array(rows, np.float32)}]


def scores(made: ImageClassifier, row: list[float]) -> list[tuple[str, int, float]]:
    answer = made.encode(Decoded([{}]), logits(row))
    assert answer["model"] == "pictures"
    return [(told["label"], told["index"], told["score"]) for told in answer["labels"]]


ROW = [0.0, 2.0, -1.0, 2.0, 5.0, 0, 0, 0, 0, 0]


def test_the_best_labels_come_first_and_equals_in_their_order() -> None:
    names = [f"class {number}" for number in range(10)]
    found = scores(classifier(labels=names, top=3), ROW)
    assert [told[:2] for told in found] == [("class 4", 4), ("class 1", 1), ("class 3", 3)]
    expected = np.exp(ROW) / np.exp(ROW).sum()
    np.testing.assert_allclose([score for *_, score in found], expected[[4, 1, 3]])
    everything = scores(classifier(top=99), ROW)
    assert len(everything) == 10
    assert sum(score for *_, score in everything) == pytest.approx(1)
    assert everything[0][0] == "4", "without names classes are their numbers"


def test_scores_may_be_of_each_class_by_itself_or_as_they_are() -> None:
    assert scores(classifier(scores="sigmoid", top=1), ROW)[0][2] == pytest.approx(1 / (1 + np.exp(-5)))
    assert scores(classifier(scores="sigmoid", top=1), [-1e30] * 10)[0][2] == 0
    assert scores(classifier(scores="raw", top=2), ROW) == [("4", 4, 5.0), ("1", 1, 2.0)]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 99))
def test_answers_told_together_are_those_told_alone(sizes: list[int], seed: int) -> None:
    made, random = classifier(), np.random.default_rng(seed)
    answered = [
        (Decoded([{}], [f"{row}.png" for row in range(rows)]), [{"logits": random.normal(size=(rows, 10))}])
        for rows in sizes
    ]
    assert list(made.encode_many(answered)) == [made.encode(*one) for one in answered]


def test_an_answer_that_cannot_be_told_spoils_no_other() -> None:
    made = classifier()
    good, bad = (Decoded([{}]), logits(ROW)), (Decoded([{}]), logits([np.nan] * 10))
    first, second, third = made.encode_many([good, bad, good])
    assert first == third == made.encode(*good)
    assert isinstance(second, UnusableOutput)
    assert "no finite number" in str(second)


def test_a_model_without_a_batch_axis_takes_each_picture_by_itself() -> None:
    made = classifier(model((1, 3, 28, 28), classes=(1, 10)))
    decoded = made.decode(form(png(noise(28, 28)), png(noise(30, 30))))
    assert [request["image"].shape for request in decoded.requests] == [(1, 3, 28, 28)] * 2
    answer = made.encode(decoded, logits(ROW) + logits(ROW[::-1]))
    assert [image["labels"][0]["index"] for image in answer["images"]] == [4, 5]


# --- forms --------------------------------------------------------------------------------------------


def written(parts: list[tuple[str, bytes]], boundary: str) -> bytes:
    lines = b""
    for name, content in parts:
        lines += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        )
        lines += content + b"\r\n"
    return lines + f"--{boundary}--\r\n".encode()


def form(*pictures: bytes) -> Payload:
    parts = [(f"{number}.png", picture) for number, picture in enumerate(pictures)]
    return Payload(written(parts, "edge"), "multipart/form-data", {"boundary": "edge"})


def test_a_form_is_answered_for_each_of_its_pictures() -> None:
    made = classifier(top=1)
    decoded = made.decode(form(png(noise(28, 28)), png(noise(40, 30))))
    (request,) = decoded.requests
    assert request["image"].shape == (2, 3, 28, 28)
    np.testing.assert_array_equal(request["image"][0], made.tensor(png(noise(28, 28))))
    answer = made.encode(decoded, logits(ROW, ROW[::-1]))
    assert [(image["name"], image["labels"][0]["index"]) for image in answer["images"]] == [
        ("0.png", 4),
        ("1.png", 5),
    ]


def test_what_is_wrong_in_a_form_is_named() -> None:
    with pytest.raises(UnsupportedMedia, match="picture 2 of the form: the body begins with"):
        classifier().decode(form(png(noise(28, 28)), b"GIF89a"))
    with pytest.raises(MalformedRequest, match="no picture"):
        classifier().decode(form())
    with pytest.raises(RequestTooLarge, match="more than the 1 "):
        classifier(max_images=1).decode(form(png(noise(28, 28)), png(noise(28, 28))))


@given(st.lists(st.tuples(st.text("abc.é", max_size=5), st.binary(max_size=60)), max_size=4))
def test_parts_come_back_as_they_were_written(parts: list[tuple[str, bytes]]) -> None:
    assert [tuple(part) for part in parts_of(written(parts, "-edge-"), "-edge-", 4)] == parts


@given(st.binary(max_size=80), st.integers(0, 200))
def test_no_bytes_make_the_form_reader_fail_otherwise(noise_: bytes, cut: int) -> None:
    for body in (noise_, b"--e" + noise_, written([("a", noise_)], "e")[:cut]):
        try:
            parts_of(body, "e", 2)
        except RequestError:
            continue


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"resise": 3}, "unknown key 'resise'; did you mean 'resize'?"),
        ({"crop": 40}, "crop [40, 40] is larger than what resize: 32 leaves"),
        ({"crop": None}, "sets the shorter side alone"),
        ({"resize": 0}, "resize is 0; a side has at least one pixel"),
        (
            {"crop": 20},
            "make 20 x 20 (height x width), but a row of input 'image' of 'pictures' is [3, 28, 28]",
        ),
        ({"mean": [0.5, 0.5]}, "mean has 2 numbers; one, or one for each of 3 channels"),
        ({"std": [0.0]}, "std has a 0"),
        ({"labels": ["a", "b"]}, "labels has 2 names, but output 'logits' of 'pictures' has 10 classes"),
        ({"labels": "/nowhere/labels.txt"}, "'/nowhere/labels.txt' cannot be read"),
        ({"input": "imag"}, "no input 'imag'; did you mean 'image'?"),
        ({"output": "probabilities"}, "no output 'probabilities'; known: logits"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_way_out(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        classifier(**args)


def test_models_that_take_no_picture_are_refused() -> None:
    with pytest.raises(ConfigError, match="mean is for float inputs"):
        classifier(model(dtype=DataType.UINT8), mean=[0.5])
    with pytest.raises(ConfigError, match="is INT32"):
        classifier(model(dtype=DataType.INT32))
    with pytest.raises(ConfigError, match=r"rows of \[4, 10\]"):
        classifier(model(classes=(-1, 4, 10)))


def test_labels_of_a_file_travel_as_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(f"näme {number}" for number in range(10)) + "\n")
    read = ImageSettings(resize=32, crop=28, labels=str(path))
    assert read.labels is not None
    assert len(read.labels) == 10
    path.unlink()
    again = ImageSettings.model_validate(read.model_dump(exclude_unset=True))
    assert again == read
    assert again.model_fields_set == {"resize", "crop", "labels"}
