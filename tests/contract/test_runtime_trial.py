"""Trials of models of every kind on whichever `acl` and `atc` are installed, against onnxruntime's answers."""

import numpy as np
import onnx
import onnxruntime
import pytest

from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.runtime import _acl
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.trial import Trial
from tests.contract import sessions
from tests.contract.models import compiled

pytestmark = pytest.mark.contract

device = sessions.device  # a fixture, by the name that tests ask for it

_ON_A_BOARD = """
import sys
from pathlib import Path
import numpy as np
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.trial import Trial

with Device.open() as device, Trial.open(device, Path(sys.argv[1])) as trial:
    assert device.shares_memory and "host_buffer" not in device.live
    for h, w in trial.gears:
        x = np.random.default_rng(h).standard_normal((1, 2, h, w)).astype(np.float32)
        wanted = x.reshape(1, 2, h // 2, 2, w // 2, 2).max((3, 5))
        np.testing.assert_array_equal(trial.run({"x": x}, (h, w))["z"], wanted)
print(device.live)
"""

# name -> network, ATC's options, order of the inputs on ATC's command line, kind of gears, gears
MODELS = {
    "static": (
        "net (float[2,3] x, int64[2,1] n) => (float[2,3] z, bool[2,3] p) <float[1] zero = {0}>"
        "{ f = Cast <to = 1> (n) z = Mul(x, f) p = Greater(z, zero) }",
        ["--input_shape=x:2,3;n:2,1"],
        (),
        "",
        (),
    ),
    "batch": (
        "net (float[n,3] x) => (float[n,3] z, float[1,3] top)"
        "{ z = Exp(x) top = ReduceMax <axes = [0], keepdims = 1> (x) }",
        ["--input_shape=x:-1,3", "--dynamic_batch_size=8,1,4", "--input_format=ND"],
        (),
        "batch",
        ((1,), (4,), (8,)),
    ),
    "image": (
        "net (float[1,2,h,w] x) => (float[1,2,a,b] z)"
        "{ z = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x) }",
        ["--input_shape=x:1,2,-1,-1", "--dynamic_image_size=4,4;8,6;2,10"],
        (),
        "image",
        ((4, 4), (8, 6), (2, 10)),
    ),
    "dims": (
        "net (float[1,a] data, float[b,1] mask) => (float[b,a] z) { z = Add(data, mask) }",
        ["--input_shape=mask:-1,1;data:1,-1", "--dynamic_dims=2,3;4,5;1,5", "--input_format=ND"],
        ("mask", "data"),
        "dims",
        ((2, 3), (4, 5), (1, 5)),
    ),
}


@pytest.fixture(scope="module")
def om(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    return {
        name: compiled(folder, name, network, *options) for name, (network, options, *_) in MODELS.items()
    }


@pytest.fixture
def trial(device, om, request):
    with Trial.open(device, om[request.param], order=MODELS[request.param][2]) as opened:
        yield opened
    assert device.live == {"context": 1}


def values(trial, gear, seed):
    random = np.random.default_rng(seed)
    shapes = trial.shapes_at(gear)
    return {
        name: random.integers(-4, 5, shapes[name]).astype(port.dtype.numpy)
        for name, port in trial.inputs.items()
    }


@pytest.mark.parametrize("trial", MODELS, indirect=True)
def test_the_device_describes_itself(trial, om, request):
    network, _, _, kind, gears = MODELS[request.node.callspec.params["trial"]]
    graph = onnx.parser.parse_graph(network)
    assert list(trial.inputs) == [value.name for value in graph.input]
    assert list(trial.outputs) == [value.name for value in graph.output]
    assert trial.gear_kind == kind
    assert sorted(trial.gears) == sorted(gears)


@pytest.mark.parametrize("trial", MODELS, indirect=True)
def test_answers_are_onnxruntimes_at_every_gear(trial, om, request):
    name = request.node.callspec.params["trial"]
    reference = onnxruntime.InferenceSession(str(om[name].with_suffix(".onnx")))
    gears = trial.gears or (None,)
    for seed, gear in enumerate([*gears, *reversed(gears)]):
        inputs = values(trial, gear, seed)
        wanted = reference.run(None, inputs)
        got = trial.run(inputs, gear)
        assert list(got) == [output.name for output in reference.get_outputs()]
        for ours, theirs in zip(got.values(), wanted, strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("trial", ["batch"], indirect=True)
def test_what_a_run_gives_outlives_the_next(trial):
    first = trial.run(values(trial, (4,), 1), (4,))
    kept = {name: array.copy() for name, array in first.items()}
    trial.run(values(trial, (8,), 2), (8,))
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


@pytest.mark.parametrize("trial", ["batch", "dims"], indirect=True)
def test_a_gear_it_has_not_is_refused(trial):
    with pytest.raises(ConfigError, match=r"gear \[3\].*was compiled for \[\["):
        trial.run({}, (3,))
    with pytest.raises(ConfigError, match="gear None"):
        trial.shapes_at(None)


@pytest.mark.parametrize("trial", ["static"], indirect=True)
def test_wrong_inputs_are_refused_with_both_forms(trial):
    inputs = values(trial, None, 0)
    with pytest.raises(ConfigError, match=r"gear \[2\]: .* was compiled without gears"):
        trial.run(inputs, (2,))
    with pytest.raises(ConfigError, match=r"inputs \['x'\] were given, the model has \['x', 'n'\]"):
        trial.run({"x": inputs["x"]})
    with pytest.raises(ConfigError, match=r"'n' is int32 \[2, 1\], the gear takes int64 \[2, 1\]"):
        trial.run(inputs | {"n": inputs["n"].astype(np.int32)})
    with pytest.raises(ConfigError, match=r"'x' is float32 \[1, 3\], the gear takes float32 \[2, 3\]"):
        trial.run(inputs | {"x": inputs["x"][:1]})


def test_dims_gears_without_their_order_are_refused_or_right(device, om):
    with pytest.raises(ConfigError, match="give the order of --input_shape"):
        Trial.open(device, om["dims"])
    with pytest.raises(ConfigError, match=r"order names .*picture"):
        Trial.open(device, om["dims"], order=["picture"])
    assert device.live == {"context": 1}


def test_open_shapes_are_refused(device, tmp_path):
    path = compiled(tmp_path, "open", "net (float[a] x) => (float[a] z) { z = Exp(x) }", "--input_shape=x:-1")
    with pytest.raises(ArtifactError, match=r"'x' has the open shape \[-1\] and the model no gears"):
        Trial.open(device, path)
    assert device.live == {"context": 1}


def test_a_run_that_is_refused_leaves_the_trial_of_use(device, om, monkeypatch):
    with Trial.open(device, om["batch"]) as trial:
        inputs = values(trial, (4,), 1)
        wanted = trial.run(inputs, (4,))
        with monkeypatch.context() as patch:
            patch.setattr(_acl, "execute_async", lambda *_: _acl._check("acl.mdl.execute_async", 207000))
            with pytest.raises(Exception, match="207000"):
                trial.run(inputs, (4,))
        np.testing.assert_array_equal(trial.run(inputs, (4,))["z"], wanted["z"])


def test_closing_gives_the_cards_memory_back(om):
    with Device.open() as device:
        before = device.memory().free_bytes
        trial = Trial.open(device, om["static"])
        assert device.memory().free_bytes < before
        trial.close()
        trial.close()
        assert device.memory().free_bytes == before


@sessions.needs_emulator
def test_on_a_board_nothing_is_staged(om, run_python):
    told = run_python(
        _ON_A_BOARD, om["image"], ASCEND_EMULATOR_NODE="trial-board", ASCEND_EMULATOR_RUN_MODE="0"
    )
    assert told == "{}"
