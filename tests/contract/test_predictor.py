"""Offline batches through the device: any number of rows, the best gears, columns in and out."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from ascend_serve import AscendPredictor
from ascend_serve.errors import ArtifactMissing, ConfigError, InvalidTensor
from ascend_serve.runtime.device import Device
from tests.contract.sessions import (
    FOUR_ROWS,
    TWO_SIDED,
    build,
    expected,
    onnx_model,
)

__all__ = ["build"]  # a fixture

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def soc():
    with Device.open() as device:
        return device.soc_name


@pytest.fixture
def predictor(build, soc):
    with AscendPredictor(om=build(TWO_SIDED, soc)) as made:
        yield made


def columns(rows, seed=0):
    random = np.random.default_rng(seed)
    return {
        "a": random.integers(-9, 9, (rows, 3)).astype(np.float32),
        "b": random.integers(-9, 9, (rows, 1)).astype(np.int64),
    }


def assert_answers(answers, batch):
    for name, wanted in expected(TWO_SIDED, {name: batch[name] for name in "ab"}).items():
        np.testing.assert_allclose(answers[name], wanted, rtol=1e-5)


def test_any_number_of_rows_is_answered_in_order(predictor):
    for rows in (1, 2, 7, 8, 9, 50, 1000):
        batch = columns(rows, seed=rows)
        answers = predictor(batch)
        assert list(answers) == ["product", "total"]
        assert_answers(answers, batch)


def test_all_rows_of_a_call_run_at_the_best_gear_but_for_the_rest(build, soc, run_python, tmp_path):
    """On a card whose gear 4 has the most rows a millisecond, and by far."""
    times = tmp_path / "times.json"
    times.write_text('{"models": {"two_sided": {"1": 40, "2": 40, "4": 40, "8": 400}}}')
    program = """
import sys
import numpy as np
from ascend_serve import AscendPredictor
from ascend_serve.runtime import lane
gears, launch = [], lane.Runner.launch
def noted(runner, slot, bucket, gear, *rest):
    gears.append(gear)
    launch(runner, slot, bucket, gear, *rest)
lane.Runner.launch = noted
rows = 4 * 6 + 1
with AscendPredictor(om=sys.argv[1]) as predictor:
    predictor({"a": np.zeros((rows, 3), np.float32), "b": np.zeros((rows, 1), np.int64)})
print(*gears)
"""
    gears = run_python(
        program,
        build(TWO_SIDED, soc),
        ASCEND_EMULATOR_TIMING="modelled",
        ASCEND_EMULATOR_TIMES=str(times),
        ASCEND_EMULATOR_NODE="predictor-best",
    )
    assert gears.split()[:6] == ["4"] * 6
    assert sum(map(int, gears.split())) <= 4 * 7


def test_other_columns_come_back_as_they_were(predictor):
    batch = {**columns(3), "path": np.array(["x", "y", "z"], object), "label": np.arange(3)}
    answers = predictor(batch)
    assert list(answers) == ["path", "label", "product", "total"]
    assert answers["path"] is batch["path"]


def test_columns_may_have_names_of_their_own(build, soc):
    batch = columns(5)
    with AscendPredictor(om=build(TWO_SIDED, soc), columns={"a": "left"}, keep=("id",)) as made:
        answers = made({"left": batch["a"], "b": batch["b"], "id": np.arange(5), "more": np.arange(5)})
    assert list(answers) == ["id", "product", "total"]
    assert_answers(answers, batch)


def test_no_rows_give_no_rows(predictor):
    answers = predictor(columns(0))
    assert {name: (array.shape, array.dtype) for name, array in answers.items()} == {
        "product": ((0, 3), np.float32),
        "total": ((0,), np.float32),
    }


def test_a_batch_that_does_not_fit_is_refused(predictor):
    for change, words in (
        ({"a": None}, "no column 'a' for input 'a'"),
        ({"a": np.zeros((4, 3))}, "dtype float64"),
        ({"a": np.zeros((5, 3), np.float32)}, "all inputs of a request have the same number of rows"),
        ({"a": np.array([[1], [2, 3], [4], [5]], object)}, "holds objects"),
        ({"total": np.zeros(4)}, "so is an output"),
    ):
        batch = {name: column for name, column in {**columns(4), **change}.items() if column is not None}
        with pytest.raises(InvalidTensor, match=words):
            predictor(batch)
    assert_answers(predictor(columns(4)), columns(4))


def test_threads_may_call_it_side_by_side(predictor):
    batches = [columns(rows, seed=rows) for rows in range(1, 30)]
    with ThreadPoolExecutor(6) as pool:
        for answers, batch in zip(pool.map(predictor, batches), batches, strict=True):
            assert_answers(answers, batch)


def test_a_recipe_is_compiled_once_and_taken_from_the_store(tmp_path):
    onnx.save(onnx_model(TWO_SIDED), tmp_path / "net.onnx")
    recipe = tmp_path / "net.yaml"
    recipe.write_text(
        "name: net\nsource: net.onnx\ninput_format: ND\ninputs: {a: [-1, 3], b: [-1, 1]}\ngears: [1, 4]\n"
    )
    store = str(tmp_path / "store")
    with pytest.raises(ArtifactMissing, match="ascend-serve compile"):
        AscendPredictor(recipe=recipe, store=store, compile="never")
    for compile_ in ("missing", "never"):
        with AscendPredictor(recipe=str(recipe), store=store, compile=compile_) as made:
            assert made.spec.name == "net"
            assert_answers(made(columns(6)), columns(6))


def test_what_cannot_be_is_refused_and_leaves_nothing_open(build, soc):
    path = build(TWO_SIDED, soc)
    for wrong in ({}, {"om": path, "recipe": path}):
        with pytest.raises(ConfigError, match="exactly one of recipe and om"):
            AscendPredictor(**wrong)
    with pytest.raises(ConfigError, match="compile is 'always': it is 'missing' or 'never'"):
        AscendPredictor(recipe=path, compile="always")
    with pytest.raises(ConfigError, match="columns names the input 'c'"):
        AscendPredictor(om=path, columns={"c": "x"})
    with pytest.raises(ConfigError, match="has no batch axis"):
        AscendPredictor(om=build(FOUR_ROWS, soc), batched=False)


def test_closing_gives_the_device_back_and_refuses_what_comes(build, soc):
    made = AscendPredictor(om=build(TWO_SIDED, soc))
    made.close()
    made.close()
    with pytest.raises(RuntimeError, match="is closed"):
        made(columns(1))
    with Device.open() as device:
        assert device.live == {"context": 1}


def test_a_program_that_forgets_to_close_ends_all_the_same(build, soc):
    program = (
        "import numpy as np; from ascend_serve import AscendPredictor\n"
        f"made = AscendPredictor(om={str(build(TWO_SIDED, soc))!r})\n"
        "print(made({'a': np.ones((5, 3), np.float32), 'b': np.ones((5, 1), np.int64)})['total'].sum())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "15.0", "")
