"""No argument to any call of `acl` ends the interpreter or the card, or blocks where nothing is to be waited for.

The calls are made by a process of its own, this file as a program, since what is looked for would end it. It draws them
from a seed and writes each into a log before it makes it, so the log's last line names the call that was too much. With
the variable ACL_ANY_ARGUMENT_SECONDS every seed runs that long instead of for a number of calls.

Calls that block as documented are not made (`BLOCKING`), and no address of the process's own heap is drawn: a pointer
to memory that the process may write is a pointer, here as on hardware.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import mmap
import os
import random
import reprlib
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import acl
import pytest

from tests.contract.cards import held_cards
from tests.contract.odd_arguments import host_memory, objects

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

SOCS = ((1, "Ascend310P3", "gears"), (2, "Ascend910B3", "foreign"), (3, "Ascend310P3", "gears"))
"""Seeds, the SoC of the cards, and a model that is compiled for it."""

CALLS = 12_000
CALLS_PER_ROUND = 250
SECONDS_VARIABLE = "ACL_ANY_ARGUMENT_SECONDS"
LONGEST_CALL_S = 60
LIMIT_S = 300
ROOM_BYTES = 1 << 30
"""Address space that a process may take beyond what it has when both its devices are open."""

MODULES = ("", "rt", "mdl", "util", "op", "prof", "media", "himpi", "blas", "fv")
EMULATED = ("", "rt", "mdl", "util", "prof", "op")
"""Those whose functions do more than refuse; they are called four times as often."""

LOST_HEARTBEAT = 507010
MOST_WAIT_MS = 20

BLOCKING: dict[str, tuple[int, str]] = {
    "acl.rt.process_report": (0, "-1 waits for ever for a callback (facts/pyacl.md §7)"),
}
"""Functions that are documented to wait as long as an argument says, its position, and why; called with short waits."""

MAY_RAISE: dict[str, type[Exception]] = {
    "acl.rt.process_report": SystemError,  # a callback raised
    "acl.util.stop_thread": RuntimeError,  # the thread's function raised
}


class Named(NamedTuple):
    """An argument that is not the same in every process: a live or dead handle or address, and what is added."""

    name: str
    offset: int = 0


MAKERS = ("create", "malloc", "load", "reserve", "bundle_load")
"""How the names of functions begin that give a handle or an address."""

N = Named
USES: dict[str, tuple[object, ...]] = {
    "acl.create_data_buffer": (N("block"), 4096),
    "acl.create_tensor_desc": (0, [1, 2], 2),
    "acl.update_data_buffer": (N("buffer"), N("block"), 4096),
    "acl.set_tensor_shape_range": (N("description"), [[1, 4], [1, 4]]),
    "acl.rt.memcpy": (N("block"), 4096, N("pinned"), 64, 1),
    "acl.rt.memcpy_async": (N("block"), 4096, N("pinned"), 64, 1, N("stream")),
    "acl.rt.memcpy_async_with_condition": (N("block"), 4096, N("host"), 64, 1, N("stream")),
    "acl.rt.memcpy2d": (N("block"), 64, N("host"), 64, 32, 4, 1),
    "acl.rt.memcpy2d_async": (N("block"), 64, N("pinned"), 64, 32, 4, 1, N("stream")),
    "acl.rt.memset": (N("block"), 4096, 3, 4096),
    "acl.rt.memset_async": (N("block"), 4096, 3, 4096, N("stream")),
    "acl.rt.record_event": (N("event"), N("stream")),
    "acl.rt.stream_wait_event": (N("stream"), N("event")),
    "acl.rt.reset_event": (N("event"), N("stream")),
    "acl.rt.event_elapsed_time": (N("event"), N("event")),
    "acl.rt.subscribe_report": (N("thread"), N("stream")),
    "acl.rt.unsubscribe_report": (N("thread"), N("stream")),
    "acl.rt.set_stream_attribute": (N("stream"), 1, {"failureMode": 0}),
    "acl.rt.host_register": (N("host"), 4096, 0),
    "acl.rt.map_mem": (N("space"), 2 << 20, 0, N("physical"), 0),
    "acl.rt.ipc_mem_get_export_key": (N("block"), 64, 65, 1),
    "acl.mdl.execute": (N("model"), N("inputs"), N("outputs")),
    "acl.mdl.execute_async": (N("model"), N("inputs"), N("outputs"), N("stream")),
    "acl.mdl.execute_v2": (
        N("model"),
        N("inputs"),
        N("outputs"),
        N("stream"),
        N("create_exec_config_handle"),
    ),
    "acl.mdl.load_from_mem": (N("file"), N("file_size")),
    "acl.mdl.load_from_mem_with_mem": (N("file"), N("file_size"), N("block"), 4096, 0, 0),
    "acl.mdl.load_from_file": (N("path"),),
    "acl.mdl.load_from_file_with_mem": (N("path"), N("block"), 4096, 0, 0),
    "acl.mdl.get_desc": (N("desc"), N("model")),
    "acl.mdl.get_desc_from_mem": (N("desc"), N("file"), N("file_size")),
    "acl.mdl.set_dynamic_batch_size": (N("model"), N("inputs"), 1, 2),
    "acl.mdl.set_input_dynamic_dims": (N("model"), N("inputs"), 1, {"dimCount": 2, "dims": [2, 8]}),
    "acl.mdl.set_dataset_tensor_desc": (N("inputs"), N("description"), 0),
    "acl.mdl.add_dataset_buffer": (N("inputs"), N("buffer")),
    "acl.mdl.get_input_index_by_name": (N("desc"), "x"),
    "acl.mdl.set_config_opt": (N("create_config_handle"), 2, N("path")),
    "acl.mdl.set_exec_config_opt": (N("create_exec_config_handle"), 0, 1000),
    "acl.util.bytes_to_ptr": (b"0123456789",),
    "acl.util.ptr_to_bytes": (N("pinned"), 64),
    "acl.util.ptr_to_numpy": (N("pinned"), (2, 2), 11),
    "acl.prof.create_config": ([0], 0, 0, 1),
}
"""Calls that succeed, from which others are made by changing an argument or two."""

EDGES = tuple((1 << power) + off for power in (31, 32, 47, 52, 63, 64) for off in (-4096, -1, 0, 1))


# --- the program ---------------------------------------------------------------------------------------


class Calls:
    """What is called with what.

    Attributes:
        names: what the names of arguments stand for now; all of it is made anew every round.
    """

    def __init__(self, seed: int, model: Path) -> None:
        from ascend_emulator.client import calling

        self.draw = random.Random(seed)
        self.names: dict[str, Any] = {"path": str(model), "thread": threading.get_ident()}
        self.names |= host_memory(model.read_bytes())
        self.objects = objects()
        letters = {converter: letter for letter, converter in calling._CONVERTERS.items()}
        self.forms: dict[str, str] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        for module in MODULES:
            room = getattr(acl, module) if module else acl
            for name in dir(room):
                function = getattr(room, name)
                if isinstance(function, calling.Function):
                    path = function.path
                    self.functions[path] = function
                    # Nothing public tells a function's form; the binding's are no more to be seen.
                    self.forms[path] = "".join(letters[one] for one in function._converters)
        self.paths = [path for path in self.functions for _ in range(4 if _module(path) in EMULATED else 1)]
        self.unseen = list(self.functions)
        self.draw.shuffle(self.unseen)
        self.known = {path: [list(USES[path])] if path in USES else [] for path in self.functions}
        self.contexts: list[int] = []
        self.spaces: list[int] = []
        self.mapped: list[int] = []
        self.foreign: list[tuple[int, int]] = []
        self.made = 0
        self.context = 0

    # --- what there is to call with

    def prepare(self) -> None:
        """Two devices, and one or more of everything that a call can name."""
        names = self.names
        for handle in self.contexts:
            acl.rt.destroy_context(handle)
        for address in self.mapped:
            acl.rt.unmap_mem(address)
        for address in self.spaces:
            acl.rt.release_mem_address(address)
        acl.rt.reset_device_force(1)
        acl.rt.reset_device_force(0)
        for kept in (self.contexts, self.mapped, self.spaces, self.foreign):
            kept.clear()
        assert acl.init() in (0, 100002)
        assert acl.rt.set_device(1) == 0, acl.get_recent_err_msg()
        names["far_stream"], names["far_block"] = acl.rt.create_stream()[0], acl.rt.malloc(4096, 0)[0]
        names["far_event"], names["far_context"] = acl.rt.create_event()[0], acl.rt.get_context()[0]
        assert acl.rt.set_device(0) == 0, acl.get_recent_err_msg()
        self.context = names["context"] = acl.rt.get_context()[0]
        for name in ("stream", "other_stream", "dead_stream"):
            names[name] = acl.rt.create_stream()[0]
        for name in ("event", "other_event", "dead_event"):
            names[name] = acl.rt.create_event()[0]
        acl.rt.record_event(names["event"], names["stream"])
        names["level"] = acl.rt.create_event_with_flag(1)[0]
        names["capturing"] = acl.rt.create_event_ex_with_flag(9)[0]
        for name in ("block", "other_block", "freed"):
            names[name] = acl.rt.malloc(4096, 0)[0]
        names["pinned"], names["freed_pinned"] = acl.rt.malloc_host(1 << 16)[0], acl.rt.malloc_host(4096)[0]
        names["space"] = acl.rt.reserve_mem_address(4 << 20, 0, 0, 0)[0]
        self.spaces.append(names["space"])
        prop = {"memAttr": 4, "location": {"id": 0, "type": 1}}
        names["physical"] = acl.rt.malloc_physical(2 << 20, prop, 0)[0]
        self._prepare_models()
        for path, form in self.forms.items():
            name = path.rpartition(".")[2]
            if not form and "create" in name:
                made = self.functions[path]()
                names[name] = made[0] if isinstance(made, tuple) else made
        acl.rt.subscribe_report(names["thread"], names["stream"])
        assert acl.rt.set_context(self.context) == 0
        acl.rt.destroy_stream(names["dead_stream"])
        acl.rt.destroy_event(names["dead_event"])
        acl.rt.free(names["freed"])
        acl.rt.free_host(names["freed_pinned"])

    def _prepare_models(self) -> None:
        names = self.names
        for name in ("model", "dead_model"):
            names[name], ret = acl.mdl.load_from_file(names["path"])
            assert ret == 0, acl.get_recent_err_msg()
        acl.mdl.unload(names["dead_model"])
        names["desc"] = acl.mdl.create_desc()
        assert acl.mdl.get_desc(names["desc"], names["model"]) == 0
        names["buffer"] = acl.create_data_buffer(names["block"], 4096)
        names["small_buffer"] = acl.create_data_buffer(names["other_block"], 1)
        names["null_buffer"] = acl.create_data_buffer(0, 0)
        names["dead_buffer"] = acl.create_data_buffer(0, 0)
        number = acl.mdl.get_num_inputs(names["desc"])
        for name, count in (("inputs", number), ("outputs", 1), ("dead_dataset", 1)):
            names[name] = acl.mdl.create_dataset()
            for _ in range(count):
                address = acl.rt.malloc(512, 0)[0]
                buffer = acl.create_data_buffer(address, 512)
                assert acl.mdl.add_dataset_buffer(names[name], buffer)[1] == 0
        acl.destroy_data_buffer(names["dead_buffer"])
        acl.mdl.destroy_dataset(names["dead_dataset"])
        names["description"] = acl.create_tensor_desc(0, [4, 8], 2)
        names["dead_description"] = acl.create_tensor_desc(0, [4, 8], 2)
        acl.destroy_tensor_desc(names["dead_description"])

    def value(self, argument: object) -> object:
        """What a drawn argument is now."""
        if not isinstance(argument, Named):
            return argument
        base = self.names.get(argument.name, 0)
        return (base + argument.offset) % (1 << 64) if isinstance(base, int) else base

    # --- drawing

    def next_call(self) -> tuple[str, list[object]]:
        """A function and its arguments."""
        draw = self.draw
        path = self.unseen.pop() if self.unseen else draw.choice(self.paths)
        form, known = self.forms[path], self.known[path]
        if known and draw.random() < 0.6:
            arguments = list(draw.choice(known))
            for place, letter in enumerate(form[: len(arguments)]):
                if draw.random() < 0.2:
                    arguments[place] = self._argument(letter)
        else:
            arguments = [self._argument(letter) for letter in form]
        if draw.random() < 0.02:
            if arguments and draw.random() < 0.5:
                arguments.pop()
            else:
                arguments.append(self._argument("k"))
        return path, arguments

    def learn(self, path: str, arguments: list[object]) -> None:
        """Keep a call that succeeded."""
        known = self.known[path]
        if len(known) < 12:
            known.append(arguments)
        elif len(known) > 1:
            known[self.draw.randrange(1, 12)] = arguments

    def _argument(self, letter: str) -> object:
        draw = self.draw
        if letter == "O" or draw.random() < 0.06:
            return draw.choice(self.objects) if draw.random() < 0.7 else self._long()
        if letter in "kK":
            return self._long()
        if letter in "IihbB":
            return draw.choice((self._small, self._small, self._long))()
        if letter == "s":
            return draw.choice(
                (N("path"), "", "x", "z", "/nowhere/x.om", "/proc/self/mem", "/dev/zero", "a" * 5000, "ü%s%n")
            )
        if letter == "f":
            return draw.choice((0.0, 1.5, -1e300, float("nan"), float("inf"), 3, 1 << 2000))
        return draw.choice([one for one in self.objects if isinstance(one, list if letter == "L" else dict)])

    def _small(self) -> object:
        return N("model") if self.draw.random() < 0.2 else self.draw.randint(-2, 40)

    def _long(self) -> object:
        draw = self.draw
        choice = draw.random()
        if choice < 0.55:
            # A thread's id is the address of memory of its own.
            return N(draw.choice([name for name in self.names if name not in ("path", "thread")]))
        if choice < 0.65:
            return N(
                draw.choice(("block", "pinned", "host", "readonly", "guarded", "space")),
                draw.randint(-65, 4097),
            )
        if choice < 0.85:
            return draw.choice((0, 1, 2, 4, 8, 32, 64, 512, 4096, 1 << 16, 1 << 21))
        if choice < 0.9:
            return draw.choice((-1, -64, draw.randint(0, 300)))
        return draw.choice(EDGES) if choice < 0.98 else draw.randrange(1 << 48, 1 << 64)

    # --- after a call

    def follow(self, path: str, arguments: list[Any], result: Any) -> None:
        """Keep what a call made, and undo what would let a later one wait for ever."""
        name = path.rpartition(".")[2]
        code = _code(result)
        first = result[0] if isinstance(result, tuple) else result
        if isinstance(first, int) and first > 0 and name.startswith(MAKERS):
            self.made = (self.made + 1) % 24
            self.names[f"made_{self.made}"] = first
            if name == "create_context":
                self.contexts.append(first)
            elif name == "reserve_mem_address":
                self.spaces.append(first)
        if name.startswith("finalize"):
            acl.init()
        elif code == 0 and name == "map_mem":
            self.mapped.append(arguments[0])
        elif name == "start_thread":
            # Its stack stays until it is joined.
            with suppress(RuntimeError):
                acl.util.stop_thread(first)
        elif code == 0 and name == "stream_wait_event":
            # One with a level that nobody has recorded would hold its stream for ever.
            acl.rt.record_event(arguments[1], self.names["other_stream"])
            acl.rt.record_event(arguments[1], self.names["stream"])
        elif code == 0 and name == "subscribe_report" and arguments[0] % (1 << 64) != self.names["thread"]:
            self.foreign.append((arguments[0], arguments[1]))
        elif code == 0 and name == "launch_callback":
            # Nobody serves a made-up thread's callbacks: their stream would wait for ever.
            for thread, stream in self.foreign:
                acl.rt.unsubscribe_report(thread, stream)
            self.foreign.clear()
            self._serve()
        if acl.rt.get_context() != (self.context, 0) and acl.rt.set_context(self.context):
            self.prepare()

    def _serve(self) -> None:
        for _ in range(8):
            try:
                if acl.rt.process_report(1):
                    return
            except SystemError:
                continue


def _module(path: str) -> str:
    return path.rpartition(".")[0].partition(".")[2]


def _has_known_form(result: object) -> bool:
    """Whether a result is what pyACL gives: a plain value, or a tuple with an int last (numpy's: an array)."""
    import numpy as np

    if isinstance(result, tuple):
        return len(result) > 1 and isinstance(result[-1], (int, np.ndarray))
    return result is None or isinstance(result, (int, float, str, bytes, np.ndarray))


def _code(result: object) -> int | None:
    """The `ret` in a result, or a bare int; None where it is neither."""
    last = result[-1] if isinstance(result, tuple) else result
    return last if isinstance(last, int) else None


def _is_alive() -> bool:
    """Whether the card still computes and copies."""
    back = bytearray(64)
    address = ctypes.addressof(ctypes.c_char.from_buffer(back))
    fresh, _ = acl.rt.malloc(64, 0)
    codes = acl.rt.memset(fresh, 64, 7, 64), acl.rt.memcpy(address, 64, fresh, 64, 2), acl.rt.free(fresh)
    return codes == (0, 0, 0) and back == b"\x07" * 64


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, used + ROOM_BYTES))


def main(model: Path, seed: int, seconds: float) -> None:
    """Make the calls and print, as JSON, how often each function was called and how often it succeeded."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    log = os.open(f"calls-{seed}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    calls = Calls(seed, model)
    done: dict[str, list[int]] = {path: [0, 0] for path in calls.functions}
    lengths: dict[str, int] = {}
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    end = time.monotonic() + seconds if seconds else 0.0
    number = 0
    while (time.monotonic() < end) if end else (number < CALLS):
        if number % CALLS_PER_ROUND == 0:
            os.write(log, b"prepare\n")
            faulthandler.dump_traceback_later(LONGEST_CALL_S, exit=True)
            calls.prepare()
            if not number:
                _limit_memory()
        number += 1
        path, drawn = calls.next_call()
        arguments = [calls.value(argument) for argument in drawn]
        if path in BLOCKING and len(arguments) > BLOCKING[path][0]:
            wait = arguments[BLOCKING[path][0]]
            if isinstance(wait, int) and (wait == -1 or wait > MOST_WAIT_MS):
                continue
        line = f"{number} {path} {short.repr(arguments)} = {short.repr(drawn)}"
        os.write(log, line.encode("utf-8", "backslashreplace"))
        began = time.monotonic()
        faulthandler.dump_traceback_later(LONGEST_CALL_S, exit=True)
        keywords = {"size": 1} if calls.draw.random() < 0.005 else {}
        try:
            result = calls.functions[path](*arguments, **keywords)
        except (TypeError, ValueError, OverflowError, MemoryError):
            done[path][0] += 1
            continue
        except MAY_RAISE.get(path, ()):  # an empty tuple catches nothing
            continue
        finally:
            os.write(log, f" {1000 * (time.monotonic() - began):.0f} ms\n".encode())
        done[path][0] += 1
        assert not keywords, f"{path} took a keyword"
        assert _has_known_form(result), (line, result)
        length = len(result) if isinstance(result, tuple) else 0
        assert lengths.setdefault(path, length) == length, (line, result)
        if _code(result) == LOST_HEARTBEAT:  # which what belonged to a device that was reset answers too
            assert acl.rt.query_device_status(0) == (0, 0), (line, "the card is gone")
        if not _code(result):
            done[path][1] += 1
            calls.learn(path, drawn)
        calls.follow(path, arguments, result)
    faulthandler.cancel_dump_traceback_later()
    calls.prepare()
    assert _is_alive()
    sys.stdout.write(json.dumps(done))


# --- the test ------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """How the program ended."""

    status: int
    printed: str
    report: str


@pytest.fixture(scope="module")
def runs(om_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Run]]:
    """The program for each of `SOCS` by its seed, side by side: each has cards of its own."""
    with ThreadPoolExecutor(len(SOCS)) as pool:
        folder = tmp_path_factory.mktemp("calls")
        started = {seed: pool.submit(_run, seed, soc, om_files[om], folder) for seed, soc, om in SOCS}
        yield {seed: run.result() for seed, run in started.items()}


def _run(seed: int, soc: str, om: Path, folder: Path) -> Run:
    seconds = float(os.environ.get(SECONDS_VARIABLE, "0"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "ASCEND_EMULATOR_DEVICES": "2",
        "ASCEND_EMULATOR_SOC": soc,
        "ASCEND_EMULATOR_NODE": f"any-argument-{seed}",
    }
    log, errors = folder / f"calls-{seed}.log", folder / f"stderr-{seed}"
    with errors.open("w") as stderr, held_cards(environment, 2):
        done = subprocess.run(
            [sys.executable, __file__, str(om), str(seed), str(seconds)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=seconds + LIMIT_S,
            check=False,
        )
    last = log.read_text(errors="replace").splitlines()[-5:]
    report = "\n".join((f"ended with {done.returncode}; last calls:", *last, errors.read_text()[-6000:]))
    return Run(done.returncode, done.stdout, report)


@pytest.mark.ascend_findings("*")
@pytest.mark.parametrize("seed", [seed for seed, _, _ in SOCS])
def test_every_call_survives_every_argument(seed: int, runs: dict[int, Run]) -> None:
    """Issue: "no argument to any acl call crashes the interpreter"; facts/pyacl.md §2 for what may be raised."""
    status, printed, report = runs[seed]
    assert status == 0, report
    counts: dict[str, list[int]] = json.loads(printed)
    assert {path for path, (made, _) in counts.items() if not made} == set(), (
        "functions that were never called"
    )
    failed = {path for path in USES if path in counts and not counts[path][1]}
    assert len(failed) < len(USES) // 4, f"calls that should succeed never did: {sorted(failed)}"


def test_a_path_to_what_has_no_end_is_refused(run_python: Callable[..., str], tmp_path: Path) -> None:
    """A model's file has a size, a configuration is a regular file of at most 10 levels.

    hicann/ge `model_parser_base.cc` (145002), hicann/runtime `json_parser.cpp` (100003, 100006).
    """
    deep, flat = tmp_path / "deep.json", tmp_path / "flat.json"
    deep.write_text('{"dump": ' + "[" * 11 + "]" * 11 + "}")
    flat.write_text('{"dump": ' + "[" * 10 + "]" * 10 + "}")
    program = """
import acl, sys
print(*(acl.init(path) for path in ("/dev/zero", *sys.argv[1:])))
print(acl.mdl.query_size("/dev/zero"), acl.mdl.query_size("/dev/null"), acl.mdl.load_from_file("/dev/zero"))
"""
    printed = run_python(program, deep, flat).splitlines()
    assert printed == ["100003 100006 0", "(0, 0, 145002) (0, 0, 145002) (0, 145002)"]


def test_a_profile_outlives_the_device_it_was_taken_of(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    """`acl.prof.stop` after `reset_device` gives a code, as every call does (facts/pyacl.md §2); here 0."""
    program = """
import acl, os, sys
os.chdir(sys.argv[1])
acl.init(), acl.rt.set_device(0), acl.prof.init(".")
config = acl.prof.create_config([0], 0, 0, 3)
print(acl.prof.start(config), acl.rt.reset_device(0), acl.prof.stop(config), acl.prof.finalize())
"""
    assert run_python(program, tmp_path) == "0 0 0 0"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
