"""What a run looks like on a terminal, and what a failure says."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from ascend_serve.artifacts.artifact import Artifact
from ascend_serve.errors import BuildFailed, ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.toolchain import Toolchain
from compile_jobs.display import as_json, explained, progress_on, show_results
from compile_jobs.jobs import Job, JobStep, TargetResult

pytestmark = pytest.mark.unit

FAILURE = BuildFailed(
    "no [such] operator",
    target="net@Ascend310B1",
    code="E19010",
    operator="Resize",
    node="up",
    hint="Use another",
    reference="the manual",
    log_path="/kept/atc.log",
)


def job(soc="Ascend310B1", name="net"):
    return Job(CompileRecipe.parse({"name": name, "source": "/net.onnx"}), soc)


def built(soc="Ascend310P3"):
    artifact = Artifact("/store/net.om", soc, Toolchain("CANN", "8"), None)
    return TargetResult(job(soc), "built", 12.34, artifact)


def screen(height=25):
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=height)


def shown(console):
    return " ".join(Text.from_ansi(console.file.getvalue()).plain.split())


def test_a_terminal_gets_a_live_table():
    console = screen()
    first, second = job("Ascend310P3"), job()
    with progress_on(console) as note:
        note(first, JobStep("queued"))
        note(second, JobStep("queued"))
        note(first, JobStep("starting"))
        note(first, JobStep("compiling"))
        note(second, TargetResult(second, "failed", 1.5, error=FAILURE))
    text = shown(console)
    assert "net@Ascend310P3 compiling 0.0 s" in text
    assert "net@Ascend310B1 failed 1.5 s" in text
    assert "1 of 2 done, 0 queued" in text


def test_of_more_builds_than_lines_those_are_told_that_run():
    console = screen(height=8)
    jobs = [job(name=f"net{number}") for number in range(20)]
    with progress_on(console) as note:
        for each in jobs:
            note(each, JobStep("queued"))
        note(jobs[3], JobStep("starting"))
        note(jobs[3], JobStep("requeued"))
        note(jobs[12], JobStep("starting"))
        note(jobs[12], JobStep("tuning"))
        note(jobs[19], TargetResult(jobs[19], "cached", 0.1))
    text = shown(console)
    assert "net12@Ascend310B1 tuning 0.0 s" in text
    assert "1 of 20 done, 18 queued" in text
    assert not any(f"net{number}@" in text for number in (0, 3, 19))


def test_without_a_terminal_each_event_but_the_idle_ones_is_a_line():
    console = Console(file=io.StringIO(), width=20)
    told = job()
    with progress_on(console) as note:
        for step in ("queued", "starting", "compiling", "requeued", "starting", "waiting"):
            note(told, JobStep(step))
        note(told, TargetResult(told, "failed", 1.5, error=FAILURE))
    assert console.file.getvalue().splitlines() == [
        "net@Ascend310B1: compiling",
        "net@Ascend310B1: requeued",
        "net@Ascend310B1: waiting",
        "net@Ascend310B1: failed in 1.5 s",
    ]


@pytest.mark.parametrize(
    "console", [screen(), Console(file=io.StringIO(), width=40)], ids=["terminal", "file"]
)
def test_results_are_a_row_each_and_failures_are_told_below(console):
    show_results(console, [built(), TargetResult(job(), "failed", 1.5, error=FAILURE)])
    text = shown(console)
    assert "target result time size where" in text
    assert "net@Ascend310P3 built 12.3 s /store/net.om" in text
    assert "net@Ascend310B1 failed 1.5 s E19010" in text
    assert "net@Ascend310B1: E19010: no [such] operator" in text


def test_a_failure_in_lines():
    assert explained(TargetResult(job(), "failed", 1.5, error=FAILURE)) == [
        "net@Ascend310B1: E19010: no [such] operator",
        "  operator:    Resize, node up",
        "  what to do:  Use another",
        "  documented:  the manual",
        "  full output: /kept/atc.log",
    ]
    bare = BuildFailed("it is odd", target="net@Ascend310B1")
    assert explained(TargetResult(job(), "failed", 1.5, error=bare)) == ["net@Ascend310B1: it is odd"]
    other = ConfigError("net@Ascend310B1: the source is gone")
    assert explained(TargetResult(job(), "failed", 1.5, error=other)) == [
        "net@Ascend310B1: the source is gone"
    ]


def test_as_json():
    whole, failed = as_json([built(), TargetResult(job(), "failed", 1.5, error=FAILURE)])
    assert whole["location"] == "/store/net.om"
    assert (whole["seconds"], whole["cause"], whole["code"]) == (12.34, None, None)
    assert {part: failed[part] for part in ("code", "operator", "node", "hint", "reference", "log_path")} == {
        "code": "E19010",
        "operator": "Resize",
        "node": "up",
        "hint": "Use another",
        "reference": "the manual",
        "log_path": "/kept/atc.log",
    }
