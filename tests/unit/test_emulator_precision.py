from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # has no stubs
import pytest
from ascend_emulator.precision import (
    HALF_MAX,
    Exceptions,
    Precision,
    PrecisionError,
    apply_precision,
    round_to_bfloat,
    round_to_half,
)
from ascend_emulator.precision_lists import List, list_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from onnx import numpy_helper

pytestmark = pytest.mark.unit

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
Array = np.ndarray[Any, Any]


def model(text: str, **weights: Array) -> onnx.ModelProto:
    parsed = onnx.parser.parse_model(HEADER + text)
    parsed.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return parsed


def run(network: onnx.ModelProto, **feed: Array) -> list[Array]:
    """As the card runs it: the runtime's default optimisations."""
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, feed)
    return outputs


def half(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def numbers(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


MLP = " net (float[N,64] x) => (float[N,8] y) { a = MatMul(x, w) b = Add(a, c) r = Relu(b) y = MatMul(r, v) }"
W, C, V = numbers(64, 32, seed=2) / 8, numbers(32, seed=3), numbers(32, 8, seed=4) / 4


def mlp(precision: Precision) -> onnx.ModelProto:
    network = model(MLP, w=W, c=C, v=V)
    apply_precision(network, precision, clip_weights=True)
    return network


def test_fp16_gives_what_half_storage_gives_and_not_float32() -> None:
    x = numbers(16, 64)
    (y,) = run(mlp(Precision.FP16), x=x)
    stored = half(np.maximum(half(half(half(x) @ half(W)) + half(C)), 0))
    reference = half(stored @ half(V))
    exact = np.maximum(x @ W + C, 0) @ V
    assert np.array_equal(y, half(y))
    # The runtime may add up in another order than numpy, which flips a rounding here and there.
    assert np.abs(y - reference).max() <= 2 * np.spacing(np.float16(np.abs(reference).max()))
    assert (y == reference).mean() > 0.8
    assert np.abs(y - exact).max() > 0
    assert not np.array_equal(half(exact), y)


def test_origin_is_the_network_itself() -> None:
    network = mlp(Precision.ORIGIN)
    assert network == model(MLP, w=W, c=C, v=V)


def test_cube_rounds_what_goes_into_matrix_products_only() -> None:
    x = numbers(16, 64)
    (y,) = run(mlp(Precision.CUBE_FP16), x=x)
    reference = half(np.maximum(half(x) @ half(W) + C, 0)) @ half(V)
    assert np.allclose(y, reference, rtol=1e-4, atol=1e-4)
    assert not np.array_equal(y, half(y))


def test_a_sum_keeps_float32_inside_an_operator() -> None:
    # In half arithmetic 2048 + 1 is 2048; accumulated in float32 the thousand ones count.
    x = np.concatenate([np.full((1, 1), 2048, np.float32), np.ones((1, 1000), np.float32)], axis=1)
    network = model(
        " net (float[1,1001] x) => (float[1,1] y) { y = MatMul(x, w) }", w=np.ones((1001, 1), np.float32)
    )
    apply_precision(network, Precision.FP16, clip_weights=True)
    assert run(network, x=x)[0][0, 0] == 3048


def test_inputs_and_results_past_the_range_become_infinite() -> None:
    network = model(" net (float[2] x) => (float[2] y) { y = Mul(x, x) }")
    apply_precision(network, Precision.FP16, clip_weights=True)
    assert run(network, x=np.array([300, 10], np.float32))[0].tolist() == [np.inf, 100]


@pytest.mark.parametrize(("clip", "value"), [(True, -HALF_MAX), (False, -np.inf)])
def test_weights_past_the_range(clip: bool, value: float) -> None:
    network = model(" net (float[1] x) => (float[1] y) { y = Add(x, m) }", m=np.array([-3.4e38], np.float32))
    apply_precision(network, Precision.FP16, clip_weights=clip)
    assert run(network, x=np.zeros(1, np.float32))[0][0] == value


def test_integers_doubles_and_booleans_are_left_alone() -> None:
    text = " net (int64[2] i, double[2] d, bool[2] m) => (int64[2] a, double[2] b, bool[2] c) {"
    network = model(text + " a = Add(i, i) b = Add(d, d) c = Not(m) }")
    before = onnx.ModelProto()
    before.CopyFrom(network)
    apply_precision(network, Precision.FP16, clip_weights=True)
    assert network == before


def test_resize_keeps_its_scales() -> None:
    # 3 * 1.33334 is 4; the half next to it is 1.33301, which would give 3.
    scales = np.array([1, 1, 1, 4 / 3 + 1e-6], np.float32)
    text = " net (float[1,1,1,3] x) => (float[1,1,1,M] y) { y = Resize(x, , s) }"
    network = model(text, s=scales)
    apply_precision(network, Precision.FP16, clip_weights=True)
    assert run(network, x=numbers(1, 1, 1, 3))[0].shape == (1, 1, 1, 4)
    assert int(3 * float(half(scales)[3])) == 3


def test_batch_normalisation_keeps_small_variances() -> None:
    text = " net (float[1,1] x) => (float[1,1] y) { y = BatchNormalization<epsilon = 0.0>(x, o, z, z, v) }"
    ones, zeros = np.ones(1, np.float32), np.zeros(1, np.float32)
    network = model(text, o=ones, z=zeros, v=np.full(1, 1e-8, np.float32))
    apply_precision(network, Precision.FP16, clip_weights=True)
    assert run(network, x=np.full((1, 1), 0.5, np.float32))[0][0, 0] == pytest.approx(5000, rel=1e-3)


def test_a_weight_that_is_read_exactly_and_rounded_is_kept_twice() -> None:
    text = " net (float[1,1,1,3] x) => (float[1,1,1,M] y, float[4] t) { y = Resize(x, , s) t = Mul(s, s) }"
    scales = np.array([1, 1, 1, 4 / 3 + 1e-6], np.float32)
    network = model(text, s=scales)
    apply_precision(network, Precision.FP16, clip_weights=True)
    y, t = run(network, x=numbers(1, 1, 1, 3))
    assert y.shape[3] == 4
    assert np.array_equal(t, half(half(scales) ** 2))


def test_an_output_that_is_read_inside_is_rounded_once() -> None:
    network = model(" net (float[4] x) => (float[4] a, float[4] b) { a = Exp(x) b = Exp(a) }")
    apply_precision(network, Precision.FP16, clip_weights=True)
    a, b = run(network, x=numbers(4))
    assert np.array_equal(a, half(a))
    assert np.allclose(b, half(np.exp(a)), rtol=1e-3)
    assert [value.name for value in network.graph.output] == ["a", "b"]


def test_operators_that_move_values_get_no_casts() -> None:
    network = model(
        " net (float[2,2] x) => (float[4] y) { r = Relu(x) t = Transpose(r) y = Reshape(t, s) }",
        s=np.array([4]),
    )
    apply_precision(network, Precision.FP16, clip_weights=True)
    assert [node.op_type for node in network.graph.node] == ["Cast", "Cast", "Relu", "Transpose", "Reshape"]
    x = numbers(2, 2)
    assert np.array_equal(run(network, x=x)[0], half(np.maximum(x, 0)).T.reshape(4))


def test_names_that_are_taken_are_not_taken_again() -> None:
    text = " net (float[2] x) => (float[2] y) { x__rounded = Exp(x) y__exact = Exp(x__rounded) y = Exp(y__exact) }"
    network = model(text)
    apply_precision(network, Precision.FP16, clip_weights=True)
    onnx.checker.check_model(network)
    assert (
        run(network, x=np.zeros(2, np.float32))[0].tolist() == half(np.exp(half(np.exp(np.ones(2))))).tolist()
    )


@pytest.mark.parametrize(
    ("text", "precision", "words"),
    [
        (
            " net (bool c, float[2] x) => (float[2] y) { y = If (c)"
            " <then_branch = g () => (float[2] a) { a = Neg(x) }, else_branch = h () => (float[2] b) { b = Abs(x) }> }",
            Precision.FP16,
            "subgraph",
        ),
        (
            ' net (float[2,2] x) => (float[2,2] y) { y = Einsum<equation = "ij,jk->ik">(x, x) }',
            Precision.CUBE_FP16,
            "multiplies matrices",
        ),
        (
            " net (float[2,3] x) => (float[2,3] y) { m = MatMul(x, x) y = Exp(m) }",
            Precision.FP16,
            "'m' cannot be told",
        ),
    ],
)
def test_what_cannot_be_emulated_is_refused_untouched(text: str, precision: Precision, words: str) -> None:
    network = model(text)
    network.graph.output[0].ClearField("type")
    before = onnx.ModelProto()
    before.CopyFrom(network)
    with pytest.raises(PrecisionError, match=words):
        apply_precision(network, precision, clip_weights=True)
    assert network == before


# --- some operators only --------------------------------------------------------------------------

CHAIN = (
    " net (float[N,64] x) => (float[N,8] y, float[N,32] e) { [first] a = MatMul(x, w) [shift] b = Add(a, c)"
    " [grow] e = Exp(b) [gate] r = Mul(e, e) [second] y = MatMul(r, v) }"
)


def chain(precision: Precision, **exceptions: Any) -> tuple[onnx.ModelProto, frozenset[str]]:
    network = model(CHAIN, w=W / 4, c=C / 4, v=V)
    stored = apply_precision(
        network, precision, clip_weights=True, exceptions=Exceptions(**exceptions) if exceptions else None
    )
    return network, stored


def close(values: Array, expected: Array) -> bool:
    """The runtime may add up in another order than numpy, which flips a rounding here and there."""
    return bool(np.allclose(values, expected, rtol=2e-3, atol=2e-3) and (values == expected).mean() > 0.7)


def test_products_of_matrices_alone_are_half() -> None:
    x = numbers(16, 64)
    y, e = run(chain(Precision.CUBE_TO_FP16)[0], x=x)
    grown = np.exp(half(half(x) @ half(W / 4)) + C / 4)
    assert np.allclose(e, grown, rtol=1e-3)
    assert not np.array_equal(e, half(e))
    assert close(y, half(half(grown * grown) @ half(V)))


@pytest.mark.parametrize(
    ("precision", "narrow"), [(Precision.MIXED_FP16, half), (Precision.MIXED_BF16, round_to_bfloat)]
)
def test_mixed_precision_follows_the_lists(precision: Precision, narrow: Any) -> None:
    x = numbers(16, 64)
    y, e = run(chain(precision)[0], x=x)
    # White, then gray behind it; black, then gray behind that; white.
    shifted = narrow(narrow(narrow(x) @ narrow(W / 4)) + narrow(C / 4))
    grown = np.exp(shifted)
    tolerance = 2e-2 if precision is Precision.MIXED_BF16 else 2e-3
    assert np.allclose(e, grown, rtol=tolerance)
    assert not np.array_equal(e, narrow(e))
    assert np.array_equal(y, narrow(y))
    assert np.allclose(y, narrow(narrow(grown * grown) @ narrow(V)), rtol=tolerance, atol=tolerance)


def test_a_moved_operator_and_those_that_follow_it_change() -> None:
    x = numbers(16, 64)
    e = run(chain(Precision.MIXED_FP16, lists={"Exp": List.WHITE})[0], x=x)[1]
    assert np.array_equal(e, half(e))
    e = run(chain(Precision.MIXED_FP16, lists={"Exp": List.GRAY})[0], x=x)[1]
    assert np.array_equal(e, half(e))
    y = run(chain(Precision.MIXED_FP16, lists={"MatMulV2": List.BLACK})[0], x=x)[0]
    assert np.array_equal(y, run(chain(Precision.ORIGIN)[0], x=x)[0])


@pytest.mark.parametrize("kept", [{"nodes": frozenset({"grow"})}, {"types": frozenset({"Exp"})}])
def test_what_is_kept_reads_halves_and_gives_floats(kept: dict[str, Any]) -> None:
    x = numbers(16, 64)
    y, e = run(chain(Precision.FP16, **kept)[0], x=x)
    assert not np.array_equal(e, half(e))
    assert np.array_equal(y, half(y))
    plain = run(chain(Precision.FP16)[0], x=x)[1]
    assert np.array_equal(half(e), plain)


def test_what_is_kept_is_kept_in_matrix_products_too() -> None:
    x = numbers(4, 64)
    kept = {"nodes": frozenset({"first", "second"})}
    found = run(chain(Precision.CUBE_FP16, **kept)[0], x=x)
    for one, other in zip(found, run(chain(Precision.ORIGIN)[0], x=x), strict=True):
        assert np.array_equal(one, other)


def test_the_tensors_in_two_bytes_are_told() -> None:
    assert chain(Precision.ORIGIN)[1] == frozenset()
    network, stored = chain(Precision.FP16)
    assert {"a", "b", "e", "r", "y"} < stored
    assert {tensor.name for tensor in network.graph.initializer} <= stored
    assert "e" not in chain(Precision.FP16, nodes=frozenset({"grow"}))[1]


def test_a_first_gray_operator_stays_as_it_is() -> None:
    network = model(" net (float[2] x) => (float[2] y) { [only] y = Add(x, x) }")
    before = onnx.ModelProto()
    before.CopyFrom(network)
    apply_precision(network, Precision.MIXED_FP16, clip_weights=True)
    assert network == before


def test_every_type_is_on_one_list() -> None:
    assert [list_of(kind, {}) for kind in ("Conv", "Softmax", "Relu")] == [List.WHITE, List.BLACK, List.GRAY]
    assert list_of("Conv", {"Conv2D": List.BLACK}) is List.BLACK


@given(st.floats(width=32, allow_nan=True, allow_infinity=True))
def test_bfloat16_is_what_the_runtime_casts_to(value: float) -> None:
    network = model(" net (float[1] x) => (float[1] y) { a = Cast<to = 16>(x) y = Cast<to = 1>(a) }")
    values = np.array([value], np.float32)
    assert np.array_equal(round_to_bfloat(values), run(network, x=values)[0], equal_nan=True)


ALL_HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
HALVES = np.unique(ALL_HALVES[np.isfinite(ALL_HALVES)])
floats = st_np.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32, allow_nan=False))


@given(floats)
def test_rounding_is_to_the_nearest_half_and_clips_at_the_range(values: Array) -> None:
    rounded = round_to_half(values, clip=True)
    assert rounded.dtype == np.float32
    assert np.abs(rounded).max(initial=0) <= HALF_MAX
    assert np.array_equal(round_to_half(rounded, clip=False), rounded)
    after = np.searchsorted(HALVES, values).clip(1, len(HALVES) - 1)
    nearest = np.minimum(np.abs(HALVES[after] - values), np.abs(HALVES[after - 1] - values))
    assert np.array_equal(np.abs(rounded.astype(np.float64) - values), nearest)
