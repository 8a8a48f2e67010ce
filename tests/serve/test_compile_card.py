"""Builds that need a card: verified before they are published, and tuned; on the suite's emulated node."""

from pathlib import Path
from typing import Any

import pytest

from ascend_serve.artifacts.store import Store
from ascend_serve.errors import VerificationFailed
from compile_jobs.jobs import Job, JobStep, TargetResult
from compile_jobs.tasks import compile_recipes
from tests.serve.compiling_tools import Workshop

pytestmark = pytest.mark.serve

DENSE = {"source": "dense.onnx", "tune": {"job_type": "operator"}}


@pytest.fixture
def workshop(ray_cluster: None, tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def compiled(workshop: Workshop, **changes: Any) -> tuple[TargetResult, list[str]]:
    """The result for the node's own SoC, by the installed `atc`, and the steps that were told."""
    steps: list[str] = []

    def note(_: Job, event: JobStep | TargetResult) -> None:
        steps.append(event.step if isinstance(event, JobStep) else event.outcome)

    (result,) = compile_recipes([workshop.recipe(**changes)], store=workshop.store, progress=note)
    return result, steps


def test_what_passes_is_published_with_its_report(workshop: Workshop) -> None:
    result, steps = compiled(workshop, precision="fp32", verify={"max_abs_error": 1e-6})
    assert result.error is None
    assert steps == ["queued", "starting", "compiling", "verifying", "built"]
    assert result.artifact is not None
    assert result.artifact.manifest is not None
    report = result.artifact.manifest.verification
    assert report is not None
    assert [gear["gear"] for gear in report["gears"]] == [[1], [4]]


def test_what_departs_is_not_published(workshop: Workshop) -> None:
    # Half precision rounds what a float32 holds.
    result, steps = compiled(workshop, precision="fp16", verify={"max_abs_error": 0})
    assert steps == ["queued", "starting", "compiling", "verifying", "failed"]
    assert isinstance(result.error, VerificationFailed)
    assert "net@Ascend310P3 computes something else" in str(result.cause)
    assert workshop.published() == []


def test_a_tuned_model_is_built_with_its_bank_which_is_made_once(workshop: Workshop) -> None:
    result, steps = compiled(workshop, **DENSE, name="tuned")
    assert result.error is None
    assert steps == ["queued", "starting", "tuning", "compiling", "built"]
    banks = list((workshop.store / "banks").glob("*/bank.json"))
    assert len(banks) == 1
    bank = Store(workshop.store).bank(banks[0].parent.name)
    assert bank is not None
    assert any(bank.fetch().iterdir())
    # Another name makes another artifact, of the same tuning.
    other, again = compiled(workshop, **DENSE, name="other")
    assert (other.outcome, again) == ("built", ["queued", "starting", "compiling", "built"])
    assert list((workshop.store / "banks").glob("*/bank.json")) == banks
