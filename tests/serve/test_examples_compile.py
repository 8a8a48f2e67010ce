"""What the pages on compiling show happens as they say, and clients of the AIPP example may send bytes."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import ray

from tests.serve.pages import LIMIT_S, blocks, fresh_user, run_block, shows
from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve

EXAMPLES = ROOT / "examples/compile"
PAGES = [
    *sorted(str(page.relative_to(ROOT)) for page in EXAMPLES.glob("*/README.md")),
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "examples/serving").glob("*/README.md")),
    "docs/compile.md",
]
PICTURES = sorted((ROOT / "examples/digits/images").glob("*.png"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(ray_cluster: None, page: str) -> None:
    code = [block for block in blocks(page) if block.run]
    assert code, f"{page} has nothing to run"
    with fresh_user() as (root, environment):
        # A Ray of its own for each command that compiles would take most of the time.
        environment["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        for block in code:
            printed = run_block(block, root, environment)
            if block.shown is not None:
                assert shows(block.shown, printed), f"{page}:\n{block.code}printed:\n{printed}"


def test_pages_differ_from_what_does_not_happen() -> None:
    printed = "made a in 0.1 s\nmade b in 0.2 s\n3 of 4 right\n"
    assert shows("made a in 7.5 s\n...\n3 of 4 right\n", printed)
    assert shows("...\n3 of 4 right\n", printed)
    assert shows("made a in 7.5 s\n...\n", printed)
    assert not shows("...\n4 of 4 right\n", printed)
    assert not shows("made b in 0.2 s\n3 of 4 right\n", printed)
    assert not shows("made a in 0.1 s\nmade b in 0.2 s\n", printed)
    assert not shows("...\nmade b in 0.2 s\nmade a in 0.1 s\n...\n", printed)


def test_clients_send_bytes(deploy: Callable[..., Any], serve_url: str) -> None:
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
