"""Offline inference: batches of rows through one NPU, as fast as it goes.

    dataset.map_batches(
        AscendPredictor,
        fn_constructor_kwargs={"recipe": "resnet50.yaml"},
        batch_size=256, concurrency=4, num_cpus=1, resources={"NPU": 1},
    )

`AscendPredictor` is what `ray.data.Dataset.map_batches` wants of a class: made once in each worker, called with one
batch of columns after another. It needs no Ray itself; any program may make and call one. The rows of a call run at
the gear that does most rows a millisecond, the copies of one batch beside the computing of another, as in serving:
it is the same engine, on an event loop in a thread of its own.

Rests on Ray Data's contract of `map_batches` (numpy format: a dict of arrays with one first axis).
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ascend_serve import env
from ascend_serve.artifacts.artifact import Artifact, ready_made
from ascend_serve.artifacts.store import Store
from ascend_serve.batching.policy import LeastTime
from ascend_serve.compiling.build import compile_target, prepare, stored
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.engine import Engine
from ascend_serve.errors import ArtifactMissing, ConfigError, InvalidTensor, SocMismatch, ToolchainMismatch
from ascend_serve.protocol.checking import TensorCheck
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane, LaneReport
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.sharing import Load, open_sessions
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.soc import runs_on
from ascend_serve.verifying import gate

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")

_ANY_ROWS = 1 << 40
"""A batch has as many rows as whoever gives it has memory for."""
_CLOSE_TIMEOUT_S = 30.0


class AscendPredictor:
    """One model on one NPU, called with whole batches. Threads may call it side by side.

    Exactly one of `recipe` and `om` says where the model comes from.

    Args:
        recipe: path of a compile recipe; what the store lacks is compiled for this NPU.
        om: path of a ready-made `.om`.
        store: the artefact store, a folder or a URL; default `ASCEND_SERVE_STORE`.
        compile: `never` takes a recipe's artefact from the store only.
        columns: column of the batch for each input whose column has another name.
        keep: columns that come back beside the outputs; None keeps all that are no input.
        batched: for a ready-made `.om` without batch gears, see `AppConfig`.
        device: ordinal of the NPU among those this process sees; Ray shows a worker its own alone.
        start_timeout_s: time for opening the device, loading and warming up.

    Raises:
        ConfigError: both or neither of `recipe` and `om`, a `compile` that is none, a column for no input, a model
            without a batch axis.
        ArtifactError: the artefact is missing, damaged or for another SoC.
        CompileError: it could not be compiled.
        DeviceError: the device cannot be opened, or has too little memory.
    """

    def __init__(
        self,
        *,
        recipe: str | Path | None = None,
        om: str | Path | None = None,
        store: str | None = None,
        compile: Literal["missing", "never"] = "missing",
        columns: Mapping[str, str] | None = None,
        keep: tuple[str, ...] | None = None,
        batched: bool | None = None,
        device: int = 0,
        start_timeout_s: float = 300.0,
    ) -> None:
        if (recipe is None) == (om is None):
            given = "both" if recipe is not None else "neither"
            raise ConfigError(
                f"exactly one of recipe and om says where the model comes from; {given} is given"
            )
        if compile not in ("missing", "never"):
            raise ConfigError(f"compile is {compile!r}: it is 'missing' or 'never'")
        self._closed = False
        self._keep = keep
        artifact = (
            ready_made(Path(om).absolute(), Path(om).stem, batched)
            if om is not None
            else _compiled(Path(str(recipe)), store or env.store_url(), compile, device)
        )
        spec = artifact.spec
        if not spec.batched:
            raise ConfigError(
                f"'{spec.name}' has no batch axis, so every row would run alone: compile it with gears"
            )
        self._columns = _columns(spec, columns or {})
        self._spec = spec
        self._check = TensorCheck(spec, _ANY_ROWS)
        self._lane = Lane(lambda: _sessions(artifact, device), name=f"ascend-lane-{spec.name}")
        (report,) = self._lane.start(start_timeout_s)
        self._thread = _LoopThread(f"ascend-predictor-{spec.name}")
        try:
            self._engine = self._thread.run(_engine(report, self._lane))
        except BaseException:
            self._thread.end()
            self._lane.close(_CLOSE_TIMEOUT_S)
            raise
        # Workers are ended without a word; the device is to be given back all the same.
        atexit.register(self.close)

    @property
    def spec(self) -> ModelSpec:
        """Signature of the model."""
        return self._spec

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Run all rows of a batch.

        Args:
            batch: columns by name, as numpy arrays: `[rows, ...]` in the dtype of the input; nothing is cast.

        Returns:
            The outputs by name, `[rows, ...]`, after the columns that are kept.

        Raises:
            InvalidTensor: a column is missing or does not fit the model, or an output would take a kept one's name.
            DeviceError: the device failed.
            RuntimeError: the predictor is closed.
        """
        if self._closed:
            raise RuntimeError(f"the predictor of '{self._spec.name}' is closed")
        kept = self._kept(batch)
        tensors = {name: self._column(batch, name, column) for name, column in self._columns.items()}
        if len(tensors[self._spec.inputs[0].name]) == 0:
            return {**kept, **self._no_rows()}
        self._check(tensors)
        return {**kept, **self._thread.run(self._engine.submit(tensors))}

    def close(self) -> None:
        """Finish what was called, and give the device back. May be called again.

        Raises:
            LaneStalled: the device did not come back in time.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        try:
            self._thread.run(self._engine.drain())
            self._lane.close(_CLOSE_TIMEOUT_S)
        finally:
            self._thread.end()

    def __enter__(self) -> AscendPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kept(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        inputs = set(self._columns.values())
        names = [name for name in batch if name not in inputs] if self._keep is None else self._keep
        for name in names:
            if name not in batch:
                raise InvalidTensor(f"keep names the column '{name}'; the batch has {', '.join(batch)}")
            if self._spec.output(name) is not None:
                raise InvalidTensor(
                    f"the batch has a column '{name}', and so is an output of '{self._spec.name}': rename it, or leave "
                    "it out of keep"
                )
        return {name: batch[name] for name in names}

    def _column(self, batch: Mapping[str, Any], name: str, column: str) -> Array:
        if column not in batch:
            raise InvalidTensor(
                f"the batch has no column '{column}' for input '{name}', but {', '.join(batch)}: "
                "say which one it is with columns={input: column}"
            )
        array = batch[column]
        if isinstance(array, np.ndarray) and array.dtype == object:
            raise InvalidTensor(
                f"column '{column}' holds objects, as Ray Data gives rows of different shapes: make them of one shape"
            )
        return np.asarray(array)

    def _no_rows(self) -> dict[str, Array]:
        shapes = self._spec.buckets[0].shapes
        return {
            tensor.name: np.empty((0, *shapes[tensor.name]), tensor.dtype.numpy)
            for tensor in self._spec.outputs
        }


class _LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which runs on the loop; a caller that is interrupted cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def end(self) -> None:
        """Stop the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _engine(report: LaneReport, lane: Lane) -> Engine:
    # All rows of a call are there at once, and nobody waits for one.
    engine = Engine(
        report.spec,
        lane.runner(0),
        slots=report.slots,
        times=report.times,
        policy=LeastTime(),
        max_queued_rows=_ANY_ROWS,
    )
    await engine.prepared()
    return engine


def _columns(spec: ModelSpec, columns: Mapping[str, str]) -> dict[str, str]:
    names = [tensor.name for tensor in spec.inputs]
    for name in columns:
        if name not in names:
            raise ConfigError(f"columns names the input '{name}'; '{spec.name}' has {', '.join(names)}")
    return {name: columns.get(name, name) for name in names}


def _compiled(
    recipe_path: Path, store_url: str, compile: Literal["missing", "never"], device: int
) -> Artifact:
    recipe = load_recipe(recipe_path.absolute())
    store = Store.lasting(store_url)
    with Device.open(device) as opened:
        soc = opened.soc_name
    if compile == "missing":
        return compile_target(recipe, soc, store, gate=gate)
    artifact = stored(prepare(recipe, soc, store), store)
    if artifact is None:
        raise ArtifactMissing(
            f"'{recipe.name}' is not compiled for {soc} in {store.url}: run "
            f"`ascend-serve compile {recipe_path} --soc {soc} --store {store.url}`"
        )
    return artifact


def _sessions(artifact: Artifact, ordinal: int) -> tuple[Session, ...]:
    """Open device and session. Runs on the lane."""
    device = Device.open(ordinal)
    try:
        if artifact.soc and not runs_on(artifact.soc, device.soc_name):
            raise SocMismatch(
                f"{artifact.location} was compiled for {artifact.soc} and does not run on {device.soc_name}"
            )
        if artifact.toolchain.vendor != device.toolchain.vendor:
            raise ToolchainMismatch(
                f"{artifact.location} was made by {artifact.toolchain}, but pyACL here is {device.toolchain}'s: "
                "compile the model again with the tools of this machine"
            )
        path = artifact.fetch()
    except BaseException:
        device.close()
        raise
    load = Load(path, artifact.spec, None, None, artifact.input_order)
    return open_sessions(device, [load], close_device=True)
