"""`python -m benchmarks [bench|bench-full|claims [name ...]|policies|replica|emulator|compiling]`."""

from __future__ import annotations

import argparse
import importlib
import shlex
import signal
import sys
import time
from collections.abc import Sequence

from benchmarks.node import Cores, Node, machine, private_node
from benchmarks.quiet import adopt_orphans

COMPARISONS = ("policies", "replica", "emulator", "compiling")
ALONE = ("simulator_speed", "http_profile", "routing", "scaling", "chaos")
"""These have a command line of their own, which gets all that follows."""

_HELP = """\
bench        all servers side by side, in minutes (the default)
bench-full   the same under all loads, with all policies and two sizes of a row: hours
claims       what is claimed of the whole, with PASS, MISS or NOISY; all, or those named:
             http_share policy_live open_loop in_process pipeline planner prediction
             turnaround
policies     all gear policies on the real engine, without Ray
replica      CPU of one replica by rate
chaos        replicas killed at random at half load, every request counted; has options of its own
emulator     what the emulated card itself costs
compiling    parallel builds against the ideal, for minutes
simulator_speed  how much faster than real time the simulator is; has options of its own
routing      p99 on two SoCs by who chooses the replica; has options of its own
http_profile what a request over HTTP or gRPC costs, process by process; has options of its own
scaling      autoscaling by capacity against the best of a grid of Ray's own settings; has options of its own
"""


def main(arguments: Sequence[str]) -> int:
    """Run what is named; the exit status: 1 when the floor of a claim does not hold, or the machine was too noisy."""
    if arguments and arguments[0] in ALONE:
        importlib.import_module(f"benchmarks.{arguments[0]}").main(arguments[1:])
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", epilog=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="?", default="bench", choices=("bench", "bench-full", "claims", *COMPARISONS)
    )
    parser.add_argument("names", nargs="*", help="claims to measure (default: all)")
    parser.add_argument(
        "--rounds", type=int, help="quiet rounds of each side (default: 5, or 3 of a comparison)"
    )
    parser.add_argument("--most", type=int, help="passes at most (default: twice the rounds)")
    parser.add_argument("--seconds", type=float, help="length of one round (default: 1.2 to 4)")
    options = parser.parse_args(arguments)
    for option in ("rounds", "most", "seconds"):
        if (value := getattr(options, option)) is not None and value <= 0:
            parser.error(f"--{option} is {value}: it must be above 0")
    if options.names and options.what != "claims":
        parser.error(f"'{options.what}' takes no names; claims does")
    print(f"$ python -m benchmarks {shlex.join(arguments)}".rstrip())
    print(machine(), flush=True)
    # A terminated run cleans up as an interrupted one does. A shell's background job ignores SIGINT, and so would the
    # servers that inherit it, which are ended by it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    adopt_orphans()
    begin = time.monotonic()
    before = Cores.now()
    try:
        with private_node() as node:
            holds = _run(options, node)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    stolen = 100 * Cores.now().stolen_since(before)
    print(f"\n{time.monotonic() - begin:.0f} s; the hypervisor gave {stolen:.1f} % of the CPU time to others")
    return 0 if holds else 1


def _run(options: argparse.Namespace, node: Node) -> bool:
    # Imported here: each brings what only it needs, such as Ray or matplotlib.
    what = options.what
    if what == "claims":
        from benchmarks.claims.effort import Effort
        from benchmarks.claims.run import CLAIMS, run

        if unknown := [name for name in options.names if name not in CLAIMS]:
            raise SystemExit(f"there is no claim '{unknown[0]}'; there are {', '.join(CLAIMS)}")
        rounds = options.rounds or 5
        return run(node, options.names, Effort(rounds, options.most or 2 * rounds, options.seconds or 4.0))
    if what in COMPARISONS:
        module = importlib.import_module(f"benchmarks.{what}")
        module.compare(node, repeats=options.rounds or 3, seconds=options.seconds or 1.5)
        return True
    from benchmarks.side_by_side import BRIEF, FULL, compare

    programme, seconds = (BRIEF, 1.2) if what == "bench" else (FULL, 3.0)
    rounds = options.rounds or 5
    compare(
        node,
        programme,
        rounds=rounds,
        most=options.most or 2 * rounds,
        seconds=options.seconds or seconds,
    )
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
