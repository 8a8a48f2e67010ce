"""Finds the applications of the Serve that runs, for the verbs that look at them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ascend_serve.errors import AscendServeError, ConfigError
from ascend_serve.spec.text import nearest

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

ANSWER_S = 30.0
"""How long replicas may take to answer, beyond the time for which they look."""


def looking_seconds(told: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--seconds` of the verbs that have replicas look for some time."""
    seconds = click.FloatRange(min=0, min_open=True, max=60)
    return click.option("--seconds", type=seconds, default=2.0, show_default=True, help=told)


@contextmanager
def application(name: str | None) -> Iterator[DeploymentHandle[Any]]:
    """A handle of an application of the Serve that runs; no Ray is started.

    Args:
        name: of the application; it may be None where there is but one.

    Raises:
        ConfigError: no Ray or no Serve runs, or there is no such application.
    """
    import ray
    from ray import serve

    try:
        ray.init(address="auto", namespace="serve", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise ConfigError(
            "no Ray runs here: start the application (`ascend-serve run FILE`), or name the cluster in RAY_ADDRESS"
        ) from error
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it tells of its routers on stderr
    try:
        running = serve.status().applications
        if not running:
            raise ConfigError(
                "Serve runs no application here: deploy one, or name its cluster in RAY_ADDRESS"
            )
        if name is None:
            if len(running) > 1:
                raise ConfigError(f"several applications run: name one of {', '.join(sorted(running))}")
            (name,) = running
        if name not in running:
            raise ConfigError(f"no application '{name}' runs{nearest(name, running)}")
        yield serve.get_app_handle(name)
    finally:
        ray.shutdown()


def ask_all(handle: DeploymentHandle[Any], method: str, seconds: float, **arguments: Any) -> list[Any]:
    """What all replicas answer to a method that looks for some seconds (`DeploymentHandle.broadcast`).

    Args:
        handle: of the application.
        method: of `AscendModel`.
        seconds: for which it looks; given as `seconds`.
        arguments: further ones.

    Raises:
        ConfigError: a replica refused, failed, or did not answer in time.
    """
    from ray.exceptions import RayError

    answers = handle.broadcast(method, seconds=seconds, **arguments)
    try:
        return list(answers.results(timeout_s=seconds + ANSWER_S))
    except TimeoutError as error:
        raise ConfigError(f"the replicas did not answer within {seconds + ANSWER_S:g} s") from error
    except (AscendServeError, RayError) as error:
        raise ConfigError(f"a replica could not do it: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    lines = [
        line for line in str(getattr(error, "cause", None) or error).strip().splitlines() if line.strip()
    ]
    return lines[-1] if lines else type(error).__name__
