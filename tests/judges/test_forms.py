"""tritonclient with each form of serving several models, as README shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.judges.conftest import Judged, judge
from tests.serve.tools import ROOT

pytestmark = pytest.mark.judge


@pytest.fixture
def forms(socket_folder: Callable[[], Path]) -> Iterator[Judged]:
    """Two models in one replica, one in an application of its own, and one on a part of an NPU."""
    told = yaml.safe_load((ROOT / "deployments/two_models.yaml").read_text())
    (alone,) = yaml.safe_load((ROOT / "deployments/simple.yaml").read_text())["applications"]
    told["applications"][0]["route_prefix"] = "/models"
    told["applications"] += [
        {**alone, "name": "whole", "route_prefix": "/whole"},
        {**alone, "name": "part", "route_prefix": "/part", "args": {**alone["args"], "replica_npus": 0.5}},
    ]
    ready = [
        "/models/v2/models/resnet/ready",
        "/whole/v2/models/simple/ready",
        "/part/v2/models/simple/ready",
    ]
    run = Judged(told, socket_folder(), ready)
    run.wait_until_ready()
    run.wait_for_grpc("models", "whole", "part")
    yield run
    run.end()
    Judged.wait_for_ends()


def test_tritonclient_reaches_each_form(forms: Judged) -> None:
    judge("tritonclient", "tritonclient_forms.py", forms.http, forms.grpc)
