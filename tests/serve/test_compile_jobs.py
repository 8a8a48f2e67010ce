"""Recipes become Ray tasks: what is built, told, remembered and found again, and who may ask for it."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import ray

from ascend_serve.artifacts.locks import Lock
from ascend_serve.artifacts.store import Store
from ascend_serve.errors import BuildFailed, ConfigError, PreflightFailed
from compile_jobs.cluster import cluster_socs
from compile_jobs.jobs import Job, JobStep, TargetResult
from compile_jobs.tasks import compile_recipes
from tests.serve.compiling_tools import FAILS, LIMIT_S, Workshop

pytestmark = pytest.mark.serve

SOCS = ["Ascend310P3", "Ascend310P1"]


@pytest.fixture
def workshop(ray_cluster: None, tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def compiled(
    workshop: Workshop, recipes: list[Path], socs: list[str] | None = None, **options: Any
) -> list[TargetResult]:
    asked = ["auto"] if socs is None else socs
    return compile_recipes(recipes, asked, workshop.store, atc=str(workshop.atc), **options)


def outcomes(results: list[TargetResult]) -> list[tuple[str, str]]:
    return [(result.job.label, result.outcome) for result in results]


def test_each_recipe_is_built_once_for_each_soc_and_failures_are_results(workshop: Workshop) -> None:
    told: dict[str, list[str]] = defaultdict(list)

    def note(job: Job, event: JobStep | TargetResult) -> None:
        told[job.label].append(event.step if isinstance(event, JobStep) else event.outcome)

    recipes = [workshop.recipe("a"), workshop.recipe("b")]
    results = compiled(workshop, recipes, ["Ascend310P3", FAILS, "Ascend310P1", "Ascend310P3"], progress=note)
    assert outcomes(results) == [
        (f"{name}@{soc}", outcome)
        for name in "ab"
        for soc, outcome in (("Ascend310P3", "built"), (FAILS, "failed"), ("Ascend310P1", "built"))
    ]
    for result in results:
        assert told[result.job.label] == ["queued", "starting", "compiling", result.outcome]
        if result.artifact is not None:
            assert result.artifact.fetch().read_bytes() == (workshop.folder / f"{result.soc}.om").read_bytes()
        else:
            assert isinstance(result.error, BuildFailed)
            assert (result.error.code, result.error.target) == ("E10016", result.job.label)
    assert workshop.runs() == sorted(result.job.label for result in results)
    assert workshop.published() == sorted(r.job.label for r in results if r.outcome == "built")


def test_what_is_stored_is_found_without_a_task(workshop: Workshop) -> None:
    recipes = [workshop.recipe("found1"), workshop.recipe("found2")]
    assert {outcome for _, outcome in outcomes(compiled(workshop, recipes, SOCS))} == {"built"}
    steps: list[str] = []

    def note(_: Job, event: JobStep | TargetResult) -> None:
        steps.append(event.step if isinstance(event, JobStep) else event.outcome)

    assert {outcome for _, outcome in outcomes(compiled(workshop, recipes, SOCS, progress=note))} == {
        "cached"
    }
    assert steps == ["cached"] * 4  # a task would be queued first
    # Where other tools may be, only a node of that kind can tell, so a task looks; and it finds it.
    elsewhere = workshop.recipe("found1", node_labels={"ray.io/accelerator-type": "Ascend310P3"})
    assert outcomes(compiled(workshop, [elsewhere], SOCS[:1], progress=note)) == [
        ("found1@Ascend310P3", "cached")
    ]
    assert steps[4:] == ["queued", "starting", "cached"]
    assert len(workshop.runs()) == 4


def test_a_failure_is_kept_until_it_is_asked_for_again(workshop: Workshop) -> None:
    recipe = workshop.recipe()
    first, second = (compiled(workshop, [recipe], [FAILS])[0] for _ in range(2))
    assert "Kept from" not in str(first.cause)
    assert "--retry-failed" in str(second.cause)
    assert len(workshop.runs()) == 1
    again = compiled(workshop, [recipe], [FAILS], retry_failed=True)[0]
    assert "Kept from" not in str(again.cause)
    assert len(workshop.runs()) == 2


def test_auto_is_what_the_cluster_names_with_what_recipes_list(workshop: Workshop) -> None:
    assert cluster_socs() == ["Ascend310P3"]
    results = compiled(
        workshop, [workshop.recipe(targets=["Ascend910B3", "Ascend310P3"]), workshop.recipe("b")]
    )
    assert [label for label, _ in outcomes(results)] == [
        "net@Ascend310P3",
        "net@Ascend910B3",
        "b@Ascend310P3",
    ]


def test_what_preflight_finds_is_told_before_atc_runs(workshop: Workshop) -> None:
    wrong = workshop.recipe(inputs={"picture": [-1, 3, 2]})
    result = compiled(workshop, [wrong], SOCS[:1])[0]
    assert isinstance(result.error, PreflightFailed)
    assert "picture" in str(result.cause)
    assert workshop.runs() == []
    # Without it ATC runs, whose result then is not what was asked for.
    asked = compiled(workshop, [wrong], SOCS[:1], skip_preflight=True)[0]
    assert "asked for were picture" in str(asked.cause)
    assert workshop.runs() == ["net@Ascend310P3"]


def test_a_task_asks_for_what_its_recipe_says(workshop: Workshop) -> None:
    class Looking(Store):
        """Notes, in the task, what Ray gave it."""

        def __reduce__(self) -> tuple[Any, ...]:
            return Looking, (self.url,)

        def lock(self, key: str) -> Lock:
            assigned = ray.get_runtime_context().get_assigned_resources()
            (Path(self.url).parent / "assigned.json").write_text(json.dumps(assigned))
            return super().lock(key)

    selector = {"ray.io/accelerator-type": "in(Ascend310P3, other)"}
    recipe = workshop.recipe("asks", num_cpus=0.25, memory_bytes=2_000_000, node_labels=selector)
    results = compile_recipes([recipe], SOCS[:1], Looking(workshop.store), atc=str(workshop.atc))
    assert outcomes(results) == [("asks@Ascend310P3", "built")]
    assigned = json.loads((workshop.folder / "assigned.json").read_text())
    assert assigned == {"CPU": 0.25, "memory": 2_000_000}


@pytest.mark.parametrize(
    ("change", "socs", "says"),
    [
        ({"num_cpus": 64}, SOCS, "asks for 64 CPU, .* no node of the cluster has .2 CPU"),
        ({"memory_bytes": 1 << 60}, SOCS, r"1073741824\.0 GiB of memory, which no node .*memory_bytes"),
        ({"resources": {"cann_8_5": 1}}, SOCS, "1 cann_8_5, .*0 cann_8_5.*resources"),
        ({"node_labels": {"cann": "8.5"}}, SOCS, r"label cann=8\.5, .*label cann=.none.*node_labels"),
        (
            {"verify": {}},
            ["Ascend910B3"],
            "1 NPU, label .*accelerator-type=Ascend910B3, .*take out tune and verify",
        ),
    ],
)
def test_what_could_never_run_fails_at_once_and_stops_nothing_else(
    workshop: Workshop, change: dict[str, Any], socs: list[str], says: str
) -> None:
    results = compiled(workshop, [workshop.recipe("large", **change), workshop.recipe()], socs)
    fitting = [f"net@{soc}" for soc in socs]
    assert outcomes(results) == [
        *((f"large@{soc}", "failed") for soc in socs),
        *((label, "built") for label in fitting),
    ]
    assert all(re.search(says, result.cause or "") for result in results[: len(socs)])


@pytest.mark.parametrize(("socs", "says"), [([], "no SoC to compile for"), (["Ascend310P9"], "unknown SoC")])
def test_a_recipe_for_no_chip_is_refused(workshop: Workshop, socs: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        compiled(workshop, [workshop.recipe()], socs)
    assert not workshop.store.exists()


def test_a_task_may_compile_although_it_holds_all_cpus(workshop: Workshop) -> None:
    @ray.remote(num_cpus=ray.cluster_resources()["CPU"])
    def caller() -> list[tuple[str, str]]:
        results = compile_recipes([workshop.recipe()], SOCS, workshop.store, atc=str(workshop.atc))
        return [(result.job.label, result.outcome) for result in results]

    assert ray.get(caller.remote(), timeout=LIMIT_S) == [(f"net@{soc}", "built") for soc in SOCS]


def test_an_actor_may_compile(workshop: Workshop) -> None:
    @ray.remote(num_cpus=0)
    class App:
        def compile(self, recipe: Path) -> str:
            return str(compile_recipes([recipe], SOCS[:1], workshop.store, atc=str(workshop.atc))[0].outcome)

    app = App.remote()
    recipe = workshop.recipe()
    assert [ray.get(app.compile.remote(recipe), timeout=LIMIT_S) for _ in range(2)] == ["built", "cached"]
    ray.kill(app)


def test_a_fault_of_this_program_ends_one_build_alone(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Store):
        def __reduce__(self) -> tuple[Any, ...]:
            return Faulty, (self.url,)

        def publish(self, files: Any, manifest: Any) -> Any:
            if manifest.name == "bad":
                raise RuntimeError("of this store")
            return super().publish(files, manifest)

    recipes = [workshop.recipe("bad"), workshop.recipe("good")]
    results = compile_recipes(recipes, SOCS[:1], Faulty(workshop.store), atc=str(workshop.atc))
    assert outcomes(results) == [("bad@Ascend310P3", "failed"), ("good@Ascend310P3", "built")]
    assert results[0].cause == "bad@Ascend310P3: its task broke off: RuntimeError: of this store"
    assert "in publish" in caplog.text
    assert workshop.published() == ["good@Ascend310P3"]
