"""Contract tests run on whichever `acl` is installed; with the emulator, on cards of this session's own.

What only an emulator allows (killing a card, other environments) is marked with the fixture `emulator`, which
skips on real hardware.
"""

import builtins
import functools
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from tests.contract.tools import installed_atc, until

_TIMEOUT_S = 180


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Cards that no other session can meet; none of them may be left when the tests are over."""
    folder = tmp_path_factory.mktemp("runtime")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("ASCEND_EMULATOR_") or name == "ASCEND_RT_VISIBLE_DEVICES":
                patch.delenv(name)
        patch.setenv("ASCEND_EMULATOR_NODE", f"test-{uuid.uuid4().hex[:12]}")
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder
        deadline = time.monotonic() + 60
        while any(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert not left, f"a test left a card behind: {left}"


_KEEPER = """
import acl, sys
print(acl.rt.set_device(0), flush=True)
sys.stdin.read()
print(acl.rt.reset_device(0))
"""


@pytest.fixture(scope="session", autouse=True)
def _card_stays(runtime_folder: Path) -> Iterator[None]:
    """A process that keeps device 0 open, so that its card need not start anew for every test.

    As on hardware the card is there before a test and after it; what a test left on it is gone with its connection.
    A test that wants a card with other settings names a node of its own.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "0\n"
        yield
        assert keeper.communicate(timeout=_TIMEOUT_S)[0] == "0\n"


@pytest.fixture(autouse=True)
def _nobody_is_leaving(_card_stays: None) -> None:
    """A card takes back what a client held a moment after it has left; tests count what is free."""
    if _is_emulator():
        from ascend_emulator.control import Card

        with Card(0) as card:
            until(lambda: not any(_is_leaving(client.pid) for client in card.state().clients))


def _is_leaving(client: int) -> bool:
    """Whether it is this process, which holds no device between tests, or one that has ended."""
    try:
        return client == os.getpid() or bool(psutil.Process(client).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for `acl` must hold without Ray; a test that needs it belongs in tests/serve."""
    real_import = builtins.__import__

    def guarded_import(name: str, *args: Any, **kwargs: Any) -> ModuleType:
        if name.partition(".")[0] == "ray":
            raise AssertionError(f"a contract test imports {name}; it belongs in tests/serve")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded_import)


@functools.cache
def _is_emulator() -> bool:
    import acl

    try:
        import ascend_emulator
    except ImportError:
        return False
    return Path(ascend_emulator.__file__).parents[1] == Path(acl.__file__).parents[1]


@pytest.fixture(scope="session")
def emulator() -> None:
    if not _is_emulator():
        pytest.skip("the installed acl is not the emulator's")


@pytest.fixture
def device() -> Iterator[int]:
    """Device 0, set in the calling thread and reset afterwards."""
    import acl

    assert acl.init() in (0, 100002)
    assert acl.rt.set_device(0) == 0, acl.get_recent_err_msg()
    yield 0
    assert acl.rt.reset_device(0) == 0


@pytest.fixture
def stream(device: int) -> Iterator[int]:
    import acl

    handle, ret = acl.rt.create_stream()
    assert ret == 0
    yield handle
    assert acl.rt.destroy_stream(handle) == 0


@pytest.fixture(scope="session")
def om_files(tmp_path_factory: pytest.TempPathFactory, runtime_folder: Path) -> dict[str, Path]:
    """Small compiled models: `gears` (batch 1, 2, 4, 8) and `static` (batch 4), both z = relu(x @ w) + b.

    x is float32 [n, 8], z is float32 [n, 4]; `weights.npz` holds w and b.
    """
    import acl
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("om")
    rng = np.random.default_rng(7)
    w = rng.standard_normal((8, 4)).astype(np.float32)
    b = rng.standard_normal(4).astype(np.float32)
    np.savez(folder / "weights.npz", w=w, b=b)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
            helper.make_node("Relu", ["y"], ["r"], name="rectify"),
            helper.make_node("Add", ["r", "b"], ["z"], name="shift"),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "small.onnx")
    atc = installed_atc()
    found = {"weights": folder / "weights.npz"}
    for name, soc, options in (
        ("gears", acl.get_soc_name(), ["--input_shape=x:-1,8", "--dynamic_batch_size=1,2,4,8"]),
        ("static", acl.get_soc_name(), ["--input_shape=x:4,8"]),
        ("foreign", "Ascend910B3", ["--input_shape=x:4,8"]),
    ):
        done = subprocess.run(
            [
                atc,
                "--framework=5",
                f"--model={folder / 'small.onnx'}",
                f"--output={folder / name}",
                f"--soc_version={soc}",
                "--precision_mode=must_keep_origin_dtype",
                *options,
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found[name] = folder / f"{name}.om"
    return found


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Run a program in a process of its own; gives what it printed, fails with what it wrote to stderr."""

    def run(program: str, *arguments: object, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # An emulated card says when a slow machine kept it from its modelled times: no fault of the program.
        told = [line for line in done.stderr.splitlines() if "of modelled work" not in line]
        assert not told, done.stderr
        return done.stdout.strip()

    return run
