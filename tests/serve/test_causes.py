"""The line that `ascend-serve run` picks out of Serve's messages, as Ray 2.60 writes them."""

import pytest

pytestmark = pytest.mark.serve

BUILDER = "Deploying app 'bad' failed with exception:\n'resnet' is not compiled for Ascend910B3: run this"
CONSTRUCTOR = (
    "The deployment failed to start 3 times in a row. See controller logs for details. Error:\n"
    "ray::ServeReplica:bad:AscendModel.initialize_and_get_metadata() (pid=1)\n"
    '  File "replica.py", line 1928, in initialize\n'
    "RuntimeError: Traceback (most recent call last):\n"
    '  File "opening.py", line 76, in choose\n'
    "    raise SocMismatch(\n"
    "ascend_serve.errors.SocMismatch: a.om was compiled for Ascend910B3"
)


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        ([BUILDER], "'resnet' is not compiled for Ascend910B3: run this"),
        (
            ["Failed to update the deployments ['AscendModel'].", CONSTRUCTOR],
            "a.om was compiled for Ascend910B3",
        ),
        (["", ""], "Serve gives no reason; see its controller's log"),
        (["Something new."], "Something new."),
    ],
)
def test_the_line_that_counts_is_picked(messages: list[str], cause: str) -> None:
    from ascend_serve.cli.watch import cause_of

    assert cause_of(messages) == cause


NO_PORT = (
    "ray::HAProxyManager.ready() (pid=1, ip=192.0.2.2)\n"
    '  File "haproxy.py", line 2107, in _reload_haproxy\n'
    "    await self._haproxy_start_task\n"
    "RuntimeError: HAProxy crashed during startup: [NOTICE]   (1) : haproxy version is 2.8.25\n"
    "[WARNING]  (1) : config : log format ignored for frontend 'prometheus'.\n"
    "[ALERT]    (1) : Binding [a.cfg:73] for proxy stats: cannot bind socket (Address already in use) for "
    "[0.0.0.0:8404]\n[ALERT]    (1) : Some protocols failed to start their listeners! Exiting.\n"
)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            NO_PORT,
            "[ALERT]    (1) : Binding [a.cfg:73] for proxy stats: cannot bind socket (Address already in use) for "
            "[0.0.0.0:8404]; [ALERT]    (1) : Some protocols failed to start their listeners! Exiting.",
        ),
        ("Traceback\nray.exceptions.GetTimeoutError: it took too long", "it took too long"),
        ("it took too long", "it took too long"),
    ],
)
def test_of_a_start_that_failed_the_last_words_are_told(told: str, words: str) -> None:
    from ascend_serve.cli.watch import start_failure

    assert start_failure(told) == words
