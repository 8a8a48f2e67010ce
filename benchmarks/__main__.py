"""`python -m benchmarks [policies|serving|replica|emulator|compiling ...] [--repeats N] [--seconds S]`."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import compiling, emulator, policies, replica, serving
from benchmarks.node import Cores, Node, machine, private_node

COMPARISONS: dict[str, Callable[..., None]] = {
    "policies": policies.compare,
    "serving": serving.compare,
    "replica": replica.compare,
    "emulator": emulator.compare,
    "compiling": compiling.compare,
}
DEFAULT = [name for name in COMPARISONS if name != "compiling"]
"""What runs when nothing is named; compiling waits for minutes."""


def main(arguments: Sequence[str]) -> int:
    """Run the comparisons named, by default all but those on request; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Comparisons, side by side.")
    parser.add_argument("comparisons", nargs="*", metavar="COMPARISON", help=f"of {', '.join(COMPARISONS)}")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name in options.comparisons:
        if name not in COMPARISONS:
            parser.error(f"there is no comparison '{name}'; there are {', '.join(COMPARISONS)}")
    if options.repeats < 1 or options.seconds <= 0:
        parser.error("--repeats is at least 1 and --seconds above 0")
    print(f"$ python -m benchmarks {shlex.join(arguments)}".rstrip())
    print(f"{machine()}; medians of {options.repeats} (least-most), {options.seconds:g} s a run", flush=True)
    # A terminated run cleans up as an interrupted one does. A shell's background job ignores SIGINT, and so would the
    # servers that inherit it, which are ended by it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    begin = time.monotonic()
    before = Cores.now()
    try:
        with private_node() as node:
            _run(options.comparisons or DEFAULT, node, options.repeats, options.seconds)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    stolen = 100 * Cores.now().stolen_since(before)
    print(f"\n{time.monotonic() - begin:.0f} s; the hypervisor gave {stolen:.1f} % of the CPU time to others")
    return 0


def _run(names: Sequence[str], node: Node, repeats: int, seconds: float) -> None:
    for name in names:
        COMPARISONS[name](node, repeats=repeats, seconds=seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
