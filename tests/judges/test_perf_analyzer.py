"""perf_analyzer, Triton's own load generator: the program in the wheel of tritonclient 2.51.0; a test tool only.

It asks for the model's configuration, metadata and statistics before it begins, sends tensors as bytes, and finds by
the statistics which version it measured.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.judges import environments
from tests.judges.conftest import Judged

pytestmark = pytest.mark.judge

WAYS = {
    "http": ["-i", "http"],
    "http of four rows": ["-i", "http", "-b", "4"],
    "grpc": ["-i", "grpc"],
    "grpc stream": ["-i", "grpc", "--streaming", "--async"],
}


@pytest.mark.parametrize("way", WAYS)
def test_perf_analyzer_measures(simple: Judged, way: str) -> None:
    program = environments.python("perf_analyzer").with_name("perf_analyzer")
    address = simple.http if way.startswith("http") else simple.grpc
    # Few requests: it is to work, not to measure.
    amount = "--measurement-mode count_windows --measurement-request-count 20 --max-trials 3 -s 999"
    run = subprocess.run(
        [program, "-m", "simple", "-u", address, *WAYS[way], *amount.split(), "--concurrency-range", "2"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, environments.libraries("perf_analyzer")))},
    )
    told = run.stdout + run.stderr
    assert run.returncode == 0, told[-3000:]
    rate = re.search(r"Concurrency: 2, throughput: ([\d.]+) infer/sec", told)
    assert rate, told[-3000:]
    assert float(rate[1]) > 0
    count = re.search(r"Server:\s+Inference count: (\d+)", told)
    assert count, told[-3000:]
    assert int(count[1]) > 0
