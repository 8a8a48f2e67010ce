"""The desk beside each HAProxy: which replica is to have a request, asked over HTTP; and weights for what does not ask.

HAProxy balances by connections, and Serve refuses a router of one's own on the deployment behind it unless an ingress
request router is attached (ray/serve/_private/build_app.py). Serve then runs one beside each HAProxy, which shows it
each POST, without its body, before it sends that on (ray/serve/_private/ingress_request_router.lua.tmpl). That costs a
connection and an answer for each request. Over gRPC HAProxy asks nobody: it goes on balancing by connections, and the
desk gives the servers weights, there and for what is no POST.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve._private.constants import RAY_SERVE_HAPROXY_SOCKET_PATH
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import ReplicaID

from ascend_serve.serving.doors.asgi import Receive, Scope, Send, lifespan
from ascend_serve.serving.fleet.router import POINTS, TELLS
from ascend_serve.serving.fleet.weights import weigh, weights_of
from ascend_serve.serving.log import SERVE_LOGGING, logger

WEIGH_S = 5.0
"""Seconds between two looks at HAProxy's weights, of which a server that is new has none yet."""

DESK_ONGOING = 4096
"""Requests that a desk may have at once: as many as HAProxy has connections (RAY_SERVE_HAPROXY_MAXCONN)."""


def with_desk(app: serve.Application) -> serve.Application:
    """The same application with a desk beside each HAProxy; only where HAProxy is the proxy.

    `_with_ingress_request_router` is Ray's own hook for the LLM stack and may change with Ray; there is no public one.
    """
    desk: serve.Deployment = serve.deployment(
        name=RouteDesk.__name__, max_ongoing_requests=DESK_ONGOING, logging_config=SERVE_LOGGING
    )(RouteDesk)
    return app._with_ingress_request_router(desk.bind(app))


class DeskApp:
    """The desk as an ASGI app.

    Args:
        model: the deployment to choose from.
    """

    def __init__(self, model: DeploymentHandle[Any]) -> None:
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the full id of a replica, whatever is asked."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        # Without a reservation Serve only asks the router for ranks (`AsyncioRouter.choose_replica` in
        # ray/serve/_private/router.py): the request reaches its replica through HAProxy.
        async with self._model.choose_replica(_reserve=False, **{POINTS: True}) as selection:
            chosen = selection._replica.replica_id.to_full_id_str()
        body = json.dumps({"replica_id": chosen}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@serve.ingress()
class RouteDesk:
    """Tells HAProxy which replica is to have a POST: `POST /internal/route`, answered with the replica's full id.

    Serve runs one beside each HAProxy. Body and headers do not come along, so a request counts as an average one.

    Args:
        model: the deployment to choose from.
    """

    async def __init__(self, model: DeploymentHandle[Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        # On this loop: on one of its own, each answer would change threads four times.
        model._init(_run_router_in_separate_loop=False)  # type: ignore[no-untyped-call]  # it has no types
        self._app = DeskApp(model)
        self._weighing = asyncio.create_task(_keep_weights(model))

    def __serve_build_asgi_app__(self) -> Any:
        """The door for HAProxy. Serve calls this after the constructor."""
        return self._app

    async def __del__(self) -> None:
        # Serve awaits this on an orderly shutdown; it is the only hook there is.
        if hasattr(self, "_weighing"):
            self._weighing.cancel()


async def _keep_weights(model: DeploymentHandle[Any]) -> None:
    # Serve puts the files of each node's HAProxy into a folder of its own (`HAProxyManager` in its haproxy.py).
    given = Path(RAY_SERVE_HAPROXY_SOCKET_PATH)
    socket = given.parent / ray.get_runtime_context().get_node_id() / given.name
    while True:
        told: dict[ReplicaID, float] = {}
        try:
            async with model.choose_replica(_reserve=False, **{TELLS: told}):
                pass
            ends = {f"-{one.deployment_id.name}-{one.unique_id}": row_s for one, row_s in told.items()}
            await weigh(socket, weights_of(ends))
        except (OSError, asyncio.TimeoutError, RayError, RayServeException) as error:
            # There are no replicas, or HAProxy is being replaced: it balances without weights all the same.
            logger.debug(f"HAProxy gets no weights at {socket}: {error!r}")
        await asyncio.sleep(WEIGH_S)
