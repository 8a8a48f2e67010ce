"""tritonclient in its four forms: the main judge of both doors."""

from __future__ import annotations

import pytest

from tests.judges.conftest import Judged, judge

pytestmark = pytest.mark.judge


@pytest.mark.parametrize("form", ["http", "http_aio", "grpc", "grpc_aio"])
def test_tritonclient_works_unchanged(simple: Judged, form: str) -> None:
    address = simple.http if form.startswith("http") else simple.grpc
    judge("tritonclient", f"tritonclient_{form}.py", address)
