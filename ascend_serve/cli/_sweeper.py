"""Started by `ascend-serve run` as a script: outlives it, and removes what a sudden end leaves.

Ray ends its own processes when the driver dies, by whatever means; but HAProxy is a child of an actor, and goes on
holding the HTTP port. Its command line names the run's scratch folder, so the run's own is found among others.

It waits for the end of stdin, a pipe whose other end only the run holds. A run that ends in order says so with
one byte first.
"""

import os
import shutil
import signal
import sys
import time

SETTLE_S = 15.0
"""While Ray is ending, its manager may start HAProxy again."""


def main(scratch: str) -> None:
    """Wait for the run to end, then end its HAProxy and remove its folder."""
    in_order = sys.stdin.buffer.read(1)
    deadline = time.monotonic() + (0.0 if in_order else SETTLE_S)
    while True:
        for pid in haproxies(scratch):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue  # it ended by itself meanwhile
        if time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    shutil.rmtree(scratch, ignore_errors=True)


def haproxies(scratch: str) -> list[int]:
    """Processes whose command line names HAProxy and the folder."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs more than this script
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:  # noqa: PTH123
                command = file.read()
        except OSError:
            continue  # it ended, or is somebody else's
        if b"haproxy" in command and scratch.encode() in command:
            found.append(int(entry))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
