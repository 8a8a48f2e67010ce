"""Ask the served model from Python: `python examples/handle_client.py examples/digits/images/*.png`.

A program that joins the same Ray cluster needs no HTTP: a handle passes numpy arrays to the replica. This
is a plain driver; inside a deployment of another application the same two lines read

    handle = serve.get_app_handle("resnet")
    logits = await handle.infer.remote(rows)

`infer` takes one array or `{name: array}` and answers in kind; axis 0 counts rows. Both are shown: by
default all pictures go in one call as a dict, with `--one-by-one` each is a call of its own with a bare
array, all of them in flight at once, so that the replica may run them together. The calls are awaited, since
that works in every environment; `.result()` needs no event loop, but fails where Serve's throughput mode is
on (`RAY_SERVE_THROUGHPUT_OPTIMIZED=1`), which runs the handle's router on the caller's own loop.

The exit status is 1 when an answer contradicts the label in a file's name or anything fails. Runs in
the server's own environment (with pillow), on a machine of the cluster
(`ray.init(address="auto")`).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from digits.answers import print_table, read_answers
from digits.preprocess import read_pictures
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from ascend_serve.errors import AscendServeError


async def ask(
    handle: DeploymentHandle[Any], image: npt.NDArray[np.float32], *, one_by_one: bool
) -> npt.NDArray[Any]:
    """Call the application through its handle.

    Args:
        handle: of the application.
        image: float32 `[N, 1, 32, 32]`.
        one_by_one: one call per row with a bare array, or one call for all with a dict.

    Returns:
        The logits, `[N, 10]`.

    Raises:
        RayTaskError: the application raised; its own error is the `cause`.
        AscendServeError: the same error without the wrapping, which is what throughput mode passes on.
        RayError: the call did not get through.
    """
    if not one_by_one:
        outputs = await handle.infer.remote({"image": image})
        return np.asarray(outputs["logits"])
    return np.concatenate(
        await asyncio.gather(*(handle.infer.remote(image[row : row + 1]) for row in range(len(image))))
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify the pictures named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Classify digits with the served model, over a handle.")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="PNG or other picture")
    parser.add_argument("--app", default="resnet", help="the Serve application's name (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="limit for all calls (default: 30)"
    )
    parser.add_argument("--one-by-one", action="store_true", help="one call per picture, not one for all")
    options = parser.parse_args(arguments)
    try:
        image = read_pictures(options.pictures)
        # Not a written-out address: with one, Ray does not look for the cluster's authentication token.
        ray.init(address="auto", logging_level=logging.WARNING, log_to_driver=False)
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        handle = serve.get_app_handle(options.app)
        logits = asyncio.run(
            asyncio.wait_for(ask(handle, image, one_by_one=options.one_by_one), options.timeout)
        )
        answers = read_answers(options.pictures, logits)
    except RayTaskError as error:
        return fail(f"'{options.app}' answered {type(error.cause).__name__}: {error.cause}")
    except AscendServeError as error:
        return fail(f"'{options.app}' answered {type(error).__name__}: {error}")
    except ConnectionError as error:
        return fail(f"no Ray cluster here ({first_line(error)}); start the server with `make serve`")
    except RayServeException as error:
        return fail(f"{first_line(error)} Start it with `make serve`, or name another with --app.")
    except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
        return fail(f"no answer from '{options.app}' within {options.timeout:g} s; --timeout sets the limit")
    except (RayError, OSError, ValueError) as error:
        return fail(first_line(error))
    return 0 if print_table(answers) else 1


def first_line(error: BaseException) -> str:
    """Return an error's first line: Ray adds tracebacks and advice below it."""
    return str(error).strip().partition("\n")[0]


def fail(reason: str) -> int:
    """Print why it failed and return the exit status for that."""
    print(f"error: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
