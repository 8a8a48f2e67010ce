"""A device that is lost makes its replica unhealthy; Serve replaces it, and requests are answered again."""

import os
import signal
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import cards, eventually, infer_binary, outputs

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]


@pytest.fixture
def both(deploy: Deploy) -> frozenset[int]:
    """The cards of two applications, `asked` and `silent`, once replicas of deleted ones have given theirs back."""
    deploy.add("silent", args={"name": "resnet"}, health_check_period_s=1)
    deploy("asked", args={"name": "resnet"}, health_check_period_s=1)
    return frozenset(eventually("two cards", lambda: len(found := cards()) == 2 and found))


def test_a_lost_device_costs_a_replica_and_not_the_application(
    both: frozenset[int], http: httpx.Client, digits: Array, expected: Array
) -> None:
    path, body, headers = infer_binary(digits[:3])

    def answered(application: str) -> bool:
        answer = http.post(f"/{application}{path}", content=body, headers=headers)
        if answer.status_code != 200:
            assert answer.status_code in (500, 503), answer.text
            return False
        np.testing.assert_array_equal(outputs(answer)["logits"].argmax(axis=1), expected[:3].argmax(axis=1))
        return True

    assert answered("asked")
    assert answered("silent")
    for card in both:
        os.kill(card, signal.SIGKILL)
    assert not answered("asked")
    eventually("a new replica answers", lambda: answered("asked"))
    eventually("the loss is noticed though nobody asks", lambda: len(set(cards()) - both) == 2)
    eventually("its new replica answers", lambda: answered("silent"))
