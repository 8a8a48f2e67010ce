import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError
from ascend_serve.verifying.feeds import fitted, random_inputs, read_inputs

pytestmark = pytest.mark.unit

FLOAT, LONG, INT, BYTE, TRUTH = map(np.dtype, ("float32", "int64", "int32", "uint8", "bool"))
DTYPES = {"image": FLOAT, "ids": LONG}


# --- random values ---------------------------------------------------------------------------------


def test_random_values_fit_their_types():
    dtypes = {
        "float": FLOAT,
        "half": np.dtype("float16"),
        "byte": BYTE,
        "truth": TRUTH,
        "mask": LONG,
        "ids": LONG,
    }
    made = random_inputs(dict.fromkeys(dtypes, (60, 50)), dtypes, {"ids": 7})
    assert {name: (array.shape, array.dtype) for name, array in made.items()} == {
        name: ((60, 50), dtype) for name, dtype in dtypes.items()
    }
    assert -0.2 < made["float"].mean() < 0.2
    assert 0.9 < made["float"].std() < 1.1
    assert {0, 255} < set(made["byte"].ravel().tolist())
    assert set(made["mask"].ravel().tolist()) == {0, 1}
    assert set(made["ids"].ravel().tolist()) == set(range(7))


def test_random_values_are_the_same_each_time_and_unlike_between_inputs():
    dtypes = {"a": FLOAT, "b": FLOAT}
    shapes = {"a": (4, 2), "b": (4, 2)}
    once, again = (random_inputs(shapes, dtypes, {}) for _ in range(2))
    assert all((once[name] == again[name]).all() for name in dtypes)
    assert (once["a"] != once["b"]).all()


# --- from a file -----------------------------------------------------------------------------------


def test_arrays_are_read_and_made_the_types_of_the_device(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, image=np.arange(3, dtype=np.float64), ids=np.arange(3, dtype=np.int32))
    found = read_inputs(path, DTYPES)
    assert {name: array.dtype for name, array in found.items()} == DTYPES
    assert found["image"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros(1)}, "has no array for ids"),
        (
            {"image": np.zeros(1), "ids": np.zeros(1, int), "imgae": np.zeros(1)},
            "'imgae' is no input; did you mean 'image'",
        ),
        ({"image": np.zeros(1), "ids": np.zeros(1)}, "'ids' is float64, the compiled model takes int64"),
    ],
)
def test_arrays_that_do_not_fit_the_inputs_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ConfigError, match=words):
        read_inputs(tmp_path / "data.npz", DTYPES)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no file of numpy"])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read .*data\.npz as an \.npz file"):
        read_inputs(path, DTYPES)


def test_a_file_that_is_not_there_or_has_one_array_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.npz"):
        read_inputs(tmp_path / "gone.npz", DTYPES)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ConfigError, match=r"save them with np\.savez"):
        read_inputs(tmp_path / "one.npy", DTYPES)


# --- fitted to a gear ------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9))
def test_rows_are_cut_or_repeated_from_the_first(have, want):
    array = np.arange(have * 2).reshape(have, 2)
    made, notes = fitted({"x": array}, {"x": (want, 2)}, {"x": {0}})
    assert made["x"].tolist() == [array[row % have].tolist() for row in range(want)]
    verb = "cut" if have > want else "repeated"
    assert notes == ([] if have == want else [f"input 'x': axis 0 {verb} from {have} to {want}"])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 5), r"has shape \[3, 5\], the compiled model takes \[-1, 4\]"),
        ((3,), r"has shape \[3\], the compiled model takes \[-1, 4\]"),
        ((0, 4), r"has shape \[0, 4\]"),
    ],
)
def test_what_gears_do_not_decide_must_fit(shape, words):
    with pytest.raises(ConfigError, match=words):
        fitted({"x": np.zeros(shape)}, {"x": (2, 4)}, {"x": {0}})
