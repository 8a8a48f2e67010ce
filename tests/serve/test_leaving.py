"""What Serve does for each request is off where a replica of ours has no use for it."""

from typing import Any

import pytest

pytestmark = pytest.mark.serve


async def marked(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The header fields that Serve gets to see of a request."""
    from ascend_serve.serving.doors import untracked

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    await untracked.Untracked(app)({"type": "http", "headers": headers}, None, None)  # type: ignore[arg-type]
    [scope] = seen
    fields: list[tuple[bytes, bytes]] = scope["headers"]
    return fields


async def test_serve_is_told_what_it_need_not_look_for() -> None:
    fields = await marked([(b"host", b"a")])
    [request_id] = [value for name, value in fields if name == b"x-request-id"]
    assert fields == [
        (b"serve_multiplexed_model_id", b""),
        (b"x-session-id", b""),
        (b"host", b"a"),
        (b"x-request-id", request_id),
        (b"x-request-disconnect-disabled", b"?1"),
    ]
    assert len(bytes.fromhex(request_id.decode())) == 16


async def test_each_request_has_an_id_of_its_own_and_a_clients_id_is_kept() -> None:
    ids = [dict(await marked([]))[b"x-request-id"] for _ in range(50)]
    assert len(set(ids)) == 50
    fields = await marked([(b"x-request-id", b"mine")])
    assert [value for name, value in fields if name == b"x-request-id"] == [b"mine"]


async def test_serve_reads_the_fields_as_they_are_meant() -> None:
    from ray.serve._private.http_util import parse_disconnect_disabled_header, parse_session_id_header

    fields = dict(await marked([(b"host", b"a")]))
    assert parse_disconnect_disabled_header(fields)
    assert parse_session_id_header(fields) == parse_session_id_header({b"host": b"a"})
    told = dict(await marked([(b"x-session-id", b"s1"), (b"serve_multiplexed_model_id", b"m1")]))
    assert parse_session_id_header(told) == "s1"
    assert told[b"serve_multiplexed_model_id"] == b"m1"


async def test_what_is_no_request_is_left_alone() -> None:
    from ascend_serve.serving.doors import hook, untracked

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    await untracked.Untracked(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]
    assert hook.middlewares() == [], "this process is no replica of ours"
