"""Compile recipes as Ray tasks, one for each recipe and SoC.

Here is decided where a build runs and how many run at a time; how one runs is up to `compiling.build`. A task yields
each step as it begins, and its result at the end, which is how the caller tells a build that waits for a free CPU
from one that runs.

Callers may themselves be Ray tasks: while they wait here, Ray lends their CPUs to others, so nesting cannot
deadlock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError

from ascend_serve import env
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import prepare, run_build, stored
from ascend_serve.compiling.recipes import anchored, load_recipe
from ascend_serve.errors import AscendServeError, CompileError, ConfigError, ToolMissing
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.verifying import gate
from compile_jobs.cluster import check_room, cluster_socs, demands
from compile_jobs.jobs import AUTO, Job, JobStep, Progress, TargetResult, jobs_of

logger = logging.getLogger(__name__)

_LOST_NODE_RETRIES = 3
_STOP_TIMEOUT_S = 5.0
_ROOM_TIMEOUT_S = 120.0
"""How long a job waits for a node that could run it, once there is none any more; a lost node may be replaced."""
_ROOM_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class _How:
    """What is the same for all jobs of a run."""

    store: Store
    atc: str | None
    retry_failed: bool
    skip_preflight: bool


def compile_recipes(
    recipes: Sequence[CompileRecipe | Path],
    socs: Sequence[str] = (AUTO,),
    store: Store | str | Path | None = None,
    *,
    atc: str | None = None,
    retry_failed: bool = False,
    skip_preflight: bool = False,
    progress: Progress | None = None,
) -> list[TargetResult]:
    """Compile recipes for several SoCs, in parallel as far as the cluster's CPUs go.

    Ray must be running. When the caller is interrupted, the tasks are cancelled and no `atc` is left behind.

    Args:
        recipes: what to compile, or paths of the files; each node sees the models under the same paths.
        socs: the targets; `auto`: those that the cluster's nodes name, and those that each recipe lists.
        store: the store, or its folder or URL, seen by every node that compiles; None: `ASCEND_SERVE_STORE`.
        atc: the program to compile with; None lets each node look for its own.
        retry_failed: build again what failed before.
        skip_preflight: leave it to ATC to find what is wrong with a model.
        progress: called in this thread with each step and result of a job.

    Returns:
        One result per recipe and SoC, in their order. A failed build is a result, not an exception.

    Raises:
        ConfigError: a wrong recipe, an unknown SoC, or no SoC at all.
    """
    read = [load_recipe(recipe) if isinstance(recipe, Path) else recipe for recipe in recipes]
    jobs = jobs_of([anchored(recipe, Path.cwd()) for recipe in read], socs, cluster_socs())
    where = store if isinstance(store, Store) else Store(store or env.store_url())
    how = _How(where, atc, retry_failed, skip_preflight)
    note = progress or (lambda *_: None)
    results = found(jobs, where, atc)
    for number, result in results.items():
        note(jobs[number], result)
    for number, job in enumerate(jobs):
        if number not in results and (homeless := _without_room(job)) is not None:
            results[number] = homeless
            note(job, homeless)
    results |= _Run(jobs, how, note).run([number for number in range(len(jobs)) if number not in results])
    return [results[number] for number in range(len(jobs))]


def found(jobs: Sequence[Job], store: Store, atc: str | None = None) -> dict[int, TargetResult]:
    """Results of those jobs that the store holds, as built with the tools of this machine, by their number.

    Jobs for nodes of another kind, and all jobs where there are no tools, are left to their tasks.
    """
    results = {}
    for number, job in enumerate(jobs):
        began = time.monotonic()
        if job.recipe.resources or job.recipe.node_labels:
            continue
        try:
            artifact = stored(prepare(job.recipe, job.soc, store, atc=atc), store)
        except ToolMissing:
            return {}
        except (AscendServeError, OSError):
            continue  # its task meets the same, and says so as its result
        if artifact is not None:
            seconds = time.monotonic() - began
            results[number] = TargetResult(job, "cached", seconds, artifact)
    return results


def _without_room(job: Job) -> TargetResult | None:
    """The result of a job that no node could ever run; None for others."""
    try:
        check_room(job)
    except ConfigError as error:
        return TargetResult(job, "failed", 0.0, error=error)
    return None


def _build(job: Job, how: _How) -> Iterator[JobStep | TargetResult]:
    """One build: yields its steps, then its result."""
    yield JobStep("starting")
    began = time.monotonic()

    def result(outcome: Any, **parts: Any) -> TargetResult:
        return TargetResult(job, outcome, time.monotonic() - began, **parts)

    try:
        build = prepare(job.recipe, job.soc, how.store, atc=how.atc)
        artifact = stored(build, how.store)
        worked = False
        if artifact is None:
            steps = run_build(
                build,
                how.store,
                retry_failed=how.retry_failed,
                skip_preflight=how.skip_preflight,
                gate=gate if job.recipe.verify else None,
            )
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    artifact = end.value
                    break
                worked = worked or step == "compiling"
                yield JobStep(step)
    except (AscendServeError, OSError) as error:
        yield result("failed", error=error)
    else:
        yield result("built" if worked else "cached", artifact=artifact)


_compile = ray.remote(_build)
_compile_on_card = ray.remote(max_calls=1)(_build)
"""In a process of its own: ACL stays initialised for the devices it was shown; the next task may be given another."""


class _Run:
    """The tasks of a run, and what came of them."""

    def __init__(self, jobs: Sequence[Job], how: _How, progress: Progress) -> None:
        self._jobs = jobs
        self._how = how
        self._progress = progress
        self._running: dict[Any, int] = {}
        self._tries: dict[int, int] = {}
        self._queued: set[int] = set()
        self._without_room: dict[int, float] = {}  # since when

    def run(self, numbers: Sequence[int]) -> dict[int, TargetResult]:
        """Results by number; whatever ends this early, an interrupt above all, cancels the tasks that still run."""
        results: dict[int, TargetResult] = {}
        try:
            # The longest first: what begins last should end soon.
            for number in sorted(numbers, key=lambda number: -self._jobs[number].expected_work):
                self._start(number)
                self._progress(self._jobs[number], JobStep("queued"))
            while self._running:
                ready = ray.wait(list(self._running), num_returns=1, timeout=_ROOM_POLL_S)[0]
                events = [(task, self._next(self._running[task], task)) for task in ready]
                for task, event in events or self._given_up():
                    number = self._running[task]
                    if isinstance(event, TargetResult):
                        results[number] = event
                        del self._running[task]
                        self._queued.discard(number)
                    elif event.step == "requeued":
                        del self._running[task]
                        self._start(number)
                    elif event.step == "starting":
                        self._queued.discard(number)
                    self._progress(self._jobs[number], event)
        except BaseException:
            _stop(list(self._running))
            raise
        return results

    def _start(self, number: int) -> None:
        job = self._jobs[number]
        remote = _compile_on_card if job.recipe.needs_card else _compile
        task = remote.options(
            name=f"compile {job.label}",
            # Ray would also try again what took its worker down, such as a build too large for the node.
            max_retries=0,
            num_returns="streaming",
            **demands(job),
        ).remote(job, self._how)
        self._running[task] = number
        self._tries[number] = self._tries.get(number, 0) + 1
        self._queued.add(number)

    def _next(self, number: int, task: Any) -> JobStep | TargetResult:
        """The next thing a task yielded; `requeued` when its node was lost and it is to start again elsewhere."""
        job = self._jobs[number]
        try:
            event: JobStep | TargetResult = ray.get(next(task))
        except NodeDiedError as error:
            if self._tries[number] > _LOST_NODE_RETRIES:
                return _broken_off(job, error)
            return JobStep("requeued")
        except RayTaskError as error:
            # A fault in this program: the other builds have nothing to do with it, so they go on.
            logger.error("%s: a fault of this program:\n%s", job.label, error)
            return _broken_off(job, error.cause)
        except (RayError, StopIteration) as error:
            return _broken_off(job, error)
        return event

    def _given_up(self) -> Iterator[tuple[Any, TargetResult]]:
        """Tasks that have not started and for which there has been no room for too long, with their results."""
        now = time.monotonic()
        for task, number in list(self._running.items()):
            if number not in self._queued:
                continue
            try:
                check_room(self._jobs[number])
            except ConfigError as error:
                if now - self._without_room.setdefault(number, now) >= _ROOM_TIMEOUT_S:
                    ray.cancel(task)
                    yield task, TargetResult(self._jobs[number], "failed", 0.0, error=error)
            else:
                self._without_room.pop(number, None)


def _broken_off(job: Job, error: BaseException) -> TargetResult:
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return TargetResult(job, "failed", 0.0, error=CompileError(f"{job.label}: its task broke off: {why}"))


def _stop(tasks: list[Any]) -> None:
    """Cancel tasks and give them time to kill their `atc`; a task that does not end is killed."""
    for task in tasks:
        ray.cancel(task)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    for task in tasks:
        finished = task.completed()
        if not ray.wait([finished], timeout=max(0.0, deadline - time.monotonic()))[0]:
            ray.cancel(task, force=True)
