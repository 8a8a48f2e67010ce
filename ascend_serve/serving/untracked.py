"""Serve's own watch for clients that leave, switched off where a replica keeps a cheaper one.

On its fast data path Serve runs each request in a task of its own, beside a second task that waits for the client to
leave, unless the request says by a header that it need not. `serving.leaving` listens for clients that leave at a
fraction of that, so requests to our replicas are given that header as they come in. Serve builds what `middlewares`
returns around the HTTP server of each replica and proxy where `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names it
(ray/serve/_private/http_util.py), which `ascend-serve run` does.
"""

from __future__ import annotations

from ray import serve
from ray.serve.exceptions import RayServeException
from starlette.middleware import Middleware

from ascend_serve.serving.asgi import ASGIApp, Receive, Scope, Send
from ascend_serve.serving.serve_file import DEPLOYMENT

_HEADER = (b"x-request-disconnect-disabled", b"?1")


class Untracked:
    """Marks each HTTP request as one that Serve need not watch.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            scope["headers"].append(_HEADER)
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve is to build around the HTTP server of this process: nothing where it serves no model of ours."""
    try:
        context = serve.get_replica_context()
    except RayServeException:
        return []  # a proxy, which has replicas of any kind behind it
    return [Middleware(Untracked)] if context.deployment == DEPLOYMENT else []
