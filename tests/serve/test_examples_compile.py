"""What the pages on compiling show happens as they say, and clients of the AIPP example may send bytes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest
import ray

from tests.serve.deploying import Deploy
from tests.serve.pages import LIMIT_S, run_page, shows
from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve

EXAMPLES = ROOT / "examples/compile"
PAGES = [
    *sorted(str(page.relative_to(ROOT)) for page in EXAMPLES.glob("*/README.md")),
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "examples/serving").glob("*/README.md")),
    "docs/compile.md",
]
PICTURES = sorted((ROOT / "examples/digits/images").glob("*.png"))


@pytest.fixture(scope="module")
def runs(ray_cluster: None) -> Iterator[dict[str, Future[None]]]:
    """Every page, two at a time: each is a user with a home, cards and a copy of the examples of its own."""
    # A Ray of its own for each command that compiles would take most of the time.
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    with ThreadPoolExecutor(2) as pool:
        yield {page: pool.submit(run_page, page, environment) for page in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(runs: dict[str, Future[None]], page: str) -> None:
    runs[page].result()


def test_pages_differ_from_what_does_not_happen() -> None:
    printed = "made a in 0.1 s\nmade b in 0.2 s\n3 of 4 right\n"
    assert shows("made a in 7.5 s\n...\n3 of 4 right\n", printed)
    assert shows("...\n3 of 4 right\n", printed)
    assert shows("made a in 7.5 s\n...\n", printed)
    assert not shows("...\n4 of 4 right\n", printed)
    assert not shows("made b in 0.2 s\n3 of 4 right\n", printed)
    assert not shows("made a in 0.1 s\nmade b in 0.2 s\n", printed)
    assert not shows("...\nmade b in 0.2 s\nmade a in 0.1 s\n...\n", printed)


def test_clients_send_bytes(deploy: Deploy, serve_url: str) -> None:
    deploy("digits-aipp", args={"recipe": str(EXAMPLES / "aipp/recipe.yaml")})
    url = f"{serve_url}/digits-aipp"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "aipp/client.py"), "--url", url, *map(str, PICTURES)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    last = done.stdout.splitlines()[-1]
    assert last == "uint8 [30, 40, 40, 3], 144000 bytes: 30 of 30 right"
    assert last in (EXAMPLES / "aipp/README.md").read_text()
    floats = {"name": "image", "datatype": "FP32", "shape": [1, 1, 32, 32], "data": [0.0] * 1024}
    refused = httpx.post(f"{url}/v2/models/digits-aipp/infer", json={"inputs": [floats]})
    assert refused.status_code == 400
    assert re.search("UINT8", refused.text)
