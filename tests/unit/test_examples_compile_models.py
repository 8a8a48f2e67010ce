"""The networks of the compile examples: they find what is there, and padding changes nothing."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/compile"
Array = np.ndarray[Any, Any]
Run = Callable[[dict[str, Array]], dict[str, Array]]


def load(example: str, *names: str) -> tuple[ModuleType, ...]:
    """Modules of an example; each has a `make_model`, so none may stay among the loaded ones."""
    sys.path.insert(0, str(EXAMPLES / example))
    try:
        return tuple(importlib.import_module(name) for name in names)
    finally:
        sys.path.pop(0)
        for name in ("make_model", *names):
            sys.modules.pop(name, None)


def runner(model: onnx.ModelProto) -> Run:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, map(np.asarray, session.run(names, feeds)), strict=True))


@pytest.fixture(scope="module")
def detector() -> tuple[ModuleType, Run]:
    make_model, detections = load("detector", "make_model", "detections")
    return detections, runner(make_model.make())


@pytest.fixture(scope="module")
def encoder() -> tuple[ModuleType, Run]:
    make_model, run = load("encoder", "make_model", "run")
    return run, runner(make_model.make())


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([(192, 256), (256, 320), (128, 384)]))
def test_the_detector_finds_what_is_there_and_nothing_else(
    detector: tuple[ModuleType, Run], seed: int, size: tuple[int, int]
) -> None:
    detections, run = detector
    image, boxes = detections.draw_scene(*size, 4, seed)
    found = detections.detect(run({"image": image}), *size)
    assert len(found) == len(boxes)
    for box in boxes:
        assert max(detections.overlap(box, one.box) for one in found) > 0.7


def test_the_detector_finds_nothing_on_a_dark_ground(detector: tuple[ModuleType, Run]) -> None:
    detections, run = detector
    image, boxes = detections.draw_scene(192, 256, 0, 1)
    assert (boxes, detections.detect(run({"image": image}), 192, 256)) == ([], [])


def test_cells_stand_in_the_order_of_the_outputs(detector: tuple[ModuleType, Run]) -> None:
    detections, run = detector
    image = np.zeros((1, 3, 64, 96), np.float32)
    outputs = run({"image": image})
    assert outputs["scores"].shape[2] == len(detections.centres(64, 96))


@pytest.mark.parametrize(
    ("one", "other", "part"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
    ],
)
def test_overlap(detector: tuple[ModuleType, Run], one: Any, other: Any, part: float) -> None:
    assert detector[0].overlap(one, other) == pytest.approx(part)


@settings(max_examples=25)
@given(
    sentence=st.lists(st.integers(1, 1999), min_size=1, max_size=16),
    rows=st.integers(1, 4),
    words=st.integers(16, 128),
)
def test_padding_changes_no_embedding(
    encoder: tuple[ModuleType, Run], sentence: list[int], rows: int, words: int
) -> None:
    example, run = encoder
    exact = run(example.padded([sentence], (1, len(sentence))))["sentence"][0]
    padded = run(example.padded([sentence], (rows, words)))["sentence"][0]
    np.testing.assert_allclose(padded, exact, atol=1e-5)
    assert np.linalg.norm(exact) == pytest.approx(1, abs=1e-5)


def test_without_its_mask_padding_would_count(encoder: tuple[ModuleType, Run]) -> None:
    example, run = encoder
    feeds = example.padded([[5, 6, 7]], (1, 16))
    masked = run(feeds)["sentence"]
    unmasked = run({**feeds, "attention_mask": np.ones_like(feeds["attention_mask"])})["sentence"]
    assert np.abs(masked - unmasked).max() > 0.1


def test_the_smallest_gear_that_fits_is_taken(encoder: tuple[ModuleType, Run]) -> None:
    gears = [(1, 16, 1, 16), (1, 64, 1, 64), (4, 16, 4, 16), (4, 64, 4, 64)]
    smallest = encoder[0].smallest_gear
    assert smallest(gears, 1, 16) == (1, 16, 1, 16)
    assert smallest(gears, 1, 17) == (1, 64, 1, 64)
    assert smallest(gears, 2, 3) == (4, 16, 4, 16)
    assert smallest(gears, 4, 64) == (4, 64, 4, 64)


@pytest.mark.parametrize("example", ["detector", "encoder"])
def test_a_model_is_the_same_each_time(example: str) -> None:
    (make_model,) = load(example, "make_model")
    assert make_model.make().SerializeToString() == make_model.make().SerializeToString()
