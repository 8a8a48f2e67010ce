"""Doors that processors bring: bytes come in, a processor makes tensors of them, and its words go out.

    PUT or POST /v2/models/{model}[/versions/{version}]/{verb}       such as classify
    {path}                                                           such as /v1/embeddings
    GET {path}, {path}/{model}                                       of a door that lists models, such as /v1/models

What a door's processor needs besides is here: its threads, the plane that runs what it decoded, and whose it is where
several models answer at one path. HTTP itself is `serving.doors.http`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import AscendServeError, DeadlineExpired, ModelNotFound
from ascend_serve.processing.processor import Array, Payload, Processor, ProcessorDoor, Tensors
from ascend_serve.processing.workers import Workers
from ascend_serve.protocol.show import show
from ascend_serve.spec.text import nearest

_QUICKLY_SEARCHED_BYTES = 64 * 1024
"""A body whose model is looked for on the event loop; in a larger one it is on another thread."""


class Processing:
    """A model behind its processor. Made and used on the replica's event loop.

    Args:
        processor: of the model.
        plane: runs what it decodes.
        threads: on which its hooks run.
        default_deadline_s: see below.

    Attributes:
        default_deadline_s: seconds from a body's arrival to the deadline of a request that names none; None: it has
            none. May change at any time, for what comes then.
    """

    def __init__(
        self,
        processor: Processor[Any],
        plane: DataPlane,
        threads: int,
        *,
        default_deadline_s: float | None = None,
    ) -> None:
        self.processor = processor
        self.plane = plane
        self.default_deadline_s = default_deadline_s
        self._workers = Workers(processor, threads, name=f"ascend-processor-{plane.spec.name}")

    async def answer(
        self,
        payload: Payload,
        *,
        deadline_s: float | None = None,
        priority: int | None = None,
        came: float | None = None,
    ) -> bytes:
        """Decode a body, run what it asks for, encode the outputs.

        Args:
            payload: the body.
            deadline_s: seconds from its arrival after which the answer is of no use; None: the default.
            priority: of what is run.
            came: when it arrived, in monotonic seconds; None: now.

        Returns:
            JSON.

        Raises:
            RequestError: the body is not what the processor takes, or what it made of it not what the model takes.
            DeadlineExpired: the deadline passed; while it waits for a hook, or is in one, at that moment.
            AscendServeError: refused, failed, or outputs that cannot be told.
        """
        if deadline_s is None:
            deadline_s = self.default_deadline_s
        if came is None:
            came = time.monotonic()
        deadline = None if deadline_s is None else came + deadline_s
        decoded = await self._workers.decode(payload, deadline=deadline)
        left = None
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExpired(
                    f"the deadline passed {-left * 1e3:.1f} ms ago: the body was decoded too late to be run"
                )
        outputs = await self._run(decoded.requests, left, priority)
        return await self._workers.encode(decoded, outputs, deadline=deadline)

    def close(self) -> None:
        """End the threads. May be called again."""
        self._workers.close()

    async def _run(
        self, requests: Sequence[Tensors], deadline_s: float | None, priority: int | None
    ) -> list[Tensors]:
        if len(requests) == 1:
            return [await self._infer(requests[0], deadline_s, priority)]
        running = [asyncio.ensure_future(self._infer(tensors, deadline_s, priority)) for tensors in requests]
        try:
            return await asyncio.gather(*running)
        finally:
            # After one that failed nobody wants the others.
            for task in running:
                task.cancel()

    async def _infer(
        self, tensors: Tensors, deadline_s: float | None, priority: int | None
    ) -> Mapping[str, Array]:
        outputs = await self.plane.infer_arrays(tensors, deadline_s=deadline_s, priority=priority)
        assert isinstance(outputs, Mapping), "tensors by name are answered by name"
        return outputs


class HookedDoor:
    """A door of one or several models' processors.

    Args:
        told: the door as a processor's class describes it.
        behind: the models that answer at it, at least one.
        about: the model that a door that lists tells of; None for all.
    """

    def __init__(
        self, told: ProcessorDoor, behind: Sequence[Processing], *, about: str | None = None
    ) -> None:
        self.methods = told.methods
        self._lists = told.lists
        self._about = about
        self._kind = type(behind[0].processor)
        # Of several versions the newest is last and stays, as with paths that name none.
        newest = sorted(behind, key=lambda processing: int(processing.plane.version))
        self._by_name = {processing.plane.spec.name: processing for processing in newest}
        self._only = newest[-1] if len(self._by_name) == 1 else None

    async def answer(
        self, payload: Payload, *, deadline_s: float | None = None, priority: int | None = None
    ) -> bytes:
        """As `Processing.answer`, of the model that the body names; at a door that lists, what it tells.

        Raises:
            ModelNotFound: it names another, or none and there are several.
        """
        if self._lists:
            names = tuple(self._by_name)
            told = self._kind.listing(names) if self._about is None else self._kind.listed(self._about)
            return orjson.dumps(told)
        came = time.monotonic()
        processing = self._only or await self._named(payload)
        return await processing.answer(payload, deadline_s=deadline_s, priority=priority, came=came)

    def failure(self, error: AscendServeError) -> bytes:
        """The body of an error answer, in the words of the processor."""
        return orjson.dumps(self._kind.failure(error))

    def unknown(self, name: str) -> ModelNotFound:
        """The error for a model that is not behind this door."""
        return ModelNotFound(f"no model {show(name)} here{nearest(name[:100], self._by_name)}")

    async def _named(self, payload: Payload) -> Processing:
        if len(payload.body) <= _QUICKLY_SEARCHED_BYTES:
            name = self._kind.model_of(payload)
        else:
            name = await asyncio.to_thread(self._kind.model_of, payload)
        if name is None:
            raise ModelNotFound(f"the body names no model, and there are {', '.join(self._by_name)}")
        processing = self._by_name.get(name)
        if processing is None:
            raise self.unknown(name)
        return processing


class HookedDoors:
    """All doors that the processors of a server's models bring.

    Args:
        processings: of those models that have a processor.
    """

    def __init__(self, processings: Sequence[Processing] = ()) -> None:
        self._verbs: dict[tuple[DataPlane, str], HookedDoor] = {}
        at_paths: dict[str, tuple[ProcessorDoor, list[Processing]]] = {}
        for processing in processings:
            for door in processing.processor.doors:
                if door.verb:
                    self._verbs[processing.plane, door.verb] = HookedDoor(door, [processing])
                else:
                    at_paths.setdefault(door.path, (door, []))[1].append(processing)
        self._verb_paths: dict[str, HookedDoor] = {}
        for (plane, verb), hooked in sorted(self._verbs.items(), key=lambda item: int(item[0][0].version)):
            of_model = f"/v2/models/{plane.spec.name}"
            self._verb_paths[f"{of_model}/versions/{plane.version}/{verb}"] = hooked
            self._verb_paths[f"{of_model}/{verb}"] = hooked  # the newest version's is last and stays
        self._paths = {path: HookedDoor(door, behind) for path, (door, behind) in at_paths.items()}
        self._lists = {path: self._paths[path] for path, (door, _) in at_paths.items() if door.lists}
        for path in self._lists:
            door, behind = at_paths[path]
            for name in {processing.plane.spec.name for processing in behind}:
                self._paths[f"{path}/{name}"] = HookedDoor(door, behind, about=name)

    def at_verb(self, plane: DataPlane, verb: str) -> HookedDoor | None:
        """The door of a model's verb, or None."""
        return self._verbs.get((plane, verb))

    def at_path(self, path: str) -> HookedDoor | None:
        """The door at a path below the application's route prefix, or None.

        Raises:
            ModelNotFound: the path is below a door that lists, and names no model there.
        """
        door = self._paths.get(path)
        parent, _, name = path.rpartition("/")
        if door is None and parent in self._lists:
            raise self._lists[parent].unknown(name)
        return door

    def speaking_at(self, path: str) -> HookedDoor | None:
        """The door in whose words errors at a path are told: its own or, for what is below it, one that lists."""
        return self._paths.get(path) or self._verb_paths.get(path) or self._lists.get(path.rpartition("/")[0])

    def told(self) -> dict[str, tuple[str, ...]]:
        """Every path of a door, with the methods that it takes."""
        of_models = {
            f"/v2/models/{plane.spec.name}/{verb}": door for (plane, verb), door in self._verbs.items()
        }
        return {path: tuple(door.methods) for path, door in {**of_models, **self._paths}.items()}


def payload_of(body: bytes, content_type: str) -> Payload:
    """A body with its content type taken apart (RFC 9110, 8.3.1).

    Args:
        body: its bytes.
        content_type: the header as sent; empty when there was none.
    """
    kind, *rest = content_type.split(";")
    parameters = {}
    for parameter in rest:
        name, _, value = parameter.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return Payload(body, kind.strip().lower(), parameters)
