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
