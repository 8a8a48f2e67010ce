"""Started by `process.run` as a script: turns itself into the program, and leaves a watchdog beside it.

The watchdog stays in the program's process group, which also keeps the group's number from being used again,
and waits for the end of stdin. That is a pipe whose other end only the caller holds, so it ends when the
caller closes it or dies by whatever means. Then the watchdog kills the group, itself included.

A pipe and not `PR_SET_PDEATHSIG`: that signal is sent when the *thread* dies that started the child, and
reaches the child alone, not the workers that the real `atc`, a shell script, starts in turn. And a watchdog
that is no child of the caller: a forced cancel in Ray kills the worker's own children first.

It imports nothing of this package, since it runs before every build with `-I -S`.
"""

import os
import signal
import sys


def main(arguments: list[str]) -> None:
    """Fork the watchdog, then become the program `arguments[0]`."""
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    if os.fork() == 0:
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.read(lifeline, 1)
        os.killpg(0, signal.SIGKILL)
    os.dup2(nothing, 0)
    # Python ignores SIGPIPE, and a program inherits that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execv(arguments[0], arguments)  # noqa: S606 (no shell is the point)
    except OSError as error:
        print(f"cannot run {arguments[0]}: {error.strerror}", file=sys.stderr)
        # Not sys.exit: nothing of this interpreter is to be tidied up beside the watchdog.
        sys.stderr.flush()
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
