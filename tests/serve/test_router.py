"""How Serve's request router ranks replicas: full ones, unknown ones, near ones, ones that went; and that it serves."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.routing import PaceReport
from ascend_serve.spec.gears import Gears
from tests.serve.deploying import Deploy
from tests.serve.tools import infer_binary, outputs

# Ray warns as it is imported, so that is left to the tests, which let it.
if TYPE_CHECKING:
    from ray.serve._private.common import DeploymentID
    from ray.serve.request_router import PendingRequest

    from ascend_serve.serving.fleet.router import FinishFirst

pytestmark = pytest.mark.serve

FAST = PaceReport(((1, 10.0), (4, 16.0), (16, 40.0))).stats()
SLOW = PaceReport(((1, 30.0), (4, 48.0), (16, 120.0))).stats()


def model() -> "DeploymentID":
    from ray.serve._private.common import DeploymentID

    return DeploymentID("AscendModel", "app")


class Replica:
    """A replica as a router sees it."""

    def __init__(
        self,
        name: str,
        stats: dict[str, Any],
        *,
        node: str = "far",
        most: int = 100,
        ongoing: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        from ray.serve._private.common import ReplicaID

        self.replica_id = ReplicaID(name, model())
        self.routing_stats = stats
        self.replica_metadata: dict[str, Any] = {}
        self.max_ongoing_requests = most
        self.node_id = node
        self.availability_zone = None
        self._ongoing = ongoing
        self.asked = 0

    def __repr__(self) -> str:
        return self.replica_id.unique_id

    async def get_queue_len(self, *, deadline_s: float) -> int:
        self.asked += 1
        return 0 if self._ongoing is None else await self._ongoing()


def made(*replicas: Replica, near: bool = False) -> "FinishFirst":
    from ray.serve._private.common import DeploymentHandleSource

    from ascend_serve.serving.fleet.router import FinishFirst

    router = FinishFirst(
        deployment_id=model(),
        handle_source=DeploymentHandleSource.REPLICA,
        self_node_id="near",
        prefer_local_node_routing=near,
        use_replica_queue_len_cache=True,
    )
    those: list[Any] = [*replicas]
    router.update_replicas(those)
    return router


def asking(*args: Any, **kwargs: Any) -> "PendingRequest":
    from ray.serve._private.common import RequestMetadata
    from ray.serve.request_router import PendingRequest

    metadata = RequestMetadata(request_id="r", internal_request_id="i", call_method="infer")
    return PendingRequest(args=list(args), kwargs=kwargs, metadata=metadata)


async def ranks(router: "FinishFirst", request: "PendingRequest | None" = None) -> list[list[str]]:
    found = await router.choose_replicas(list(router.curr_replicas.values()), request)
    return [sorted(map(repr, rank)) for rank in found if rank]


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


def test_the_faster_one_is_first_until_it_has_enough_to_do() -> None:
    async def scene() -> None:
        fast, slow = Replica("fast", FAST), Replica("slow", SLOW)
        router = made(fast, slow)
        assert await ranks(router, asking()) == [["fast"], ["slow"]]
        router.on_new_queue_len_info(fast.replica_id, 40)
        assert await ranks(router, asking()) == [["slow"], ["fast"]]

    run(scene)


def test_what_was_sent_counts_until_it_is_back() -> None:
    async def scene() -> None:
        fast, slow = Replica("fast", FAST), Replica("slow", SLOW)
        router = made(fast, slow)
        result: Any = None  # it is of no interest
        router.on_send_request(fast.replica_id)
        router.on_request_routed(asking(np.zeros((64, 2))), fast.replica_id, result)
        assert await ranks(router, asking()) == [["slow"], ["fast"]]
        router.on_request_completed(fast.replica_id, "i")
        assert await ranks(router, asking()) == [["fast"], ["slow"]]

    run(scene)


def test_equals_share_a_rank_and_the_near_ones_come_first_where_asked_for() -> None:
    async def scene() -> None:
        replicas = [Replica("a", FAST), Replica("b", FAST, node="near"), Replica("c", SLOW, node="near")]
        assert await ranks(made(*replicas), asking()) == [["a", "b"], ["c"]]
        assert await ranks(made(*replicas, near=True), asking()) == [["b"], ["a"], ["c"]]

    run(scene)


def test_who_takes_no_more_comes_last_and_serve_backs_off() -> None:
    async def scene() -> None:
        fast, slow = Replica("fast", FAST, most=2), Replica("slow", SLOW)
        router, request = made(fast, slow), asking()
        router.on_new_queue_len_info(fast.replica_id, 2)
        assert await ranks(router, request) == [["slow"], ["fast"]]
        assert request.routing_context.should_backoff

    run(scene)


def test_as_long_as_nobody_tells_it_is_two_at_random() -> None:
    async def scene() -> None:
        router = made(*(Replica(name, {}) for name in "abc"))
        firsts = set()
        for _ in range(60):
            first, rest = await ranks(router, asking())
            assert sorted(first + rest) == ["a", "b", "c"]
            assert len(first) == 2
            firsts.add(tuple(first))
        assert len(firsts) == 3

    run(scene)


def test_a_new_one_is_taken_to_be_like_the_slowest() -> None:
    async def scene() -> None:
        router = made(Replica("fast", FAST), Replica("new", {}), Replica("slow", SLOW))
        assert await ranks(router, asking()) == [["fast"], ["new", "slow"]]

    run(scene)


def test_what_it_was_told_when_a_replica_started_holds_until_it_tells_more() -> None:
    async def scene() -> None:
        fast, slow = Replica("fast", {}), Replica("slow", SLOW)
        fast.replica_metadata = FAST
        assert await ranks(made(fast, slow), asking()) == [["fast"], ["slow"]]

    run(scene)


def test_one_that_died_is_forgotten() -> None:
    async def scene() -> None:
        fast, slow = Replica("fast", FAST), Replica("slow", SLOW)
        router = made(fast, slow)
        router.on_replica_actor_died(fast.replica_id)
        # Serve may still go through the list it had.
        those: list[Any] = [fast, slow]
        found = await router.choose_replicas(those, asking())
        assert [repr(rank) for rank in found if rank] == ["[slow]"]

    run(scene)


def test_a_router_that_only_points_counts_what_it_pointed_and_asks_how_it_went() -> None:
    async def scene() -> None:
        from ray.exceptions import ActorDiedError

        from ascend_serve.serving.fleet import router as rooms

        async def dead() -> int:
            raise ActorDiedError

        fast, slow = Replica("fast", FAST), Replica("slow", SLOW)
        gone = Replica("gone", SLOW, ongoing=dead)
        router = made(fast, slow, gone)
        pointed = [await ranks(router, asking(**{rooms.POINTS: True})) for _ in range(12)]
        assert pointed[0][0] == ["fast"]
        assert any("slow" in ranking[0] for ranking in pointed)
        while router._looks:
            await asyncio.gather(*router._looks)
        assert fast.asked >= 1
        assert gone.replica_id not in router.curr_replicas
        assert (await ranks(router, asking()))[0] == ["fast"]  # it said that nothing is there

    run(scene)


def test_the_desk_answers_with_the_full_id() -> None:
    async def scene() -> None:
        from ascend_serve.serving.fleet.route_desk import DeskApp
        from ascend_serve.serving.fleet.router import POINTS

        chosen = SimpleNamespace(_replica=Replica("fast", FAST))

        class Picked:
            async def __aenter__(self) -> Any:
                return chosen

            async def __aexit__(self, *_: object) -> None:
                return None

        asked: list[dict[str, Any]] = []

        class Handle:
            def choose_replica(self, **kwargs: Any) -> Picked:
                asked.append(kwargs)
                return Picked()

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("the body is not asked for")

        await DeskApp(Handle())({"type": "http", "path": "/internal/route"}, receive, send)  # type: ignore[arg-type]  # a stand-in
        assert asked == [{"_reserve": False, POINTS: True}]
        assert sent[0]["status"] == 200
        assert sent[1]["body"] == b'{"replica_id": "SERVE_REPLICA::app#AscendModel#fast"}'

    run(scene)


def test_a_replica_tells_the_rows_of_the_requests_that_came_lately() -> None:
    from ascend_serve.serving.fleet.pacing import ENOUGH, Pacing

    class Model:
        plane = SimpleNamespace(spec=SimpleNamespace(batched=True))
        requests = rows = 0

        def came(self) -> tuple[int, int]:
            return self.requests, self.rows

        def cost_tables(self) -> list[CostTable]:
            return [CostTable.of(Gears((1, 4)), {1: 10.0, 4: 16.0})]

    model: Any = Model()
    pacing = Pacing([model])
    assert pacing.stats() == {"gear_ms": {"1": 10.0, "4": 16.0}, "mean_rows": 1.0, "batched": True}
    model.requests, model.rows = ENOUGH, 3 * ENOUGH
    assert pacing.stats()["mean_rows"] == 3.0
    model.requests, model.rows = 2 * ENOUGH - 1, 100 * ENOUGH
    assert pacing.stats()["mean_rows"] == 3.0  # too few to say
    model.requests, model.rows = 2 * ENOUGH, 4 * ENOUGH
    assert pacing.stats()["mean_rows"] == 1.0


STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change
5 http-app 1 SERVE_REPLICA_app-AscendModel-fast 127.0.0.1 2 0 1 1 5 15 3 3 6 0 0 0 - 30001 - 0 0 - - 0
5 http-app 2 SERVE_REPLICA_app-AscendModel-slow 127.0.0.1 2 0 85 1 5 15 3 3 6 0 0 0 - 30002 - 0 0 - - 0
5 http-app 3 SERVE_PROXY_ACTOR-fallback-60 127.0.0.1 2 0 1 1 36 15 3 3 6 0 0 0 - 22886 - 0 0 - - 0
6 grpc-app 1 SERVE_REPLICA_app-AscendModel-fast 127.0.0.1 2 0 1 1 9 15 3 3 6 0 0 0 - 40000 - 0 0 - - 0

"""
WEIGHTS = {"-AscendModel-fast": 256, "-AscendModel-slow": 85}


def test_weights_are_in_proportion_to_the_speed() -> None:
    from ascend_serve.serving.fleet.weights import weights_of

    assert weights_of({"fast": 0.01, "slow": 0.03, "hopeless": 100.0}) == {
        "fast": 256,
        "slow": 85,
        "hopeless": 1,
    }
    assert weights_of({}) == {}


def test_only_what_is_different_is_set() -> None:
    from ascend_serve.serving.fleet.weights import changes

    server = "SERVE_REPLICA_app-AscendModel-fast"
    assert changes(STATE, WEIGHTS) == [
        f"set server http-app/{server} weight 256",
        f"set server grpc-app/{server} weight 256",
    ]
    assert changes(STATE, {}) == []


def test_weights_are_set_at_the_admin_socket(tmp_path: Path) -> None:
    from ascend_serve.serving.fleet.weights import weigh

    told: list[str] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = (await reader.readline()).decode().strip()
        told.append(command)
        writer.write((STATE if command.startswith("show") else "\n").encode())
        writer.close()

    async def scene() -> None:
        socket = tmp_path / "admin.sock"
        with pytest.raises(OSError, match=r"admin\.sock|No such file"):
            await weigh(socket, WEIGHTS)
        async with await asyncio.start_unix_server(serve_one, socket):
            assert await weigh(socket, WEIGHTS) == 2
        assert [command.split()[0] for command in told] == ["show", "set", "set"]

    run(scene)


def test_it_chooses_for_handles_and_for_serves_own_proxy(
    deploy: Deploy, http: httpx.Client, digits: Any, expected: Any
) -> None:
    from ray import serve

    handle = deploy("routed", args={"router": "finish_first"}, num_replicas=2)
    # HAProxy is not there, so there is no desk.
    assert set(serve.status().applications["routed"].deployments) == {"AscendModel"}
    path, body, headers = infer_binary(digits[:3])
    over_http = http.post(f"/routed{path}", content=body, headers=headers)
    answers = [handle.infer.remote(digits[place : place + 3]) for place in range(0, 60, 3)]
    found = np.concatenate([outputs(over_http)["logits"], *(one.result(timeout_s=60) for one in answers)])
    assert (found.argmax(axis=1) == np.concatenate([expected[:3], expected[:60]]).argmax(axis=1)).all()
