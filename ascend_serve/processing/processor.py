"""The hook around a model: `decode` makes tensors of a body, `encode` makes an answer of the outputs.

A Serve file names a processor as `processor: module:Class` with `processor_args: {...}`. Its class says which settings
it takes (`Settings`, a closed pydantic model) and at which HTTP doors it answers (`doors`). Its hooks never run on the
event loop: a few threads call them (`workers`), so several may be inside one processor at a time.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from ascend_serve.errors import AscendServeError
from ascend_serve.spec.closed import Closed
from ascend_serve.spec.model import ModelSpec

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]


class ProcessorSettings(Closed):
    """Base of every processor's settings: closed, and never changed once made.

    They are validated where the application is built, and replicas get what `model_dump` gives: so a validator that
    reads a file (`content_of`) reads it once, its content travels to every node, and it has to accept its own dump.
    """

    @staticmethod
    def content_of(path: str | Path, setting: str) -> str:
        """The text of a file that a setting names.

        Raises:
            ValueError: it cannot be read, or is no text in UTF-8.
        """
        try:
            return Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{setting}: '{path}' cannot be read: {error} (relative paths start at the folder Serve is started in)"
            ) from error


S_contra = TypeVar("S_contra", bound=ProcessorSettings, contravariant=True)


@dataclass(frozen=True, slots=True)
class Payload:
    """One body as it came.

    Attributes:
        body: its bytes.
        content_type: the media type in lower case, without parameters; empty when none was sent.
        parameters: of the content type, such as `boundary`; names in lower case.
    """

    body: bytes
    content_type: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a body asks of the model.

    Attributes:
        requests: inputs by name, axis 0 counting rows where the model is batched. Each is a request of its own, and
            all run side by side: rows of different lengths need not wait for each other. May be empty.
        context: whatever `encode` needs to know beside the outputs.
    """

    requests: Sequence[Tensors]
    context: Any = None


Answered = tuple[Decoded, Sequence[Tensors]]
"""What was asked, and the outputs of each of its requests."""


@dataclass(frozen=True, slots=True)
class ProcessorDoor:
    """Where a processor answers over HTTP; exactly one of `verb` and `path` is given.

    Attributes:
        verb: as in `/v2/models/{model}[/versions/{version}]/{verb}`.
        path: below the application's route prefix, such as `/v1/embeddings`.
        methods: the HTTP methods it takes.
        lists: whether it tells which models answer, by `listing`, and of each at `path/{model}`, by `listed`; nothing
            is decoded and no model is run.
    """

    verb: str = ""
    path: str = ""
    methods: tuple[str, ...] = ("POST", "PUT")
    lists: bool = False

    def __post_init__(self) -> None:
        if bool(self.verb) == bool(self.path):
            raise ValueError(
                f"a door has either a verb ('{self.verb}') or a path ('{self.path}'), and not both"
            )
        if self.lists and self.verb:
            raise ValueError(f"the verb '{self.verb}' is of one model and cannot list several: give a path")


class Processor(abc.ABC, Generic[S_contra]):
    """Pre- and post-processing of one model.

    Attributes:
        Settings: what `processor_args` may hold.
        doors: where it answers.
        decode_together: the most bodies that one call of `decode_many` gets, of those that wait.
        encode_together: the most answers that one call of `encode_many` gets, of those that wait.

    Args:
        settings: an instance of `Settings`.
        spec: signature of the model as served. It is made once where the application is built, to see that it fits,
            and once in each replica.

    Raises:
        ConfigError: the settings do not fit the model, or something is not installed.
    """

    Settings: ClassVar[type[ProcessorSettings]] = ProcessorSettings
    doors: ClassVar[tuple[ProcessorDoor, ...]] = ()
    decode_together: ClassVar[int] = 1
    encode_together: ClassVar[int] = 1

    @abc.abstractmethod
    def __init__(self, settings: S_contra, spec: ModelSpec) -> None: ...

    @abc.abstractmethod
    def decode(self, payload: Payload) -> Decoded:
        """Make tensors of a body.

        Raises:
            RequestError: the body is not what this processor takes; the message says what is.
        """

    @abc.abstractmethod
    def encode(self, decoded: Decoded, outputs: Sequence[Tensors]) -> Any:
        """Make an answer of what the model gave.

        Args:
            decoded: what `decode` gave.
            outputs: of each of its requests, in their order, by name.

        Returns:
            What JSON can say (numpy arrays and numbers may be in it), or bytes that are JSON already.

        Raises:
            AscendServeError: the outputs cannot be told.
        """

    def decode_many(self, payloads: Sequence[Payload]) -> Sequence[Decoded | AscendServeError]:
        """Make tensors of several bodies that wait; for those that are cheaper together.

        Returns:
            For each body what `decode` gives or raises.
        """
        found: list[Decoded | AscendServeError] = []
        for payload in payloads:
            try:
                found.append(self.decode(payload))
            except AscendServeError as error:
                found.append(error)
        return found

    def encode_many(self, answered: Sequence[Answered]) -> Sequence[Any]:
        """Make answers of several outputs that wait; for those that are cheaper together.

        Returns:
            For each what `encode` gives or raises, an AscendServeError in the place of its answer.
        """
        found: list[Any] = []
        for decoded, outputs in answered:
            try:
                found.append(self.encode(decoded, outputs))
            except AscendServeError as error:
                found.append(error)
        return found

    @classmethod
    def failure(cls, error: AscendServeError) -> Any:
        """What the body of an error answer says; the status is the error's own."""
        return {"error": str(error)}

    @classmethod
    def model_of(cls, payload: Payload) -> str | None:
        """The model that a body names; asked where several models answer at one `path`. None: it names none."""
        return None

    @classmethod
    def listing(cls, names: Sequence[str]) -> Any:
        """What a door that `lists` says of all models that answer there, as JSON can."""
        return {"models": [cls.listed(name) for name in names]}

    @classmethod
    def listed(cls, name: str) -> Any:
        """What a door that `lists` says of one model."""
        return {"name": name}
