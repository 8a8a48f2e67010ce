"""The search for the first operator that departs, with measurements made up: no device and no build."""

import math
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.verification import Tolerance
from ascend_serve.verifying.comparison import OutputReport
from ascend_serve.verifying.departure import Departure, NoDeparture, _Search, _within, where_to_look
from ascend_serve.verifying.onnx_graph import OnnxGraph
from ascend_serve.verifying.verification import GearReport, Verification

pytestmark = pytest.mark.unit

RECIPE = CompileRecipe.parse({"name": "net", "source": "net.onnx", "inputs": {"x": [1]}})


def report(name, departs=False):
    return OutputReport(name, (1,), 0.0, 0.0, 0.5 if departs else 1.0, None)


class MadeUp(_Search):
    """A search that is told what departs, round by round."""

    def __init__(self, graph, departs):
        bounds = _within(Tolerance())
        super().__init__(RECIPE, "Ascend310P3", (), graph, Path("unused"), bounds, None, None)
        self.departs = departs
        self.rounds = []

    def _measure(self, tensors):
        self._builds += 1
        self.rounds.append(list(tensors))
        self._reports |= {name: report(name, self.departs(name, self._builds)) for name in tensors}


def graph_of(folder, nodes):
    """A graph of sums: node n makes tensor `t<n>` of two earlier tensors, of which -1 is the input."""
    name = ["x", *(f"t{place}" for place in range(len(nodes)))]
    made = [
        onnx.helper.make_node("Add", [name[a + 1], name[b + 1]], [f"t{place}"], name=f"n{place}")
        for place, (a, b) in enumerate(nodes)
    ]
    ends = [onnx.helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, [1]) for each in ("x", name[-1])]
    graph = onnx.helper.make_graph(made, "g", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=8), folder / "net.onnx")
    return OnnxGraph(folder / "net.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 60))
    return [(draw(st.integers(-1, place - 1)), draw(st.integers(-1, place - 1))) for place in range(count)]


@given(nodes=graphs(), data=st.data())
def test_what_is_found_departs_and_nothing_it_reads_does(folder, nodes, data):
    graph = graph_of(folder, nodes)
    last = f"t{len(nodes) - 1}"
    bad = data.draw(st.sets(st.sampled_from([f"t{place}" for place in range(len(nodes))]))) | {last}
    search = MadeUp(graph, lambda name, _: name in bad)
    found = search.find(last, lambda _: None)
    assert isinstance(found, Departure)
    assert found.outputs[0].name in bad
    reads = {name for name in graph.node_of(found.outputs[0].name).input if name != "x"}
    assert {each.name for each in found.inputs} == reads
    assert not reads & bad
    assert not found.unseen
    assert found.builds == len(search.rounds) <= len(nodes)
    assert max(map(len, search.rounds)) <= 17


@pytest.mark.parametrize("culprit", [0, 1, 250, 777, 998, 999])
def test_a_chain_of_a_thousand_takes_four_builds(folder, culprit):
    graph = graph_of(folder, [(place - 1, place - 1) for place in range(1000)])
    search = MadeUp(graph, lambda name, _: int(name[1:]) >= culprit)
    found = search.find("t999", lambda _: None)
    assert (found.node, found.op_type) == (f"n{culprit}", "Add")
    assert found.builds <= math.ceil(math.log(1000, 17)) + 1


def test_each_round_is_told_of(folder):
    said = []
    graph = graph_of(folder, [(place - 1, place - 1) for place in range(40)])
    MadeUp(graph, lambda name, _: int(name[1:]) >= 20).find("t39", said.append)
    assert said[0] == "build 1: 't39' departs, looking at 16 of 39 tensors before it"
    assert said[1] == "build 2: 't20' departs, looking at 1 of 1 tensors before it"


def test_a_departure_that_giving_tensors_out_ends_is_told_as_that(folder):
    graph = graph_of(folder, [(place - 1, place - 1) for place in range(40)])
    gone = MadeUp(graph, lambda *_: False).find("t39", lambda _: None)
    assert isinstance(gone, NoDeparture)
    assert "'t39' is within the bounds" in gone.reason
    later = MadeUp(graph, lambda name, build: build == 1 and int(name[1:]) >= 20).find("t39", lambda _: None)
    assert isinstance(later, NoDeparture)
    assert "fused with its neighbours" in later.reason
    assert (gone.builds, later.builds) == (1, 2)


def test_what_cannot_be_given_out_is_named(folder):
    odd = onnx.helper.make_node("Odd", ["x"], ["o"], domain="own")
    last = onnx.helper.make_node("Relu", ["o"], ["y"], name="last")
    ends = [onnx.helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, [1]) for each in ("x", "y")]
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
    graph = onnx.helper.make_graph([odd, last], "g", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports), folder / "odd.onnx")
    found = MadeUp(OnnxGraph(folder / "odd.onnx"), lambda *_: True).find("y", lambda _: None)
    assert (found.node, found.unseen, found.builds) == ("last", ("o",), 1)


@pytest.mark.parametrize(
    ("given_bounds", "cosine"),
    [
        (Tolerance(), 0.99),
        (Tolerance(max_abs_error=1, min_top1=1), 0.99),
        (Tolerance(min_cosine=0.9), 0.9),
        (Tolerance(min_cosine=None, max_abs_error=1), 0.99),
        (Tolerance(min_cosine=None, max_rel_error=0.1), None),
    ],
)
def test_tensors_within_are_judged_by_what_means_the_same_everywhere(given_bounds, cosine):
    bounds = _within(given_bounds)
    assert (bounds.min_cosine, bounds.max_abs_error, bounds.min_top1) == (cosine, None, None)


def test_the_search_begins_at_the_largest_gear_that_departs():
    def verification(*gears):
        return Verification("net", "S", "acl", "random", (), Tolerance(), tuple(gears), ())

    found = verification(
        GearReport((4, 4), (report("a", departs=True),)),
        GearReport((2, 9), (report("a"), report("b", departs=True), report("c", departs=True))),
        GearReport((8, 8), (report("a"),)),
    )
    assert where_to_look(found) == ("b", (2, 9))
    with pytest.raises(ConfigError, match="no output departs"):
        where_to_look(verification(GearReport((), (report("a"),))))
