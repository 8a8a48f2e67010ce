"""The card's models without a card: shapes and work of a graph, cheap values of every shape, dims on the wire."""

import numpy as np
import onnx
import pytest
from ascend_emulator import wire
from ascend_emulator.card.models.buffers import Batch, cheap_outputs, integers, view
from ascend_emulator.card.models.graph import Graph
from ascend_emulator.card.models.network import Networks
from ascend_emulator.codes import GE_LOAD_MODEL, GE_PARAM_INVALID, RT_MODEL_EXECUTE, Failure
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


def network(text: str) -> bytes:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    return bytes(model.SerializeToString())


def test_output_dims_follow_the_inputs() -> None:
    graph = Graph(
        network("net (float[b,c,h,w] x) => (float[o,p,q,r] z) { z = MaxPool <kernel_shape = [2,2]> (x) }")
    )
    assert graph.output_dims(((1, 3, 8, 6),)) == ((1, 3, 7, 5),)
    assert graph.output_dims(((2, 1, 4, 4),)) == ((2, 1, 3, 3),)


def test_a_shape_computed_from_a_shape_is_known() -> None:
    text = "net (float[a,b] x) => (float[n] z) <int64[1] k = {-1}> { s = Reshape(x, k) z = Relu(s) }"
    assert Graph(network(text)).output_dims(((3, 5),)) == ((15,),)


def test_a_shape_that_depends_on_values_is_not_known() -> None:
    graph = Graph(network("net (float[a] x) => (int64[r,n] z, float[a] y) { z = NonZero(x) y = Relu(x) }"))
    assert graph.output_dims(((4,),)) == (None, (4,))


def test_shapes_a_network_does_not_take_fail() -> None:
    graph = Graph(network("net (float[a,b] x, float[b,c] y) => (float[a,c] z) { z = MatMul(x, y) }"))
    with pytest.raises(Failure) as caught:
        graph.output_dims(((2, 3), (4, 5)))
    assert caught.value.code == RT_MODEL_EXECUTE


def test_what_is_no_onnx_does_not_load() -> None:
    with pytest.raises(Failure) as caught:
        Graph(b"\xff\xff no graph")
    assert caught.value.code == GE_LOAD_MODEL


def test_work_is_counted_at_the_shapes_that_run() -> None:
    weights = onnx.numpy_helper.from_array(np.ones((100, 64), np.float32), "w")
    model = onnx.load_model_from_string(
        network("net (float[n,100] x) => (float[n,64] z) { z = MatMul(x, w) }")
    )
    model.graph.initializer.append(weights)
    graph = Graph(model.SerializeToString())
    for rows in (1, 8):
        work = graph.work(((rows, 100),))
        assert work.flops == 2 * rows * 100 * 64
        assert work.operators == 1
        assert work.moved_bytes == 4 * (100 * 64 + rows * 100 + rows * 64)


def test_networks_of_one_content_are_one() -> None:
    networks = Networks()
    content = network("net (float[2] x) => (float[2] z) { z = Add(x, x) }")
    first = networks.get(content)
    assert networks.get(content) is first
    (result,) = first.run([np.array([1, 2], np.float32)])
    assert result.tolist() == [2, 4]
    with pytest.raises(Failure) as caught:
        first.run([np.array([1, 2, 3], np.float32)])
    assert caught.value.code == RT_MODEL_EXECUTE


def test_a_view_lies_in_its_buffer() -> None:
    memory = np.arange(6, dtype=np.int32)
    buffer = (memory.ctypes.data, memory.nbytes)
    assert view(buffer, (2, 3), "int32").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert integers(buffer, 2, 4) == (0, 1)
    assert view(buffer, (0, 9), "int32").shape == (0, 9)
    with pytest.raises(Failure) as caught:
        view(buffer, (7,), "int32")
    assert caught.value.code == GE_PARAM_INVALID


def test_a_short_output_gets_what_it_holds() -> None:
    inputs, out = np.array([1, 2, 3, 4], np.float32), np.zeros(4, np.float32)
    bound = Networks().get(network("net (float[4] x) => (float[4] z) { z = Add(x, x) }"))
    batch = Batch(bound, [inputs], [("float32", (4,))], [(out.ctypes.data, 8)], 0)
    batch.compute()
    assert out.tolist() == [2, 4, 0, 0]


shapes = st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), min_size=1, max_size=3)


@given(shapes, shapes, st.sampled_from([0, 0, 1, 2, 3]))
def test_cheap_values_suit_every_shape(
    inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], rows: int
) -> None:
    arrays = [np.ones(shape, np.float32) for shape in inputs]
    made = [np.full(shape, -1, np.float32) for shape in outputs]
    cheap_outputs(arrays, made, rows)
    assert all(((array >= 0) & (array < 1)).all() for array in made)


def test_cheap_rows_are_told_apart_by_their_leading_dim() -> None:
    one = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    other = one.copy()
    other[1] += 1
    results = []
    for batch in (one, other):
        out = np.zeros((3, 5), np.float32)
        cheap_outputs([batch], [out], 0)
        results.append(out)
    changed = [bool((a != b).any()) for a, b in zip(*results, strict=True)]
    assert changed == [False, True, False]


@given(
    st.lists(st.none() | st.lists(st.integers(0, 1 << 40), max_size=6).map(tuple), max_size=5),
    st.binary(max_size=20),
)
def test_dims_survive_the_wire(shapes: list[tuple[int, ...] | None], behind: bytes) -> None:
    assert wire.unpack_dims(wire.pack_dims(shapes) + behind, len(shapes)) == shapes
