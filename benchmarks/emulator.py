"""What the emulated card itself costs, and how well it keeps to its modelled times."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import Spread, table
from benchmarks.node import COSTS_MS, ROOT, SOC, Node, compile_pictures

BATCHES = 1000
ROUNDS = 3000
EXECUTE_US = 300.0
"""Modelled time of the null model."""

_SETTLED = 100
"""Batches after which a share of the elapsed time says something: at first one wake-up is a large share."""


def compare(node: Node, *, repeats: int, seconds: float) -> None:
    """Print a round's cost, the deviation from an absolute schedule, and the card's CPU.

    Args:
        node: the private node of this run.
        repeats: runs of each figure.
        seconds: not used here: the counts are fixed, so that figures compare.

    Raises:
        RuntimeError: a program failed.
    """
    print(
        f"\n# emulator: bare pyACL programs; the null model copies 4 bytes; {ROUNDS} rounds, {BATCHES} batches\n"
    )
    null = compile_null(node)
    print(
        table(
            ("round on the null model", "client CPU us", "wall us", "added us"),
            list(_rounds(node, null, repeats)),
        )
    )
    print(
        "Added is wall less the modelled times of the copies and the execution. Target: under 150 us each.\n"
    )
    pictures = compile_pictures(node).fetch()
    rows = list(_saturated(node, pictures, repeats))
    head = (
        "saturated, one other core busy",
        "rows/s",
        "device worst %",
        "seen: whole %",
        "latest ms",
        "card CPU %",
    )
    print(table(head, rows))
    print(
        f"Deviation from first + n x t(gear): by the device's clock the worst of all batches after {_SETTLED}, as seen "
        "by the program at the end, and the latest single batch. 150 KB rows."
    )


def _rounds(node: Node, null: Path, repeats: int) -> Iterator[Sequence[str]]:
    times = node.scratch / "null.json"
    times.write_text(json.dumps({"models": {"null": {"static": EXECUTE_US / 1e3}}}))
    copies_us = 2 * (10 + 4 / 12e3)
    for timing, modelled_us in (("functional", 0.0), ("modelled", EXECUTE_US + copies_us)):
        environment = {
            "ASCEND_EMULATOR_NODE": f"null-{timing}",
            "ASCEND_EMULATOR_TIMING": timing,
            "ASCEND_EMULATOR_VALUES": "exact",
            "ASCEND_EMULATOR_TIMES": str(times) if modelled_us else "",
        }
        seen = [_run("rounds", null, ROUNDS, **environment) for _ in range(repeats)]
        yield (
            timing,
            Spread.of([each["cpu_us"] for each in seen]).show(0),
            Spread.of([each["wall_us"] for each in seen]).show(0),
            Spread.of([each["wall_us"] - modelled_us for each in seen]).show(0),
        )


def _saturated(node: Node, path: Path, repeats: int) -> Iterator[Sequence[str]]:
    for gear, ms in COSTS_MS.items():
        worst, whole, latest, cpu, rates = [], [], [], [], []
        for _ in range(repeats):
            with _busy_core():
                used, run = _watched(node, path, gear)
            ended = _off([moment * 1000 for moment in run["ended_us"]], ms * 1e6)
            seen = _off(run["seen_ns"], ms * 1e6)
            worst.append(max(100 * abs(ended[n]) / (n * ms * 1e6) for n in range(_SETTLED, len(ended))))
            whole.append(100 * seen[-1] / ((len(seen) - 1) * ms * 1e6))
            latest.append(max(seen) / 1e6)
            elapsed_s = (run["seen_ns"][-1] - run["seen_ns"][0]) / 1e9
            cpu.append(100 * used / elapsed_s)
            rates.append(gear * (len(seen) - 1) / elapsed_s)
        yield (
            f"gear {gear}, {ms} ms",
            Spread.of(rates).show(0),
            Spread.of(worst).show(2),
            Spread.of(whole).show(2),
            Spread.of(latest).show(1),
            Spread.of(cpu).show(0),
        )


def _off(moments_ns: Sequence[int], step_ns: float) -> list[float]:
    """How far each moment is behind first + n x step, in nanoseconds."""
    return [moment - moments_ns[0] - number * step_ns for number, moment in enumerate(moments_ns)]


def _watched(node: Node, path: Path, gear: int) -> tuple[float, dict[str, list[int]]]:
    """CPU seconds that the card spent on a run, and what `saturate` told."""
    with _process("saturate", path, gear, BATCHES) as process:
        card = _card(node)
        used_s = 0.0
        while process.poll() is None:
            used_s = _cpu_s(card) or used_s
            time.sleep(0.02)
        output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the program ended with {process.returncode}:\n{errors}")
    return used_s, json.loads(output)


def _card(node: Node) -> int:
    """Process id of the card of this run."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and _is_card(folder, str(node.scratch)):
                return int(folder.name)
        time.sleep(0.01)
    raise RuntimeError("no card was started within 30 s")


def _is_card(folder: Path, scratch: str) -> bool:
    try:
        words = (folder / "cmdline").read_text()
        # The process that starts a card has the same words, but is a client's child only until it has forked.
        return "ascend_emulator.card" in words and scratch in words and _parent(folder) == 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def _parent(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def _cpu_s(number: int) -> float:
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _busy_core() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinner:
        try:
            yield
        finally:
            spinner.kill()


@contextmanager
def _process(name: str, path: Path, *numbers: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.emulator_client", name, str(path), *map(str, numbers)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _run(name: str, path: Path, *numbers: int, **environment: str) -> Any:
    with _process(name, path, *numbers, **environment) as process:
        output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the program ended with {process.returncode}:\n{errors}")
    return json.loads(output)


def compile_null(node: Node) -> Path:
    """A network that copies one float32 and costs nothing."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "null",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    source = node.scratch / "null.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    atc = shutil.which("atc", path=sysconfig.get_path("scripts")) or "atc"
    options = [
        "--framework=5",
        f"--model={source}",
        f"--output={node.scratch / 'null'}",
        f"--soc_version={SOC}",
    ]
    subprocess.run([atc, *options], cwd=node.scratch, check=True, stdout=subprocess.DEVNULL)
    return node.scratch / "null.om"
