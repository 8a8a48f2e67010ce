"""The HTTP front door: Open Inference Protocol v2 as one bare ASGI app.

Rests on the ASGI specification 3 (HTTP and lifespan) and on the protocol's REST document. No framework stands
between the server and the codec, since this is the hot path of a replica. Everything runs on the event loop
that calls the app; nothing here starts a thread.

Doors (each below `root_path`, which Ray Serve sets to the application's route prefix):

    GET  /v2                                        server metadata
    GET  /v2/health/live, /v2/health/ready          200, or 503 when not ready
    GET  /v2/models/{model}[/versions/{version}]            model metadata
    GET  /v2/models/{model}[/versions/{version}]/ready      200, or 503 when not ready
    POST /v2/models/{model}[/versions/{version}]/infer      inference

Every failure is answered as `{"error": "..."}` with the status that the exception names.
"""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import orjson

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import AscendServeError, MalformedRequest, Refusal, RequestTooLarge
from ascend_serve.protocol import http_codec
from ascend_serve.protocol.http_codec import Headers
from ascend_serve.protocol.http_heads import Fields, RequestReader, ResponseWriter, with_length
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import InferRequest
from ascend_serve.protocol.show import show
from ascend_serve.serving.asgi import ASGIApp, Message, Receive, Scope, Send
from ascend_serve.serving.deadlines import DEADLINE_NAME, deadline_s
from ascend_serve.serving.leaving import ClientLeft, Leaving
from ascend_serve.spec.tensors import DataType

logger = logging.getLogger(__name__)

_DEADLINE_HEADER = DEADLINE_NAME.encode()
_WITHOUT_BODY = ("GET", "HEAD")
_MOST_PATHS = 64
"""Paths whose door is remembered."""


def http_app(plane: DataPlane, limits: Limits) -> ASGIApp:
    """The ASGI app that serves `plane` within `limits`."""
    return _HttpApp(plane, limits)


_Answer = tuple[int, bytes, Fields]
"""Status, body and header fields. Plain, since every request makes one."""


class _Door(NamedTuple):
    verb: str
    model: str = ""
    version: str | None = None


class _HttpError(Exception):
    """An answer that only HTTP knows, such as 405; other errors carry their status themselves."""

    def __init__(self, status: int, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or []


class _HttpApp:
    # Every coroutine in the way of a request is entered when it comes and again when its result is there. So there are
    # as few of them as read well, and what does not wait is no coroutine.

    def __init__(self, plane: DataPlane, limits: Limits) -> None:
        self._plane = plane
        self._limits = limits
        self._reader = RequestReader(limits)
        self._writer = ResponseWriter()
        self._leaving = Leaving()
        self._doors: dict[tuple[str, str], _Door] = {}
        self._only_as_bytes = [output for output in plane.spec.outputs if output.dtype is DataType.FP16]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _serve_other(scope, receive, send)
            return
        try:
            status, body, fields = await self._answer(scope, receive)
        except ClientLeft:
            return
        except _HttpError as error:
            status, body, fields = _failure(error, error.status, error.headers)
        except AscendServeError as error:
            headers: Headers = []
            if isinstance(error, Refusal):
                headers.append((b"retry-after", str(max(0, math.ceil(error.retry_after_s))).encode()))
            status, body, fields = _failure(error, error.http_status, headers)
        except Exception as error:
            logger.exception("%s %s failed", scope["method"], show(scope["path"]))
            status, body, fields = _failure(f"internal error: {type(error).__name__}: {error}", 500)
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        method = scope["method"]
        headers = dict(scope["headers"])
        # Read before anything is judged: a server that closes with unread bytes resets the connection, and a
        # client that sends all before it reads would not see what was wrong.
        body = b""
        if method not in _WITHOUT_BODY:
            limit = self._limits.max_body_bytes
            declared = _declared(headers.get(b"content-length"), limit)
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body = message.get("body", b"")
                size = len(body)
            else:
                body, size = await _collected(message, receive, declared, limit)
            if declared is not None and size != declared:
                raise MalformedRequest(f"content-length is {declared}, but the body has {size} bytes")
            if size > limit:
                raise _too_large(declared, limit)
        door = self._door(scope)
        if door.verb != "infer":
            return self._told(door, method)
        if method != "POST":
            raise _not_allowed(method, "POST")
        request = self._request(door, headers, body)
        sent = headers.get(_DEADLINE_HEADER)
        deadline = None if sent is None else deadline_s(sent.decode("latin-1"), "header")
        response = await self._leaving.unless(receive, self._plane.infer(request, deadline_s=deadline))
        return 200, *self._writer.write(response, request)

    def _request(self, door: _Door, headers: dict[bytes, bytes], body: bytes) -> InferRequest:
        """What is asked for at the door of inference."""
        self._plane.check_model(door.model, door.version)
        encoding = headers.get(b"content-encoding", b"")
        if encoding and encoding.strip().lower() not in (b"identity", b""):
            raise _HttpError(
                415,
                f"content-encoding {show(encoding.decode('latin-1'))} is not taken: send the body as it is",
            )
        header_length = http_codec.parse_header_length(headers.get(http_codec.HEADER_LENGTH))
        request = self._reader.read(body, header_length, model_name=door.model, model_version=door.version)
        if self._only_as_bytes:
            http_codec.check_json_outputs(request, self._only_as_bytes)
        return request

    def _told(self, door: _Door, method: str) -> _Answer:
        """What is told of the server and of the model."""
        if method not in _WITHOUT_BODY:
            raise _not_allowed(method, ", ".join(_WITHOUT_BODY))
        plane = self._plane
        match door.verb:
            case "live":
                live = plane.live()
                return _state({"live": live}, live)
            case "ready":
                ready = plane.ready()
                return _state({"ready": ready}, ready)
            case "server":
                return _json(200, http_codec.encode_metadata(plane.server_metadata()))
            case "model_ready":
                ready = plane.model_ready(door.model, door.version)
                return _state({"name": door.model, "ready": ready}, ready)
            case _:
                return _json(200, http_codec.encode_metadata(plane.model_metadata(door.model, door.version)))

    def _door(self, scope: Scope) -> _Door:
        path = scope["path"], scope.get("root_path", "")
        door = self._doors.get(path)
        if door is None:
            door = _parsed(_below(*path))
            if len(self._doors) < _MOST_PATHS:
                self._doors[path] = door
        return door


def _below(path: str, root: str) -> str:
    """The path below the application's root, whether or not the server left the root in `path`."""
    root = root.rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


def _parsed(path: str) -> _Door:
    match path.split("/"):
        case ["", "v2"]:
            return _Door("server")
        case ["", "v2", "health", ("live" | "ready") as verb]:
            return _Door(verb)
        case ["", "v2", "models", model, "versions", version]:
            return _Door("model", model, version)
        case ["", "v2", "models", model, "versions", version, "ready"]:
            return _Door("model_ready", model, version)
        case ["", "v2", "models", model, "versions", version, "infer"]:
            return _Door("infer", model, version)
        case ["", "v2", "models", model]:
            return _Door("model", model)
        case ["", "v2", "models", model, "ready"]:
            return _Door("model_ready", model)
        case ["", "v2", "models", model, "infer"]:
            return _Door("infer", model)
    raise _HttpError(404, f"no such path: {show(path)}; GET /v2 tells what is here")


def _not_allowed(method: str, allowed: str) -> _HttpError:
    return _HttpError(
        405, f"{show(method)} is not for this path; use {allowed}", [(b"allow", allowed.encode())]
    )


def _state(body: dict[str, Any], good: bool) -> _Answer:
    return _json(200 if good else 503, orjson.dumps(body))


def _failure(error: BaseException | str, status: int, headers: Headers | None = None) -> _Answer:
    return _json(status, http_codec.error_body(error), headers)


def _json(status: int, body: bytes, headers: Headers | None = None) -> _Answer:
    return status, body, with_length([http_codec.JSON_TYPE, *(headers or [])], body)


def _declared(content_length: bytes | None, limit: int) -> int | None:
    """The size that a body is said to have.

    A body above `limit` bytes is not kept, but as much again is read and thrown away, so that the client gets
    to read why; beyond that it is refused at once.
    """
    if content_length is None:
        return None
    if not content_length.isdigit() or len(content_length) > 19:
        raise MalformedRequest(f"content-length is {show(content_length.decode('latin-1'))}, not a number")
    declared = int(content_length)
    if declared > 2 * limit:
        raise _too_large(declared, limit)
    return declared


async def _collected(
    message: Message, receive: Receive, declared: int | None, limit: int
) -> tuple[bytes, int]:
    """A body that comes in pieces, of which `message` is the first, and its size; nothing is kept past the limit."""
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > 2 * limit:
            raise _too_large(declared, limit)
        if size > limit:
            chunks.clear()
        else:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks), size
        message = await receive()


def _too_large(declared: int | None, limit: int) -> RequestTooLarge:
    found = f"more than {limit}" if declared is None else declared
    return RequestTooLarge(f"the body has {found} bytes; at most {limit} are taken")


async def _serve_other(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what is no HTTP request."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1003})
    else:
        raise NotImplementedError(f"ASGI scope type {scope['type']!r}: only http and lifespan are spoken")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
