"""The profile of a request: samples become layers."""

from __future__ import annotations

import pytest

from benchmarks.http_profile import layers

pytestmark = pytest.mark.unit

LOOP = "thread (7): AsyncIO Thread: default"


def test_a_librarys_frame_counts_for_the_layer_that_called_it() -> None:
    replica = "Replica._wrap_request (ray/serve/_private/replica.py:2498)"
    told = layers(
        [
            ([LOOP, replica, "__enter__ (contextlib.py:137)"], 3),
            ([LOOP, replica, "RequestReader.read (ascend_serve/protocol/http_heads.py:77)"], 1),
            (
                [
                    LOOP,
                    "flush (ascend_serve/serving/watching/recorder.py:9)",
                    "Metric._record (ray/util/metrics.py:133)",
                ],
                2,
            ),
            ([LOOP, "Thread.run (threading.py:982)"], 4),
        ],
        100.0,
    )
    assert [item for item in told if not item[0].startswith(" ")] == [
        ("the loop itself", 40.0),
        ("Serve's replica", 30.0),
        ("our metrics", 20.0),
        ("our HTTP door", 10.0),
    ]
    assert ("    __enter__ (contextlib.py:137)", 30.0) in told


def test_without_samples_there_are_no_layers() -> None:
    assert layers([], 100.0) == []
