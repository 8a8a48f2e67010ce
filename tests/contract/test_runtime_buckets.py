"""Sessions of models with several row shapes, on whichever `acl` and `atc` are installed, against onnxruntime."""

import numpy as np
import onnxruntime
import pytest

from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from tests.contract import sessions
from tests.contract.models import compiled

pytestmark = pytest.mark.contract

device = sessions.device  # a fixture, by the name that tests ask for it

# name -> network, ATC's options, order of the inputs on ATC's command line, batched, input shapes of each bucket, gears
MODELS = {
    "pictures": (
        "net (float[2,2,h,w] x) => (float[2,2,a,b] z)"
        "{ z = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x) }",
        ["--input_shape=x:2,2,-1,-1", "--dynamic_image_size=4,4;8,6;2,10"],
        (),
        True,
        [{"x": (2, 4, 4)}, {"x": (2, 2, 10)}, {"x": (2, 8, 6)}],
        [(2,), (2,), (2,)],
    ),
    "sequences": (
        "net (float[n,s] ids, float[n,s,1] mask) => (float[n,s,3] z, float[n] total)"
        "<float[3] weights = {1, 2, 3}, int64[1] last = {-1}, int64[1] one = {1}>"
        "{ wide = Unsqueeze(ids, last) m = Mul(wide, mask) z = Mul(m, weights)"
        "  total = ReduceSum <keepdims = 0> (ids, one) }",
        [
            "--input_shape=mask:-1,-1,1;ids:-1,-1",
            "--dynamic_dims=1,16,1,16;4,16,4,16;1,64,1,64;2,64,2,64",
            "--input_format=ND",
        ],
        ("mask", "ids"),
        True,
        [{"ids": (16,), "mask": (16, 1)}, {"ids": (64,), "mask": (64, 1)}],
        [(1, 4), (1, 2)],
    ),
    "unequal": (
        "net (float[1,a] data, float[b,1] mask) => (float[b,a] z) { z = Add(data, mask) }",
        ["--input_shape=mask:-1,1;data:1,-1", "--dynamic_dims=2,3;4,5", "--input_format=ND"],
        ("mask", "data"),
        False,
        [{"data": (1, 3), "mask": (2, 1)}, {"data": (1, 5), "mask": (4, 1)}],
        [(1,), (1,)],
    ),
}


@pytest.fixture(scope="module")
def om(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buckets")
    return {
        name: compiled(folder, name, network, *options) for name, (network, options, *_) in MODELS.items()
    }


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def opened(device, om, name):
    spec = describe(device, om[name], name, order=MODELS[name][2])
    session = Session.open(device, om[name], spec, slots=2)  # which finds the order by the shapes
    yield session
    session.close()
    assert device.live == {"context": 1}


def values(spec, bucket, rows, seed):
    random = np.random.default_rng(seed)
    return {
        tensor.name: random.integers(-4, 5, spec.shape_at(tensor.name, bucket, rows)).astype(
            tensor.dtype.numpy
        )
        for tensor in spec.inputs
    }


def test_the_device_tells_the_buckets(device, om, name):
    _, _, order, batched, shapes, gears = MODELS[name]
    spec = describe(device, om[name], name, order=order)
    assert (spec.batched, spec.free) == (batched, True)
    assert [{key: bucket.shapes[key] for key in shapes[0]} for bucket in spec.buckets] == shapes
    assert [bucket.gears.sizes for bucket in spec.buckets] == gears


def test_answers_are_onnxruntimes_in_every_bucket_gear_and_slot(opened, om, name):
    reference = onnxruntime.InferenceSession(str(om[name].with_suffix(".onnx")))
    opened.warm_up()
    spec = opened.spec
    runs = [(index, gear) for index, bucket in enumerate(spec.buckets) for gear in bucket.gears]
    for seed, (bucket, gear) in enumerate([*runs, *reversed(runs)]):
        for slot in opened.slots:
            inputs = values(spec, bucket, gear, seed + slot.index)
            wanted = dict(
                zip([output.name for output in spec.outputs], reference.run(None, inputs), strict=True)
            )
            outputs = sessions.run(opened, slot, gear, inputs, bucket)
            sessions.assert_rows(outputs, wanted, gear if spec.batched else None)


def test_slots_in_flight_in_different_buckets_do_not_mix(opened, om, name):
    reference = onnxruntime.InferenceSession(str(om[name].with_suffix(".onnx")))
    spec = opened.spec
    last = len(spec.buckets) - 1
    for seed in range(20):
        flight = []
        for slot, bucket in zip(opened.slots, (0, last) if seed % 2 else (last, 0), strict=True):
            gear = spec.buckets[bucket].gears.largest
            inputs = values(spec, bucket, gear, seed)
            slot.begin()
            for key, array in inputs.items():
                slot.inputs_at(bucket)[key][...] = array
            opened.enqueue(slot, bucket, gear)
            flight.append((slot, bucket, inputs))
        for slot, bucket, inputs in flight:
            opened.wait(slot)
            wanted = reference.run(None, inputs)
            for output, array in zip(spec.outputs, wanted, strict=True):
                np.testing.assert_allclose(slot.outputs_at(bucket)[output.name], array)
            slot.release()


def test_only_the_bytes_of_the_bucket_are_copied(opened, name):
    if opened.device.shares_memory:
        pytest.skip("a board copies nothing")
    spec = opened.spec
    output = spec.outputs[0].name
    slot = opened.slots[0]
    largest = max(
        range(len(spec.buckets)),
        key=lambda index: spec.bytes_at(output, index, spec.buckets[index].gears.largest),
    )
    smallest = min(
        range(len(spec.buckets)),
        key=lambda index: spec.bytes_at(output, index, spec.buckets[index].gears.sizes[0]),
    )
    gear = spec.buckets[smallest].gears.sizes[0]
    whole = slot.outputs_at(largest)[output].reshape(-1)
    whole.fill(-77)
    sessions.run(opened, slot, gear, values(spec, smallest, gear, 0), smallest)
    written = spec.bytes_at(output, smallest, gear) // whole.itemsize
    assert written < whole.size
    assert set(whole[written:].tolist()) == {-77.0}
    assert -77.0 not in whole[:written]


def test_warm_up_times_every_gear_of_every_bucket(opened):
    times = opened.warm_up()
    assert list(times) == [
        (index, gear) for index, bucket in enumerate(opened.spec.buckets) for gear in bucket.gears
    ]
    assert all(timing.stages.compute_ms > 0 for timing in times.values())
