"""`atc --external_weight`: which files it writes, what the `.om` says of them, and that nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ascend_emulator.dtypes import BY_ACL
from ascend_emulator.external_weights import WeightsError, put_back, separate
from ascend_emulator.om import FileConstant, OmFile, read_om, write_om
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import atc_runs
from tests.unit.atc_runs import Run, code, save
from tests.unit.om_writer import container, model_def, op

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
folder, run = atc_runs.folder, atc_runs.run

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
NET = (
    HEADER + " net (float[N,4] x) => (float[N,3] y)"
    " <float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[3] b = {1,2,3}, float[3] same = {1,2,3}, float half = {0.5}>"
    " { h = MatMul(x, w) i = Add(h, b) j = Mul(i, same) y = Mul(j, half) }"
)
BASE = ["--model=net.onnx", "--framework=5", "--soc_version=Ascend310P3", "--input_shape=x:2,4"]
EXACT = "--precision_mode_v2=origin"
X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def build(folder: Path, run: Run) -> Callable[..., OmFile]:
    def call(weights: int, *arguments: str) -> OmFile:
        save(folder / "net.onnx", NET)
        status, out, _ = run(*BASE, f"--output=out/net{weights}", f"--external_weight={weights}", *arguments)
        assert status == 0, out
        return read_om((folder / "out" / f"net{weights}.om").read_bytes())

    return call


def outside(folder: Path, om: OmFile) -> list[bytes]:
    found = []
    for constant in om.file_constants:
        data = (folder / "out" / "weight" / constant.file).read_bytes()
        found.append(data[constant.offset : constant.offset + constant.length])
    return found


def result(network: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": X})
    return found


def ge_hash(data: bytes) -> str:
    """SHA-256 as GE writes it (graph_manager.cc, ComputeHashForConstNodes): no zero before a small byte."""
    return "".join(format(byte, "x") for byte in hashlib.sha256(data).digest())


def test_a_file_for_each_weight_named_by_its_hash(folder: Path, build: Callable[..., OmFile]) -> None:
    om = build(1, EXACT)
    files = {path.name: path.read_bytes() for path in (folder / "out" / "weight").iterdir()}
    w, b = np.arange(1, 13, dtype=np.float32), np.arange(1, 4, dtype=np.float32)
    expected = [w.tobytes(), b.tobytes(), np.float32(0.5).tobytes()]
    assert sorted(files.values()) == sorted(expected)
    assert all(name == f"weight_{ge_hash(data)}" for name, data in files.items())
    assert [each.name.partition("_")[0] for each in om.file_constants] == ["w", "b", "same", "half"]
    assert [each.dims for each in om.file_constants] == [(4, 3), (3,), (3,), ()]
    assert om.file_constants[1].file == om.file_constants[2].file
    assert all(each.name.endswith(each.file.removeprefix("weight_")) for each in om.file_constants)


def test_one_file_for_all_weights_aligned_and_in_the_order_of_names(
    folder: Path, build: Callable[..., OmFile]
) -> None:
    om = build(2, EXACT)
    assert [path.name for path in (folder / "out" / "weight").iterdir()] == ["net2_weight_combined"]
    places = {each.name.partition("_")[0]: (each.offset, each.length) for each in om.file_constants}
    assert places == {"b": (0, 12), "half": (512, 4), "same": (0, 12), "w": (1024, 48)}
    assert (folder / "out" / "weight" / "net2_weight_combined").stat().st_size == 1536


@pytest.mark.parametrize("weights", [1, 2])
def test_the_network_is_the_same_when_its_weights_are_put_back(
    weights: int, folder: Path, build: Callable[..., OmFile]
) -> None:
    whole, om = build(0, EXACT), build(weights, EXACT)
    assert whole.file_constants == ()
    assert (om.weight_size, whole.weight_size) == (0, 12 * 4 + 2 * 3 * 4 + 4)
    assert (result(put_back(om.network, outside(folder, om))) == result(whole.network)).all()
    assert read_om(write_om(om)) == om


def test_weights_in_half_precision_are_those_of_the_model_inside(
    folder: Path, build: Callable[..., OmFile]
) -> None:
    whole, om = build(0), build(1)
    assert (result(put_back(om.network, outside(folder, om))) == result(whole.network)).all()


def test_the_graph_names_each_weight_with_its_place(
    folder: Path, run: Run, build: Callable[..., OmFile]
) -> None:
    build(2, EXACT, "--enable_attr_compression=false")
    assert run("--mode=1", "--om=out/net2.om", "--json=net.json")[0] == 0
    text = (folder / "net.json").read_text()
    assert text.count('"FileConstant"') == 4
    assert text.count('"net2_weight_combined"') == 4
    for key in ("location", "offset", "length", "dtype", "shape", "original_shape"):
        assert f'"key": "{key}"' in text


def test_the_summary_counts_what_is_inside(run: Run, build: Callable[..., OmFile]) -> None:
    om = build(1, EXACT)
    _, out, _ = run("--mode=6", "--om=out/net1.om")
    assert "weight_size[0 B]" in out
    assert f"weight_data_size[{len(om.network)} B]" in out


def test_a_folder_that_cannot_be_made(folder: Path, run: Run) -> None:
    save(folder / "net.onnx", NET)
    (folder / "weight").write_text("in the way")
    status, out, _ = run(*BASE, "--output=net", "--external_weight=1")
    assert status == 255
    assert code(out) == "E13004"
    assert not (folder / "net.om").exists()


def test_what_has_no_elements_or_no_bytes_stays_inside() -> None:
    text = (
        HEADER + ' net (float[2] x) => (float[2] y) <float[0] none = {}, string[1] s = {"a"}> { y = Relu(x) }'
    )
    separated = separate(onnx.parser.parse_model(text), "")
    assert separated.constants == ()
    assert separated.files == {}
    assert [each.data_location for each in separated.model.graph.initializer] == [0, 0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(BY_ACL.values())),
            st.lists(st.integers(0, 3), max_size=3),
            st.integers(0, 2),
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_every_weight_comes_back(weights: list, combined: bool) -> None:
    tensors = []
    for place, (dtype, dims, seed) in enumerate(weights):
        values = np.random.default_rng(seed).integers(0, 2, dims).astype(dtype.numpy)
        tensors.append(onnx.numpy_helper.from_array(values, f"w{place}"))
    graph = onnx.helper.make_graph([], "g", [], [], tensors)
    model = onnx.helper.make_model(graph)
    separated = separate(model, "all" if combined else "")
    assert set(separated.files) == {each.file for each in separated.constants}
    found = [separated.files[each.file][each.offset :][: each.length] for each in separated.constants]
    back = onnx.load_model_from_string(put_back(separated.model.SerializeToString(), found))
    for was, now in zip(tensors, back.graph.initializer, strict=True):
        assert (was.name, was.data_type, was.dims) == (now.name, now.data_type, now.dims)
        assert (onnx.numpy_helper.to_array(was) == onnx.numpy_helper.to_array(now)).all()


def test_weights_that_are_not_the_networks() -> None:
    separated = separate(onnx.parser.parse_model(NET), "")
    network = separated.model.SerializeToString()
    with pytest.raises(WeightsError, match="1 weights for a network with 4"):
        put_back(network, [b""])
    with pytest.raises(WeightsError, match="no ONNX"):
        put_back(b"\xff\xff", [])


def test_file_constants_of_other_writers_are_read_as_far_as_they_tell() -> None:
    ops = [
        op("bare", "FileConstant"),
        op("placed", "FileConstant", [("location", "all"), ("offset", 512), ("length", 8), ("shape", [2])]),
    ]
    om = read_om(container([[(0, model_def([], ops))]]))
    assert om.file_constants == (
        FileConstant("bare", -1, (), "", 0, 0),
        FileConstant("placed", -1, (2,), "all", 512, 8),
    )
