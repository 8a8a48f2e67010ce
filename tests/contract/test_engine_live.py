"""Engines on a lane, on whichever `acl` and `atc` are installed."""

import asyncio

import numpy as np
import pytest

from ascend_serve.batching.policy import policy_named
from ascend_serve.batching.sharing import Share
from ascend_serve.engine import Engine
from ascend_serve.errors import PoisonRequest
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from tests.contract import sessions
from tests.contract.sessions import LIMIT_S, ONE_ROW, PICKED, TWO_SIDED, assert_rows, expected, rows_of

pytestmark = pytest.mark.contract

build = sessions.build  # a fixture, by the name that tests ask for it


@pytest.fixture
def open_lane(build):
    """Start a lane on networks, one session each; gives the lane and its reports, and closes it at the end."""
    lanes = []

    def start(*networks):
        built = {}

        def open_sessions():
            device = Device.open()
            opened = []
            for network in networks:
                path = built.get(network.name) or build(network, device.soc_name)
                built[network.name] = path
                spec = describe(device, path, network.name)
                opened.append(Session.open(device, path, spec, close_device=not opened))
            return opened

        lane = Lane(open_sessions)
        lanes.append(lane)
        return lane, lane.start(LIMIT_S)

    yield start
    for lane in lanes:
        lane.close(LIMIT_S)


def engine_on(lane, reports, number=0, **settings):
    report = reports[number]
    defaults = {"policy": policy_named("optimal"), "max_queued_rows": 1024}
    return Engine(
        report.spec,
        lane.runner(number),
        slots=report.slots,
        times=report.times,
        **defaults | settings,
    )


async def serve_all(engine, spec, network, sizes, seed=0):
    """Send requests of those rows together; each must come back with its own answers."""
    requests = [rows_of(spec, rows, seed + at) for at, rows in enumerate(sizes)]
    everything = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
    wanted = expected(network, everything)
    answers = await asyncio.wait_for(asyncio.gather(*map(engine.submit, requests)), LIMIT_S)
    start = 0
    for rows, answer in zip(sizes, answers, strict=True):
        assert_rows(answer, {name: array[start : start + rows] for name, array in wanted.items()}, rows)
        assert {len(array) for array in answer.values()} == {rows}
        start += rows


@pytest.mark.parametrize("policy", ["optimal", "pad_up", "min_cost"])
async def test_every_request_gets_the_rows_of_its_own(open_lane, policy):
    lane, reports = open_lane(TWO_SIDED)
    engine = engine_on(lane, reports, policy=policy_named(policy))
    await engine.prepared()
    random = np.random.default_rng(11)
    for burst in range(5):
        sizes = [int(rows) for rows in random.integers(1, 20, 12)]
        await serve_all(engine, reports[0].spec, TWO_SIDED, sizes, seed=100 * burst)
    await asyncio.wait_for(engine.drain(), LIMIT_S)


async def test_live_batches_are_counted_into_the_times(open_lane):
    lane, reports = open_lane(TWO_SIDED)
    engine = engine_on(lane, reports)
    before = reports[0].times
    for burst in range(20):
        await serve_all(engine, reports[0].spec, TWO_SIDED, [8] * 4, seed=burst)
    after = engine.times()
    assert set(after) == set(before)
    assert sum(timing.runs for timing in after.values()) > sum(timing.runs for timing in before.values())
    await asyncio.wait_for(engine.drain(), LIMIT_S)


async def test_two_models_share_one_device(open_lane):
    lane, reports = open_lane(TWO_SIDED, ONE_ROW)
    share = Share(in_flight=2)
    first = engine_on(lane, reports, 0, share=share)
    second = engine_on(lane, reports, 1, share=share, weight=2.0)
    await asyncio.gather(first.prepared(), second.prepared())
    await asyncio.gather(
        serve_all(first, reports[0].spec, TWO_SIDED, [3, 8, 1, 5] * 5),
        serve_all(second, reports[1].spec, ONE_ROW, [1] * 20),
    )
    await asyncio.wait_for(asyncio.gather(first.drain(), second.drain()), LIMIT_S)
    assert share.running_batches == 0


async def test_a_request_that_makes_the_device_fail_fails_alone(open_lane):
    """An index past the end of the table is what a text model meets with a token that it does not know."""
    lane, reports = open_lane(PICKED)
    engine = engine_on(lane, reports)
    await engine.prepared()
    requests = [engine.submit({"i": np.array([index], np.int32)}) for index in (0, 1, 1_000_000, 2, 3, 0)]
    answers = await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), LIMIT_S)
    assert isinstance(answers.pop(2), PoisonRequest)
    assert [float(answer["y"][0]) for answer in answers] == [10.0, 11.0, 12.0, 13.0, 10.0]
    assert engine.state().fault is None
    again = await asyncio.wait_for(engine.submit({"i": np.array([2, 3], np.int32)}), LIMIT_S)
    np.testing.assert_array_equal(again["y"], [12.0, 13.0])
    await asyncio.wait_for(engine.drain(), LIMIT_S)
