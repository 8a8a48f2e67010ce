"""Serve's own watch for clients that leave is off where a replica of ours keeps a cheaper one."""

from typing import Any

import pytest

pytestmark = pytest.mark.serve


async def test_serve_is_told_not_to_watch_http_requests_of_ours_alone() -> None:
    from ascend_serve.serving import untracked

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    marked = untracked.Untracked(app)
    await marked({"type": "http", "headers": [(b"host", b"a")]}, None, None)  # type: ignore[arg-type]
    await marked({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == [
        {"type": "http", "headers": [(b"host", b"a"), (b"x-request-disconnect-disabled", b"?1")]},
        {"type": "lifespan"},
    ]
    assert untracked.middlewares() == [], "this process is no replica of ours"
