"""Weights for HAProxy's servers, by how fast the replicas behind them are.

HAProxy balances by the fewest connections for each unit of weight, and the weight of a running server can be changed at
its admin socket (HAProxy's management guide, "show servers state" and "set server"). Serve gives all servers the
weight 1 and never changes it (ray/serve/_private/haproxy_templates.py). A weight costs a request nothing, so it is
what is left where nobody is asked for each request: over gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

MOST_WEIGHT = 256
"""The largest weight that HAProxy knows; the fastest replica gets it."""

_ANSWER_S = 5.0
_BACKEND, _SERVER, _WEIGHT = 1, 3, 7
"""Columns of "show servers state" version 1: be_name, srv_name and srv_uweight."""


def weights_of(row_s: Mapping[str, float]) -> dict[str, int]:
    """A weight for each replica, in proportion to its rows a second.

    Args:
        row_s: seconds for a row, above 0, by replica.
    """
    fastest = min(row_s.values(), default=0.0)
    return {name: max(1, round(MOST_WEIGHT * fastest / one)) for name, one in row_s.items()}


def changes(state: str, weights: Mapping[str, int]) -> list[str]:
    """The commands that give the servers of these replicas their weights, where they have others.

    Args:
        state: what HAProxy answered to "show servers state".
        weights: by the end of a server's name.
    """
    commands = []
    for line in state.splitlines():
        columns = line.split()
        if line.startswith("#") or len(columns) <= _WEIGHT:
            continue
        server = columns[_SERVER]
        wanted = next((weight for end, weight in weights.items() if server.endswith(end)), None)
        if wanted is not None and columns[_WEIGHT] != str(wanted):
            commands.append(f"set server {columns[_BACKEND]}/{server} weight {wanted}")
    return commands


async def weigh(socket: Path, weights: Mapping[str, int]) -> int:
    """Have the HAProxy behind an admin socket use these weights; how many it had to change.

    Raises:
        OSError: nobody answers there.
    """
    commands = changes(await _told(socket, "show servers state"), weights)
    for command in commands:
        await _told(socket, command)
    return len(commands)


async def _told(socket: Path, command: str) -> str:
    reader, writer = await asyncio.wait_for(asyncio.open_unix_connection(socket), _ANSWER_S)
    try:
        writer.write(f"{command}\n".encode())
        await writer.drain()
        # It closes the connection behind each answer.
        return (await asyncio.wait_for(reader.read(-1), _ANSWER_S)).decode()
    finally:
        writer.close()
