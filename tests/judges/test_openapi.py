"""schemathesis on our own description: what it says is taken is taken or refused with words, what is answered fits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.judges import environments
from tests.judges.conftest import Judged
from tests.serve.tools import ROOT

pytestmark = pytest.mark.judge

CONFIG = Path(__file__).with_name("schemathesis.toml")

# What the description cannot say: that a request fits its schema does not make it one for the model behind the path,
# whose inputs are in its metadata.
NOT_ASKED = "positive_data_acceptance"


@pytest.fixture
def classified(socket_folder: Callable[[], Path]) -> Iterator[Judged]:
    """`deployments/resnet.yaml`, whose processor has a door of its own, served."""
    told = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
    run = Judged(told, socket_folder(), ["/v2/models/resnet/ready"])
    run.wait_until_ready()
    yield run
    run.end()
    Judged.wait_for_ends()


def test_schemathesis_finds_nothing(simple: Judged) -> None:
    judged(simple)


def test_schemathesis_finds_nothing_at_a_processors_door(classified: Judged) -> None:
    judged(classified, "--include-path-regex=/classify$")


def judged(run: Judged, *options: str) -> None:
    """Have schemathesis judge what a server says of itself."""
    command = [
        environments.python("schemathesis").with_name("schemathesis"),
        f"--config-file={CONFIG}",
        "run",
        f"http://{run.http}/v2/docs/dataplane.json",
        *options,
        "--checks=all",
        f"--exclude-checks={NOT_ASKED}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=15",
        "--seed=7",
        "--suppress-health-check=too_slow",  # how fast it makes requests up is not judged
        "--no-color",
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert told.returncode == 0, told.stdout.partition("= FAILURES =")[2][:4000] or told.stdout[-4000:]
