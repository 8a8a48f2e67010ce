"""Cards that stay while a test gives them up and takes them again, since starting one takes a while."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

HOLDER = """
import acl, sys
assert acl.init() == 0
assert not any(acl.rt.set_device(each) for each in range(int(sys.argv[1]))), acl.get_recent_err_msg()
print("held", flush=True)
input()
"""


@contextmanager
def held_cards(environment: Mapping[str, str], devices: int) -> Iterator[None]:
    """Let a process of its own have the node's first devices open.

    Args:
        environment: of that process, which names the node.
        devices: how many.
    """
    command = [sys.executable, "-c", HOLDER, str(devices)]
    with subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.stdin.write("\n")
            holder.stdin.flush()
    assert holder.returncode == 0
