"""Kubernetes' own client, on the manifests in `kubernetes/`: pods, jobs, claims and Ingresses, not KubeRay's kinds."""

from __future__ import annotations

import pytest

from tests.judges.conftest import judge
from tests.serve.tools import ROOT

pytestmark = pytest.mark.judge


def test_the_kubernetes_client_knows_every_field() -> None:
    judge("kubernetes", "kubernetes_client.py", str(ROOT / "kubernetes"))
