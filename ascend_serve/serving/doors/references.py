"""Tensors that a handle's caller has not at hand: references inside a mapping, awaited where they are used.

Serve replaces a reference that is an argument itself (`infer.remote(ref)`), and leaves those inside a mapping as they
are (`infer.remote({"image": ref})`; ray/serve/_private/router.py: `_resolve_request_arguments`). Ray's `ObjectRef` can
be awaited from any event loop, and that is all that is asked of a reference here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any

from ascend_serve.errors import DeadlineExpired


def has_references(tensors: object) -> bool:
    """Whether a value of a mapping has yet to be fetched."""
    return isinstance(tensors, Mapping) and any(isinstance(value, Awaitable) for value in tensors.values())


async def fetched(
    tensors: Mapping[str, Any], deadline_s: float | None
) -> tuple[dict[str, Any], float | None]:
    """Fetch what are references, side by side.

    Args:
        tensors: arrays or references by name.
        deadline_s: seconds from now after which the answer is of no use.

    Returns:
        The mapping with the values, and the seconds that are left.

    Raises:
        DeadlineExpired: they came too late.
        BaseException: whatever the task behind a reference raised.
    """
    began = time.monotonic()
    names = [name for name, value in tensors.items() if isinstance(value, Awaitable)]
    try:
        values = await asyncio.wait_for(
            asyncio.gather(*(_value(tensors[name]) for name in names)), deadline_s
        )
    except asyncio.TimeoutError:
        raise DeadlineExpired(f"the deadline passed while waiting for {', '.join(names)}") from None
    left = None if deadline_s is None else deadline_s - (time.monotonic() - began)
    if left is not None and left <= 0:
        raise DeadlineExpired(f"the deadline passed while waiting for {', '.join(names)}")
    return {**tensors, **dict(zip(names, values, strict=True))}, left


async def _value(reference: Awaitable[Any]) -> Any:
    return await reference
