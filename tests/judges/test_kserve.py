"""kserve's client, over HTTP and gRPC."""

from __future__ import annotations

import pytest

from tests.judges.conftest import Judged, judge

pytestmark = pytest.mark.judge


def test_the_kserve_client_works_unchanged(simple: Judged) -> None:
    judge("kserve", "kserve_client.py", simple.http, simple.grpc)
