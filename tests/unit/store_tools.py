"""What the tests of the store share: manifests, and filesystems that fsspec takes for remote ones."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ascend_serve.artifacts.files import describe_file
from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.toolchain import Toolchain

KEY = "ab" + "0" * 62
OTHER_KEY = "cd" + "1" * 62
SPEC = ModelSpec(
    "net",
    (TensorSpec("x", DataType.FP32, (-1, 3)),),
    (TensorSpec("y", DataType.INT64, (-1,)),),
    Gears.of([4, 1]),
)

om_writer = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))


class Elsewhere(LocalFileSystem):
    """The local disk behind a URL, so that several processes see one store that is no folder to them."""

    protocol = "elsewhere"

    @classmethod
    def _strip_protocol(cls, path):
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return super()._strip_protocol(str(path).removeprefix("elsewhere://"))


class Filling(Elsewhere):
    """The same on a disk with room for few bytes."""

    protocol = "filling"
    room_bytes = 0

    @classmethod
    def _strip_protocol(cls, path):
        return Elsewhere._strip_protocol(str(path).removeprefix("filling://"))

    def put_file(self, lpath, rpath, **_):
        data = Path(lpath).read_bytes()
        Path(rpath).write_bytes(data[: self.room_bytes])
        if len(data) > self.room_bytes:
            raise OSError(28, "No space left on device")
        type(self).room_bytes -= len(data)


fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)
fsspec.register_implementation("filling", Filling, clobber=True)


def manifest_of(files, key=KEY, **changes):
    """A manifest of files on disk, given by the names they get."""
    settings = {
        "key": key,
        "name": "net",
        "soc": "Ascend310P3",
        "toolchain": Toolchain("tools", "1"),
        "files": tuple(describe_file(path, name) for name, path in files.items()),
        "spec": SPEC,
        "unservable": "",
        "origin": "built",
        "recipe": {"name": "net"},
        "seconds": 1.5,
        "created": "2026-01-02T03:04:05+00:00",
        "verification": None,
        "details": {},
    }
    return Manifest(**settings | changes)


def model_files(folder, content=b"model"):
    """A set of two files: a model, and a weight beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.om").write_bytes(content)
    (folder / "w1").write_bytes(b"weights of " + content)
    return {"net.om": folder / "net.om", "weight/w1": folder / "w1"}


def files_under(folder):
    """Relative names of all files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def age(folder, seconds):
    """Make everything below a folder look so much older."""
    past = time.time() - seconds
    for path in Path(folder).rglob("*"):
        os.utime(path, (past, past))


def run_python(code, *arguments):
    """A Python process that has this module as `tools`; returns its Popen, with text pipes."""
    start = (
        "import runpy, sys\n"
        "from types import SimpleNamespace\n"
        f"tools = SimpleNamespace(**runpy.run_path({__file__!r}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted_at(modules, step, act):
    """Run `act` and interrupt it at a step that it takes in the code of `modules`; False when it took fewer."""
    files, taken = {module.__file__ for module in modules}, 0

    def trace(frame, event, _):
        nonlocal taken
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            taken += 1
            if taken == step:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return taken >= step
