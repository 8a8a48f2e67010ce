"""The files of a form: `multipart/form-data` as RFC 7578 and RFC 2046 write it, strictly and without copies.

A parser of its own, since the standard library's is for mail: it splits binary parts into lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ascend_serve.errors import MalformedRequest, RequestTooLarge

_NAME = re.compile(rb'filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_MOST_HEAD = 4096
"""Bytes that the head of a part may have."""


class Part(NamedTuple):
    """A file of a form: its name, empty when none was given, and its bytes."""

    name: str
    content: bytes


def parts_of(body: bytes, boundary: str, most: int) -> list[Part]:
    """Split a form into its parts.

    Args:
        body: all of it.
        boundary: the parameter of its content type.
        most: how many parts it may have.

    Raises:
        MalformedRequest: it is no such form.
        RequestTooLarge: more parts.
    """
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise MalformedRequest(
            "the content type multipart/form-data comes without a boundary of 1 to 70 characters"
        )
    mark = b"--" + boundary.encode()
    if not body.startswith(mark):
        raise MalformedRequest(f"the form does not begin with its boundary '--{boundary}'")
    parts: list[Part] = []
    at = len(mark)
    while not body.startswith(b"--", at):
        if len(parts) == most:
            raise RequestTooLarge(f"the form has more than the {most} pictures that are taken at a time")
        if not body.startswith(b"\r\n", at):
            raise MalformedRequest(f"what follows boundary {len(parts) + 1} of the form is no end of line")
        # A part without head fields has the empty line at once.
        head_end = body.find(b"\r\n\r\n", at, at + _MOST_HEAD)
        end = body.find(b"\r\n" + mark, head_end + 2) if head_end >= 0 else -1
        if end < 0:
            raise MalformedRequest(f"part {len(parts) + 1} of the form has no end")
        parts.append(Part(_name(body[at:head_end]), body[head_end + 4 : end]))
        at = end + 2 + len(mark)
    return parts


def _name(head: bytes) -> str:
    found = _NAME.search(head)
    return "" if found is None else found.group(1).decode("utf-8", "replace")
