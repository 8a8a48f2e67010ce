"""The servers that are compared, how each is started, and how each is asked.

One emulated card stands behind each, of the same model and the same times. `@serve.batch` is asked on Ray's fast data
path twice: as Ray sets it, and (`tuned`) as an application of the very Serve that ours lives in, with its settings, its
HAProxy and what ours sets in its process. A replica is also asked at its own port, which is what direct ingress is.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.baselines.model import MOSEC_MODEL
from benchmarks.node import Node
from benchmarks.servers import Plan, free_ports
from benchmarks.workloads import Workload

FAST, STOCK, PLAIN = "fast", "stock", "plain"
BATCH = "serve.batch"
HAND = "hand-written"
ACCOUNTED = "accounted"
_BIN = Path(sys.executable).parent
_APPLICATIONS_MOST = 8
_REPLICAS_EACH = 20
_REPLICAS = range(30000, 32500)
"""Ports of replicas, of which each Serve gets its own stretch; below those that the kernel hands out."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to serve the model.

    Attributes:
        name: short, for tables.
        told: what it is, in a line.
        plan: name of the plan that starts it.
        requests: whole HTTP requests, one for each of the workload's rows.
        application: of Ray Serve; None for servers without Ray.
        direct: whether the replica is asked at its own port.
    """

    name: str
    told: str
    plan: str
    requests: tuple[bytes, ...] = field(repr=False)
    application: str | None = None
    direct: bool = False


@dataclass(slots=True)
class Cast:
    """Plans and sides that belong together.

    Attributes:
        plans: servers to start, by name.
        sides: ways to ask them.
        absent: sides that cannot be had here, and why.
    """

    plans: dict[str, Plan] = field(default_factory=dict)
    sides: list[Side] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, plan: Plan, *sides: Side) -> None:
        """Take a server and the ways to ask it."""
        self.plans[plan.name] = plan
        self.sides += sides


def add_plain(cast: Cast, node: Node, work: Workload) -> None:
    """`@serve.batch` behind Serve's Python proxy: stock Ray Serve."""
    (port,) = free_ports(1)
    file = _serve_file(node, PLAIN, port, [_batched(work, "batched", "/", None)])
    plan = Plan(PLAIN, (str(_BIN / "serve"), "run", str(file)), port, {"ASCEND_EMULATOR_DEVICES": "1"})
    told = "plain Ray Serve: @serve.batch with its default wait, Python proxy"
    cast.add(plan, Side(f"{BATCH} proxy", told, PLAIN, work.raw("/", {}), "batched"))


def add_fast(
    cast: Cast,
    node: Node,
    work: Workload,
    *,
    policies: Sequence[str],
    waits_ms: Sequence[float],
    by_hand: bool = False,
    accounted: bool = False,
) -> None:
    """Ray's fast data path as `ascend-serve run` sets it: ours with each policy, and `@serve.batch` with each wait.

    Args:
        cast: what this is added to.
        node: of this run.
        work: what is served.
        policies: of ours.
        waits_ms: of `@serve.batch`.
        by_hand: also a bare replica written by hand.
        accounted: also ours with `accounting: serve`, of the default policy: its requests go all the way through Serve.

    Raises:
        ValueError: more applications than one node should carry.
    """
    if (count := len(policies) + len(waits_ms) + by_hand + accounted) > _APPLICATIONS_MOST:
        raise ValueError(
            f"{count} applications on one node ({len(policies)} policies, {len(waits_ms)} waits, {by_hand + accounted} "
            f"others): at most {_APPLICATIONS_MOST}; ask for fewer policies or waits"
        )
    applications, sides = _batched_with(work, waits_ms, FAST, f"{BATCH} tuned")
    if by_hand:
        applications.append(_hand_written(work))
        # As ours, it does not have Serve watch for clients that leave.
        requests = work.raw(f"/{HAND}/", {"x-request-disconnect-disabled": "?1"})
        sides += _both_doors(FAST, HAND, "a bare ASGI replica that batches late, by hand", requests, HAND)
    for policy in policies:
        applications.append(_ours(work, policy, {"batching": {"policy": policy}}))
        requests = work.oip(f"/{policy}", {})
        sides += _both_doors(FAST, f"ours {policy}", f"ours, policy {policy}", requests, policy)
    if accounted:
        applications.append(_ours(work, ACCOUNTED, {"accounting": "serve"}))
        requests = work.oip(f"/{ACCOUNTED}", {})
        sides += _both_doors(FAST, f"ours {ACCOUNTED}", "ours, accounting: serve", requests, ACCOUNTED)
    port, *others = free_ports(5)
    file = _serve_file(node, FAST, port, applications)
    command = (str(_BIN / "ascend-serve"), "run", str(file), "--port", str(port))
    cast.add(Plan(FAST, command, port, _own_ports(len(applications), others)), *sides)


def add_stock(cast: Cast, node: Node, work: Workload, *, waits_ms: Sequence[float]) -> None:
    """Ray's fast data path as Ray's guides set it up: `@serve.batch` with each wait.

    HAProxy, throughput mode, no access log; the two settings besides say where files and ports are, and how soon a
    replica may end.
    """
    applications, sides = _batched_with(work, waits_ms, STOCK, BATCH)
    port, *others = free_ports(5)
    file = _serve_file(node, STOCK, port, applications)
    folder = node.scratch / "haproxy"
    folder.mkdir()
    environment = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        **_own_ports(len(applications), others),
    }
    cast.add(Plan(STOCK, (str(_BIN / "serve"), "run", str(file)), port, environment), *sides)


def add_fastapi(cast: Cast, node: Node, work: Workload) -> None:
    """FastAPI and uvicorn, one request after another."""
    del node
    (port,) = free_ports(1)
    module = "benchmarks.baselines.fastapi_app"
    command = (sys.executable, "-m", module, str(port), *work.for_rivals().words())
    told = "FastAPI and uvicorn, one by one"
    cast.add(Plan("fastapi", command, port, _ONE_CARD), Side("fastapi", told, "fastapi", work.raw("/", {})))


def add_litserve(cast: Cast, python: Path, work: Workload) -> None:
    """Serve with LitServe."""
    (port,) = free_ports(1)
    module = "benchmarks.baselines.litserve_app"
    command = (str(python), "-m", module, str(port), *work.for_rivals().words())
    requests = work.raw("/predict", {"Content-Type": "application/octet-stream"})
    told = "LitServe, batches up to the largest gear"
    cast.add(Plan("litserve", command, port, _ONE_CARD), Side("litserve", told, "litserve", requests))


def add_mosec(cast: Cast, python: Path, work: Workload) -> None:
    """Serve with mosec."""
    (port,) = free_ports(1)
    command = (
        *(str(python), "-m", "benchmarks.baselines.mosec_app"),
        *("--address", "127.0.0.1", "--port", str(port)),
    )
    environment = {**_ONE_CARD, MOSEC_MODEL: " ".join(work.for_rivals().words())}
    told = "mosec, batches up to the largest gear"
    cast.add(
        Plan("mosec", command, port, environment),
        Side("mosec", told, "mosec", work.raw("/inference", {})),
    )


_ONE_CARD = {"ASCEND_EMULATOR_DEVICES": "1"}


def _both_doors(plan: str, name: str, told: str, requests: tuple[bytes, ...], application: str) -> list[Side]:
    return [
        Side(f"{name} haproxy", f"{told}, HAProxy", plan, requests, application),
        Side(f"{name} direct", f"{told}, direct ingress", plan, requests, application, direct=True),
    ]


def _batched_with(
    work: Workload, waits_ms: Sequence[float], plan: str, name: str
) -> tuple[list[dict[str, Any]], list[Side]]:
    """Applications of `@serve.batch`, one for each wait, and the sides that ask them."""
    settings = "our settings" if plan == FAST else "Ray's settings"
    applications, sides = [], []
    for wait in waits_ms:
        application = f"batch{wait:g}".replace(".", "p")
        batched = _batched(work, application, f"/{application}", wait, tuned=plan == FAST)
        # Serve writes a line for each request unless it is told not to (Ray's monitoring guide).
        batched["logging_config"] = {"enable_access_log": False}
        applications.append(batched)
        told = f"@serve.batch, wait {wait:g} ms, fast data path with {settings}"
        requests = work.raw(f"/{application}/", {})
        sides += _both_doors(plan, f"{name} {wait:g}ms", told, requests, application)
    return applications, sides


def _batched(
    work: Workload, name: str, prefix: str, wait_ms: float | None, *, tuned: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "route_prefix": prefix,
        "import_path": "benchmarks.baselines.serve_batch:build",
        "args": {"model": asdict(work.for_rivals()), "wait_ms": wait_ms, "tuned": tuned},
    }


def _hand_written(work: Workload) -> dict[str, Any]:
    return {
        "name": HAND,
        "route_prefix": f"/{HAND}",
        "import_path": "benchmarks.baselines.hand_written:build",
        "args": {"model": asdict(work.for_rivals())},
    }


def _ours(work: Workload, name: str, settings: Mapping[str, object]) -> dict[str, Any]:
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "ascend_serve.serving.app:build",
        "args": {
            "om": str(work.artifact.fetch()),
            "name": work.model,
            "replica_cpus": 0.1,
            **settings,
        },
    }


def _serve_file(node: Node, name: str, port: int, applications: list[dict[str, Any]]) -> Path:
    file = node.scratch / f"{name}.yaml"
    content = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": applications,
    }
    file.write_text(yaml.safe_dump(content))
    return file


def _own_ports(cards: int, ports: Sequence[int]) -> dict[str, str]:
    """The environment of a Serve with that many cards, whose ports meet those of no other on this machine."""
    names = (
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
    )
    first = random.choice(_REPLICAS[::_REPLICAS_EACH])  # noqa: S311  # not a secret
    return {
        "ASCEND_EMULATOR_DEVICES": str(cards),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + _REPLICAS_EACH - 1),
        **{name: str(port) for name, port in zip(names, ports, strict=True)},
    }
