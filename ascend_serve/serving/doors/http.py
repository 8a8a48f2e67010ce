"""The HTTP front door: Open Inference Protocol v2 as one bare ASGI app.

Rests on the ASGI specification 3 (HTTP and lifespan), on the protocol's REST document and on Triton's protocol
extensions. No framework stands between the server and the codec, since this is the hot path of a replica. Everything
runs on the event loop that calls the app but what takes long: JSON and compressed bodies of some size.

Its paths are those of `protocol.paths`, each below `root_path`, which Ray Serve sets to the application's route prefix;
`GET /v2/docs/dataplane.json` describes them as OpenAPI.

Every failure is answered as `{"error": "..."}` with the status that the exception names; at a processor's door, in the
processor's own form.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import (
    AscendServeError,
    MalformedRequest,
    NotOffered,
    Refusal,
    RequestError,
    Unauthenticated,
)
from ascend_serve.protocol import http_codec, http_told
from ascend_serve.protocol.checking import DeclaredCheck
from ascend_serve.protocol.datatypes import has_json_form
from ascend_serve.protocol.http_codec import Headers
from ascend_serve.protocol.http_heads import Fields, RequestReader, ResponseWriter, with_length
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import InferRequest
from ascend_serve.protocol.openapi import describe
from ascend_serve.protocol.paths import asked_by, like
from ascend_serve.protocol.show import show
from ascend_serve.repository import Repository
from ascend_serve.serving.doors.ahead import (
    ECHOED,
    MOST_PATHS,
    OFFER,
    PERMITS,
    Gate,
    Offer,
    Permits,
    permitted,
)
from ascend_serve.serving.doors.asgi import Receive, Scope, Send, lifespan
from ascend_serve.serving.doors.deadlines import DEADLINE_NAME, deadline_s, left_s, nearest_s
from ascend_serve.serving.doors.http_bodies import (
    BODY_S,
    Held,
    Holding,
    SlowBody,
    coded,
    collected,
    declared_size,
    in_time,
    too_large,
    uncoded,
)
from ascend_serve.serving.doors.leaving import ClientLeft, Leaving
from ascend_serve.serving.doors.processing import HookedDoor, HookedDoors, payload_of
from ascend_serve.serving.doors.tokens import WANTED, Tokens
from ascend_serve.spec.tensors import TensorSpec

logger = logging.getLogger(__name__)

_DEADLINE_HEADER = DEADLINE_NAME.encode()
_WITHOUT_BODY = ("GET", "HEAD")
_UNCHECKED_BYTES = 4096
"""A body of so few is read in no time, whatever it says that it holds; the data plane checks it afterwards."""
_QUICKLY_DECODED_BYTES = 64 * 1024
"""JSON that is decoded on the loop, in about a millisecond; larger JSON is decoded on another thread."""


_Answer = tuple[int, bytes, Fields]
"""Status, body and header fields. Plain, since every request makes one."""


class _Door(NamedTuple):
    """What a path asks for.

    Attributes:
        verb: what is asked: the name of one of `protocol.paths.VERBS`, or `processed`.
        methods: of HTTP that it takes.
        is_open: whether it is answered without a token.
        version: of the model, as the path has it; None where it names none.
        plane: of the model; None where the path names none.
        only_as_bytes: outputs of the model that JSON has no form for.
        check: of what requests declare of the model's inputs.
        hooked: what a processor brought; None where the door is the protocol's own.
    """

    verb: str
    methods: tuple[str, ...]
    is_open: bool = False
    version: str | None = None
    plane: DataPlane | None = None
    only_as_bytes: Sequence[TensorSpec] = ()
    check: DeclaredCheck | None = None
    hooked: HookedDoor | None = None


class _HttpError(Exception):
    """An answer that only HTTP knows, such as 405; other errors carry their status themselves."""

    def __init__(self, status: int, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or []


class HttpApp:
    """The ASGI app of a server's models.

    Args:
        repository: the models.
        limits: bounds on a request.
        hooked: doors that processors of the models bring.
        tokens: who may ask; None lets everybody.
        gate: whether inference may be answered ahead of Serve (`serving.doors.ahead`); by itself none is.
        failed: told of the status of each answer that is an error.
        body_s: seconds in which a body has to come.
    """

    # Every coroutine in the way of a request is entered when it comes and again when its result is there. So there are
    # as few of them as read well, and what does not wait is no coroutine.

    def __init__(
        self,
        repository: Repository,
        limits: Limits,
        hooked: HookedDoors | None = None,
        tokens: Tokens | None = None,
        gate: Gate | None = None,
        failed: Callable[[int], None] = lambda status: None,
        body_s: float = BODY_S,
    ) -> None:
        self._repository = repository
        self._gate = Gate() if gate is None else gate
        self._count_failed = failed
        self._tokens = tokens
        self._hooked = HookedDoors() if hooked is None else hooked
        self._writer = ResponseWriter()
        self._leaving = Leaving()
        self._doors: dict[tuple[str, str], _Door] = {}
        self._body_s = body_s
        self._held = Held(limits.max_held_bytes)
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Bound requests by these from now on; those that are being read keep the ones they began with."""
        self._limits = limits
        self._held.most = limits.max_held_bytes
        self._reader = RequestReader(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await _serve_other(scope, receive, send)
            return
        try:
            status, body, fields = await self._answer(scope, receive)
        except ClientLeft:
            return
        except SlowBody:
            late = RequestError(
                f"the body did not come within {self._body_s:g} s: send it faster, or in parts"
            )
            status, body, fields = self._failed(scope, late, 408, [(b"connection", b"close")])
        except _HttpError as error:
            status, body, fields = self._failed(scope, RequestError(str(error)), error.status, error.headers)
        except AscendServeError as error:
            status, body, fields = self._failed(scope, error, error.http_status, _headers_of(error))
        except Exception as error:
            logger.exception("%s %s failed", scope["method"], show(scope["path"]))
            internal = AscendServeError(f"internal error: {type(error).__name__}: {error}")
            status, body, fields = self._failed(scope, internal, internal.http_status)
        if (echoed := scope.get(ECHOED)) is not None:
            fields = (*fields, echoed)
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _failed(
        self, scope: Scope, error: AscendServeError, status: int, headers: Headers | None = None
    ) -> _Answer:
        """An error, in the words of the door that was asked."""
        self._count_failed(status)
        hooked = self._hooked.speaking_at(_below(scope["path"], scope.get("root_path", "")))
        body = http_codec.error_body(error) if hooked is None else hooked.failure(error)
        return _json(status, body, headers)

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        method = scope["method"]
        headers = dict(scope["headers"])
        limits = self._limits
        is_known = self._tokens is None or self._tokens.allow(headers.get(b"authorization"))
        came = None
        with Holding(self._held) as holding:
            # Read before anything is judged: a server that closes with unread bytes resets the connection, and a
            # client that sends all before it reads would not see what was wrong.
            body = b""
            if method not in _WITHOUT_BODY:
                body = await self._body(scope, receive, headers, limits.max_body_bytes, is_known, holding)
            if len(scope["headers"]) > limits.max_headers:
                raise _too_many_headers(len(scope["headers"]), limits.max_headers)
            door = self._door(scope, is_known)
            if method not in door.methods:
                raise _not_allowed(method, door.methods)
            coding = headers.get(b"content-encoding")
            if coding:
                came = time.monotonic()
                body = await uncoded(body, coding, limits.max_body_bytes)
                holding.hold(max(holding.size, len(body)))
            if door.plane is not None and door.verb == "infer":
                answer = await self._inferred(scope, receive, door, door.plane, headers, body, came, holding)
            elif door.hooked is not None:
                answer = await self._processed(door.hooked, headers, body, receive)
            else:
                answer = self._told(door, body)
        accepted = headers.get(b"accept-encoding")
        if accepted is None:
            return answer
        status, body, fields = answer
        return status, *await coded(body, fields, accepted)

    async def _body(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        limit: int,
        is_known: bool,
        holding: Holding,
    ) -> bytes:
        """A request's whole body; of strangers nothing is kept that comes in pieces."""
        declared = declared_size(headers.get(b"content-length"), limit)
        # Ahead of Serve nobody counts a request whose body does not come.
        message = await (receive() if PERMITS in scope else in_time(receive(), self._body_s))
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            size = len(body)
        else:
            pieces = collected(message, receive, declared, limit, limit if is_known else 0, holding)
            body, size = await in_time(pieces, self._body_s)
        if declared is not None and size != declared:
            raise MalformedRequest(f"content-length is {declared}, but the body has {size} bytes")
        if size > limit:
            raise too_large(declared, limit)
        return body

    async def _inferred(
        self,
        scope: Scope,
        receive: Receive,
        door: _Door,
        plane: DataPlane,
        headers: dict[bytes, bytes],
        body: bytes,
        came: float | None,
        holding: Holding,
    ) -> _Answer:
        """What a model answers to a body.

        Args:
            scope: of the request.
            receive: tells when its client leaves.
            door: of inference.
            plane: of the model.
            headers: of the request.
            body: without its coding.
            came: when all of it was there, if that is not now.
            holding: what is held for this request.
        """
        offer: Offer | None = scope.get(OFFER)
        if offer is not None and self._gate.permits is not None:
            offer.take(self, scope, self._gate)
        header_length = http_codec.parse_header_length(headers.get(http_codec.HEADER_LENGTH))
        if (len(body) if header_length is None else header_length) <= _QUICKLY_DECODED_BYTES:
            request = self._request(door, plane, header_length, body)
        else:
            came = time.monotonic() if came is None else came
            request = await asyncio.to_thread(self._request, door, plane, header_length, body)
        sent = headers.get(_DEADLINE_HEADER)
        deadline = None if sent is None else deadline_s(sent.decode("latin-1"), "header")
        if came is not None:
            default_s = self._gate.patience(plane).deadline_s
            deadline = left_s(came, nearest_s(request.parameters, deadline, default_s))
        permits: Permits | None = scope.get(PERMITS)
        if permits is None:
            work = plane.infer(request, deadline_s=deadline)
        else:
            if not permits.free:
                holding.hold(max(holding.size, len(body)))
            work = permitted(self._gate, permits, plane, request, deadline)
        response = await self._leaving.unless(receive, work)
        return 200, *self._writer.write(response, request)

    def _request(self, door: _Door, plane: DataPlane, header_length: int | None, body: bytes) -> InferRequest:
        """What is asked for at the door of inference."""
        check = door.check if len(body) > _UNCHECKED_BYTES else None
        request = self._reader.read(
            body, header_length, model_name=plane.spec.name, model_version=door.version, check=check
        )
        if door.only_as_bytes:
            http_codec.check_json_outputs(request, door.only_as_bytes)
        return request

    async def _processed(
        self,
        door: HookedDoor,
        headers: dict[bytes, bytes],
        body: bytes,
        receive: Receive,
    ) -> _Answer:
        """What a processor says to a body."""
        payload = payload_of(body, headers.get(b"content-type", b"").decode("latin-1"))
        sent = headers.get(_DEADLINE_HEADER)
        deadline = None if sent is None else deadline_s(sent.decode("latin-1"), "header")
        answer = await self._leaving.unless(receive, door.answer(payload, deadline_s=deadline))
        return _json(200, answer)

    def _told(self, door: _Door, body: bytes) -> _Answer:
        """What is told of the server and of the models."""
        plane, repository = door.plane, self._repository
        if plane is not None:
            return self._told_of_model(door.verb, plane, door.version)
        match door.verb:
            case "live":
                return _state({"live": True}, repository.live())
            case "ready":
                ready = repository.ready()
                return _state({"ready": ready}, ready)
            case "description":
                models = repository.index(ready=False)
                return _json(200, describe(repository.server_metadata(), models, self._hooked.told()))
            case "all_statistics":
                return _json(200, http_told.encode_statistics(repository.statistics()))
            case "index":
                ready = http_told.decode_index(body)
                return _json(200, http_told.encode_index(repository.index(ready=ready)))
            case "load":
                raise NotOffered(repository.why_not_loaded())
            case _:
                return _json(200, http_told.encode_metadata(repository.server_metadata()))

    def _told_of_model(self, verb: str, plane: DataPlane, version: str | None) -> _Answer:
        name = plane.spec.name
        match verb:
            case "model":
                return _json(200, http_told.encode_metadata(self._repository.model_metadata(name, version)))
            case "config":
                return _json(200, http_told.encode_model_config(plane.config()))
            case "statistics":
                return _json(200, http_told.encode_statistics(self._repository.statistics(name, version)))
            case _:
                ready = plane.ready()
                return _state({"name": name, "ready": ready}, ready)

    def _door(self, scope: Scope, is_known: bool) -> _Door:
        path = scope["path"], scope.get("root_path", "")
        door = self._doors.get(path)
        if door is None:
            below = _below(*path)
            asked = asked_by(below)
            if not is_known and (asked is None or not asked.verb.is_open):
                raise Unauthenticated(WANTED)  # before it is told which models there are
            door = self._opened(below)
            if len(self._doors) < MOST_PATHS:
                self._doors[path] = door
        if not (is_known or door.is_open):
            raise Unauthenticated(WANTED)
        return door

    def _opened(self, path: str) -> _Door:
        asked = asked_by(path)
        if asked is None:
            hooked = self._hooked_at(path)
            if hooked is None:
                raise _HttpError(
                    404,
                    f"no such path: {show(path)}{like(path)}; GET /v2/docs/dataplane.json tells what is here",
                )
            return _Door("processed", hooked.methods, hooked=hooked)
        verb, model, version = asked
        methods = _WITHOUT_BODY if verb.method == "GET" else (verb.method,)
        if model is None or verb.name == "load":
            return _Door(verb.name, methods, verb.is_open)
        plane = self._repository.plane(model, version)
        only_as_bytes = [output for output in plane.spec.outputs if not has_json_form(output.dtype)]
        check = DeclaredCheck(plane.spec, lambda: plane.config().max_batch_size)
        return _Door(verb.name, methods, verb.is_open, version, plane, only_as_bytes, check)

    def _hooked_at(self, path: str) -> HookedDoor | None:
        match path.split("/"):
            case ["", "v2", "models", model, "versions", version, verb]:
                return self._hooked.at_verb(self._repository.plane(model, version), verb)
            case ["", "v2", "models", model, verb]:
                return self._hooked.at_verb(self._repository.plane(model), verb)
        return self._hooked.at_path(path)


def _below(path: str, root: str) -> str:
    """The path below the application's root, whether or not the server left the root in `path`."""
    root = root.rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


def _not_allowed(method: str, methods: Sequence[str]) -> _HttpError:
    allowed = ", ".join(methods)
    return _HttpError(
        405, f"{show(method)} is not for this path; use {allowed}", [(b"allow", allowed.encode())]
    )


def _too_many_headers(found: int, most: int) -> _HttpError:
    return _HttpError(431, f"the request has {found} headers; at most {most} are taken")


def _state(body: dict[str, Any], good: bool) -> _Answer:
    return _json(200 if good else 503, orjson.dumps(body))


def _headers_of(error: AscendServeError) -> Headers:
    if isinstance(error, Refusal):
        return [(b"retry-after", str(max(0, math.ceil(error.retry_after_s))).encode())]
    if isinstance(error, Unauthenticated):
        return [(b"www-authenticate", b"Bearer")]
    return []


def _json(status: int, body: bytes, headers: Headers | None = None) -> _Answer:
    return status, body, with_length([http_codec.JSON_TYPE, *(headers or [])], body)


async def _serve_other(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what is no HTTP request."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1003})
    else:
        raise NotImplementedError(f"ASGI scope type {scope['type']!r}: only http and lifespan are spoken")
