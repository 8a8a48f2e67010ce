"""The shipped digits: the model file, its pictures, and the client's wire against the server's codec."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ascend_serve.protocol import http_codec
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import InferResponse

pytestmark = pytest.mark.unit

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL = DIGITS / "resnet20.onnx"
PICTURES = sorted((DIGITS / "images").glob("*.png"))
MISREAD = sorted((DIGITS / "misread").glob("*.png"))

Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    """The example's modules, imported as they see each other when the client is run as a script."""
    names = ("preprocess", "answers", "evaluate", "client")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DIGITS))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        del sys.modules[name]


@pytest.fixture(scope="module")
def heldout() -> dict[str, Array]:
    with np.load(DIGITS / "heldout.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load_model(MODEL, load_external_data=False)


# --- preprocessing -------------------------------------------------------------------------------


@given(levels=arrays(np.float64, (8, 8), elements=st.integers(0, 16).map(float)))
def test_a_digit_becomes_grey_within_its_own_range(example: SimpleNamespace, levels: Array) -> None:
    grey = example.preprocess.from_levels(levels)
    assert (grey.shape, grey.dtype) == ((32, 32), np.uint8)
    assert grey.min() >= np.rint(levels.min() * 255 / 16)
    assert grey.max() <= np.rint(levels.max() * 255 / 16)


def test_paper_is_0_and_full_ink_is_1(example: SimpleNamespace) -> None:
    greys = np.stack([example.preprocess.from_levels(np.full((8, 8), level)) for level in (0.0, 16.0)])
    tensor = example.preprocess.to_tensor(greys)
    assert (tensor.shape, tensor.dtype) == ((2, 1, 32, 32), np.float32)
    assert tensor.flags.c_contiguous
    assert (tensor[0] == 0.0).all()
    assert (tensor[1] == 1.0).all()


def test_a_picture_of_another_size_and_colour_is_taken(example: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (100, 50), (255, 255, 255)).save(path)
    tensor = example.preprocess.read_pictures([path])
    assert tensor.shape == (1, 1, 32, 32)
    assert (tensor == 1.0).all()


# --- what is shipped -----------------------------------------------------------------------------


def test_the_model_is_one_small_file_with_a_free_batch_axis(model: onnx.ModelProto) -> None:
    assert MODEL.stat().st_size < 2_000_000
    onnx.checker.check_model(model, full_check=True)
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 18)}
    signature = {
        value.name: (value.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in dims])
        for value in (*model.graph.input, *model.graph.output)
        for dims in [value.type.tensor_type.shape.dim]
    }
    assert signature == {
        "image": (onnx.TensorProto.FLOAT, ["batch", 1, 32, 32]),
        "logits": (onnx.TensorProto.FLOAT, ["batch", 10]),
    }
    assert all(not weights.external_data for weights in model.graph.initializer)


def test_the_model_has_plain_operators_and_no_notes_of_the_machine_that_made_it(
    model: onnx.ModelProto,
) -> None:
    nodes = model.graph.node
    assert {node.op_type for node in nodes} == {"Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"}
    assert not model.metadata_props
    assert not any(part.doc_string for part in (model, model.graph, *nodes))
    assert not any(node.metadata_props for node in nodes)


def test_the_heldout_accuracy_is_the_one_that_is_stated(
    example: SimpleNamespace, heldout: dict[str, Array]
) -> None:
    stated = json.loads((DIGITS / "metrics.json").read_text())
    right = (example.evaluate.run(MODEL, heldout["images"]).argmax(axis=1) == heldout["labels"]).sum()
    assert len(heldout["labels"]) == stated["heldout_images"] == 360
    assert right == stated["heldout_right"]
    assert right / 360 >= 0.97
    assert MODEL.stat().st_size == stated["onnx_bytes"]


def test_the_pictures_are_the_first_three_of_each_class_that_are_read_right_and_all_that_are_not(
    example: SimpleNamespace, heldout: dict[str, Array]
) -> None:
    labels = heldout["labels"]
    right = example.evaluate.run(MODEL, heldout["images"]).argmax(axis=1) == labels
    rows = [row for digit in range(10) for row in np.flatnonzero((labels == digit) & right)[:3]]
    assert [path.name for path in PICTURES] == [f"digit{labels[row]}_{row:03}.png" for row in rows]
    assert [path.name for path in MISREAD] == [
        f"digit{labels[row]}_{row:03}.png" for row in np.flatnonzero(~right)
    ]
    expected = example.preprocess.to_tensor(heldout["images"][rows])
    np.testing.assert_array_equal(example.preprocess.read_pictures(PICTURES), expected)


# --- answers -------------------------------------------------------------------------------------


def test_the_table_tells_right_from_wrong_and_counts_only_names_with_a_label(
    example: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    logits = np.zeros((3, 10), np.float16)
    logits[:, 7] = 20
    paths = [Path("digit7_001.png"), Path("digit1_002.png"), Path("photo.png")]
    answers = example.answers.read_answers(paths, logits)
    assert [answer.label for answer in answers] == ["7", "7", "7"]
    assert [answer.wrong for answer in answers] == [False, True, False]
    assert example.answers.print_table(answers) is False
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=3)[3] for line in lines[1:4]] == ["right", "WRONG, is 1", "-"]
    assert lines[4] == "3 answered; 1 of 2 labelled ones right"


@given(arrays(np.float32, (2, 10), elements=st.floats(-1e4, 1e4, width=32)))
def test_probabilities_of_a_row_add_up_to_1(example: SimpleNamespace, logits: Array) -> None:
    probabilities = example.answers.softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (probabilities.max(axis=1) == probabilities[[0, 1], logits.argmax(axis=1)]).all()


def test_logits_of_another_model_are_named(example: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"shape \[1, 1000\].*another model"):
        example.answers.read_answers([Path("a.png")], np.zeros((1, 1000)))


# --- the client's side of the wire ---------------------------------------------------------------


def serve(model: Callable[[Array], Array], body: bytes, headers: dict[str, str]) -> tuple[bytes, int | None]:
    """What the product's own codec makes of a request, and the answer it writes."""
    length = headers.get("Inference-Header-Content-Length")
    request = http_codec.decode_infer(body, int(length) if length else None, Limits(), model_name="resnet")
    response = InferResponse("resnet", "1", {"logits": model(request.inputs["image"])})
    answer, written = http_codec.encode_infer(response, request)
    lengths = [int(value) for name, value in written if name.lower() == b"inference-header-content-length"]
    return answer, lengths[0] if lengths else None


@pytest.mark.parametrize("binary", [True, False])
@given(
    image=arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.just(1), st.just(2), st.just(2)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_tensors_cross_the_wire_and_come_back_bit_for_bit(
    example: SimpleNamespace, binary: bool, image: Array
) -> None:
    body, headers = example.client.encode_request(image, binary=binary)
    received: list[Array] = []

    def echo(tensor: Array) -> Array:
        received.append(tensor)
        return tensor

    outputs = example.client.decode_response(*serve(echo, body, headers))
    assert received[0].dtype == outputs["logits"].dtype == np.float32
    np.testing.assert_array_equal(received[0], image)
    np.testing.assert_array_equal(outputs["logits"], image)


def test_half_precision_answers_are_read(example: SimpleNamespace) -> None:
    body, headers = example.client.encode_request(np.ones((2, 1, 32, 32), np.float32), binary=True)
    outputs = example.client.decode_response(*serve(lambda _: np.ones((2, 10), np.float16), body, headers))
    assert (outputs["logits"].dtype, outputs["logits"].shape) == (np.float16, (2, 10))


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (b"<html>", None),
        (b"[]", None),
        (b'{"outputs": [{"name": "logits", "datatype": "FP32", "shape": [2], "data": [1]}]}', None),
        (b'{"outputs": [{"name": "logits", "datatype": "BF16", "shape": [1], "data": [1]}]}', None),
    ],
)
def test_an_answer_of_another_kind_is_an_error(
    example: SimpleNamespace, body: bytes, length: int | None
) -> None:
    with pytest.raises(example.client.ServerError, match="Open Inference Protocol"):
        example.client.decode_response(body, length)


def test_a_truncated_answer_is_an_error(example: SimpleNamespace) -> None:
    body, headers = example.client.encode_request(np.ones((1, 1, 2, 2), np.float32), binary=True)
    answer, length = serve(lambda image: image, body, headers)
    with pytest.raises(example.client.ServerError, match="Open Inference Protocol"):
        example.client.decode_response(answer[:-1], length)


class Connection:
    """Stands in for `http.client.HTTPConnection`: answers each request with `handle(body, headers)`."""

    handle: Callable[[bytes, dict[str, str]], tuple[int, bytes, int | None]]

    def __init__(self, host: str, port: int | None, timeout: float) -> None:
        self.answer: tuple[int, bytes, int | None] = (0, b"", None)

    def connect(self) -> None:
        pass

    def close(self) -> None:
        pass

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        assert (method, path) == ("POST", "/v2/models/resnet/infer")
        self.answer = type(self).handle(body, headers)

    def getresponse(self) -> "Connection":
        return self

    @property
    def status(self) -> int:
        return self.answer[0]

    reason = "Reason"

    def read(self) -> bytes:
        return self.answer[1]

    def getheader(self, name: str) -> str | None:
        assert name == "Inference-Header-Content-Length"
        return None if self.answer[2] is None else str(self.answer[2])


@pytest.fixture
def connect(
    example: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[bytes, dict[str, str]], tuple[int, bytes, int | None]]], None]:
    def install(handle: Callable[[bytes, dict[str, str]], tuple[int, bytes, int | None]]) -> None:
        stand_in = type("StandIn", (Connection,), {"handle": staticmethod(handle)})
        monkeypatch.setattr(example.client.http.client, "HTTPConnection", stand_in)

    return install


@pytest.mark.parametrize(("options", "rows"), [([], [30]), (["--json"], [30]), (["--one-by-one"], [1] * 30)])
def test_the_client_sends_all_pictures_and_prints_what_the_model_says(
    example: SimpleNamespace,
    connect: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    rows: list[int],
) -> None:
    images = example.preprocess.read_pictures(PICTURES)
    logits = np.random.default_rng(0).normal(size=(30, 10)).astype(np.float32)
    seen: list[int] = []

    def model(image: Array) -> Array:
        start = sum(seen)
        seen.append(len(image))
        np.testing.assert_array_equal(image, images[start : start + len(image)])
        return logits[start : start + len(image)]

    connect(lambda body, headers: (200, *serve(model, body, headers)))
    status = example.client.main([*options, *map(str, PICTURES)])
    printed = [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:31]]
    assert seen == rows
    assert printed == [str(winner) for winner in logits.argmax(axis=1)]
    assert status == 1, "random logits contradict the names"


def test_the_client_ends_with_0_when_every_label_agrees(
    example: SimpleNamespace, connect: Callable[..., None]
) -> None:
    named = np.array([int(path.name[5]) for path in PICTURES])
    logits = np.eye(10, dtype=np.float32)[named]
    connect(lambda body, headers: (200, *serve(lambda _: logits, body, headers)))
    assert example.client.main([str(path) for path in PICTURES]) == 0


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (http_codec.error_body("input 'image': wrong shape"), "400 Reason: input 'image': wrong shape"),
        (b"Not Found", "400 Reason: Not Found"),
        (b"", "400 Reason: (no text)"),
    ],
)
def test_an_error_answer_is_shown_in_the_servers_words(
    example: SimpleNamespace,
    connect: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    body: bytes,
    shown: str,
) -> None:
    connect(lambda *_: (400, body, None))
    assert example.client.main([str(PICTURES[0])]) == 1
    assert capsys.readouterr().err == f"error: the server answered {shown}\n"


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "start one with `make serve`"),
        (TimeoutError("timed out"), "start one with `make serve`"),
    ],
)
def test_a_server_that_is_not_there_is_one_line(
    example: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: OSError,
    shown: str,
) -> None:
    def refuse(_: Any) -> None:
        raise raised

    monkeypatch.setattr(example.client.http.client.HTTPConnection, "connect", refuse)
    assert example.client.main([str(PICTURES[0])]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert shown in lines[0]


def test_a_file_that_is_no_picture_is_one_line(
    example: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.client.main([str(DIGITS / "labels.txt")]) == 1
    assert "labels.txt" in capsys.readouterr().err
