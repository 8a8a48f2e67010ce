"""schemathesis on our own description: what it says is taken is taken or refused with words, what is answered fits."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.judges import environments
from tests.judges.conftest import Judged

pytestmark = pytest.mark.judge

CONFIG = Path(__file__).with_name("schemathesis.toml")

# What the description cannot say: that a request fits its schema does not make it one for the model behind the path,
# whose inputs are in its metadata.
NOT_ASKED = "positive_data_acceptance"


def test_schemathesis_finds_nothing(simple: Judged) -> None:
    command = [
        environments.python("schemathesis").with_name("schemathesis"),
        f"--config-file={CONFIG}",
        "run",
        f"http://{simple.http}/v2/docs/dataplane.json",
        "--checks=all",
        f"--exclude-checks={NOT_ASKED}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=15",
        "--seed=7",
        "--suppress-health-check=too_slow",  # how fast it makes requests up is not judged
        "--no-color",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout.partition("= FAILURES =")[2][:4000] or run.stdout[-4000:]
