"""Builds that are ended from outside: a worker or `atc` killed, the time up, the caller cancelled."""

import os
import signal
from pathlib import Path

import psutil
import pytest
import ray

from ascend_serve.errors import BuildFailed, CompileError
from compile_jobs.jobs import Job, JobStep, TargetResult
from compile_jobs.tasks import compile_recipes
from tests.serve.compiling_tools import HANGS, LIMIT_S, Workshop, alive
from tests.serve.tools import eventually

pytestmark = pytest.mark.serve


@pytest.fixture
def workshop(ray_cluster: None, tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def all_gone(workshop: Workshop) -> None:
    """`atc` and the worker that it started."""
    eventually("atc and its worker are gone", lambda: not any(alive(pid) for _, pid in workshop.diary()))
    assert workshop.published() == []


def hung(workshop: Workshop) -> bool:
    return len(workshop.diary()) == 2


@pytest.mark.parametrize("victim", ["worker", "atc"])
def test_a_killed_process_ends_its_build_alone(workshop: Workshop, victim: str) -> None:
    steps: list[str] = []

    def kill(job: Job, event: JobStep | TargetResult) -> None:
        if job.soc != HANGS:
            return
        steps.append(event.step if isinstance(event, JobStep) else event.outcome)
        if event == JobStep("compiling"):
            eventually("atc and its worker run", lambda: hung(workshop) or len(workshop.diary()) == 3)
            atc = psutil.Process(next(pid for label, pid in workshop.diary() if label == f"net@{HANGS}"))
            parent = atc.parent()
            assert parent is not None
            os.kill(parent.pid if victim == "worker" else atc.pid, signal.SIGKILL)

    broken, whole = compile_recipes(
        [workshop.recipe()], [HANGS, "Ascend310P3"], workshop.store, atc=str(workshop.atc), progress=kill
    )
    assert whole.outcome == "built"
    # Not tried again: what took one worker down may take down the next, and its node with it.
    assert steps == ["queued", "starting", "compiling", "failed"]
    if victim == "worker":
        assert isinstance(broken.error, CompileError)
        assert f"net@{HANGS}: its task broke off: WorkerCrashedError" in str(broken.cause)
    else:
        assert isinstance(broken.error, BuildFailed)
        assert "SIGKILL" in broken.error.cause
        assert "memory" in str(broken.error.hint)
    eventually("atc and its worker are gone", lambda: not any(alive(pid) for _, pid in workshop.diary()))
    assert workshop.published() == ["net@Ascend310P3"]


def test_the_time_limit_ends_atc_and_its_workers(workshop: Workshop) -> None:
    # 1 s: long enough for `atc` to start its worker, in all likelihood; were it not, there would be none to leave.
    result = compile_recipes([workshop.recipe(timeout_s=1)], [HANGS], workshop.store, atc=str(workshop.atc))[
        0
    ]
    assert "time limit of 1 s" in str(result.cause)
    all_gone(workshop)


def test_a_cancelled_caller_leaves_no_atc(workshop: Workshop) -> None:
    @ray.remote(num_cpus=0)
    def caller() -> None:
        compile_recipes([workshop.recipe()], [HANGS], workshop.store, atc=str(workshop.atc))

    task = caller.remote()
    eventually("atc and its worker run", lambda: hung(workshop))
    ray.cancel(task)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(task, timeout=LIMIT_S)
    all_gone(workshop)


def test_who_waits_for_the_same_build_can_be_cancelled(workshop: Workshop) -> None:
    held = workshop.hold()
    recipe = workshop.recipe()

    @ray.remote(num_cpus=0)
    def caller(file: Path) -> str:
        def note(_: Job, event: JobStep | TargetResult) -> None:
            if isinstance(event, JobStep):
                file.with_suffix(f".{event.step}").touch()

        result = compile_recipes(
            [recipe], ["Ascend310P3"], workshop.store, atc=str(workshop.atc), progress=note
        )[0]
        return str(result.outcome)

    first = caller.remote(workshop.folder / "first")
    eventually("the first builds", (workshop.folder / "first.compiling").exists)
    waiting = [caller.remote(workshop.folder / f"waiting{number}") for number in range(2)]
    for number in range(2):
        eventually("the others wait for it", (workshop.folder / f"waiting{number}.waiting").exists)
    ray.cancel(waiting[0])
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(waiting[0], timeout=LIMIT_S)
    held.unlink()
    assert ray.get([first, waiting[1]], timeout=LIMIT_S) == ["built", "cached"]
    assert workshop.runs() == ["net@Ascend310P3"]
