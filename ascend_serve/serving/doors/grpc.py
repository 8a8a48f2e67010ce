"""The gRPC front door: the Open Inference Protocol v2 as `inference.GRPCInferenceService`.

Ray Serve owns the gRPC server, in its proxy or, on its fast data path, in the replica itself. It learns the service
from `grpc_options.grpc_servicer_functions` of the Serve file and then calls the method of the deployment that is
named like the RPC (ray/serve/_private/grpc_util.py):

    grpc_options:
      port: 9000
      grpc_servicer_functions: [ascend_serve.serving.doors.grpc.add_GRPCInferenceServiceServicer_to_server]

Messages pass through that server as the bytes they came in: a proxy would only parse 150 KB to write them out again,
and the codec reads tensors where they lie.

With one application stock clients need nothing else; among several, Serve finds the one that the client's metadata
name under `application`.

*Deadlines.* Serve hides the client's gRPC deadline from the deployment (`RayServegRPCContext` has no
`time_remaining`, and gRPC keeps `grpc-timeout` out of the metadata). What it does is cancel the call when that
deadline passes, so a request that still waits then never runs. One that is to be ordered by its deadline, and refused
at once if that cannot be met, names it: in the protocol's parameter `timeout`, or in the metadata
`DEADLINE_NAME`.

*Streams* (`ModelStreamInfer`) run many requests at once and answer each as it finishes. One that fails is answered
within the stream, by `error_message`, and the stream goes on (Triton, docs/protocol; protobuf/grpc_service.proto).

*Tokens*, where the server wants them, are in the metadata `authorization`.

*Bounds.* gRPC itself bounds a call's metadata to 8 KB (`grpc.max_metadata_size`) and compressed messages by their size
when they are inflated; Serve sets no bound on messages below 2 GB, so those past `max_body_bytes` are refused here.

*Failures* are answered with the code that the exception names and its words as details. They are returned and not
raised, because Serve logs a traceback for every exception, and overload refuses thousands. So they are in our metrics,
by code, those within streams too, and not in Serve's count of failed gRPC requests.
"""

# The methods below bear the names of the RPCs, by which Ray Serve finds them, and not those of our style.
# ruff: noqa: N802

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from operator import methodcaller
from typing import Any, Protocol, TypeVar

import grpc  # type: ignore[import-untyped]  # ships no types

from ascend_serve.errors import AscendServeError, NotOffered, Refusal, Unauthenticated
from ascend_serve.protocol import grpc_codec, grpc_told
from ascend_serve.protocol.checking import DeclaredCheck
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import InferResponse
from ascend_serve.repository import Repository
from ascend_serve.serving.doors.deadlines import DEADLINE_NAME, deadline_s, left_s, nearest_s
from ascend_serve.serving.doors.streaming import answers_of
from ascend_serve.serving.doors.tokens import WANTED, Tokens

logger = logging.getLogger(__name__)

SERVICE = "inference.GRPCInferenceService"
OPEN_RPCS = ("ServerLive", "ServerReady")
"""Answered without a token."""
RPCS = (
    *OPEN_RPCS,
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
"""One request, one answer."""
STREAMED_RPC = "ModelStreamInfer"

PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Trailing metadata by which a server tells gRPC's own retries when to come again (gRPC proposal A6)."""

_MAX_DETAILS_BYTES = 2048
"""Details travel in the trailers, which stock clients take up to 8 KB of; percent-encoding triples what is no ASCII."""

_QUICKLY_READ_BYTES = 64 * 1024
"""Typed contents that are read on the loop, in a few milliseconds; larger ones are read on another thread."""

_INTERNAL: int = grpc.StatusCode.INTERNAL.value[0]
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcContext(Protocol):
    """What the doors use of Serve's `RayServegRPCContext`."""

    def invocation_metadata(self) -> Iterable[tuple[str, str]]:
        """What the client sent besides the message."""
        ...

    def set_code(self, code: Any) -> None:
        """Set the `grpc.StatusCode` of the answer."""
        ...

    def set_details(self, details: str) -> None:
        """Set the text of the answer's status."""
        ...

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        """Set what is sent after the answer."""
        ...


class Reply:
    """A serialised message in the one form in which Serve takes an answer."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def SerializeToString(self) -> bytes:
        """The message."""
        return self._octets


_EMPTY = Reply(b"")
_FINAL = {"triton_final_response": True}
"""Parameters of a streamed answer, to whose request no other follows (Triton, docs/user_guide/decoupled_models.md)."""

Doors = TypeVar("Doors", bound="GrpcDoors")
Door = Callable[[Doors, bytes, GrpcContext], Awaitable[Reply]]


def _door(answer: Callable[[Doors, bytes, GrpcContext], Awaitable[bytes]]) -> Door[Doors]:
    """A door that answers every failure with a status."""
    is_open = answer.__name__ in OPEN_RPCS

    @functools.wraps(answer)
    async def door(self: Doors, request: bytes, grpc_context: GrpcContext) -> Reply:
        try:
            if self._tokens is not None and not is_open:
                _check_token(self._tokens, grpc_context)
            return Reply(await answer(self, request, grpc_context))
        except AscendServeError as error:
            if isinstance(error, Refusal):
                wait_ms = max(0, math.ceil(error.retry_after_s * 1e3))
                grpc_context.set_trailing_metadata([(PUSHBACK_KEY, str(wait_ms))])
            self._failed(error.grpc_status)
            return _failure(grpc_context, error.grpc_status, str(error))
        except Exception as error:
            logger.exception("%s failed", answer.__name__)
            self._failed(_INTERNAL)
            return _failure(grpc_context, _INTERNAL, f"internal error: {type(error).__name__}: {error}")

    return door


class GrpcDoors:
    """The RPCs, for a deployment that has models and limits to inherit; Serve calls each with its name.

    Each takes the serialised request and Serve's context of the call, and gives the serialised answer. None raises for
    a failure: it sets code and details on the context and gives an empty answer.
    """

    _repository: Repository
    _limits: Limits
    _tokens: Tokens | None = None
    _count_failed: Callable[[str], None] | None = None
    """Told of the code's name of each answer that is an error; a deployment sets it."""

    @_door
    async def ServerLive(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Whether this replica answers."""
        return grpc_told.encode_server_live(self._repository.live())

    @_door
    async def ServerReady(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Whether all models take requests."""
        return grpc_told.encode_server_ready(self._repository.ready())

    @_door
    async def ModelReady(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Whether the named model takes requests; NOT_FOUND for one that is not here."""
        plane = self._repository.plane(*grpc_told.decode_model(request))
        return grpc_told.encode_model_ready(plane.ready())

    @_door
    async def ServerMetadata(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Who serves."""
        return grpc_told.encode_server_metadata(self._repository.server_metadata())

    @_door
    async def ModelMetadata(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Signature of the named model; NOT_FOUND for one that is not here."""
        model = grpc_told.decode_model(request)
        return grpc_told.encode_model_metadata(self._repository.model_metadata(*model))

    @_door
    async def ModelInfer(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Inference."""
        return grpc_codec.encode_infer(await self._inferred(request, grpc_context))

    async def _inferred(self, message: bytes, grpc_context: GrpcContext) -> InferResponse:
        """The answer to a serialised `ModelInferRequest`."""
        deadline = _deadline_s(grpc_context)
        opened = grpc_codec.opened(message, self._limits)
        plane = self._repository.plane(opened.head.model_name, opened.head.model_version)
        check = DeclaredCheck(plane.spec, lambda: plane.config().max_batch_size) if opened.unchecked else None
        if opened.typed_bytes <= _QUICKLY_READ_BYTES:
            request = grpc_codec.read(opened, check)
        else:
            came = time.monotonic()
            request = await asyncio.to_thread(grpc_codec.read, opened, check)
            deadline = left_s(came, nearest_s(request.parameters, deadline, None))
        return await plane.infer(request, deadline_s=deadline)

    def _failed(self, status: int) -> None:
        """Count an answer that is an error."""
        if self._count_failed is not None:
            self._count_failed(_CODES[status].name)

    async def ModelStreamInfer(
        self, request_stream: AsyncIterator[bytes], grpc_context: GrpcContext
    ) -> AsyncGenerator[Reply, None]:
        """Inference, many requests at once: each has one answer, which is its result or `error_message`.

        Raises:
            Unauthenticated: no token, or a wrong one. It is raised, since Serve's proxy takes the code of a call that
                yields nothing from an exception alone.
        """
        try:
            if self._tokens is not None:
                _check_token(self._tokens, grpc_context)
        except Unauthenticated as error:
            self._failed(error.grpc_status)
            _failure(grpc_context, error.grpc_status, str(error))
            raise
        answers = answers_of(
            request_stream,
            functools.partial(self._streamed, grpc_context),
            bytes_at_once=self._limits.max_body_bytes,
        )
        async with aclosing(answers):  # what runs for a client that leaves between two answers ends at once
            async for answer in answers:
                yield Reply(answer)

    async def _streamed(self, grpc_context: GrpcContext, request: bytes) -> bytes:
        try:
            response = await self._inferred(request, grpc_context)
            response.parameters = _FINAL
            return grpc_codec.encode_streamed(grpc_codec.encode_infer(response))
        except AscendServeError as error:
            self._failed(error.grpc_status)
            return self._streamed_error(request, str(error))
        except Exception as error:
            logger.exception("%s failed", STREAMED_RPC)
            self._failed(_INTERNAL)
            return self._streamed_error(request, f"internal error: {type(error).__name__}: {error}")

    def _streamed_error(self, request: bytes, words: str) -> bytes:
        return grpc_codec.encode_streamed_error(words, grpc_codec.request_id(request, self._limits))

    @_door
    async def ModelConfig(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """How the named model is served."""
        return grpc_told.encode_model_config(
            self._repository.plane(*grpc_told.decode_model(request)).config()
        )

    @_door
    async def ModelStatistics(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """What the named model did, or all models, since this replica started."""
        name, version = grpc_told.decode_model(request)
        return grpc_told.encode_statistics(self._repository.statistics(name or None, version))

    @_door
    async def RepositoryIndex(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """All models and versions."""
        ready = grpc_told.decode_index(request)
        return grpc_told.encode_index(self._repository.index(ready=ready))

    @_door
    async def RepositoryModelLoad(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Refused with words: UNIMPLEMENTED."""
        raise NotOffered(self._repository.why_not_loaded())

    @_door
    async def RepositoryModelUnload(self, request: bytes, grpc_context: GrpcContext) -> bytes:
        """Refused with words: UNIMPLEMENTED."""
        raise NotOffered(self._repository.why_not_loaded())


def add_GRPCInferenceServiceServicer_to_server(servicer: Any, server: Any) -> None:
    """Make a gRPC server answer the service's RPCs; this is what `grpc_servicer_functions` names.

    Args:
        servicer: has a method for each of `RPCS`, which takes the serialised request and the call's context and gives
            an object with `SerializeToString`; and one for `STREAMED_RPC`, which takes and gives iterators of them.
            Serve passes a stand-in and puts its own handlers in their place.
        server: a `grpc.Server` or `grpc.aio.Server`.
    """
    handlers = {
        rpc: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, rpc),
            request_deserializer=None,
            response_serializer=methodcaller("SerializeToString"),
        )
        for rpc in RPCS
    }
    handlers[STREAMED_RPC] = grpc.stream_stream_rpc_method_handler(
        getattr(servicer, STREAMED_RPC),
        request_deserializer=None,
        response_serializer=methodcaller("SerializeToString"),
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _check_token(tokens: Tokens, context: GrpcContext) -> None:
    """Check that the metadata hold one of the tokens.

    Raises:
        Unauthenticated: they do not.
    """
    for key, value in context.invocation_metadata():
        if key == "authorization" and tokens.allow(value):
            return
    raise Unauthenticated(WANTED)


def _deadline_s(context: GrpcContext) -> float | None:
    """Seconds that the metadata leave for the answer; None if they say nothing."""
    for key, value in context.invocation_metadata():
        if key == DEADLINE_NAME:
            return deadline_s(value, "metadata")
    return None


def _failure(context: GrpcContext, status: int, words: str) -> Reply:
    context.set_code(_CODES[status])
    octets = words.encode(
        "utf-8", "backslashreplace"
    )  # a lone surrogate must not turn one error into another
    context.set_details(octets[:_MAX_DETAILS_BYTES].decode("utf-8", "ignore"))
    return _EMPTY
