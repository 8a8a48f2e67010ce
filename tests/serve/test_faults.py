"""Faults under load: every request that was sent whole ends in one of the allowed ways, in time, and is counted.

Serve's Python proxy is in front here; HAProxy is in `test_routing.py`, `test_fast_run.py` and the benchmark `chaos`.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from ascend_emulator import control

from benchmarks.counted_load import (
    FAILED,
    GIVE_UP_S,
    INTERNAL,
    NO_APPLICATION,
    NO_ROUTES,
    RIGHT,
    Ask,
    Ends,
    counted_load,
    over_a_handle,
    over_grpc,
    over_http,
)
from benchmarks.table import INPUT, MODEL, one_request, poison, table_recipe
from tests.serve.deploying import Deploy
from tests.serve.tools import eventually

pytestmark = pytest.mark.serve

APPLICATION = "faults"
INFER = f"/{APPLICATION}/v2/models/{MODEL}/infer"
NODE = "serve-tests"
CARDS, REPLICAS = 4, 2
CLIENTS, INTERVAL_S = 5, 0.2
"""Of each way; there is to be CPU left on a small machine for the replicas that start."""
PATIENT_S = 30.0
"""A deadline that passes on no machine, however busy, unless a request is lost."""

SAID: list[str] = []
"""What the answers said that were none, since the load began."""

DIED = (
    *("reset by the proxy", FAILED, "the proxy's 503"),
    *("gRPC UNAVAILABLE", INTERNAL, "ActorDiedError"),
)
"""How requests may end that were with a process when it was killed."""
LATE = (
    *("ours 503", "ours 504", "gRPC DEADLINE_EXCEEDED"),
    *("our DeadlineExpired", "our DeadlineUnmet", "our ReplicaLost"),
)


class Application:
    """The one application of this module, and how it is deployed anew."""

    def __init__(self, deploy: Deploy, folder: Path) -> None:
        self._deploy = deploy
        recipe, times = table_recipe(folder, {1: 10.0, 4: 15.0, 8: 20.0})
        variables = {"ASCEND_EMULATOR_TIMING": "modelled", "ASCEND_EMULATOR_TIMES": str(times)}
        self._args = {"recipe": str(recipe), "stall_timeout_s": 3.0, "quarantine_s": 4.0}
        self._options: dict[str, Any] = {
            "num_replicas": REPLICAS,
            "health_check_period_s": 1,
            "graceful_shutdown_wait_loop_s": 0.5,
            "rolling_update_percentage": 0.5,
            "ray_actor_options": {
                "num_cpus": 0.1,
                "resources": {"NPU": 1},
                "runtime_env": {"env_vars": variables},
            },
        }
        self.handle = self.change()

    def change(self, args: dict[str, Any] | None = None, **options: Any) -> Any:
        """Deploy it with other arguments or options from now on; returns when it runs."""
        self._args |= args or {}
        self._options |= options
        return self._deploy(APPLICATION, args=self._args, **self._options)

    def all_run(self) -> bool:
        """Whether it has the replicas that it was deployed with, and no others that start or end."""
        wanted = self._options["num_replicas"]
        return states() == {"RUNNING": wanted} and len(owners()) == wanted


@pytest.fixture(scope="module")
def application(deploy: Deploy, tmp_path_factory: pytest.TempPathFactory) -> Application:
    return Application(deploy, tmp_path_factory.mktemp("table"))


@pytest.fixture(autouse=True)
def _settled(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """All replicas run, and what is asked of cards goes to those of the suite's cluster."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.environ["RAY_TMPDIR"])
    eventually("all replicas run", application.all_run)


def states() -> dict[str, int]:
    from ray import serve

    deployment = serve.status().applications[APPLICATION].deployments["AscendModel"]
    return {str(state): count for state, count in deployment.replica_states.items() if count}


def owners() -> set[int]:
    """The processes that have cards: the replicas."""
    return {client.pid for state in control.cards(NODE) for client in state.clients}


def replicas() -> set[int]:
    """The processes of the replicas; one that opens its device again is no client of its card for a moment."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if f"ServeReplica:{APPLICATION}:" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


Ways = dict[str, Ask]


@pytest.fixture
async def ways(serve_url: str, grpc_address: str, application: Application) -> AsyncIterator[Ways]:
    """Every way to ask the application."""
    quickly = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 500)]
    async with (
        httpx.AsyncClient(base_url=serve_url, timeout=2 * GIVE_UP_S) as client,
        grpc.aio.insecure_channel(grpc_address, quickly) as channel,
    ):
        yield {
            "http": over_http(client, INFER, INPUT, SAID),
            "grpc": over_grpc(channel, MODEL, INPUT, SAID, application=APPLICATION),
            "handle": over_a_handle(application.handle),
        }


async def until(what: str, check: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(eventually, what, check)


def under_load(ways: Ways, **settings: Any) -> Any:
    SAID.clear()
    settings = {"deadline_s": PATIENT_S, "interval_s": INTERVAL_S} | settings
    return counted_load(ways, CLIENTS, one_request, **settings)


async def answered(ends: dict[str, Ends], more: int = 20) -> None:
    """Wait until so many more requests have ended well over each way."""
    wanted = {way: one.kinds[RIGHT] + more for way, one in ends.items()}
    await until("requests are answered", lambda: all(ends[way].kinds[RIGHT] >= wanted[way] for way in wanted))


def check(ends: dict[str, Ends], *allowed: str) -> None:
    """Everything ended as it may, most of it well; the counts are printed."""
    told = ", ".join([*(f"{way}: {dict(one.kinds)}" for way, one in ends.items()), *SAID])
    print(told)
    for one in ends.values():
        assert one.faults == [], told
        assert set(one.kinds) <= {RIGHT, *allowed}, told


@contextmanager
def a_card() -> Iterator[tuple[control.Card, int]]:
    """A card with a replica on it, kept from ending, and that replica's process."""
    state = next(state for state in control.cards(NODE) if state.clients)
    with control.Card(state.number, NODE) as card:
        [owner] = state.clients
        yield card, owner.pid
        card.clear()
        card.restore()


class TestAllCardsAreInUse:
    """So the next replica gets the card that a replica has left, and no other."""

    @pytest.fixture(scope="class", autouse=True)
    def _a_replica_on_each(self, application: Application) -> Iterator[None]:
        application.change(num_replicas=CARDS)
        yield
        application.change(num_replicas=REPLICAS)

    async def test_a_replica_is_killed_and_its_card_has_no_room_at_first(
        self, ways: Ways, application: Application
    ) -> None:
        with a_card() as (card, replica):
            async with under_load(ways) as ends:
                await answered(ends)
                card.inject("malloc:nth=1")
                os.kill(replica, signal.SIGKILL)
                await until("the next replica there finds no room", lambda: not card.state().faults)
                await until("it is replaced", application.all_run)
        check(ends, *DIED)

    async def test_a_card_is_lost_for_good_and_three_serve_on(
        self, ways: Ways, application: Application
    ) -> None:
        with a_card() as (card, _):
            async with under_load(ways) as ends:
                await answered(ends)
                card.lose()
                await until("three run", lambda: states() == {"RUNNING": CARDS - 1, "STARTING": 1})
                await answered(ends, 100)
                assert states()["RUNNING"] == CARDS - 1
            check(ends)  # what the lost card had was answered by another
            card.restore()
            await until("four run again", application.all_run)


async def test_a_stream_hangs(ways: Ways, application: Application) -> None:
    with a_card() as (card, replica):
        # A replica that starts takes all cores of a small machine for seconds; `benchmarks chaos` allows a second.
        async with under_load(ways, deadline_s=1.5, late_s=4.0) as ends:
            await answered(ends)
            card.inject("execute:nth=1,hang")
            await until("it is replaced", lambda: replica not in owners() and application.all_run())
            await answered(ends)
    check(ends, *LATE, *DIED)


async def test_poisoned_requests_and_a_run_that_finds_no_room_harm_nobody_else(
    ways: Ways,
) -> None:
    before = replicas()
    with a_card() as (card, _):
        async with under_load(ways) as ends:
            await answered(ends)
            asked = [ask(poison(), 20.0) for ask in ways.values() for _ in range(2)]
            kinds = [kind for kind, _ in await asyncio.gather(*asked)]
            assert kinds == ["ours 422"] * 2 + ["gRPC INVALID_ARGUMENT"] * 2 + ["our PoisonRequest"] * 2
            card.inject("execute:nth=1,code=207001")
            await until("the run that finds no room", lambda: not card.state().faults)
            await answered(ends)
    check(ends)
    assert replicas() == before, "no replica was replaced"


async def test_clients_that_are_slow_and_clients_that_leave(ways: Ways, serve_url: str) -> None:
    host, port = serve_url.removeprefix("http://").split(":")
    body = b'{"inputs":[{"name":"ids","shape":[1,4],"datatype":"INT32","data":[1,2,3,4]}]}'
    head = f"POST {INFER} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def send(parts: list[bytes]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, int(port))
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        return reader, writer

    octets = [body[place : place + 1] for place in range(len(body))]
    async with under_load(ways) as ends:
        for parts in ([head, body[:20]], [head, body], [head[:30]], [head]):
            for _ in range(5):
                _, writer = await send(parts)
                writer.transport.abort()
        reader, writer = await send([head, *octets])
        assert b"200" in await reader.readline()
        writer.close()
        await answered(ends)
    check(ends)


async def test_the_proxy_is_killed(ways: Ways) -> None:
    [proxy] = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.name().startswith("ray::Proxy")
    ]
    async with under_load(ways) as ends:
        await answered(ends)
        proxy.kill()
        await answered(ends)
    check(ends, *DIED, NO_ROUTES, NO_APPLICATION)
    assert set(ends["handle"].kinds) == {RIGHT}


async def test_the_store_is_gone_when_a_replica_is_to_be_replaced(
    ways: Ways, application: Application, store: Path
) -> None:
    away = store.with_name("away")
    with a_card() as (_, replica):
        async with under_load(ways) as ends:
            store.rename(away)
            try:
                os.kill(replica, signal.SIGKILL)
                await until("another starts", lambda: states().get("STARTING"))
                await answered(ends, 60)
            finally:
                away.rename(store)
            await until("it is replaced", application.all_run)
    check(ends, *DIED)


async def test_what_was_accepted_is_finished_by_replicas_that_go(
    ways: Ways, application: Application
) -> None:
    before = owners()
    async with under_load(ways) as ends:
        await answered(ends)
        # Another version, half of the replicas at a time.
        await asyncio.to_thread(application.change, {"stall_timeout_s": 3.5})
        await until(
            "all are of the new version", lambda: application.all_run() and before.isdisjoint(owners())
        )
        await asyncio.to_thread(application.change, num_replicas=REPLICAS - 1)
        await until("one is gone", application.all_run)
        await answered(ends)
    check(ends)
    await asyncio.to_thread(application.change, num_replicas=REPLICAS)


@pytest.mark.last
async def test_what_was_accepted_is_finished_when_the_application_goes(application: Application) -> None:
    from ray import serve

    ask = over_a_handle(application.handle)
    rows, _ = one_request(np.random.default_rng(0))
    asked = [asyncio.create_task(ask(rows, 20.0)) for _ in range(40)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(serve.delete, APPLICATION)
    assert [kind for kind, _ in await asyncio.gather(*asked)] == [RIGHT] * 40
