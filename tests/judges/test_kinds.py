"""Every datatype that a model may have, through the clients of others: no bit is lost, and none taken for another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.judges.conftest import Judged, judge
from tests.judges.kinds import MODELS, recipe
from tests.serve.tools import ROOT

pytestmark = pytest.mark.judge


@pytest.fixture(scope="module")
def kinds(socket_folder: Callable[[], Path]) -> Iterator[Judged]:
    """The models of `kinds.py` in one replica, served."""
    folder = socket_folder()
    told = yaml.safe_load((ROOT / "deployments/simple.yaml").read_text())
    told["applications"][0]["args"] = {"models": [{"recipe": str(recipe(name, folder))} for name in MODELS]}
    run = Judged(told, folder, [f"/v2/models/{name}/ready" for name in MODELS])
    run.wait_until_ready()
    run.wait_for_grpc()
    yield run
    run.end()
    Judged.wait_for_ends()


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_tritonclient_carries_every_datatype(kinds: Judged, form: str) -> None:
    judge("tritonclient", f"kinds_tritonclient_{form}.py", kinds.http if form == "http" else kinds.grpc)


def test_the_kserve_client_carries_every_datatype(kinds: Judged) -> None:
    judge("kserve", "kinds_kserve.py", kinds.http, kinds.grpc)
