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


def only_card() -> int:
    """The one card there is, once replicas of deleted applications have given theirs back."""
    return int(eventually("one card", lambda: len(found := cards()) == 1 and found)[0])


def test_a_lost_device_costs_a_replica_and_not_the_application(
    deploy: Deploy, http: httpx.Client, digits: Array, expected: Array
) -> None:
    deploy("lost", args={"name": "resnet"}, health_check_period_s=1)
    path, body, headers = infer_binary(digits[:3])

    def answered() -> bool:
        answer = http.post(f"/lost{path}", content=body, headers=headers)
        if answer.status_code != 200:
            assert answer.status_code in (500, 503), answer.text
            return False
        np.testing.assert_array_equal(outputs(answer)["logits"].argmax(axis=1), expected[:3].argmax(axis=1))
        return True

    assert answered()
    first = only_card()
    os.kill(first, signal.SIGKILL)
    assert not answered()
    eventually("a new replica answers", answered)

    second = only_card()
    assert second != first
    os.kill(second, signal.SIGKILL)
    eventually("the loss is noticed though nobody asks", lambda: cards() and cards() != [second])
    eventually("a third replica answers", answered)
