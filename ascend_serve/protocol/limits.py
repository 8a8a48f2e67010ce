"""Bounds on what a request may hold, checked before work is done on it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ascend_serve.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that every codec applies.

    How deep JSON may nest is no setting: the parser (orjson) refuses more than 1024 levels, and tensor data
    may nest exactly as its shape does. Nor is how long a number may be: the parser reads it in one go, and what is no
    64-bit integer is a float.

    Attributes:
        max_body_bytes: bytes of a request body, JSON and binary together, before and after its compression.
        max_json_bytes: bytes of the JSON in it; Python's objects for them take several times as many.
        max_json_lists: brackets that open a list or an object in the JSON; an empty list of 2 bytes takes 64.
        max_headers: header fields of a request; how long each may be is the server's affair, and those that are read
            have bounds of their own.
        max_tensors: inputs of a request, and outputs it may ask for.
        max_rank: dimensions of a tensor.
        max_name_chars: characters of a tensor's name.
        max_elements: elements of one tensor.

    Raises:
        ConfigError: a bound below 1, or `max_rank` above 32, which is all that numpy 1 can hold.
    """

    max_body_bytes: int = 64 * 2**20
    max_json_bytes: int = 32 * 2**20
    max_json_lists: int = 2**20
    max_headers: int = 128
    max_tensors: int = 64
    max_rank: int = 16
    max_name_chars: int = 512
    max_elements: int = 2**28

    @property
    def max_held_bytes(self) -> int:
        """Bytes of the bodies that may be held at a time over HTTP: those that come, that wait and that run."""
        return 8 * self.max_body_bytes

    def __post_init__(self) -> None:
        for field in fields(self):
            bound = getattr(self, field.name)
            if bound < 1:
                raise ConfigError(f"{field.name} is {bound}: a limit is at least 1")
        if self.max_rank > 32:
            raise ConfigError(f"max_rank is {self.max_rank}: at most 32 dimensions can be held")
