"""The first operator that departs, found by compiling copies that give tensors out."""

import numpy as np
import onnx
import pytest

from ascend_serve.artifacts.store import Store
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.verification import Tolerance
from ascend_serve.verifying import Departure, NoDeparture, find_departure, verify_target, where_to_look
from ascend_serve.verifying.verification import soc_here

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def soc():
    return soc_here()


@pytest.fixture
def recipe(tmp_path):
    """Write a network, its nodes named after what they make, with inputs from 6 to 8; make a recipe of it."""

    def make(network, **settings):
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {network}')
        for node in model.graph.node:
            node.name = f"{node.output[0]}_node"
        onnx.save(model, tmp_path / "net.onnx")
        np.savez(tmp_path / "data.npz", x=np.linspace(6, 8, 12).reshape(3, 4))
        plain = {
            "name": "net",
            "source": str(tmp_path / "net.onnx"),
            "inputs": {"x": [-1, 4]},
            "gears": [1, 4],
        }
        return CompileRecipe.parse(plain | {"verify": {"inputs": str(tmp_path / "data.npz")}} | settings)

    return make


def searched(recipe, soc, tmp_path, tolerance=None):
    found = verify_target(recipe, soc, Store(tmp_path / "store"), tolerance=tolerance)
    output, gear = where_to_look(found)
    return find_departure(recipe, soc, output, gear, tolerance=tolerance)


def chain(count, begin, name):
    """Operators that change little, one after another."""
    steps = [f"{name}{n + 1} = Mul({name}{n if n else ''}, near)" for n in range(count)]
    return "\n".join([f"{name} = Identity({begin})", *steps]), f"{name}{count}"


def network(body, last="y"):
    return f"net (float[n,4] x) => (float[n,4] {last}) <float[1] near = {{0.999}}, float[1] two = {{2}}> {{ {body} }}"


def test_an_operator_that_overflows_in_half_precision_is_found(recipe, soc, tmp_path):
    before, start = chain(20, "x", "b")
    after, end = chain(20, "back", "a")
    body = f"{before} twice = Mul({start}, two) huge = Exp(twice) back = Log(huge) {after} y = Neg({end})"
    wanted = recipe(network(body))
    found = searched(wanted, soc, tmp_path)
    assert isinstance(found, Departure)
    assert (found.node, found.op_type, found.gear) == ("huge_node", "Exp", (4,))
    assert "not finite" in found.outputs[0].fault
    assert [each.name for each in found.inputs] == ["twice"]
    assert found.inputs[0].cosine > 0.9999
    assert found.builds <= 3
    assert found.to_json()["outputs"][0]["max_abs_error"] is None

    exact = wanted.model_copy(update={"precision": "fp32"})
    assert verify_target(exact, soc, Store(tmp_path / "store")).passed


def test_what_a_later_operator_hides_is_found_all_the_same(recipe, soc, tmp_path):
    after, end = chain(30, "cut", "a")
    body = f"""twice = Mul(x, two) huge = Exp(twice) cut = Min(huge, two) {after}
        small = Div(two, huge) high = Div({end}, small) y = Add(high, {end})"""
    found = searched(recipe(network(body)), soc, tmp_path)
    assert (found.node, found.op_type) == ("huge_node", "Exp")
    assert [each.name for each in found.inputs] == ["twice"]


def test_the_very_first_operator_reads_nothing_that_could_depart(recipe, soc, tmp_path):
    found = searched(recipe(network("y = Exp(x)")), soc, tmp_path, Tolerance(min_cosine=1.0))
    assert (found.node, found.inputs, found.builds) == ("y_node", (), 1)


def test_an_error_that_no_operator_makes_alone_is_told_as_that(recipe, soc, tmp_path):
    body, end = chain(5, "x", "b")
    found = searched(recipe(network(f"{body} y = Neg({end})")), soc, tmp_path, Tolerance(max_abs_error=0))
    assert isinstance(found, NoDeparture)
    assert "builds up over many operators" in found.reason
    assert found.to_json() == {"reason": found.reason, "builds": 1}


def test_what_no_operator_makes_is_refused(recipe, soc):
    with pytest.raises(ConfigError, match="output 'x' is made by no operator"):
        find_departure(recipe(network("y = Exp(x)")), soc, "x", (4,))
