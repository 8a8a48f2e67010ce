"""What the device's engines do while they are driven: `timeline` runs this module in a process with a card of its own.

    python -m benchmarks.device_runs engine|serial OM SLOTS CLIENTS SECONDS

`engine` is the product's engine and lane in a closed loop; with 0 slots it chooses them. `serial` is the rivals'
device: one synchronous call after another. Both print one JSON object: rows a second, slots, and what each engine of
the device did, as its own profile tells (`acl.prof`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import acl
import uvloop

from ascend_serve.artifacts.artifact import ready_made
from benchmarks.baselines.device import Device
from benchmarks.baselines.model import Model
from benchmarks.engine_runs import EngineBench, opened
from benchmarks.node import ROOT
from benchmarks.timeline import Spans, spans_of

_TASK_TIME = 0x2  # ACL_PROF_TASK_TIME
_WARM_S = 0.5


@dataclass(frozen=True, slots=True)
class Driven:
    """How a device was driven, and what it did.

    Attributes:
        rows_per_s: that were answered.
        slots: batches that could be on their way at once.
        spans: what its engines did.
    """

    rows_per_s: float
    slots: int
    spans: Spans


def driven(
    how: str, path: Path, *, slots: int, clients: int, seconds: float, environment: Mapping[str, str]
) -> Driven:
    """Drive a card of its own for some seconds.

    Args:
        how: `engine` or `serial`.
        path: the model.
        slots: of `engine`; 0: it chooses.
        clients: of `engine`, each with one row under way.
        seconds: how long.
        environment: in addition to this process's; it names the card's node.

    Raises:
        RuntimeError: the process failed; with the end of what it wrote.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.device_runs",
            how,
            str(path),
            *map(str, (slots, clients, seconds)),
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"driving the device failed: {done.stderr.strip().splitlines()[-1]}")
    return Driven(**json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def _profile(spans: Spans) -> Iterator[None]:
    """Profile card 0 in the block and put what it did into `spans`."""
    with tempfile.TemporaryDirectory() as folder:
        _check(acl.prof.init(folder))
        config = acl.prof.create_config([0], 0, 0, _TASK_TIME)
        _check(acl.prof.start(config))
        yield
        _check(acl.prof.stop(config))
        _check(acl.prof.finalize())
        (written,) = Path(folder).rglob("msprof_*.json")
        spans.update(spans_of(json.loads(written.read_text())))


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"acl.prof returned {code}: {acl.get_recent_err_msg()}")


def _engine(path: Path, *, slots: int, clients: int, seconds: float) -> Driven:
    spans: Spans = {}

    async def run(bench: EngineBench) -> float:
        await bench.learn()
        await bench.closed_loop("pad_up", clients, _WARM_S)
        with _profile(spans):
            return (await bench.closed_loop("pad_up", clients, seconds)).rows_per_s

    with opened(ready_made(path, "driven", None), slots=slots or None) as (lane, report):
        return Driven(uvloop.run(run(EngineBench(lane, report))), report.slots, spans)


def _serial(path: Path, *, seconds: float) -> Driven:
    spec = ready_made(path, "driven", None).spec
    gears = ",".join(str(gear) for gear in spec.gears)
    device = Device(Model(str(path), gears, spec.input_row_bytes, spec.output_row_bytes))
    rows = [bytes(spec.input_row_bytes)] * spec.gears.largest
    spans: Spans = {}
    device.run(rows)
    batches = 0
    with _profile(spans):
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            device.run(rows)
            batches += 1
    return Driven(batches * len(rows) / elapsed, 1, spans)


def main(how: str, path: str, slots: str, clients: str, seconds: str) -> None:
    """Run one and print what was seen."""
    run = partial(_engine, slots=int(slots), clients=int(clients)) if how == "engine" else _serial
    seen = run(Path(path), seconds=float(seconds))
    print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main(*sys.argv[1:])
