"""Serve's hook for middlewares: what a replica of ours puts around its HTTP server.

Serve builds what `middlewares` returns around the HTTP server of each replica and proxy where
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names it (ray/serve/_private/http_util.py: `configure_http_middlewares`),
which `ascend-serve run` does.
"""

from __future__ import annotations

from ray import serve
from ray.serve.exceptions import RayServeException
from starlette.middleware import Middleware

from ascend_serve.serving import DEPLOYMENT
from ascend_serve.serving.doors.ahead import Ahead
from ascend_serve.serving.doors.untracked import Untracked


def middlewares() -> list[Middleware]:
    """The innermost first; none where this process serves no model of ours."""
    try:
        context = serve.get_replica_context()
    except RayServeException:
        return []  # a proxy, which has replicas of any kind behind it
    return [Middleware(Untracked), Middleware(Ahead)] if context.deployment == DEPLOYMENT else []
